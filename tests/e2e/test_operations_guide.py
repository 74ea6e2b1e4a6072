"""docs/operations.md: it reads every line of the operations guide, and what it says to type works.

Each line that needs no container is typed into a shell beside one `orca up`, in the order of the
document. What a line must print stands in PRINTS; a line that is missing there fails.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_up import Up, running
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
GUIDE = Path(os.environ.get("ORCA_SHARED", ROOT.parent / "shared")) / "operations-guide.md"
FENCE = re.compile(r"```(?:bash|sql)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:pnpm|docker|curl) [^`]*)`")
CELL = re.compile(r"(?<!\\)\|")
LATER = {"compose", "a note"}
JQ = shutil.which("jq") is not None

# What a line must print, as a pattern; lines that print nothing stand here with "".
PRINTS = {
    'export DATABASE_URL="postgresql://user:pass@host:5432/orcamesh"': "",
    'export OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4317"': "",
    "orca db migrate": r"^nothing to apply$",
    "orca db seed": r"sample .*\n(.*\n)*records .*\nevents ",
    "orca --version": r"^orca \d",
    "curl http://localhost:3000/health": r'"status":\s*"SERVING"',
    "curl http://localhost:3000/status": r'"ready":\s*true',
    "orca doctor": r"memory +ok +the server",
    "pg_dump $DATABASE_URL > backup_$(date +%Y%m%d).sql": "",
    'psql $DATABASE_URL -c "DELETE FROM telemetry': r"^DELETE 0$",
    'psql $DATABASE_URL -c "VACUUM ANALYZE;"': r"^VACUUM$",
    'psql $DATABASE_URL -c "CREATE DATABASE restored"': r"^CREATE DATABASE$",
    "orca registry sync": r"0 created, 0 updated, 3 unchanged",
    "curl http://localhost:3000/agents | jq '.agents[] | select(.type==\"mcp\")'": r'"team-files"',
    'orca psql -c "SELECT 1;"': r"\(1 row\)",
    "export PGMAXCONNECTIONS=10": "",
    "curl http://localhost:3000/workflows | jq": "",  # none of the sample ran before 2023
    "curl http://localhost:3000/trust | jq '.components'": r'"sync_freshness"',
    "curl http://localhost:3000/agents | jq '.agents[] | select(.trust_level": r'"issue-tracker"',
    "curl -X POST http://localhost:3000/trust/refresh": r'"trust_score":',
    "0 2 * * * pg_dump $DATABASE_URL | gzip": "",
    'find /backups -name "orca_*.sql.gz" -mtime +30 -delete': "",
    'psql $DATABASE_URL -c "CREATE DATABASE recovered"': r"^CREATE DATABASE$",
    "export NEW_JWT_SECRET=$(openssl rand -hex 32)": "",
    "export NEW_HMAC_SECRET=$(openssl rand -hex 32)": "",
    'echo "JWT_SECRET=$NEW_JWT_SECRET" >> .env': "",
    'echo "HMAC_SECRET=$NEW_HMAC_SECRET" >> .env': "",
    'psql $DATABASE_URL -c "SELECT * FROM policy_violations': r"^\([1-9]\d* rows?\)$",
    'psql $DATABASE_URL -c "SELECT * FROM drift_detections': r"^\([1-9]\d* rows?\)$",
    "curl http://localhost:3000/trust": r'"components":',
    "curl -X POST http://localhost:3000/reports/export": "",
    "curl http://localhost:3000/reports/healing": r'"kind": *"unowned"',
    "curl http://localhost:3000/reports/executive-summary": r'"moved_by":',
}
OWN_TEST = {"orca serve"}
"""Lines that do not end by themselves."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the guide, and what the document makes of it."""

    line: str
    reading: str

    @property
    def typed(self) -> str:
        """What is typed; empty if nothing can be yet."""
        if self.reading == "as printed":
            return self.line
        return self.reading.strip("`") if self.reading.startswith("`") else ""


def rows() -> list[Row]:
    """The rows of all tables that begin with a line of the guide."""
    found, reading = [], False
    for text in (ROOT / "docs" / "operations.md").read_text().splitlines():
        cells = [each.strip().replace("\\|", "|") for each in CELL.split(text)[1:-1]]
        if not cells:
            reading = False
        elif cells[0] == "line of the guide":
            reading = True
        elif reading and not cells[0].startswith("-"):
            found.append(Row(cells[0].strip("`"), cells[1]))
    return found


def executed() -> list[str]:
    """Each command to type, once, in order."""
    typed = dict.fromkeys(row.typed for row in rows())
    return [each for each in typed if each and each not in OWN_TEST]


def expected(typed: str) -> str:
    """What it must print."""
    if typed in PRINTS:
        return PRINTS[typed]
    found = [prints for begin, prints in PRINTS.items() if typed.startswith(begin)]
    assert found, f"PRINTS does not say what this prints: {typed}"
    return found[-1]


def one_line(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())


def guide_lines() -> set[str]:
    """Every command of the guide: in its blocks, and in its text."""
    text = GUIDE.read_text()
    found = {one_line(each) for each in INLINE.findall(FENCE.sub("", text))}
    for block in FENCE.findall(text):
        if "SELECT query" in block:  # SQL goes on over lines, and ends with a semicolon
            plain = re.sub(r"(?m)^--.*$", "", block)
            found |= {f"{one_line(each)};" for each in plain.split(";") if each.strip()}
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                found.add(one_line(line))
    return found


@pytest.mark.skipif(not GUIDE.is_file(), reason=f"the guide is not at {GUIDE}: set ORCA_SHARED")
def test_every_line_of_the_guide_is_read() -> None:
    lines = guide_lines()
    assert len(lines) > 40
    known = {one_line(row.line) for row in rows()}
    assert sorted(lines - known) == []
    addresses = {each for each in known - lines if not each.startswith("http://localhost:")}
    assert addresses == set(), "lines that the guide does not have"


def test_every_reading_is_one_of_those_explained() -> None:
    readings = {row.reading for row in rows() if not row.reading.startswith("`")}
    assert readings - {"as printed"} == LATER
    assert len(executed()) > 20
    assert {each for each in map(expected, executed()) if each}


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    """An `orca up` of this module's own, with the sample fleet."""
    with running((sys.executable, "-m", "orca_server")) as up:
        up.start()
        address = f"127.0.0.1:{up.environment['ORCA_GRPC_PORT']}"
        made = up.run("db", "seed", ORCA_ADDRESS=address)
        assert made.returncode == 0, made.stderr
        yield up


def shell(stack: Up, typed: str) -> subprocess.CompletedProcess[str]:
    """Types it as in a terminal where `orca env` was evaluated, in a folder of the stack's."""
    folder = stack.folder / "terminal"
    (folder / "backups").mkdir(parents=True, exist_ok=True)
    typed = re.sub(r"^0 2 \* \* \* (.*)", lambda cron: cron[1].replace("\\%", "%"), typed)
    typed = typed.replace("localhost:3000", f"localhost:{stack.environment['ORCA_REST_PORT']}")
    typed = typed.replace("/backups", str(folder / "backups"))
    programs = str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "-c", f'set -e -o pipefail\neval "$(orca env)"\n{typed}'],
        env={**stack.environment, "PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("typed", executed())
def test_a_line_does_what_the_guide_says(stack: Up, typed: str) -> None:
    if "jq" in typed and not JQ:
        pytest.skip("jq is not installed")
    if "20231201" in typed:  # the guide restores a dump of that day
        _dump_of_that_day(stack)
    exported = [line for line in executed() if "openssl" in line]  # by the same shell before
    done = shell(stack, "\n".join([*exported, typed] if "$NEW_" in typed else [typed]))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    pattern = expected(typed)
    if pattern:
        assert re.search(pattern, done.stdout, re.MULTILINE), done.stdout
    else:
        assert done.stdout == ""


def _dump_of_that_day(stack: Up) -> None:
    lines = (
        "pg_dump $DATABASE_URL > backup_20231201.sql",
        "gzip -c backup_20231201.sql > /backups/orca_20231201.sql.gz",
    )
    done = shell(stack, "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_a_restored_database_has_the_same_rows(stack: Up) -> None:
    count = "SELECT (SELECT count(*) FROM agents), (SELECT count(*) FROM telemetry)"
    _dump_of_that_day(stack)
    restore = (
        'psql $DATABASE_URL -q -c "CREATE DATABASE compared"\n'
        "psql ${DATABASE_URL%/*}/compared -v ON_ERROR_STOP=1 -1 -q < backup_20231201.sql >&2\n"
    )
    both = f'psql $DATABASE_URL -Atc "{count}"\npsql ${{DATABASE_URL%/*}}/compared -Atc "{count}"'
    done = shell(stack, restore + both)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split()
    assert before == after != "0|0"


def test_a_changed_registry_file_is_taken_over_without_a_restart(stack: Up) -> None:
    if not JQ:
        pytest.skip("jq is not installed")
    path = stack.folder / "registry.yaml"
    path.write_text((ROOT / "registry" / "mcp_registry.schema.yaml").read_text())
    with running((sys.executable, "-m", "orca_server")) as other:
        other.environment["MCP_REGISTRY_PATH"] = str(path)
        other.start()
        names = "curl -s http://localhost:3000/agents | jq -r '.agents[].name'"
        assert "night-watch" not in shell(other, names).stdout
        path.write_text(path.read_text() + "  night-watch:\n    command: night-watch\n")
        address = f"ORCA_ADDRESS=127.0.0.1:{other.environment['ORCA_GRPC_PORT']}"
        synced = shell(other, f"{address} orca registry sync")
        assert synced.returncode == 0, synced.stderr
        assert "night-watch" in shell(other, names).stdout


def test_rotated_secrets_are_warned_of_until_the_old_lines_go(stack: Up) -> None:
    folder = stack.folder / "terminal"
    folder.mkdir(exist_ok=True)
    file = folder / ".env"
    file.unlink(missing_ok=True)
    rotate = (
        'export NEW_JWT_SECRET=$(openssl rand -hex 32)\necho "JWT_SECRET=$NEW_JWT_SECRET" >> .env\n'
    )
    try:
        assert shell(stack, rotate * 2).returncode == 0
        done = shell(stack, "orca doctor")
        assert done.returncode == 0, done.stdout
        assert "JWT_SECRET has 2 values: all are valid, the last signs" in done.stdout
        assert "remove the older lines of JWT_SECRET from .env" in done.stdout
        assert file.read_text().splitlines()[0].partition("=")[2] not in done.stdout
        file.write_text(file.read_text().splitlines()[-1])
        assert re.search(r"rotation +ok", shell(stack, "orca doctor").stdout)
    finally:
        file.unlink(missing_ok=True)


def test_pnpm_run_start_is_orca_serve(stack: Up) -> None:
    folder = stack.folder / "terminal"
    folder.mkdir(exist_ok=True)
    url = re.search(r"DATABASE_URL=(\S+)", stack.run("env").stdout)
    assert url is not None
    settings = {
        "DATABASE_URL": url[1],
        "ORCA_ANONYMOUS_ROLE": "viewer",
        "ORCA_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
        "ORCA_METRICS_ADDRESS": "127.0.0.1:0",
        "ORCA_UNHEALTHY_AFTER_SECONDS": "0",
    }
    serving = subprocess.Popen(
        [Path(sys.executable).with_name("orca"), "serve"],
        env={**stack.environment, **settings},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    with serving.stdout as lines:
        assert any('"serving"' in line for line in lines)
        status = stack.run("status", ORCA_ADDRESS=settings["ORCA_GRPC_ADDRESS"])
        serving.send_signal(signal.SIGTERM)
        lines.read()
    assert serving.wait() == 0
    assert status.returncode == 0, status.stderr

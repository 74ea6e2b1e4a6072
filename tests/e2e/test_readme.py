"""What the README and the operations guide tell people to type, typed against a real stack."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_up import Up, running

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
JQ = shutil.which("jq") is not None
CANNOT_JQ = pytest.mark.skipif(not JQ, reason="jq is not installed: README's lines need it")


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    """A fresh `orca up` that this module's tests share."""
    with running((sys.executable, "-m", "orca_server")) as up:
        up.start()
        yield up


def shell(stack: Up, script: str) -> subprocess.CompletedProcess[str]:
    """Types lines as in a terminal at the checkout, with this stack's ports and settings."""
    ports = {"localhost:3000": "ORCA_REST_PORT", "localhost:50051": "ORCA_GRPC_PORT"}
    for typed, setting in ports.items():
        script = script.replace(typed, f"localhost:{stack.environment[setting]}")
    programs = str(Path(sys.executable).parent)
    script = script.replace(".venv/bin/", f"{programs}/")
    environment = {
        **stack.environment,
        "ORCA_ADDRESS": f"localhost:{stack.environment['ORCA_GRPC_PORT']}",
    }
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail\n{script}"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def printed(stack: Up, script: str) -> str:
    """What it prints, when it must succeed."""
    done = shell(stack, script)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def commands() -> list[tuple[str, str]]:
    """Each command of the README's five minutes, and the output that is shown below it."""
    text = (ROOT / "README.md").read_text()
    section = text.partition("## Five minutes")[2].partition("\n## ")[0]
    found: list[tuple[str, str]] = []
    for block in BLOCK.findall(section):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = 0
            while not _complete("\n".join(lines[: end + 1])):
                end += 1
            found.append(("\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :]).strip()))
    return found


def _complete(script: str) -> bool:
    """Whether a shell would not wait for more."""
    if script.endswith("\\"):
        return False
    parsed = subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False)
    return parsed.returncode == 0


@CANNOT_JQ
def test_the_five_minutes_print_what_the_readme_shows(stack: Up) -> None:
    typed = commands()
    assert len(typed) >= 9
    mark = "----- next -----"
    script = f"\necho; echo '{mark}'\n".join(command for command, _ in typed)
    outputs = printed(stack, f"set -e\n{script}").split(mark)
    assert len(outputs) == len(typed)
    shown = [(command, output) for command, output in typed if output]
    assert len(shown) >= 5
    for (command, output), real in zip(typed, outputs, strict=True):
        if output:
            assert real.strip() == output, command


def test_python_reads_the_same_trust(stack: Up) -> None:
    text = (ROOT / "README.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    inside = block.replace("import orca\n", "").strip().replace("\n", "\n    ")
    code = (
        f"import asyncio\nimport orca\n\nasync def main():\n    {inside}\n"
        "    print(trust.trust_ppb)\n\nasyncio.run(main())\n"
    )
    code = code.replace("localhost:50051", f"localhost:{stack.environment['ORCA_GRPC_PORT']}")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout.split()[-1]) == body(stack, "curl localhost:3000/trust")["trust_ppb"]


def body(stack: Up, command: str) -> Any:
    """The JSON that a curl line of the guide prints."""
    return json.loads(printed(stack, f"{command} -s"))


def filtered(stack: Up, command: str, jq: str, expected: list[Any]) -> None:
    """Holds jq's own output to what is expected, where jq is installed."""
    if JQ:
        text = printed(stack, f"{command} -s | jq -c '{jq}'")
        assert [json.loads(line) for line in text.splitlines()] == expected


def test_the_guides_health_and_status(stack: Up) -> None:
    assert body(stack, "curl http://localhost:3000/health")["status"] == "SERVING"
    assert body(stack, "curl http://localhost:3000/status")["ready"] is True
    head = printed(stack, "curl -sI localhost:3000/health")
    assert head.startswith("HTTP/1.1 200 OK")


def test_the_guides_registry_check(stack: Up) -> None:
    curl = "curl http://localhost:3000/agents"
    servers = [each for each in body(stack, curl)["agents"] if each["type"] == "mcp"]
    assert [each["name"] for each in servers][:3] == [
        "team-files",
        "team-github",
        "reporting-database",
    ]
    filtered(stack, curl, '.agents[] | select(.type=="mcp")', servers)


def test_the_guides_trust_lines(stack: Up) -> None:
    refreshed = body(stack, "curl -X POST http://localhost:3000/trust/refresh")
    trust = body(stack, "curl http://localhost:3000/trust")
    assert trust["components"] == refreshed["components"]
    assert {"agent_uptime", "policy_adherence"} <= trust["components"].keys()
    filtered(stack, "curl http://localhost:3000/trust", ".components", [trust["components"]])
    curl = "curl http://localhost:3000/agents"
    # jq orders null before numbers, so an agent without a level is selected too.
    low = [each for each in body(stack, curl)["agents"] if _below(each, 0.75)]
    assert low
    filtered(stack, curl, ".agents[] | select(.trust_level < 0.75)", low)


def _below(agent: Mapping[str, Any], level: float) -> bool:
    return agent.get("trust_level") is None or agent["trust_level"] < level


def test_the_guides_database_lines(stack: Up, tmp_path: Path) -> None:
    lines = f"""
eval "$(.venv/bin/orca env)"
cd {tmp_path}
pg_dump $DATABASE_URL > backup_$(date +%Y%m%d).sql
pg_dump $DATABASE_URL | gzip > orca.sql.gz
psql $DATABASE_URL -c "DELETE FROM telemetry WHERE created_at < NOW() - INTERVAL '90 days';"
psql $DATABASE_URL -c "VACUUM ANALYZE;"
"""
    done = shell(stack, f"set -e\n{lines}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["DELETE", "0", "VACUUM"]
    [dump] = tmp_path.glob("backup_*.sql")
    assert "PostgreSQL database dump complete" in dump.read_text()
    assert (tmp_path / "orca.sql.gz").stat().st_size > 0

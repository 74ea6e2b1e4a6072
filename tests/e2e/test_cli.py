"""The client's commands as a shell runs them, against a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.commands import (
    ORCA,
    SHARED,
    address,
    create_agent,
    parsed,
    printed,
    run_orca,
    whole_sets,
)
from tests.servers import free_port

__all__ = ["address"]
DATA = Path(__file__).parents[1] / "data" / "registry"


def test_status_shows_the_parts(address: str) -> None:
    text = printed("status", address=address)
    assert "ready        yes" in text
    assert "PostgreSQL" in text
    assert parsed("status", address=address)["ready"] is True


def test_nobody_answering_is_one_line_with_advice() -> None:
    result = run_orca("agents", "list", address=f"localhost:{free_port()}")
    assert result.returncode == 1
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert "orca up" in second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("agents", "enrol"), "Name agents"),
        (("agents", "list", "--limit", "0"), "--limit"),
        (("telemetry", "import", "x.csv"), "--agent"),
        (("telemetry", "send"), "--agent"),
        (("telemetry", "import", "x", "--agent", "a", "--map", "b"), "FIELD=VALUE"),
        (("telemetry", "import", "x", "--agent", "a", "--end-at", "soon"), "--end-at"),
        (("nonsense",), "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], words: str) -> None:
    result = run_orca(*arguments, address="localhost:1")
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("agents", "get", "nobody"), "AGENT_NOT_FOUND"),
        (("agents", "list", "--filter", "x = 1"), "FILTER_INVALID"),
        (("agents", "list", "--token-file", "/nonexistent"), "TOKEN_FILE_UNREADABLE"),
        (("agents", "list", "--address", "ftp://x"), "ADDRESS_INVALID"),
        (("telemetry", "import", "/nonexistent.csv", "--agent", "x"), "INPUT_UNREADABLE"),
        (("registry", "sync"), "REGISTRY_FILE_MISSING"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_names_its_reason(address: str, arguments: tuple[str, ...], reason: str) -> None:
    result = run_orca(*arguments, address=address)
    assert result.returncode == 1
    assert f"[{reason}]" in result.stderr.splitlines()[0]
    assert "Traceback" not in result.stderr


def test_a_token_does_not_leave_the_machine_unencrypted() -> None:
    result = run_orca("status", address="orca.example:50051", ORCA_TOKEN="secret")
    assert result.returncode == 1
    assert "[TOKEN_NEEDS_TLS]" in result.stderr
    assert "secret" not in result.stderr


def test_a_wrong_token_is_named_with_advice(address: str) -> None:
    result = run_orca("status", address=address, ORCA_TOKEN="nonsense")
    assert result.returncode == 1
    assert "[TOKEN_INVALID]" in result.stderr
    assert "orca tokens create" in result.stderr


def test_registries_are_imported_and_a_second_run_changes_nothing(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('[{"name": "x"')
    (tmp_path / "nameless.json").write_text('[{"description": "no name"}]')
    (tmp_path / "unknown.yaml").write_text("- 5\n")
    dry = parsed("registry", "import", DATA, "--dry-run", address=address)
    assert dry["validate_only"]
    first = parsed("registry", "import", DATA, address=address)
    assert first["created"] == dry["created"] > 0
    assert first["failed_files"] == []
    second = parsed("registry", "import", DATA, address=address)
    assert (second["created"], second["updated"]) == (0, 0)
    assert second["unchanged"] == first["created"] + first["updated"] + first["unchanged"]
    result = run_orca("registry", "import", DATA, tmp_path, "-o", "json", address=address)
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["unchanged"] == second["unchanged"]
    failed = {Path(each["file"]).name: each["reason"] for each in report["failed_files"]}
    assert failed["broken.json"] == "DOCUMENT_INVALID"
    refused = {Path(each["file"]).name: each["reason"] for each in report["refused"]}
    assert refused["nameless.json"] == "NAME_MISSING"
    text = run_orca("registry", "import", DATA, address=address)
    assert text.returncode == 0
    assert text.stdout.startswith("0 created, 0 updated, ")


def test_refused_entries_alone_are_no_failure(address: str, tmp_path: Path) -> None:
    path = tmp_path / "nameless.json"
    path.write_text('[{"description": "no name"}]')
    assert "NAME_MISSING" in printed("registry", "import", path, address=address)


@whole_sets
def test_the_whole_registries_are_imported_twice(address: str) -> None:
    sources = (SHARED / "mcp-registry", SHARED / "docker-mcp")
    first = parsed("registry", "import", *sources, address=address)
    assert first["failed_files"] == []
    assert {each["reason"] for each in first["refused"]} == {"NAME_MISSING"}
    counted = first["created"] + first["updated"] + first["unchanged"] + len(first["refused"])
    assert counted == 236 + 164
    second = parsed("registry", "import", *sources, address=address)
    assert (second["created"], second["updated"]) == (0, 0)
    assert second["refused"] == first["refused"]


def test_agents_are_listed_found_and_moved(address: str) -> None:
    create_agent(address, "mover")
    listed = parsed("agents", "list", "--filter", 'name = "mover"', address=address)
    assert listed["total_size"] == 1
    assert listed["agents"][0]["state"] == "STATE_ACTIVE"
    as_yaml = yaml.safe_load(printed("agents", "get", "mcp/mover", "-o", "yaml", address=address))
    # A tick between the two calls may add its instant.
    assert {**as_yaml, "trust_as_of": ""} == {**listed["agents"][0], "trust_as_of": ""}
    for verb, done, state in (
        ("suspend", "suspended", "suspended"),
        ("retire", "retired", "retired"),
        ("resume", "resumed", "active"),
    ):
        text = printed("agents", verb, "mover", "--reason", "test", address=address)
        assert f"1 {done}, 0 refused" in text
        assert state in text


def test_one_that_cannot_be_found_does_not_keep_the_others(address: str) -> None:
    create_agent(address, "present")
    result = run_orca("agents", "suspend", "absent", "present", address=address)
    assert result.returncode == 1
    assert "1 suspended, 1 refused" in result.stdout
    assert "[AGENT_NOT_FOUND]" in result.stderr


def test_catalogue_entries_are_enrolled_by_filter(address: str, tmp_path: Path) -> None:
    entries = [{"name": f"enrol.test/{number}", "description": "d"} for number in range(25)]
    path = tmp_path / "many.json"
    path.write_text(json.dumps(entries))
    printed("registry", "import", path, address=address)
    matching = ("--filter", 'name = "enrol.test/*"')
    assert parsed("agents", "list", *matching, address=address)["total_size"] == 0
    assert "25 enrolled, 0 refused" in printed("agents", "enrol", *matching, address=address)
    assert parsed("agents", "list", *matching, address=address)["total_size"] == 25
    assert "0 enrolled, 0 refused" in printed("agents", "enrol", *matching, address=address)


def test_a_reader_that_has_read_enough_is_no_failure(address: str) -> None:
    command = f"'{ORCA}' agents list --catalog -o json | head -c 1; echo ${{PIPESTATUS[0]}}"
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    result = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "{0\n"
    assert result.stderr == ""


def test_trust_says_the_same_in_each_form(address: str) -> None:
    create_agent(address, "trusted")
    printed("telemetry", "send", "--agent", "trusted", "--operations", 100, address=address)
    refreshed = parsed("trust", "refresh", address=address)
    assert refreshed["trust_ppb"] == round(refreshed["trust_score"] * 1e9)
    shown = yaml.safe_load(printed("trust", "show", "-o", "yaml", address=address))
    assert shown["components"].keys() == refreshed["components"].keys()
    text = printed("trust", "show", address=address)
    for word in ("agent_uptime", "policy_adherence", "lowest trust".upper(), "coverage"):
        assert word in text
    agent = parsed("trust", "show", "trusted", address=address)
    contributions = [part["contribution_ppb"] for part in agent["contributions"]]
    assert sum(contributions) == agent["trust_ppb"]
    assert "success" in printed("trust", "show", "trusted", address=address)
    assert "interval" in parsed("trust", "show", "--interval", address=address)
    assert parsed("trust", "history", address=address)["points"]
    assert "points" in parsed(
        "trust", "history", "trusted", "--since", "2026-01-01", address=address
    )


def test_mcp_servers_are_probed_and_reported(address: str, tmp_path: Path) -> None:
    config = tmp_path / "probe.yaml"
    servers = Path(__file__).parents[1] / "mcp_servers"
    good, broken = servers / "good.py", servers / "broken.py"
    config.write_text(
        "agents:\n"
        f"  - {{agent: mcp/cli-good, command: {sys.executable}, args: [{good}]}}\n"
        f"  - {{agent: mcp/cli-bad, command: {sys.executable}, args: [{broken}, exits]}}\n"
        "  - {agent: mcp/cli-missing, command: no-such-program-of-orca}\n"
    )
    found = parsed("probe", config, address=address)["probes"]
    states = {each["agent"]: (each["state"], each["reported"]) for each in found}
    assert states == {
        "mcp/cli-good": ("speaks-mcp", True),
        "mcp/cli-bad": ("unreachable", True),
        "mcp/cli-missing": ("not-tried", False),
    }
    text = printed("agents", "get", "cli-good", address=address)
    assert "1.2.3" in text
    assert "forecast" in text
    named = subprocess.run(
        [sys.executable, "-m", "orca_adapters.probe", str(config)],
        env={"PATH": os.environ["PATH"], "ORCA_ADDRESS": address},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "speaks-mcp" in named.stdout
    assert "no configuration" in named.stdout
    assert named.stderr == ""


def test_a_probe_that_cannot_be_reported_fails(address: str, tmp_path: Path) -> None:
    config = tmp_path / "probe.yaml"
    config.write_text("agents: [{agent: mcp/nobody-knows}]")
    result = run_orca("probe", config, address=address)
    assert result.returncode == 1
    assert "AGENT_NOT_FOUND" in result.stdout

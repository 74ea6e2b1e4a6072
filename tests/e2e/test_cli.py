"""The client's commands as a shell runs them, against a real server."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.servers import PostgresServer, free_port
from tests.serving import server_process

DAY = timedelta(days=1)
ORCA = str(Path(sys.executable).with_name("orca"))
DATA = Path(__file__).parents[1] / "data" / "registry"
SHARED = Path(os.environ.get("ORCA_SHARED", Path(__file__).parents[3] / "shared")) / "data"

whole_sets = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the whole data sets are not at {SHARED}: set ORCA_SHARED"
)


@pytest.fixture(scope="module")
def address(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a real server, shared by this module's tests."""
    with postgres.database(template) as url, server_process(url) as server:
        target = server.start().grpc
        while _orca("status", address=target).returncode != 0:
            time.sleep(0.05)
        yield target


def _orca(
    *arguments: object, address: str, stdin: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address, **more}
    return subprocess.run(
        [ORCA, *map(str, arguments)],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _done(*arguments: object, address: str, **more: Any) -> str:
    """What a command prints that must succeed."""
    result = _orca(*arguments, address=address, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _json(*arguments: object, address: str, **more: Any) -> Any:
    return json.loads(_done(*arguments, "--output", "json", address=address, **more))


def _create(address: str, name: str, **record: object) -> str:
    """An agent of the fleet, made as the probe makes one; returns its id."""
    import orca
    from orca.v1.agent_pb2 import Agent

    with orca.connect_sync(address, token="") as client:
        created = client.agents.update(Agent(type="mcp", name=name), allow_missing=True)
        return str(created.id)


def _stored(address: str, agent_id: str) -> list[Any]:
    import orca

    with orca.connect_sync(address, token="") as client:
        return [each.record for each in client.telemetry.list(agent_id)]


def _count(address: str, agent_id: str) -> int:
    """How many records of an agent are stored; quick enough to watch an import with."""
    with grpc.insecure_channel(address) as channel:
        request = pb.ListTelemetryRequest(agent_id=agent_id, page_size=1)
        return AgentServiceStub(channel).ListTelemetry(request).total_size


def _series(path: Path, rows: int, step: timedelta = timedelta(minutes=5)) -> Path:
    """A CSV of 2014, with values that are all different."""
    start = datetime(2014, 2, 14, 14, 30, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("timestamp", "value"))
        for number in range(rows):
            at = (start + number * step).strftime("%Y-%m-%d %H:%M:%S")
            writer.writerow((at, number + 0.5))
    return path


def test_status_shows_the_parts(address: str) -> None:
    text = _done("status", address=address)
    assert "ready        yes" in text
    assert "PostgreSQL" in text
    assert _json("status", address=address)["ready"] is True


def test_nobody_answering_is_one_line_with_advice() -> None:
    result = _orca("agents", "list", address=f"localhost:{free_port()}")
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
    result = _orca(*arguments, address="localhost:1")
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
    result = _orca(*arguments, address=address)
    assert result.returncode == 1
    assert f"[{reason}]" in result.stderr.splitlines()[0]
    assert "Traceback" not in result.stderr


def test_a_token_does_not_leave_the_machine_unencrypted() -> None:
    result = _orca("status", address="orca.example:50051", ORCA_TOKEN="secret")
    assert result.returncode == 1
    assert "[TOKEN_NEEDS_TLS]" in result.stderr
    assert "secret" not in result.stderr


def test_a_wrong_token_is_named_with_advice(address: str) -> None:
    result = _orca("status", address=address, ORCA_TOKEN="nonsense")
    assert result.returncode == 1
    assert "[TOKEN_INVALID]" in result.stderr
    assert "orca tokens create" in result.stderr


def test_registries_are_imported_and_a_second_run_changes_nothing(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('[{"name": "x"')
    (tmp_path / "nameless.json").write_text('[{"description": "no name"}]')
    (tmp_path / "unknown.yaml").write_text("- 5\n")
    dry = _json("registry", "import", DATA, "--dry-run", address=address)
    assert dry["validate_only"]
    first = _json("registry", "import", DATA, address=address)
    assert first["created"] == dry["created"] > 0
    assert first["failed_files"] == []
    second = _json("registry", "import", DATA, address=address)
    assert (second["created"], second["updated"]) == (0, 0)
    assert second["unchanged"] == first["created"] + first["updated"] + first["unchanged"]
    result = _orca("registry", "import", DATA, tmp_path, "-o", "json", address=address)
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["unchanged"] == second["unchanged"]
    failed = {Path(each["file"]).name: each["reason"] for each in report["failed_files"]}
    assert failed["broken.json"] == "DOCUMENT_INVALID"
    refused = {Path(each["file"]).name: each["reason"] for each in report["refused"]}
    assert refused["nameless.json"] == "NAME_MISSING"
    text = _orca("registry", "import", DATA, address=address)
    assert text.returncode == 0
    assert text.stdout.startswith("0 created, 0 updated, ")


def test_refused_entries_alone_are_no_failure(address: str, tmp_path: Path) -> None:
    path = tmp_path / "nameless.json"
    path.write_text('[{"description": "no name"}]')
    assert "NAME_MISSING" in _done("registry", "import", path, address=address)


@whole_sets
def test_the_whole_registries_are_imported_twice(address: str) -> None:
    sources = (SHARED / "mcp-registry", SHARED / "docker-mcp")
    first = _json("registry", "import", *sources, address=address)
    assert first["failed_files"] == []
    assert {each["reason"] for each in first["refused"]} == {"NAME_MISSING"}
    counted = first["created"] + first["updated"] + first["unchanged"] + len(first["refused"])
    assert counted == 236 + 164
    second = _json("registry", "import", *sources, address=address)
    assert (second["created"], second["updated"]) == (0, 0)
    assert second["refused"] == first["refused"]


def test_agents_are_listed_found_and_moved(address: str) -> None:
    _create(address, "mover")
    listed = _json("agents", "list", "--filter", 'name = "mover"', address=address)
    assert listed["total_size"] == 1
    assert listed["agents"][0]["state"] == "STATE_ACTIVE"
    as_yaml = yaml.safe_load(_done("agents", "get", "mcp/mover", "-o", "yaml", address=address))
    # A tick between the two calls may add its instant.
    assert {**as_yaml, "trust_as_of": ""} == {**listed["agents"][0], "trust_as_of": ""}
    for verb, done, state in (
        ("suspend", "suspended", "suspended"),
        ("retire", "retired", "retired"),
        ("resume", "resumed", "active"),
    ):
        text = _done("agents", verb, "mover", "--reason", "test", address=address)
        assert f"1 {done}, 0 refused" in text
        assert state in text


def test_one_that_cannot_be_found_does_not_keep_the_others(address: str) -> None:
    _create(address, "present")
    result = _orca("agents", "suspend", "absent", "present", address=address)
    assert result.returncode == 1
    assert "1 suspended, 1 refused" in result.stdout
    assert "[AGENT_NOT_FOUND]" in result.stderr


def test_catalogue_entries_are_enrolled_by_filter(address: str, tmp_path: Path) -> None:
    entries = [{"name": f"enrol.test/{number}", "description": "d"} for number in range(25)]
    path = tmp_path / "many.json"
    path.write_text(json.dumps(entries))
    _done("registry", "import", path, address=address)
    matching = ("--filter", 'name = "enrol.test/*"')
    assert _json("agents", "list", *matching, address=address)["total_size"] == 0
    assert "25 enrolled, 0 refused" in _done("agents", "enrol", *matching, address=address)
    assert _json("agents", "list", *matching, address=address)["total_size"] == 25
    assert "0 enrolled, 0 refused" in _done("agents", "enrol", *matching, address=address)


def test_a_reader_that_has_read_enough_is_no_failure(address: str) -> None:
    command = f"'{ORCA}' agents list --catalog -o json | head -c 1; echo ${{PIPESTATUS[0]}}"
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    result = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "{0\n"
    assert result.stderr == ""


def test_a_record_is_sent_and_a_repeated_one_counted_once(address: str) -> None:
    agent_id = _create(address, "sender")
    now = datetime.now(UTC).isoformat()
    send = ("telemetry", "send", "--agent", "sender", "--operations", 10, "--errors", 1)
    first = _json(*send, "--id", "x", "--observed-at", now, address=address)
    assert first == {"accepted": 1, "duplicates": 0}
    again = _json(*send, "--id", "x", "--observed-at", now, address=address)
    assert again == {"accepted": 0, "duplicates": 1}
    (record,) = _stored(address, agent_id)
    assert (record.operations, record.errors) == (10, 1)


def test_records_are_read_from_standard_input(address: str) -> None:
    agent_id = _create(address, "piped")
    now = datetime.now(UTC).isoformat()
    body = {"records": [{"observed_at": now, "operations": 2, "latency_ms": 5}]}
    command = ("telemetry", "send", "--stdin", "--agent", "piped")
    assert "1 accepted" in _done(*command, address=address, stdin=json.dumps(body))
    (record,) = _stored(address, agent_id)
    assert record.latency_ms == 5
    for bad in ("{", '{"records": [{"operatons": 1}]}'):
        result = _orca(*command, address=address, stdin=bad)
        assert result.returncode == 1
        assert "[INPUT_INVALID]" in result.stderr


def test_every_wrong_field_of_a_record_is_named(address: str) -> None:
    _create(address, "wrong")
    send = ("telemetry", "send", "--agent", "wrong", "--operations", 1, "--errors", 2)
    result = _orca(*send, address=address)
    assert result.returncode == 1
    assert "[TELEMETRY_INVALID]" in result.stderr
    assert "errors" in result.stderr


def test_events_are_sent_and_listed_newest_first(address: str) -> None:
    _done("workflows", "create", "n8n/sender", address=address)
    send = ("events", "send", "--workflow", "n8n/sender", "--run", 7)
    now = datetime.now(UTC)
    started = (*send, "--kind", "started", "--occurred-at", (now - DAY).isoformat())
    assert _json(*started, address=address) == {"accepted": 1, "duplicates": 0}
    assert _json(*started, address=address) == {"accepted": 0, "duplicates": 1}
    failed = (*send, "--kind", "failed", "--error", "too slow", "--duration-ms", 1500.5)
    assert "1 accepted" in _done(*failed, address=address)
    listed = _json("events", "list", "n8n/sender", address=address)
    assert listed["total_size"] == 2
    last, first = (each["event"] for each in listed["events"])
    assert (first["kind"], last["kind"], last["run_id"]) == ("started", "failed", "7")
    assert (last["error"]["message"], last["duration_ms"]) == ("too slow", 1500.5)
    lines = _done("events", "list", last["workflow_id"], "--oldest", address=address).splitlines()
    assert [line.split()[4] for line in lines[1:]] == ["started", "failed"]
    since = (now - DAY / 2).strftime("%Y-%m-%dT%H:%M:%S")
    recent = _json("events", "list", "n8n/sender", "--since", since, address=address)
    assert [each["event"]["kind"] for each in recent["events"]] == ["failed"]


def test_events_are_read_from_standard_input(address: str) -> None:
    _done("workflows", "create", "n8n/piped", address=address)
    now = datetime.now(UTC).isoformat()
    body = {"events": [{"occurred_at": now, "run_id": "1", "kind": "succeeded"}]}
    command = ("events", "send", "--stdin", "--workflow", "n8n/piped")
    assert "1 accepted" in _done(*command, address=address, stdin=json.dumps(body))
    body["events"][0]["kind"] = "exploded"
    result = _orca(*command, address=address, stdin=json.dumps(body))
    assert (result.returncode, "[EVENTS_INVALID]" in result.stderr) == (1, True)
    assert "kind" in result.stderr
    assert _orca("events", "send", address=address).returncode == 2


def test_a_series_is_moved_to_end_now_and_a_second_run_counts_nothing_twice(
    address: str, tmp_path: Path
) -> None:
    agent_id = _create(address, "series")
    file = _series(tmp_path / "latency.csv", 1200)
    command = ("telemetry", "import", file, "--agent", "series", "--map", "latency_ms=value")
    before = datetime.now(UTC)
    first = _json(*command, address=address)
    assert (first["rows"], first["accepted"], first["duplicates"]) == (1200, 1200, 0)
    end = datetime.fromisoformat(first["ends_at"])
    assert before - timedelta(seconds=1) <= end <= datetime.now(UTC)
    second = _json(*command, address=address)
    assert (second["accepted"], second["duplicates"]) == (0, 1200)
    assert second["ends_at"] == first["ends_at"]
    records = _stored(address, agent_id)
    assert [record.latency_ms for record in records] == [n + 0.5 for n in range(1200)]
    assert {record.operations for record in records} == {1}


def test_an_import_killed_in_the_middle_goes_on_and_counts_once(
    address: str, tmp_path: Path
) -> None:
    agent_id = _create(address, "killed")
    rows = 30_000
    file = _series(tmp_path / "long.csv", rows, step=timedelta(seconds=1))
    command = [ORCA, "telemetry", "import", str(file), "--agent", "killed"]
    command += ["--map", "latency_ms=value", "--batch-size", "10"]
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    kills = 0
    for _ in range(2):
        had = _count(address, agent_id)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and _count(address, agent_id) == had:
            pass
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert 0 < _count(address, agent_id) < rows
    outcome = json.loads(
        subprocess.run(
            [*command, "-o", "json"], env=environment, capture_output=True, check=True
        ).stdout
    )
    assert outcome["accepted"] + outcome["duplicates"] == rows
    assert 0 < outcome["duplicates"] < rows
    assert len(_stored(address, agent_id)) == rows


def test_ctrl_c_is_clean(address: str, tmp_path: Path) -> None:
    agent_id = _create(address, "interrupted")
    file = _series(tmp_path / "long.csv", 30_000, step=timedelta(seconds=1))
    command = [ORCA, "telemetry", "import", str(file), "--agent", "interrupted"]
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    process = subprocess.Popen(
        [*command, "--batch-size", "5"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not _count(address, agent_id):
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


def test_broken_rows_are_named_and_left_out_unless_strict(address: str, tmp_path: Path) -> None:
    agent_id = _create(address, "rows")
    file = tmp_path / "rows.csv"
    now = datetime.now(UTC).replace(microsecond=0)
    times = [(now - timedelta(minutes=n)).isoformat() for n in (3, 2, 1)]
    file.write_text(f"observed_at,ms\n{times[0]},5\n{times[1]},-5\n{times[2]},99999999\n")
    command = ("telemetry", "import", file, "--agent", "rows", "--map", "latency_ms=ms")
    strict = _orca(*command, "--strict", address=address)
    assert strict.returncode == 1
    assert "[ROWS_BROKEN]" in strict.stderr
    assert _stored(address, agent_id) == []
    outcome = _json(*command, address=address)
    assert outcome["shift_seconds"] == 0
    assert (outcome["accepted"], outcome["refused"], outcome["broken"]) == (1, 1, 1)
    assert [(each["row"], each["reason"]) for each in outcome["errors"]] == [
        (2, "ROW_BROKEN"),
        (3, "OUT_OF_RANGE"),
    ]
    text = _done(*command, address=address)
    assert "3 rows: 0 accepted, 1 duplicates, 1 refused, 1 broken" in text
    assert "-5 is negative" in text


def test_an_import_of_which_nothing_is_taken_fails(address: str, tmp_path: Path) -> None:
    _create(address, "kept")
    file = _series(tmp_path / "old.csv", 3)
    command = ("telemetry", "import", file, "--agent", "kept", "--no-shift")
    result = _orca(*command, address=address)
    assert result.returncode == 1
    assert "3 refused" in result.stdout


def test_the_resume_file_may_lie_elsewhere(address: str, tmp_path: Path) -> None:
    _create(address, "elsewhere")
    state = tmp_path / "state"
    state.mkdir()
    file = _series(tmp_path / "s.csv", 3)
    command = ("telemetry", "import", file, "--agent", "elsewhere", "--state-dir", state)
    outcome = _json(*command, address=address)
    assert Path(outcome["resume_file"]).parent == state
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "state"]


@whole_sets
@pytest.mark.parametrize(
    "name",
    ["realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv", "realKnownCause/rogue_agent_key_hold.csv"],
)
def test_real_series_are_imported_whole(address: str, tmp_path: Path, name: str) -> None:
    file = SHARED / "anomaly" / name
    agent = f"real-{file.stem}"
    _create(address, agent)
    command = ("telemetry", "import", file, "--agent", agent, "--map", "latency_ms=value")
    outcome = _json(*command, "--state-dir", tmp_path, address=address)
    with file.open() as lines:
        rows = sum(1 for _ in lines) - 1
    assert (outcome["rows"], outcome["broken"], outcome["refused"]) == (rows, 0, 0)
    assert outcome["accepted"] == rows


def test_trust_says_the_same_in_each_form(address: str) -> None:
    _create(address, "trusted")
    _done("telemetry", "send", "--agent", "trusted", "--operations", 100, address=address)
    refreshed = _json("trust", "refresh", address=address)
    assert refreshed["trust_ppb"] == round(refreshed["trust_score"] * 1e9)
    shown = yaml.safe_load(_done("trust", "show", "-o", "yaml", address=address))
    assert shown["components"].keys() == refreshed["components"].keys()
    text = _done("trust", "show", address=address)
    for word in ("agent_uptime", "policy_adherence", "lowest trust".upper(), "coverage"):
        assert word in text
    agent = _json("trust", "show", "trusted", address=address)
    contributions = [part["contribution_ppb"] for part in agent["contributions"]]
    assert sum(contributions) == agent["trust_ppb"]
    assert "success" in _done("trust", "show", "trusted", address=address)
    assert "interval" in _json("trust", "show", "--interval", address=address)
    assert _json("trust", "history", address=address)["points"]
    assert "points" in _json(
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
    found = _json("probe", config, address=address)["probes"]
    states = {each["agent"]: (each["state"], each["reported"]) for each in found}
    assert states == {
        "mcp/cli-good": ("speaks-mcp", True),
        "mcp/cli-bad": ("unreachable", True),
        "mcp/cli-missing": ("not-tried", False),
    }
    text = _done("agents", "get", "cli-good", address=address)
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
    result = _orca("probe", config, address=address)
    assert result.returncode == 1
    assert "AGENT_NOT_FOUND" in result.stdout

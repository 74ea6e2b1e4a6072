"""Records, events and series are sent as a shell does it: counted once, whatever breaks off."""

import csv
import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
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

__all__ = ["address"]
DAY = timedelta(days=1)


def stored(address: str, agent_id: str) -> list[Any]:
    import orca

    with orca.connect_sync(address, token="") as client:
        return [each.record for each in client.telemetry.list(agent_id)]


def count_stored(address: str, agent_id: str) -> int:
    """How many records of an agent are stored; quick enough to watch an import with."""
    with grpc.insecure_channel(address) as channel:
        request = pb.ListTelemetryRequest(agent_id=agent_id, page_size=1)
        return AgentServiceStub(channel).ListTelemetry(request).total_size


def write_series(path: Path, rows: int, step: timedelta = timedelta(minutes=5)) -> Path:
    """A CSV of 2014, with values that are all different."""
    start = datetime(2014, 2, 14, 14, 30, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("timestamp", "value"))
        for number in range(rows):
            at = (start + number * step).strftime("%Y-%m-%d %H:%M:%S")
            writer.writerow((at, number + 0.5))
    return path


def test_a_record_is_sent_and_a_repeated_one_counted_once(address: str) -> None:
    agent_id = create_agent(address, "sender")
    now = datetime.now(UTC).isoformat()
    send = ("telemetry", "send", "--agent", "sender", "--operations", 10, "--errors", 1)
    first = parsed(*send, "--id", "x", "--observed-at", now, address=address)
    assert first == {"accepted": 1, "duplicates": 0}
    again = parsed(*send, "--id", "x", "--observed-at", now, address=address)
    assert again == {"accepted": 0, "duplicates": 1}
    (record,) = stored(address, agent_id)
    assert (record.operations, record.errors) == (10, 1)


def test_records_are_read_from_standard_input(address: str) -> None:
    agent_id = create_agent(address, "piped")
    now = datetime.now(UTC).isoformat()
    body = {"records": [{"observed_at": now, "operations": 2, "latency_ms": 5}]}
    command = ("telemetry", "send", "--stdin", "--agent", "piped")
    assert "1 accepted" in printed(*command, address=address, stdin=json.dumps(body))
    (record,) = stored(address, agent_id)
    assert record.latency_ms == 5
    for bad in ("{", '{"records": [{"operatons": 1}]}'):
        result = run_orca(*command, address=address, stdin=bad)
        assert result.returncode == 1
        assert "[INPUT_INVALID]" in result.stderr


def test_every_wrong_field_of_a_record_is_named(address: str) -> None:
    create_agent(address, "wrong")
    send = ("telemetry", "send", "--agent", "wrong", "--operations", 1, "--errors", 2)
    result = run_orca(*send, address=address)
    assert result.returncode == 1
    assert "[TELEMETRY_INVALID]" in result.stderr
    assert "errors" in result.stderr


def test_events_are_sent_and_listed_newest_first(address: str) -> None:
    printed("workflows", "create", "n8n/sender", address=address)
    send = ("events", "send", "--workflow", "n8n/sender", "--run", 7)
    now = datetime.now(UTC)
    started = (*send, "--kind", "started", "--occurred-at", (now - DAY).isoformat())
    assert parsed(*started, address=address) == {"accepted": 1, "duplicates": 0}
    assert parsed(*started, address=address) == {"accepted": 0, "duplicates": 1}
    failed = (*send, "--kind", "failed", "--error", "too slow", "--duration-ms", 1500.5)
    assert "1 accepted" in printed(*failed, address=address)
    listed = parsed("events", "list", "n8n/sender", address=address)
    assert listed["total_size"] == 2
    last, first = (each["event"] for each in listed["events"])
    assert (first["kind"], last["kind"], last["run_id"]) == ("started", "failed", "7")
    assert (last["error"]["message"], last["duration_ms"]) == ("too slow", 1500.5)
    lines = printed("events", "list", last["workflow_id"], "--oldest", address=address).splitlines()
    assert [line.split()[4] for line in lines[1:]] == ["started", "failed"]
    since = (now - DAY / 2).strftime("%Y-%m-%dT%H:%M:%S")
    recent = parsed("events", "list", "n8n/sender", "--since", since, address=address)
    assert [each["event"]["kind"] for each in recent["events"]] == ["failed"]


def test_events_are_read_from_standard_input(address: str) -> None:
    printed("workflows", "create", "n8n/piped", address=address)
    now = datetime.now(UTC).isoformat()
    body = {"events": [{"occurred_at": now, "run_id": "1", "kind": "succeeded"}]}
    command = ("events", "send", "--stdin", "--workflow", "n8n/piped")
    assert "1 accepted" in printed(*command, address=address, stdin=json.dumps(body))
    body["events"][0]["kind"] = "exploded"
    result = run_orca(*command, address=address, stdin=json.dumps(body))
    assert (result.returncode, "[EVENTS_INVALID]" in result.stderr) == (1, True)
    assert "kind" in result.stderr
    assert run_orca("events", "send", address=address).returncode == 2


def test_a_series_is_moved_to_end_now_and_a_second_run_counts_nothing_twice(
    address: str, tmp_path: Path
) -> None:
    agent_id = create_agent(address, "series")
    file = write_series(tmp_path / "latency.csv", 1200)
    command = ("telemetry", "import", file, "--agent", "series", "--map", "latency_ms=value")
    before = datetime.now(UTC)
    first = parsed(*command, address=address)
    assert (first["rows"], first["accepted"], first["duplicates"]) == (1200, 1200, 0)
    end = datetime.fromisoformat(first["ends_at"])
    assert before - timedelta(seconds=1) <= end <= datetime.now(UTC)
    second = parsed(*command, address=address)
    assert (second["accepted"], second["duplicates"]) == (0, 1200)
    assert second["ends_at"] == first["ends_at"]
    records = stored(address, agent_id)
    assert [record.latency_ms for record in records] == [n + 0.5 for n in range(1200)]
    assert {record.operations for record in records} == {1}


def test_an_import_killed_in_the_middle_goes_on_and_counts_once(
    address: str, tmp_path: Path
) -> None:
    agent_id = create_agent(address, "killed")
    rows = 30_000
    file = write_series(tmp_path / "long.csv", rows, step=timedelta(seconds=1))
    command = [ORCA, "telemetry", "import", str(file), "--agent", "killed"]
    command += ["--map", "latency_ms=value", "--batch-size", "10"]
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    kills = 0
    for _ in range(2):
        had = count_stored(address, agent_id)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and count_stored(address, agent_id) == had:
            pass
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert 0 < count_stored(address, agent_id) < rows
    outcome = json.loads(
        subprocess.run(
            [*command, "-o", "json"], env=environment, capture_output=True, check=True
        ).stdout
    )
    assert outcome["accepted"] + outcome["duplicates"] == rows
    assert 0 < outcome["duplicates"] < rows
    assert len(stored(address, agent_id)) == rows


def test_ctrl_c_is_clean(address: str, tmp_path: Path) -> None:
    agent_id = create_agent(address, "interrupted")
    file = write_series(tmp_path / "long.csv", 30_000, step=timedelta(seconds=1))
    command = [ORCA, "telemetry", "import", str(file), "--agent", "interrupted"]
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    process = subprocess.Popen(
        [*command, "--batch-size", "5"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not count_stored(address, agent_id):
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


def test_broken_rows_are_named_and_left_out_unless_strict(address: str, tmp_path: Path) -> None:
    agent_id = create_agent(address, "rows")
    file = tmp_path / "rows.csv"
    now = datetime.now(UTC).replace(microsecond=0)
    times = [(now - timedelta(minutes=n)).isoformat() for n in (3, 2, 1)]
    file.write_text(f"observed_at,ms\n{times[0]},5\n{times[1]},-5\n{times[2]},99999999\n")
    command = ("telemetry", "import", file, "--agent", "rows", "--map", "latency_ms=ms")
    strict = run_orca(*command, "--strict", address=address)
    assert strict.returncode == 1
    assert "[ROWS_BROKEN]" in strict.stderr
    assert stored(address, agent_id) == []
    outcome = parsed(*command, address=address)
    assert outcome["shift_seconds"] == 0
    assert (outcome["accepted"], outcome["refused"], outcome["broken"]) == (1, 1, 1)
    assert [(each["row"], each["reason"]) for each in outcome["errors"]] == [
        (2, "ROW_BROKEN"),
        (3, "OUT_OF_RANGE"),
    ]
    text = printed(*command, address=address)
    assert "3 rows: 0 accepted, 1 duplicates, 1 refused, 1 broken" in text
    assert "-5 is negative" in text


def test_an_import_of_which_nothing_is_taken_fails(address: str, tmp_path: Path) -> None:
    create_agent(address, "kept")
    file = write_series(tmp_path / "old.csv", 3)
    command = ("telemetry", "import", file, "--agent", "kept", "--no-shift")
    result = run_orca(*command, address=address)
    assert result.returncode == 1
    assert "3 refused" in result.stdout


def test_the_resume_file_may_lie_elsewhere(address: str, tmp_path: Path) -> None:
    create_agent(address, "elsewhere")
    state = tmp_path / "state"
    state.mkdir()
    file = write_series(tmp_path / "s.csv", 3)
    command = ("telemetry", "import", file, "--agent", "elsewhere", "--state-dir", state)
    outcome = parsed(*command, address=address)
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
    create_agent(address, agent)
    command = ("telemetry", "import", file, "--agent", agent, "--map", "latency_ms=value")
    outcome = parsed(*command, "--state-dir", tmp_path, address=address)
    with file.open() as lines:
        rows = sum(1 for _ in lines) - 1
    assert (outcome["rows"], outcome["broken"], outcome["refused"]) == (rows, 0, 0)
    assert outcome["accepted"] == rows

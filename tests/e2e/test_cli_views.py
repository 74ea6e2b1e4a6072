"""Reading with `orca`: runs, wide tables and CSV, --watch, and colours, as a shell sees them."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.commands import ORCA, address, parsed, printed, run_orca

__all__ = ["address"]

FORMULA = "=HYPERLINK(A1)"


@pytest.fixture(scope="module")
def workflow(address: str) -> str:
    """A workflow with three runs that are known to have ended or to be running."""
    name = "n8n/three-runs"
    printed("workflows", "create", name, "--owner", FORMULA, address=address)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    events = [
        _event("r1", "started", start),
        _event("r1", "succeeded", start + timedelta(minutes=1)),
        _event("r2", "started", start + timedelta(hours=1)),
        _event("r2", "failed", start + timedelta(hours=1, minutes=2)),
        _event("r3", "started", start + timedelta(hours=2)),
    ]
    events[3]["error"] = {"type": "Timeout", "message": "after 30 s"}
    command = ("events", "send", "--stdin", "--workflow", name)
    printed(*command, stdin=json.dumps(events), address=address)
    while len(parsed("runs", "list", name, address=address)["runs"]) < 3:  # the next tick
        time.sleep(0.05)
    return name


def _event(run: str, kind: str, at: datetime) -> dict[str, object]:
    return {"run_id": run, "attempt": 1, "kind": kind, "occurred_at": at.isoformat()}


def _runs(*arguments: str, address: str) -> list[str]:
    return [each["run_id"] for each in parsed("runs", "list", *arguments, address=address)["runs"]]


def test_runs_are_listed_by_time_in_either_order(address: str, workflow: str) -> None:
    assert _runs(workflow, address=address) == ["r3", "r2", "r1"]
    assert _runs("three-runs", "--oldest", "--limit", "2", address=address) == ["r1", "r2"]
    listed = parsed("runs", "list", workflow, address=address)
    assert listed["total_size"] == 3
    started = [each["started_at"].removesuffix("Z") for each in listed["runs"]]
    assert _runs(workflow, "--since", started[1], address=address) == ["r3", "r2"]
    assert _runs(workflow, "--until", started[1], address=address) == ["r1"]


def test_one_run_says_how_it_ended(address: str, workflow: str) -> None:
    run = parsed("runs", "get", workflow, "r2", address=address)
    assert (run["state"], run["duration_ms"], run["attempts"]) == ("STATE_FAILED", 120_000, 1)
    assert run["error"] == {"type": "Timeout", "message": "after 30 s"}
    text = printed("runs", "get", workflow, "r2", address=address)
    assert "after 30 s" in text
    result = run_orca("runs", "get", workflow, "r9", address=address)
    assert result.returncode == 1
    assert "[RUN_NOT_FOUND]" in result.stderr
    assert "orca runs list" in result.stderr


def test_csv_and_wide_hold_more_columns(address: str, workflow: str) -> None:
    text = printed("runs", "list", workflow, "-o", "csv", address=address)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [row["run"] for row in rows] == ["r3", "r2", "r1"]
    assert [row["state"] for row in rows] == ["running", "failed", "succeeded"]
    assert [row["duration_ms"] for row in rows] == ["", "120000", "60000"]
    assert rows[1]["error_type"] == "Timeout"
    narrow = printed("runs", "list", workflow, address=address).splitlines()[0]
    wide = printed("runs", "list", workflow, "-o", "wide", address=address).splitlines()[0]
    assert "ERROR TYPE" in wide
    assert "ERROR TYPE" not in narrow


def test_a_formula_in_a_cell_is_text(address: str, workflow: str) -> None:
    text = printed("workflows", "list", "-o", "csv", address=address)
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert row["owner"] == f"'{FORMULA}"


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "csv"])
@pytest.mark.parametrize(
    "command",
    ["agents list", "workflows list", "events list three-runs", "runs list three-runs",
     "runs get three-runs r1", "workflows get three-runs", "trust show", "trust history",
     "status", "search anything", "violations list", "drift list --all"],
)  # fmt: skip
def test_each_view_has_each_form(command: str, form: str, address: str, workflow: str) -> None:
    assert printed(*command.split(), "--output", form, address=address).strip()


@contextmanager
def _started(*arguments: str, address: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    with subprocess.Popen(
        [ORCA, *arguments], env=environment, stdout=-1, stderr=-1, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_watch_repeats_until_ctrl_c_and_that_is_no_failure(address: str, workflow: str) -> None:
    command = ("runs", "get", workflow, "r1", "--watch", "0.1", "-o", "csv")
    with _started(*command, address=address) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline()]
        while seen.count(f"workflow,{workflow}\n") < 3:
            seen.append(process.stdout.readline())
        assert seen.count("field,value\n") == 1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""


def test_watch_ends_for_what_waiting_does_not_mend(address: str) -> None:
    result = run_orca("agents", "get", "nobody", "--watch", "0.1", address=address)
    assert result.returncode == 1
    assert result.stderr.count("[AGENT_NOT_FOUND]") == 1


def test_watch_waits_for_a_server_that_is_away() -> None:
    with _started("status", "--watch", "0.1", address="localhost:1") as process:
        assert process.stderr is not None
        seen = ""
        while seen.count("error: ") < 2:
            seen += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_watch_repeats_what_needs_no_server_though_all_of_it_fails() -> None:
    with _started("doctor", "--watch", "0.1", "-o", "csv", address="localhost:1") as process:
        assert process.stdout is not None
        seen: list[str] = []
        while sum(line.startswith("settings") for line in seen) < 2:
            seen.append(process.stdout.readline())
            assert seen[-1]
        assert sum(line.startswith("check,") for line in seen) == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_only_what_reads_can_be_watched() -> None:
    result = run_orca("agents", "retire", "x", "--watch", "1", address="localhost:1")
    assert result.returncode == 2
    assert "--watch" in result.stderr


def test_colours_are_for_terminals_alone(address: str) -> None:
    assert "\x1b" not in printed("status", address=address, FORCE_COLOR="1")
    assert "\x1b[" in _on_terminal("status", address=address)
    assert "\x1b[3" not in _on_terminal("status", address=address, NO_COLOR="1")


def _on_terminal(*arguments: str, address: str, **more: str) -> str:
    """What a command prints on a terminal of its own."""
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address, "TERM": "xterm", **more}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [ORCA, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65_536):
                seen += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return seen.decode()

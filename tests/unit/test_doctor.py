"""What the doctor makes of this machine and of all it saw; the seeing is tested on real parts."""

import json
from pathlib import Path

import pytest

from orca_server.doctor import database, machine
from orca_server.doctor.examination import check_limits
from orca_server.doctor.findings import SECTIONS, Status, ok, sections, skipped, worst
from tests.unit.doctor_views import situation

# The whole


def test_the_worst_counts_and_what_was_not_looked_at_counts_least() -> None:
    assert worst([]) is Status.SKIPPED
    assert worst([Status.SKIPPED, Status.OK]) is Status.OK
    assert worst([Status.OK, Status.WARN, Status.SKIPPED]) is Status.WARN
    assert worst([Status.FAIL, Status.WARN]) is Status.FAIL


def test_a_section_of_the_guide_is_as_bad_as_its_worst_check() -> None:
    names = {name for checks in SECTIONS.values() for name in checks}
    findings = [ok(name, "") for name in sorted(names - {"ports", "memory"})]
    findings += [database.fail("ports", "", "c", "m"), skipped("memory", "")]
    found = {each.title: each.status for each in sections(findings)}
    assert found == {
        "API Won't Start": Status.FAIL,
        "High Memory Usage": Status.OK,
        "Stale Workflows": Status.OK,
        "Trust Score Dropping": Status.OK,
    }


# This machine


@pytest.mark.parametrize(
    ("free", "status"),
    [(2**40, Status.OK), (2**30, Status.WARN), (2**27, Status.FAIL), (0, Status.FAIL)],
)
def test_a_full_disk_fails_before_it_is_full(free: int, status: Status) -> None:
    assert machine.judge_disk("x", free).status is status


@pytest.mark.parametrize(("used", "status"), [(2**29, Status.OK), (2**30 + 1, Status.WARN)])
def test_memory_is_held_to_the_guides_limit(used: int, status: Status) -> None:
    assert machine.judge_memory(used, "x").status is status


def test_a_registry_file_is_told_with_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    seen = situation(mcp_registry_path=str(path))
    assert "cannot be read" in machine.check_registry(seen).found
    path.write_text('version: "1.0.0"\nservers:\n  one:\n    comand: x\n')
    found = machine.check_registry(seen)
    assert found.status is Status.FAIL
    assert "servers.one.comand: line 4: unknown key (did you mean 'command'?)" in found.found
    path.write_text('version: "1.0.0"\nservers:\n  one:\n    command: x\n')
    assert machine.check_registry(seen) == ok("registry_file", f"{path} names 1 servers")
    assert machine.check_registry(situation()).status is Status.SKIPPED


def test_errors_of_a_log_count_from_the_last_start() -> None:
    lines = [
        json.dumps({"event": "old", "level": "error"}),
        json.dumps({"event": "serving", "level": "info"}),
        json.dumps({"event": "fine", "level": "warning"}),
        json.dumps({"event": "job_died", "level": "error", "exception": "Traceback\n  x\nOops: 1"}),
        "[]",
        "no json",
    ]
    assert machine.read_log("\n".join(lines)) == machine.LogEnd(1, "job_died Oops: 1")
    assert machine.read_log("\n".join(lines[:3])) == machine.LogEnd(0, "")
    refused = "orca: these settings cannot be used:"
    assert machine.read_log(refused) == machine.LogEnd(1, refused)


def test_a_large_queue_is_warned_of() -> None:
    assert check_limits(None).status is Status.SKIPPED
    assert check_limits(situation().settings).status is Status.OK
    assert check_limits(situation(ingest_queue_bytes=2**30).settings).status is Status.WARN

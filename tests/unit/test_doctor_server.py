"""What the doctor makes of gateway, server and fleet."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orca.errors import Unavailable as NobodyThere
from orca.v1 import system_service_pb2 as pb
from orca_server.doctor import fleet, server
from orca_server.doctor.database import DatabaseView
from orca_server.doctor.findings import Finding, Status
from orca_server.doctor.server import RestAnswer, ServerAnswer
from orca_server.doctor.situation import look
from orca_server.store.doctor import OpenFindings
from tests.unit.doctor_views import NOW, VIEW, bare

__all__ = ["bare"]
# Gateway and server

STATUS = pb.Status(version="0.1.0", instance="host:7", access="open", ready=True)
ANSWER = ServerAnswer("127.0.0.1:50051", STATUS)
NOBODY = ServerAnswer("127.0.0.1:50051", None, NobodyThere("nobody"))


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (200, ANSWER, Status.OK),
        (503, ANSWER, Status.FAIL),
        (403, ANSWER, Status.FAIL),
        (0, ANSWER, Status.WARN),
        (0, NOBODY, Status.FAIL),
    ],
)
def test_the_gateway(status: int, answer: ServerAnswer, expected: Status) -> None:
    rest = RestAnswer("http://127.0.0.1:3000/health", status, "x")
    found = server.check_gateway(rest, answer, "orca up")
    assert found.status is expected
    assert bool(found.mend) is (expected is not Status.OK)


def test_rest_is_not_asked_where_only_an_encrypted_address_is_known(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCA_ADDRESS", "https://orca.example")
    seen = look()
    assert (seen.rest, seen.addresses[0].tls) == (None, True)
    rest = asyncio.run(server.ask_rest(seen))
    assert server.check_gateway(rest, ANSWER, "orca up").status is Status.SKIPPED


def test_the_server_names_the_parts_that_are_not_well() -> None:
    assert server.check_server(ANSWER, "orca up").status is Status.OK
    assert server.check_server(NOBODY, "orca up").mend == "orca up"
    bad = pb.Check(name="registry_file", ok=False, message="line 3")
    part = pb.Status(ready=True, checks=[bad])
    found = server.check_server(ServerAnswer("x", part), "orca up")
    assert (found.status, found.cause) == (Status.WARN, "registry_file: line 3")
    down = pb.Status(ready=False, checks=[bad])
    assert server.check_server(ServerAnswer("x", down), "orca up").status is Status.FAIL


def test_ingest_that_turned_requests_away_is_told() -> None:
    assert server.check_ingest(ANSWER, 3).found == (
        "0 records wait, last commit none since the start, 3 sums wait for the tick"
    )
    shed = pb.Status(ingest=pb.IngestStatus(shed=5))
    assert server.check_ingest(ServerAnswer("x", shed), 0).status is Status.WARN
    stuck = pb.Status(checks=[pb.Check(name="ingest", ok=False, message="no answer for 40 s")])
    assert server.check_ingest(ServerAnswer("x", stuck), 0).status is Status.FAIL
    assert server.check_ingest(NOBODY, None).status is Status.SKIPPED


# The fleet

SUMMARY: dict[str, Any] = {
    "components": {
        "agent_uptime": {"ppb": 960_000_000},
        "policy_adherence": {"ppb": 990_000_000},
        "sync_freshness": {"ppb": None},
        "risk_exposure": {"ppb": 970_000_000},
    },
    "compliance_ppb": 999_000_000,
    "agents": 12,
    "measured": 11,
    "idle": 1,
    "silent": 0,
    "bands": {"excellent": 12},
    "workflows": {"fresh": 9, "stale": 1, "unmeasured": 2, "paused": 0},
    "drift": {"baselines": 20, "drifted": 1},
    "worst": [{"type": "mcp", "name": "one", "ppb": 410_000_000}],
}
HEAD: dict[str, Any] = {
    "as_of": NOW - timedelta(seconds=2),
    "stale": False,
    "interval_seconds": 1.0,
    "trust_ppb": 970_000_000,
    "band": "excellent",
    "capped_by": [],
    "summary": json.dumps(SUMMARY),
}


def of_fleet(
    head: dict[str, Any] | None = None,
    last_error: str | None = "",
    view: DatabaseView = VIEW,
    **summary: Any,
) -> dict[str, Finding]:
    changed = {**HEAD, **(head or {}), "summary": json.dumps({**SUMMARY, **summary})}
    found = fleet.check(replace(view, trust=changed), last_error, "orca up", Decimal(5))
    return {each.name: each for each in found}


def test_a_fleet_in_order() -> None:
    found = of_fleet()
    assert set(found) == set(fleet.NAMES)
    assert {each.status for each in found.values()} == {Status.OK}
    assert found["freshness"].found.startswith("90.0 % of 10 workflows are fresh")


@pytest.mark.parametrize(
    ("head", "last_error", "status"),
    [
        ({}, None, Status.OK),
        ({"stale": True}, None, Status.WARN),
        ({"stale": True}, "", Status.FAIL),
        ({}, "disk full", Status.FAIL),
    ],
)
def test_ticks(head: dict[str, Any], last_error: str | None, status: Status) -> None:
    assert of_fleet(head, last_error)["tick"].status is status


@pytest.mark.parametrize(
    ("name", "head", "summary"),
    [
        (
            "freshness",
            {},
            {"workflows": {"fresh": 8, "stale": 1, "unmeasured": 0, "paused": 0}},
        ),
        ("adapters", {}, {"silent": 1}),
        ("agents", {}, {"bands": {"critical": 1}}),
        ("violations", {}, {"compliance_ppb": 989_999_999}),
        ("drift", {}, {"drift": {"baselines": 99, "drifted": 5}}),
        ("trust", {"trust_ppb": 849_999_999}, {}),
        ("trust", {"capped_by": ["agent_uptime"]}, {}),
    ],
)
def test_what_the_guide_looks_after_is_warned_of(
    name: str, head: dict[str, Any], summary: dict[str, Any]
) -> None:
    found = of_fleet(head, **summary)
    assert found[name].status is Status.WARN
    assert found[name].cause
    assert found[name].mend
    assert {each.status for key, each in found.items() if key != name} == {Status.OK}


def test_open_violations_are_warned_of_whatever_the_share() -> None:
    found = of_fleet(view=replace(VIEW, open=OpenFindings(2, 0)))["violations"]
    assert found.status is Status.WARN
    assert found.found == "2 open; 99.900% of the operations are without a violation"
    assert found.mend == "orca violations list"
    unread = of_fleet(view=replace(VIEW, open=None))["violations"]
    assert unread.status is Status.OK


@pytest.mark.parametrize(
    ("drifted", "status", "above"),
    [
        (5, Status.OK, ""),
        (6, Status.WARN, "DRIFT_THRESHOLD_PCT (5 %)"),
        (10, Status.WARN, "DRIFT_THRESHOLD_PCT (5 %)"),
        (11, Status.WARN, "the alert of 10 %"),
    ],
)
def test_drift_against_its_threshold(drifted: int, status: Status, above: str) -> None:
    view = replace(VIEW, open=OpenFindings(0, drifted))
    found = of_fleet(view=view, drift={"baselines": 100, "drifted": drifted})["drift"]
    assert found.status is status
    assert found.found.startswith(f"{drifted}.0 % of 100 agents")
    assert found.found.endswith(above or "open")


def test_an_empty_fleet_has_nothing_to_judge() -> None:
    nothing = {name: {"ppb": None} for name in SUMMARY["components"]}
    found = of_fleet(
        {"trust_ppb": None, "band": "unmeasured"},
        components=nothing,
        compliance_ppb=None,
        agents=0,
        measured=0,
        idle=0,
        bands={},
        workflows={"fresh": 0, "stale": 0, "unmeasured": 0, "paused": 0},
        drift={"baselines": 0, "drifted": 0},
        worst=[],
    )
    assert found.pop("tick").status is Status.OK
    assert {each.status for each in found.values()} == {Status.SKIPPED}


def test_before_the_first_tick_only_a_running_server_is_to_blame() -> None:
    view = replace(VIEW, trust=None)
    alone = fleet.check(view, None, "orca up", Decimal(5))
    assert {each.status for each in alone} == {Status.SKIPPED}
    running = fleet.check(view, "", "orca up", Decimal(5))
    assert running[0].status is Status.FAIL
    assert {each.status for each in running[1:]} == {Status.SKIPPED}

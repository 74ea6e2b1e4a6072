"""What the doctor makes of what it sees; the seeing is tested against real parts."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orca.address import parse_address
from orca.errors import Unavailable as NobodyThere
from orca.v1 import system_service_pb2 as pb
from orca_server.doctor import configuration, database, fleet, machine, server
from orca_server.doctor.database import DatabaseView
from orca_server.doctor.examination import check_limits
from orca_server.doctor.findings import SECTIONS, Finding, Status, ok, sections, skipped, worst
from orca_server.doctor.server import RestAnswer, ServerAnswer
from orca_server.doctor.situation import Situation, look
from orca_server.domain.errors import Unavailable
from orca_server.runtime.partitions import wanted_days
from orca_server.settings import Settings
from orca_server.store.doctor import ForeignTables, OpenFindings, OpenTransaction, ServerFacts
from orca_server.store.migrate import MigrationStatus

NOW = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
STRONG = "3f9c1b7a5e2d8046b1c7f3a9e5d20864"
OTHER = "a81be4d07c5f29363e90d7b2c84f1a65"
FACTS = ServerFacts(
    version=180004,
    version_text="18.4",
    clock=NOW,
    role="orca",
    database="orcamesh",
    schema="public",
    may_create=True,
    is_read_only=False,
    vector_version="0.8.5",
    vector_available="0.8.5",
    may_create_vector=False,
    most_connections=97,
    connections=9,
)
VIEW = DatabaseView(
    url="postgresql://orca:hidden@db.example:5433/orcamesh",
    server=FACTS,
    foreign=ForeignTables((), "", 0),
    migrations=MigrationStatus(("0001_agents",), (), 1, 1),
    days=set(wanted_days(NOW, 90)),
    open=OpenFindings(0, 0),
    backlog=0,
)


def situation(url: str = VIEW.url, **changes: Any) -> Situation:
    """One whose settings are those, with a strong secret and nothing else."""
    chosen: dict[str, Any] = {"database_url": url, "jwt_secrets": (STRONG,), **changes}
    return Situation(settings=Settings(**chosen))


def of_settings(seen: Situation) -> dict[str, Finding]:
    return {each.name: each for each in configuration.check(seen)}


def of_database(view: DatabaseView) -> dict[str, Finding]:
    found = database.check(view, retention_days=90, pool=8, start="orca up")
    return {each.name: each for each in found}


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


# Settings


def test_good_settings_give_nothing_to_do() -> None:
    found = of_settings(situation())
    assert {each.status for each in found.values()} == {Status.OK}
    assert found["access"].found == "closed: each call needs a token"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.OK),
        ({"grpc_address": "[::1]:50151"}, Status.OK),
        ({"grpc_address": "0.0.0.0:50151"}, Status.WARN),
        ({"grpc_address": "api:50151"}, Status.WARN),
    ],
)
def test_open_access_is_told_and_on_other_addresses_warned_of(
    changes: dict[str, str], status: Status
) -> None:
    found = of_settings(situation(anonymous_role="operator", **changes))["access"]
    assert found.status is status
    assert "open: a call without a token acts as operator" in found.found
    assert ("ORCA_ANONYMOUS_ROLE=none" in found.mend) is (status is Status.WARN)


def test_the_server_that_runs_knows_best_whom_it_lets_in() -> None:
    closed, opened = situation(), situation(anonymous_role="viewer")
    assert "acts as operator" in configuration.check(closed, "operator")[1].found
    assert configuration.check(opened, "none")[1].found.startswith("closed")
    far = replace(closed, addresses=(parse_address("far.example:50051"),))
    assert configuration.check(far, "viewer")[1].status is Status.WARN
    assert "far.example:50051" in configuration.check(far, "viewer")[1].found


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        (STRONG, False),
        ("k7Qw2-Zx9vB4nM1pL6tR8yU3iO5aS0dF", False),
        ("changeme-changeme-changeme-changeme", True),
        ("your-jwt-key-of-32-letters-or-more", True),
        ("my-super-secret-jwt-key-1234567890", True),
        ("0" * 64, True),
        ("0123456789" * 4, True),
        ("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb", True),
    ],
)
def test_a_secret_that_is_none_is_found_and_not_shown(secret: str, weak: bool) -> None:
    found = of_settings(situation(jwt_secrets=(secret,)))["secrets"]
    assert (found.status is Status.WARN) is weak
    assert secret not in found.found + found.cause + found.mend


def test_bits_grow_with_letters_and_not_with_repetition() -> None:
    assert configuration.bits_of("") == 0
    assert configuration.bits_of("a" * 100) == 0
    assert configuration.bits_of("ab" * 50) == pytest.approx(2)
    assert configuration.bits_of("abcdefgh") == pytest.approx(24)


@pytest.mark.parametrize(
    ("user", "password", "weak"),
    [
        ("orca", "orca", True),
        ("app", "app", True),
        ("app", "postgres", True),
        ("app", "ch%61ngeme", True),
        ("app", "", False),
        ("app", "qX7-2bLw9", False),
    ],
)
def test_a_default_password_of_the_database_is_found(user: str, password: str, weak: bool) -> None:
    word = f":{password}" if password else ""
    found = of_settings(situation(f"postgresql://{user}{word}@db/orcamesh"))["secrets"]
    assert (found.status is Status.WARN) is weak


def test_several_secrets_warn_until_the_old_ones_go() -> None:
    found = of_settings(situation(jwt_secrets=(STRONG, OTHER), hmac_secrets=(OTHER,)))["rotation"]
    assert found.status is Status.WARN
    assert found.found == "JWT_SECRET has 2 values: all are valid, the last signs"
    assert "remove the older lines of JWT_SECRET from .env" in found.mend


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without .env, and an environment without any setting."""
    for name in ("DATABASE_URL", "JWT_SECRET", "HMAC_SECRET", "ORCA_ADDRESS", "ORCA_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_with_nothing_set_the_settings_say_so_and_how_to_begin(bare: Path) -> None:
    seen = look()
    found = of_settings(seen)
    assert found["settings"].status is Status.FAIL
    assert found["settings"].found.startswith("DATABASE_URL: is not set; JWT_SECRET: nobody could")
    assert found["settings"].mend.startswith("orca up")
    assert found["access"].status is found["secrets"].status is Status.SKIPPED
    assert [each.target for each in seen.addresses] == ["127.0.0.1:50051", "127.0.0.1:50151"]
    assert seen.rest == ("127.0.0.1", 3000)


def test_every_bad_setting_is_named_and_the_good_ones_are_used(bare: Path) -> None:
    (bare / ".env").write_text(
        f"DATABASE_URL=postgresql://orca@db/x\nJWT_SECRET=short\nPGMAXCONNECTIONS=x\n"
        f"ORCA_TICK_SECONDS=0\nORCA_ANONYMOUS_ROLE=root\nHMAC_SECRET={STRONG}\n"
        f"ORCA_GRPC_ADDRESS=127.0.0.1:7\n"
    )
    seen = look()
    named = {fault.partition(":")[0] for fault in seen.faults}
    assert named == {"JWT_SECRET", "PGMAXCONNECTIONS", "ORCA_TICK_SECONDS", "ORCA_ANONYMOUS_ROLE"}
    assert seen.settings is not None
    assert seen.database_url == "postgresql://orca@db/x"
    assert seen.addresses[1].target == "127.0.0.1:7"
    found = of_settings(seen)
    assert all(name in found["settings"].found for name in named)
    assert found["secrets"].status is Status.OK  # a refused secret is told once


def test_a_file_that_cannot_be_read_ends_nothing(bare: Path) -> None:
    (bare / ".env").write_text("'this is not NAME=value\n")
    seen = look()
    assert seen.settings is None
    assert seen.faults == (".env, line 1: is not NAME=value",)
    assert of_settings(seen)["settings"].status is Status.FAIL


def test_an_address_that_is_none_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_ADDRESS", "ftp://x")
    seen = look()
    assert [fault for fault in seen.faults if fault.startswith("ORCA_ADDRESS: ")]
    assert seen.addresses == ()


def test_ports_of_the_stack_can_be_chosen(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_REST_PORT", "3100")
    monkeypatch.setenv("ORCA_ADDRESS", "far.example:9000")
    seen = look()
    assert seen.rest == ("far.example", 3100)
    assert [each.target for each in seen.addresses] == ["far.example:9000"]


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


# The database


def test_a_database_in_order_is_ok_everywhere_and_tells_no_password() -> None:
    found = of_database(VIEW)
    assert {each.status for each in found.values()} == {Status.OK}
    assert found["database"].found == "PostgreSQL 18.4 at orca@db.example:5433/orcamesh"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ConnectionRefusedError", "nothing listens"),
        ("gaierror", "not known"),
        ("InvalidPasswordError", "password"),
        ("InvalidCatalogNameError", "the database is not"),
        ("TooManyConnectionsError", "all connections"),
        ("CannotConnectNowError", "starting"),
        ("TimeoutError", "network"),
    ],
)
def test_each_way_of_not_connecting_has_a_cause_and_a_remedy(kind: str, words: str) -> None:
    error = Unavailable("DATABASE_UNAVAILABLE", "No.", {"cause": kind})
    found = of_database(DatabaseView(VIEW.url, error=error))
    assert found["database"].status is Status.FAIL
    assert words in found["database"].cause
    assert found["database"].mend
    assert "hidden" not in str(found["database"])
    others = {each.status for name, each in found.items() if name != "database"}
    assert others == {Status.SKIPPED}


def test_without_an_address_nothing_of_the_database_fails() -> None:
    assert {each.status for each in of_database(DatabaseView()).values()} == {Status.SKIPPED}


@pytest.mark.parametrize(
    ("name", "changes", "status", "words"),
    [
        ("database", {"version": 150012}, Status.FAIL, "16 or newer"),
        ("database", {"is_read_only": True}, Status.FAIL, "primary"),
        ("rights", {"may_create": False}, Status.FAIL, "GRANT USAGE, CREATE ON SCHEMA public"),
        ("rights", {"schema": None}, Status.FAIL, "GRANT USAGE, CREATE ON SCHEMA public"),
        ("extension", {"vector_version": None}, Status.FAIL, "as superuser"),
        (
            "extension",
            {"vector_version": None, "may_create_vector": True},
            Status.WARN,
            "orca db migrate",
        ),
        (
            "extension",
            {"vector_version": None, "vector_available": None},
            Status.FAIL,
            "install pgvector",
        ),
        ("connections", {"connections": 90}, Status.WARN, "PGMAXCONNECTIONS"),
        ("connections", {"most_connections": 8, "connections": 1}, Status.WARN, "max_connections"),
    ],
)
def test_what_the_server_lacks(
    name: str, changes: dict[str, Any], status: Status, words: str
) -> None:
    found = of_database(replace(VIEW, server=replace(FACTS, **changes)))
    assert found[name].status is status
    assert words in found[name].cause + found[name].mend
    assert {each.status for key, each in found.items() if key != name} == {Status.OK}


def test_tables_of_another_role_are_named() -> None:
    view = replace(VIEW, foreign=ForeignTables(("agents", "telemetry"), "postgres", 12))
    found = of_database(view)["rights"]
    assert found.status is Status.FAIL
    assert "12 tables belong to postgres" in found.found
    assert "agents, telemetry" in found.found
    assert "REASSIGN OWNED BY postgres TO orca" in found.mend


def test_missing_migrations_fail_and_newer_ones_do_not() -> None:
    missing = MigrationStatus(("0001_a",), ("0002_b",), 1, 2)
    found = of_database(replace(VIEW, migrations=missing))["migrations"]
    assert (found.status, found.mend) == (Status.FAIL, "orca db migrate")
    assert "missing 0002_b" in found.found
    newer = MigrationStatus(("0001_a", "0002_b"), (), 2, 1)
    assert of_database(replace(VIEW, migrations=newer))["migrations"].status is Status.OK
    edited = replace(VIEW, migrations=None, problems={"migrations": "applied in another form"})
    assert of_database(edited)["migrations"].found == "applied in another form"


def days(first: int, last: int) -> set[date]:
    return {NOW.date() + timedelta(days=n) for n in range(first, last + 1)}


@pytest.mark.parametrize(
    ("have", "status", "words"),
    [
        (days(-90, 14), Status.OK, "14.6 days"),
        (days(-90, 5), Status.WARN, "5.6 days"),
        (days(-90, 1), Status.FAIL, "1.6 days"),
        (days(-90, -1), Status.FAIL, "0.0 days"),
        (days(-90, -9) | days(-7, 14), Status.WARN, "1 past days have none, the first 2026-02-24"),
    ],
)
def test_partitions_must_lie_ahead_and_without_holes(
    have: set[date], status: Status, words: str
) -> None:
    found = database.judge_partitions(have, NOW, 90, "orca up")
    assert found.status is status
    assert words in found.found


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, Status.OK), (-1.5, Status.OK), (9, Status.WARN), (-301, Status.FAIL)],
)
def test_clocks_may_differ_a_little(seconds: float, status: Status) -> None:
    found = of_database(replace(VIEW, skew=timedelta(seconds=seconds)))["clock"]
    assert found.status is status
    assert ("behind" in found.found) is (seconds <= 0)


def test_a_transaction_that_stays_open_is_told_with_its_process() -> None:
    short = replace(VIEW, transaction=OpenTransaction(7, "psql", "active", 599))
    assert of_database(short)["transactions"].status is Status.OK
    long = replace(VIEW, transaction=OpenTransaction(7, "psql", "idle in transaction", 1200))
    found = of_database(long)["transactions"]
    assert found.status is Status.WARN
    assert "pg_terminate_backend(7)" in found.mend


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

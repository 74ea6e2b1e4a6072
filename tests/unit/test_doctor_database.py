"""What the doctor makes of the database."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from orca_server.doctor import database
from orca_server.doctor.database import DatabaseView
from orca_server.doctor.findings import Finding, Status
from orca_server.domain.errors import Unavailable
from orca_server.store.doctor import ForeignTables, OpenTransaction
from orca_server.store.migrate import MigrationStatus
from tests.unit.doctor_views import FACTS, NOW, VIEW


def of_database(view: DatabaseView) -> dict[str, Finding]:
    found = database.check(view, retention_days=90, pool=8, start="orca up")
    return {each.name: each for each in found}


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

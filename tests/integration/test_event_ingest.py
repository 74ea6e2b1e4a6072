"""The same path for events as for telemetry: each stored once, and told to the tick once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Overloaded, Unavailable
from orca_server.domain.events import Row
from orca_server.domain.telemetry import client_identity, first_key, record_key
from orca_server.runtime.event_writer import EventWriter
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.store.database import Database
from orca_server.store.queries import QUERIES
from tests.histories import microseconds

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
OTHER_TENANT = UUID(int=99)
ONE, TWO, RETIRED, NOBODY = (uuid5(DEFAULT_TENANT, f"workflow {n}") for n in range(4))
ALL_DAYS = (
    "CREATE TABLE workflow_events_always PARTITION OF workflow_events FOR VALUES FROM"
    " ('00000000-0000-0000-0000-000000000000') TO ('ffffffff-ffff-ffff-ffff-ffffffffffff')"
)
WORKFLOW = (
    "INSERT INTO workflows (tenant_id, id, provider, name, state, counted_until)"
    " VALUES ($1, $2, 'n8n', $3, $4, $5)"
)


@pytest.fixture
async def db(bare_database_url: str) -> AsyncIterator[Database]:
    """Two workflows, one that is retired, and a partition for any day."""
    database = Database(bare_database_url, size=6)
    async with database.connection() as connection:
        await connection.execute(ALL_DAYS)
        for number, workflow in enumerate((ONE, TWO)):
            named = (DEFAULT_TENANT, workflow, f"w{number}")
            await connection.execute(WORKFLOW, *named, "ACTIVE", None)
        await connection.execute(WORKFLOW, DEFAULT_TENANT, RETIRED, "gone", "RETIRED", NOW)
    yield database
    await database.close()


def event(workflow: UUID = ONE, number: int = 0, **said: Any) -> Row:
    """A run that succeeded, so many seconds ago."""
    at = microseconds(NOW - timedelta(seconds=number))
    key = UUID(bytes=record_key(at, workflow.bytes, client_identity(f"event {number}")))
    values = {"run_id": f"run {number}", "kind": "succeeded", "duration_us": 5, **said}
    return (
        *(workflow, key, values["run_id"], 1, values["kind"], at, "schedule", "", None, None),
        *(values["duration_us"], values.get("attributes")),
    )


def idle(db: Database, **bounds: int) -> Ingest[Row]:
    """An ingest that does not run yet, so that what is submitted becomes one batch."""
    return Ingest(
        db, EventWriter(), **{"max_records": 10_000, "max_bytes": 10**6, "flushers": 1, **bounds}
    )


@asynccontextmanager
async def flushing(*ingests: Ingest[Row]) -> AsyncIterator[None]:
    """Runs them for a while and lets them store what is left."""
    running = [asyncio.create_task(ingest.run()) for ingest in ingests]
    try:
        yield
    finally:
        for ingest in ingests:
            ingest.stop()
        await asyncio.gather(*running)


def submit(
    ingest: Ingest[Row], rows: Sequence[Row], *, atomic: bool = False, tenant: UUID = DEFAULT_TENANT
) -> asyncio.Future[Outcome]:
    return ingest.submit(tenant, rows, 100, atomic=atomic)


async def stored(db: Database) -> int:
    """Events in the table, each of which stands in the inbox once and nothing else does."""
    both = "SELECT tenant_id, workflow_id, key FROM"
    async with db.connection() as connection:
        events = await connection.fetch(f"{both} workflow_events ORDER BY key")
        inbox = await connection.fetch(f"{both} workflow_inbox ORDER BY key")
    assert events == inbox
    return len(events)


async def test_duplicates_within_and_between_requests_and_batches_are_stored_once(
    db: Database,
) -> None:
    ingest = idle(db)
    first, second, third = (event(number=n) for n in range(3))
    waiting = [submit(ingest, rows) for rows in ([first, second, first], [third, second])]
    async with flushing(ingest):
        assert await asyncio.gather(*waiting) == [Outcome(2, 1), Outcome(1, 1)]
        assert await submit(ingest, [third, event(number=3)], atomic=True) == Outcome(1, 1)
    assert await stored(db) == 4


async def test_unknown_and_retired_workflows_keep_out_only_what_names_them(db: Database) -> None:
    ingest = idle(db)
    good = [event(number=n) for n in range(6)]
    unknown, retired = event(NOBODY), event(RETIRED)
    fine = submit(ingest, good[:2], atomic=True)
    refused = submit(ingest, [good[2], unknown, good[3], retired], atomic=True)
    partly = submit(ingest, [unknown, good[4], retired, good[0], unknown])
    twin = submit(ingest, [good[2], good[5]], atomic=True)  # its first stands in a refused one
    async with flushing(ingest):
        assert await fine == Outcome(2, 0)
        assert await refused == Outcome(0, 0, frozenset({1}), frozenset({3}))
        assert await partly == Outcome(1, 1, frozenset({0, 4}), frozenset({2}))
        assert await twin == Outcome(2, 0)
    assert await stored(db) == 5


async def test_a_tenant_cannot_report_for_the_workflows_of_another(db: Database) -> None:
    ingest = idle(db)
    done = submit(ingest, [event(), event(TWO)], tenant=OTHER_TENANT)
    async with flushing(ingest):
        assert await done == Outcome(0, 0, frozenset({0, 1}))
    assert await stored(db) == 0


async def test_two_replicas_store_the_same_events_once(db: Database) -> None:
    rng = Random(5)
    rows = [event(who, n) for who in (ONE, TWO) for n in range(200)]
    replicas = [idle(db, flushers=2) for _ in range(2)]
    waiting = []
    for _ in range(4):  # in other orders and cuts each time
        pile = rng.sample(rows, k=len(rows))
        size = rng.choice([20, 50, 100])
        pieces = [pile[at : at + size] for at in range(0, len(pile), size)]
        waiting += [submit(rng.choice(replicas), piece) for piece in pieces]
    async with flushing(*replicas):
        outcomes = await asyncio.gather(*waiting)
    assert sum(outcome.accepted for outcome in outcomes) == len(rows)
    assert sum(outcome.duplicates for outcome in outcomes) == 3 * len(rows)
    assert await stored(db) == len(rows)


@pytest.mark.parametrize(
    "said",
    [{"duration_us": 2**63}, {"run_id": "a\0b"}, {"kind": "exploded"}],
    ids=["beyond 64 bits", "NUL", "refused by a rule of the table"],
)
async def test_a_request_that_the_database_refuses_stands_alone(
    db: Database, said: dict[str, Any]
) -> None:
    ingest = idle(db)
    waiting = [submit(ingest, [event(number=n, **(said if n == 6 else {}))]) for n in range(12)]
    async with flushing(ingest):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers.pop(6), Exception)
    assert answers == [Outcome(1, 0)] * 11
    assert await stored(db) == 11


async def test_a_day_without_a_partition_fails_its_own_request_alone(db: Database) -> None:
    async with db.connection() as connection:
        await connection.execute("DROP TABLE workflow_events_always")
        first, end = (first_key(microseconds(NOW) + us) for us in (0, 10**6))
        await connection.execute(
            "CREATE TABLE workflow_events_now PARTITION OF workflow_events"
            f" FOR VALUES FROM ('{first}') TO ('{end}')"
        )
    ingest = idle(db)
    now, before = submit(ingest, [event()]), submit(ingest, [event(number=60)])
    async with flushing(ingest):
        assert await now == Outcome(1, 0)
        with pytest.raises(Unavailable) as caught:
            await before
    assert caught.value.metadata == {"cause": "PartitionMissing"}
    assert await stored(db) == 1


async def test_a_full_queue_turns_away_and_is_counted(db: Database) -> None:
    ingest = idle(db, max_records=5)
    first = submit(ingest, [event(number=n) for n in range(4)])
    with pytest.raises(Overloaded) as caught:
        submit(ingest, [event(number=8), event(number=9)])
    assert caught.value.reason == "INGEST_QUEUE_FULL"
    async with flushing(ingest):
        assert await first == Outcome(4, 0)
    assert (await stored(db), ingest.counts.shed) == (4, 1)


FILL = """
INSERT INTO workflow_events (tenant_id, workflow_id, key, run_id, attempt, kind, occurred_at)
SELECT $1, ('00000000-0000-7000-8000-' || lpad((n % 50)::text, 12, '0'))::uuid,
    (lpad(to_hex(1774000000000 + n), 12, '0') || '70008000000000000000')::uuid,
    'r', 1, 'started', now()
FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize("name", ["list_events", "list_events_newest_first", "count_events"])
async def test_events_of_a_workflow_are_a_range_of_the_primary_key(db: Database, name: str) -> None:
    span = (UUID(int=0), UUID(int=2**128 - 1))
    parameters = (DEFAULT_TENANT, UUID("00000000-0000-7000-8000-000000000007"), *span, 100)
    count = 4 if name == "count_events" else 5
    async with db.connection() as connection:
        await connection.execute(FILL, DEFAULT_TENANT)
        await connection.execute("ANALYZE workflow_events_always")
        (plan,) = await connection.fetchrow(
            f"EXPLAIN (FORMAT JSON) {QUERIES[name]}", *parameters[:count]
        )
    assert "Seq Scan" not in plan
    assert "workflow_events_always_pkey" in plan
    assert '"Sort"' not in plan

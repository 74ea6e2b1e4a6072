"""Daily partitions of telemetry and events: made ahead, dropped behind, never in anybody's way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from orca_server.runtime import partitions
from orca_server.store import system
from orca_server.store.database import Database

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RETENTION = 5
TABLES = ("telemetry", "workflow_events")
INSERT = {
    "telemetry": (
        "INSERT INTO telemetry (tenant_id, agent_id, key, observed_at, operations, errors,"
        " violations, counted) VALUES ($1, $1, $2, $3, 1, 0, 0, true)"
    ),
    "workflow_events": (
        "INSERT INTO workflow_events (tenant_id, workflow_id, key, occurred_at, run_id, attempt,"
        " kind) VALUES ($1, $1, $2, $3, 'r', 1, 'started')"
    ),
}


@pytest.fixture
async def db(bare_database_url: str) -> AsyncIterator[Database]:
    database = Database(bare_database_url, size=4)
    yield database
    await database.close()


async def days_of(db: Database) -> list[date]:
    async with db.connection() as connection:
        found = await system.list_partitions(connection)
    telemetry, events = (
        [each.day for each in found if each.attached and each.parent == parent] for parent in TABLES
    )
    assert telemetry == events
    return telemetry


async def insert(db: Database, at: datetime, table: str = "telemetry") -> None:
    key = UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | 12345)
    async with db.connection() as connection:
        await connection.execute(INSERT[table], UUID(int=1), key, at)


async def tables_of(db: Database, table: str) -> list[str]:
    """The partitions in which rows are, by time."""
    async with db.connection() as connection:
        rows = await connection.fetch(f"SELECT tableoid::regclass::text FROM {table} ORDER BY key")
    return [row[0] for row in rows]


def test_wanted_days_go_from_the_retention_to_two_weeks_ahead() -> None:
    days = partitions.wanted_days(NOW, RETENTION)
    assert (days[0], days[-1]) == (date(2026, 2, 24), date(2026, 3, 15))
    assert len(days) == 20


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([], 0.0),
        ([date(2026, 3, 2)], 0.0),
        ([date(2026, 3, 1)], 0.375),
        ([date(2026, 3, 1), date(2026, 3, 2)], 1.375),
        ([date(2026, 3, 1), date(2026, 3, 3)], 0.375),
    ],
    ids=["none", "not today", "today", "tomorrow too", "a hole"],
)
def test_days_ahead_end_at_the_first_hole(days: list[date], expected: float) -> None:
    assert partitions.days_ahead(NOW, days) == pytest.approx(expected)


@pytest.mark.parametrize("table", TABLES)
async def test_every_instant_that_may_be_written_has_its_partition(
    db: Database, table: str
) -> None:
    assert await partitions.ensure(db, NOW, RETENTION)
    assert await days_of(db) == partitions.wanted_days(NOW, RETENTION)
    oldest = NOW - RETENTION * DAY
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    instants = (oldest, midnight - timedelta(milliseconds=1), midnight, NOW, NOW + 14 * DAY)
    for at in instants:
        await insert(db, at, table)
    assert await tables_of(db, table) == [f"{table}_p{at:%Y%m%d}" for at in instants]
    with pytest.raises(asyncpg.CheckViolationError):
        await insert(db, NOW + 15 * DAY, table)


@pytest.mark.parametrize("table", TABLES)
async def test_a_partition_has_the_parents_key_and_rules(db: Database, table: str) -> None:
    await partitions.ensure(db, NOW, RETENTION)
    await insert(db, NOW, table)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(db, NOW, table)
    async with db.connection() as connection:
        attached = await connection.fetchval(
            f"SELECT count(*) FROM pg_inherits WHERE inhparent = '{table}_pkey'::regclass"
        )
    assert attached == 20


@pytest.mark.parametrize("table", TABLES)
async def test_a_day_counts_once_both_tables_have_it(db: Database, table: str) -> None:
    await partitions.ensure(db, NOW, RETENTION)
    async with db.connection() as connection:
        await connection.execute(f"DROP TABLE {table}_p{NOW + DAY:%Y%m%d}")
        found = await system.list_partitions(connection)
    assert partitions.days_ahead(NOW, system.attached_days(found)) == pytest.approx(0.375)
    assert await partitions.ensure(db, NOW, RETENTION)
    assert await days_of(db) == partitions.wanted_days(NOW, RETENTION)


async def test_a_second_run_does_nothing_and_a_later_day_one_step(db: Database) -> None:
    await partitions.ensure(db, NOW, RETENTION)
    before = await days_of(db)
    assert await partitions.ensure(db, NOW, RETENTION)
    assert await days_of(db) == before
    assert await partitions.ensure(db, NOW + DAY, RETENTION)
    assert await days_of(db) == [*before, before[-1] + DAY], "a day more than the retention stays"
    assert await partitions.ensure(db, NOW + 2 * DAY, RETENTION)
    assert (await days_of(db))[0] == before[1]


async def test_a_running_dump_does_not_hold_up_new_partitions_nor_they_inserts(
    db: Database, bare_database_url: str
) -> None:
    await partitions.ensure(db, NOW, RETENTION)
    dump = await asyncpg.connect(bare_database_url)
    try:
        await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await dump.execute("LOCK TABLE telemetry IN ACCESS SHARE MODE")
        await dump.execute("SELECT count(*) FROM telemetry")
        async with asyncio.timeout(10):
            assert await partitions.ensure(db, NOW + DAY, RETENTION)
            await insert(db, NOW)
    finally:
        await dump.close()


async def test_an_expired_day_that_is_being_read_goes_later(
    db: Database, bare_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_WAIT_MS", 50)
    await partitions.ensure(db, NOW, RETENTION)
    first = (await days_of(db))[0]
    reader = await asyncpg.connect(bare_database_url)
    try:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reader.execute("SELECT count(*) FROM telemetry")
        assert await partitions.ensure(db, NOW + 2 * DAY, RETENTION), "writing goes on"
        await insert(db, NOW)
        await reader.execute("COMMIT")
    finally:
        await reader.close()
    assert await partitions.ensure(db, NOW + 2 * DAY, RETENTION)
    async with db.connection() as connection:
        assert first not in [each.day for each in await system.list_partitions(connection)]


async def test_of_replicas_that_start_together_one_makes_them(
    db: Database, bare_database_url: str
) -> None:
    others = [Database(bare_database_url, size=2) for _ in range(3)]
    try:
        await asyncio.gather(*(partitions.ensure(each, NOW, 90) for each in (db, *others)))
        while not await partitions.ensure(db, NOW, 90):  # noqa: ASYNC110 - another may do it
            await asyncio.sleep(0.01)
    finally:
        for each in others:
            await each.close()
    assert await days_of(db) == partitions.wanted_days(NOW, 90)


@pytest.mark.parametrize("table", TABLES)
async def test_a_detached_day_that_is_wanted_again_is_attached_with_its_rows(
    db: Database, table: str
) -> None:
    await partitions.ensure(db, NOW, RETENTION)
    await insert(db, NOW, table)
    (partition,) = await tables_of(db, table)
    async with db.connection() as connection:
        await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {partition}")
    assert await partitions.ensure(db, NOW, RETENTION)
    assert await tables_of(db, table) == [partition]

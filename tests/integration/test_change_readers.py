"""Who reads the log of changes: told everything in order, resumes, or is told to start over."""

import asyncio
import subprocess
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.changes import Place
from orca_server.domain.errors import OutOfRange
from orca_server.runtime import changes as runtime
from orca_server.runtime.changes import Changes, number
from orca_server.store import changes as store
from orca_server.store.database import Database
from tests.integration.change_log import SOON, db, gather, ids, log_of, now, reading, record
from tests.inventory import sql
from tests.servers import PostgresServer

__all__ = ["db", "sql"]
TENANT = DEFAULT_TENANT


async def test_all_listeners_are_told_everything_in_order(sql: Any, db: Database) -> None:
    written = ids(50)
    async with reading(db) as reader:
        listeners = [await reader.subscribe() for _ in range(3)]
        for one in written:
            await record(sql, one)
        for found in await asyncio.gather(*(gather(each, 50) for each in listeners)):
            assert [change.entity_id for change in found] == written
            assert [change.position for change in found] == list(range(1, 51))


async def test_a_lost_notification_only_costs_time(sql: Any, db: Database) -> None:
    async with reading(db) as reader:
        subscription = await reader.subscribe()
        one = uuid4()
        await sql.execute(
            "INSERT INTO change_outbox (tenant_id, entity_type, entity_id, kind)"
            " VALUES ($1, 'agent', $2, 'updated')",
            TENANT,
            one,
        )
        assert [change.entity_id for change in await gather(subscription, 1)] == [one]


async def test_a_reader_goes_on_after_its_connections_are_lost(sql: Any, db: Database) -> None:
    async with reading(db) as reader:
        subscription = await reader.subscribe()
        first, second = ids(2)
        await record(sql, first)
        await gather(subscription, 1)
        await sql.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await record(sql, second)
        assert [change.entity_id for change in await gather(subscription, 1)] == [second]


async def test_a_token_resumes_where_it_was_given_also_from_the_database(
    sql: Any, db: Database
) -> None:
    written = ids(6)
    async with reading(db) as reader:
        subscription = await reader.subscribe()
        await record(sql, *written[:3])
        await gather(subscription, 3)
        token = subscription.token
    await record(sql, *written[3:])
    await number(db)
    async with reading(db) as other:  # it has read nothing of what came before
        resumed = await other.subscribe(token)
        assert [change.entity_id for change in await gather(resumed, 3)] == written[3:]
        head = await store.read_head(sql)
        assert resumed.token == str(Place(head.epoch, 6))


async def resync(subscription: runtime.Subscription) -> str:
    """The cause of the resync that the next read must ask for."""
    async with asyncio.timeout(SOON):
        with pytest.raises(OutOfRange) as caught:
            await subscription.next()
    assert caught.value.reason == "RESYNC_REQUIRED"
    return caught.value.metadata["cause"]


async def test_a_token_of_no_log_or_ahead_of_it_asks_for_a_resync(sql: Any, db: Database) -> None:
    head = await store.read_head(sql)
    async with reading(db) as reader:
        with pytest.raises(OutOfRange, match="not from this server"):
            await reader.subscribe("nonsense")
        assert "ahead" in await resync(await reader.subscribe(str(Place(head.epoch, 7))))
        assert "restored" in await resync(await reader.subscribe(f"{'0' * 32}-0"))


async def test_a_pruned_place_asks_for_a_resync(sql: Any, db: Database) -> None:
    await record(sql, *ids(10))
    await number(db)
    head = await store.read_head(sql)
    async with db.transaction() as tx:
        assert await store.prune(tx, now() + timedelta(hours=1), 4) == 4
    async with reading(db) as reader:
        assert "gone" in await resync(await reader.subscribe(str(Place(head.epoch, 3))))
        kept = await reader.subscribe(str(Place(head.epoch, 4)))
        assert [change.position for change in await gather(kept, 6)] == [5, 6, 7, 8, 9, 10]


async def test_pruning_keeps_what_is_young_the_newest_and_the_count(sql: Any, db: Database) -> None:
    await record(sql, *ids(4))
    await number(db)
    await sql.execute(
        "UPDATE changes SET created_at = now() - interval '2 days' WHERE position <> 2"
    )
    reader = Changes(db, now)
    await reader.prune()
    assert [position for position, _ in await log_of(sql)] == [
        2,
        3,
        4,
    ]  # no hole behind a young one
    await sql.execute("UPDATE changes SET created_at = now() - interval '2 days'")
    await reader.prune()
    assert [position for position, _ in await log_of(sql)] == [4]
    await record(sql, uuid4())
    await number(db)
    assert [position for position, _ in await log_of(sql)] == [4, 5]


async def test_a_restore_is_noticed(sql: Any, db: Database) -> None:
    await record(sql, *ids(2))
    async with reading(db) as reader:
        subscription = await reader.subscribe(str(Place((await store.read_head(sql)).epoch, 0)))
        await gather(subscription, 2)
        token = subscription.token
        await store.renew_epoch(sql)
        assert "restored" in await resync(subscription)
        assert "restored" in await resync(await reader.subscribe(token))
        fresh = await reader.subscribe()
        one = uuid4()
        await record(sql, one)
        assert [change.entity_id for change in await gather(fresh, 1)] == [one]


async def test_a_dump_that_is_restored_has_another_epoch_and_goes_on_counting(
    sql: Any, db: Database, database_url: str, postgres: PostgresServer
) -> None:
    await record(sql, *ids(3))
    await number(db)
    token = str(Place((await store.read_head(sql)).epoch, 2))
    programs = postgres.postgres.binaries
    command = [str(programs.path("pg_dump")), database_url]
    dump = await asyncio.to_thread(subprocess.check_output, command, text=True)
    with postgres.database() as url:
        restore = [str(programs.path("psql")), "-q", "-v", "ON_ERROR_STOP=1", url]
        await asyncio.to_thread(
            subprocess.run, restore, input=dump, text=True, check=True, stdout=subprocess.DEVNULL
        )
        restored = Database(url, size=4)
        async with reading(restored) as reader:
            assert "restored" in await resync(await reader.subscribe(token))
            fresh = await reader.subscribe()
            async with restored.connection() as connection:
                await record(connection, uuid4())
            assert [change.position for change in await gather(fresh, 1)] == [4]
        await restored.close()


async def test_each_part_of_the_epoch_makes_another_one(sql: Any) -> None:
    before = (await store.read_head(sql)).epoch
    assert (await store.read_head(sql)).epoch == before
    await sql.execute("ALTER TABLE changes RENAME TO changes_before")
    await sql.execute("CREATE TABLE changes (LIKE changes_before)")  # as a dump does
    table = (await store.read_head(sql)).epoch
    await store.renew_epoch(sql)
    assert len({before, table, (await store.read_head(sql)).epoch}) == 3


async def test_a_page_of_the_log_is_read_by_its_index(sql: Any, db: Database) -> None:
    await record(sql, *ids(5_000))
    await number(db)
    await sql.execute("ANALYZE changes")
    plan = await sql.fetch(
        "EXPLAIN SELECT * FROM changes WHERE position > 4900 ORDER BY position LIMIT 100"
    )
    assert "changes_position_idx" in "\n".join(row[0] for row in plan)

"""SIGTERM under load: the server answers what it took, says so to its streams, and ends well."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from orca.v1 import agent_service_pb2_grpc
from orca_server.domain.errors import Unavailable
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.names import Names
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.services.telemetry import TelemetryServicer
from orca_server.store.database import Database
from orca_server.store.telemetry import resolve_agents
from tests.chaos import batches, evidence
from tests.chaos.batches import Batch
from tests.chaos.ledger import Event, entries, keeping, taken_between
from tests.chaos.load import HOUR, loading
from tests.servers import PostgresServer
from tests.serving import ServerProcess, reason_of

SEED = 7
STOPS = 3
WATCHERS = 4
BATCHES = 3
CODES = {
    "UNAVAILABLE",
    "WRITE_FAILED",  # grpc.aio hides the server's word from a stream that is writing
    "CANCELLED",  # gRPC's own, to a unary call that reached no handler: sending it again is safe
}


async def watch(target: str, name: str, opened: asyncio.Barrier) -> list[Batch]:
    """Sends batches, waits for the drain, then reads what the server still had to say."""
    newest_hour = int(time.time()) // HOUR * HOUR - HOUR
    made = [batches.make(SEED, newest_hour, name, number) for number in range(BATCHES)]
    async with grpc.aio.insecure_channel(target) as channel:
        call = agent_service_pb2_grpc.AgentServiceStub(channel).StreamTelemetry()
        for batch in made:
            await call.write(batch.for_stream)
        first = await call.read()
        await opened.wait()
        receipts = [first] + [await call.read() for _ in made[1:]]
        assert [receipt.batch_id for receipt in receipts] == [batch.name for batch in made]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    return made


async def stop_with_watchers(server: ServerProcess, target: str, round_: int) -> list[Event]:
    """Terminates the server while streams expect to be told; gives the ledger's lines for them."""
    opened = asyncio.Barrier(WATCHERS + 1)
    async with asyncio.TaskGroup() as group:
        watching = [
            group.create_task(watch(target, f"watcher{round_}-{number}", opened))
            for number in range(WATCHERS)
        ]
        await opened.wait()
        assert await asyncio.to_thread(server.terminate) == 0, server.other
    return [event for task in watching for batch in task.result() for event in entries(batch)]


async def test_a_drain_under_load_loses_nothing_and_ends_streams_by_name(
    durable_postgres: PostgresServer, server: ServerProcess, target: str, tmp_path: Path
) -> None:
    with keeping(tmp_path / "ledger") as (ledger, end):
        with loading(target, end, SEED):
            since, watched = 0, []
            for stop in range(STOPS):

                def taken(events: Any, since: int = since) -> bool:
                    return len(taken_between(events, since, time.monotonic_ns())) > 50

                ledger.wait_until(taken, "some batches taken before SIGTERM")
                watched += await stop_with_watchers(server, target, stop)
                await asyncio.to_thread(server.start)
                since = time.monotonic_ns()
        events = ledger.read()
    broken = Counter((event["code"], event["reason"]) for event in ledger.of("broke"))
    assert {code for code, _ in broken} <= CODES, broken
    assert {reason for _, reason in broken} <= {"SERVER_DRAINING", ""}, broken
    assert [line for line in server.lines if "exception" in line] == []
    assert server.other == []
    evidence.check_acknowledgements(events)
    await evidence.check_rows(durable_postgres.url(), [*events, *watched])
    await evidence.check_sums(durable_postgres.url())
    await evidence.check_trust(target, server, durable_postgres.url())


async def test_a_stream_that_comes_after_the_drain_began_is_told_at_once(
    database_url: str,
) -> None:
    db = Database(database_url, size=2)
    ingest = Ingest(db, TelemetryWriter(), max_records=1_000, max_bytes=1 << 24)
    servicer = TelemetryServicer(db, ingest, Names(db, resolve_agents), retention_days=90)
    servicer.drain()

    async def silent() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    context: Any = None  # it must not even write
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(servicer.StreamTelemetry(silent(), context), 10)
    assert caught.value.reason == "SERVER_DRAINING"

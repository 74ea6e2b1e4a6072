"""Two servers on one database that get the same batches at once: each record is counted once."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import grpc

from orca.v1 import agent_service_pb2_grpc
from tests.chaos import batches, evidence
from tests.chaos.batches import Batch
from tests.chaos.ledger import entries
from tests.chaos.load import HOUR, wait_until_ready
from tests.servers import PostgresServer
from tests.serving import ServerProcess, server_process

SEED = 11
BATCHES = 150
WORKERS = 6


async def send_all(target: str, made: Sequence[Batch], *, seed: int) -> int:
    """Sends all batches in an order of its own, several at a time; gives how many were new."""
    todo = random.Random(seed).sample(made, len(made))
    async with grpc.aio.insecure_channel(target) as channel:
        stub = agent_service_pb2_grpc.AgentServiceStub(channel)
        streams = [send_by_stream(stub, todo[number::WORKERS]) for number in range(WORKERS)]
        return sum(await asyncio.gather(*streams))


async def send_by_stream(stub: Any, made: Sequence[Batch]) -> int:
    """Sends batches over one stream without waiting for receipts."""
    call = stub.StreamTelemetry(iter([batch.for_stream for batch in made]))
    return sum([receipt.accepted async for receipt in call])


async def test_the_same_batches_to_two_replicas_are_counted_once(
    durable_postgres: PostgresServer, server: ServerProcess, target: str
) -> None:
    newest_hour = int(time.time()) // HOUR * HOUR - HOUR
    made = [batches.make(SEED, newest_hour, "both", number) for number in range(BATCHES)]
    with server_process(durable_postgres.url()) as second:
        other = second.start().grpc
        wait_until_ready(other)
        new = await asyncio.gather(send_all(target, made, seed=1), send_all(other, made, seed=2))
        assert second.terminate() == 0
    assert server.terminate() == 0
    events = [event for batch in made for event in entries(batch)]
    rows = await evidence.check_rows(durable_postgres.url(), events)
    assert sum(new) == rows
    assert min(new) > 0, "one replica did nothing, so nothing was tried"
    await evidence.check_sums(durable_postgres.url())
    for child in (server, second):
        assert child.events("unexpected_error") == []
        assert child.other == []

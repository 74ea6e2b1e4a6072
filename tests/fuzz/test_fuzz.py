"""Anything may be sent to any RPC: it is accepted or refused for a documented reason.

`make test` sends 20,000 requests with a fixed seed; `make fuzz` sends FUZZ_REQUESTS with FUZZ_SEED.
What a request looks like follows from seed and number, apart from the ids of the fleet at hand.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import grpc
import pytest

from orca.v1.agent_service_pb2 import SyncRegistryRequest
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2 import RefreshTrustRequest
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from tests import recount_differences
from tests.fuzz import requests, rest
from tests.fuzz.over_grpc import GrpcFuzzer
from tests.fuzz.over_rest import RestFuzzer
from tests.fuzz.pool import Pool
from tests.fuzz.registry import write_registry
from tests.fuzz.tally import Tally
from tests.inventory import bearer
from tests.servers import GatewayServer
from tests.serving import ServerProcess, server_process, wait_until_ready

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
OVER_GRPC = 0.6
BROKEN = 0.03
LEAST_ACCEPTED = 0.2
WORKERS = 16
FIRST = (
    *("CreateAgent", "ImportAgents", "ListAgents", "RecordTelemetry"),
    *("CreateWorkflow", "ListWorkflows", "RecordEvents"),
)
REGISTRY_EVERY = 97


def tokens() -> list[str]:
    """Good tokens: of each role, one bound to an agent, one of another tenant."""
    kinds = [bearer("viewer"), bearer("adapter"), bearer("operator"), bearer("admin")]
    kinds.append(
        bearer("adapter", agents=["bot/upserted-1", "00000000-0000-7000-8000-000000000000"])
    )
    kinds.append(bearer("operator", tenant="00000000-0000-0000-0000-000000000002"))
    return [metadata[0][1].removeprefix("Bearer ") for metadata in kinds]


Sender = Callable[[int], Awaitable[None]]


async def in_parallel(senders: Sequence[Sender], count: int) -> None:
    """Has the senders send so many requests, each one at a time."""
    numbers = iter(range(count))

    async def work(send: Sender) -> None:
        for number in numbers:
            await send(number)

    async with asyncio.TaskGroup() as group:
        for send in senders:
            group.create_task(work(send))


async def fuzz_over_grpc(
    targets: tuple[str, str], pool: Pool, tally: Tally, registry: Path
) -> None:
    """Sends the gRPC part: half of it straight to the server, half through the gateway."""
    methods = requests.methods()
    early = [method for method in methods if method.name in FIRST] * 15
    first, second = (grpc.aio.insecure_channel(target) for target in targets)
    async with first, second:
        fuzzers = [GrpcFuzzer(channel, pool, tally, tokens()) for channel in (first, second)]

        async def send(number: int) -> None:
            dice = random.Random(f"{SEED}/grpc/{number}")
            if number % REGISTRY_EVERY == 0:
                write_registry(registry, dice)
            chosen = early[number] if number < len(early) else methods[number % len(methods)]
            await dice.choice(fuzzers).send(requests.make(chosen, pool, dice), dice)

        await in_parallel([send] * WORKERS, int(REQUESTS * OVER_GRPC))


async def fuzz_over_rest(port: int, pool: Pool, tally: Tally, registry: Path) -> None:
    """Sends the REST part, through the gateway."""
    methods = [method for method in requests.methods() if rest.bindings(method)]
    fuzzers = [RestFuzzer(port, pool, tally) for _ in range(WORKERS)]

    def sender(fuzzer: RestFuzzer) -> Sender:
        async def send(number: int) -> None:
            dice = random.Random(f"{SEED}/rest/{number}")
            if number % REGISTRY_EVERY == 0:
                write_registry(registry, dice)
            if dice.random() < BROKEN:
                await fuzzer.send_broken(dice)
            else:
                method = methods[number % len(methods)]
                await fuzzer.send(requests.make(method, pool, dice), dice)

        return send

    await in_parallel([sender(fuzzer) for fuzzer in fuzzers], REQUESTS - int(REQUESTS * OVER_GRPC))
    for fuzzer in fuzzers:
        await fuzzer.close()


async def wait_until_prepared(server: ServerProcess, address: str) -> None:
    """Returns once the server is ready and every day that may be written has its partition."""
    async with grpc.aio.insecure_channel(address) as channel:
        await wait_until_ready(channel)
    async with asyncio.timeout(60):
        while not server.events("partitions_made"):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


def check_log(server: ServerProcess, tally: Tally) -> None:
    """Finds what the server did not foresee."""
    for line in server.lines:
        if "exception" in line or "sqlstate" in line or line.get("event") == "unexpected_error":
            trace = str(line.get("exception", ""))
            tally.fault(f"log: {line['event']}: {trace[-120:]}", f"{line}\n{trace[-1500:]}")
    for text in server.other:
        tally.fault("log: a line that is no JSON", text)


async def check_trust(url: str, address: str, registry: Path) -> None:
    """Whatever was stored, trust is what an independent recomputation from the rows makes of it."""
    registry.write_text('version: "1.0.0"\nservers: {}\n')
    async with grpc.aio.insecure_channel(address) as channel:
        # So that the file changes nothing any more between the tick and the recount.
        await AgentServiceStub(channel).SyncRegistry(SyncRegistryRequest())
        await TrustServiceStub(channel).RefreshTrust(RefreshTrustRequest())
    connection = await asyncpg.connect(url)
    try:
        different = await recount_differences.differences(connection)
    finally:
        await connection.close()
    assert different == []


def check(tally: Tally) -> None:
    """Prints the table and fails for every fault, and where too little was accepted."""
    print(f"\nFUZZ_SEED={SEED}\n{tally.table()}")
    assert not tally.faults, "\n".join([f"FUZZ_SEED={SEED}", *tally.faults, str(tally.fault_kinds)])
    stingy = {
        label: tally.accepted[label] / sent
        for label, sent in tally.sent.items()
        if "raw" not in label and tally.accepted[label] < LEAST_ACCEPTED * sent
    }
    assert stingy == {}, "who refuses everything proves nothing"


@pytest.mark.timeout(0 if REQUESTS > 100_000 else 240)
async def test_every_request_is_accepted_or_refused_for_a_documented_reason(
    bare_database_url: str, gateway: Callable[..., GatewayServer], tmp_path: Path
) -> None:
    pool, tally, registry = Pool(), Tally(), tmp_path / "registry.yaml"
    write_registry(registry, random.Random(SEED))
    with server_process(bare_database_url, MCP_REGISTRY_PATH=str(registry)) as server:
        address = server.start().grpc
        await wait_until_prepared(server, address)
        front = gateway(int(address.rpartition(":")[2]))
        await fuzz_over_grpc((address, front.grpc_target), pool, tally, registry)
        await fuzz_over_rest(front.settings.rest_port, pool, tally, registry)
        await check_trust(bare_database_url, address, registry)
        assert server.terminate() == 0
    check_log(server, tally)
    check(tally)

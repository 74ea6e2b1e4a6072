"""Stopping: by TERM, by a job that died, by an address that is taken. Real child processes."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orca.v1 import agent_pb2, agent_service_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.servers import PostgresServer
from tests.serving import (
    reason_of,
    running_server,
    server_process,
    settings_for,
    wait_until_ready,
)

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def ready(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await wait_until_ready(channel)


def test_term_ends_it_with_zero_and_its_log_says_so(database_url: str) -> None:
    with server_process(database_url) as child:
        asyncio.run(ready(child.start().grpc))
        assert child.terminate() == 0
        assert [child.events(name)[0]["level"] for name in ("draining", "stopped")] == ["info"] * 2
        assert child.other == []


def test_an_interrupt_does_the_same(database_url: str) -> None:
    with server_process(database_url) as child:
        asyncio.run(ready(child.start().grpc))
        assert child.process is not None
        child.process.send_signal(signal.SIGINT)
        assert child.wait() == 0


def test_it_stops_also_while_the_database_is_away() -> None:
    with server_process("postgresql://nobody@127.0.0.1:1/none") as child:
        child.start()
        assert child.terminate() == 0


async def test_health_says_not_serving_while_calls_still_get_answers(database_url: str) -> None:
    """The gateway has time to notice before the door closes."""
    stop_early = settings_for(database_url, unhealthy_after_seconds=1.0)
    server = running_server(stop_early)
    addresses = await server.__aenter__()
    async with grpc.aio.insecure_channel(addresses.grpc) as channel:
        await wait_until_ready(channel)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "orca.v1.AgentService"):
            request = health_pb2.HealthCheckRequest(service=service)
            while (await health.Check(request)).status != NOT_SERVING:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        listed = await AgentServiceStub(channel).ListAgents(agent_service_pb2.ListAgentsRequest())
        assert listed.total_size == 0
        await stopping


async def test_a_call_under_way_is_answered_before_it_stops(
    database_url: str, postgres: PostgresServer
) -> None:
    import asyncpg

    server = running_server(settings_for(database_url))
    addresses = await server.__aenter__()
    blocker = await asyncpg.connect(database_url)
    async with grpc.aio.insecure_channel(addresses.grpc) as channel:
        await wait_until_ready(channel)
        await blocker.execute("BEGIN; LOCK TABLE audit_entries")
        agent = agent_pb2.Agent(type="mcp", name="late")
        creating = asyncio.ensure_future(
            AgentServiceStub(channel).CreateAgent(agent_service_pb2.CreateAgentRequest(agent=agent))
        )
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await blocker.fetchval(waits):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.sleep(0.1)
        assert not creating.done()
        await blocker.execute("COMMIT")
        assert (await creating).name == "late"
        await stopping
    await blocker.close()


async def test_an_open_stream_ends_with_the_word_to_go_elsewhere(database_url: str) -> None:
    server = running_server(settings_for(database_url))
    addresses = await server.__aenter__()
    async with grpc.aio.insecure_channel(addresses.grpc) as channel:
        await wait_until_ready(channel)
        end = asyncio.Event()

        async def batches() -> AsyncIterator[agent_service_pb2.StreamTelemetryRequest]:
            yield agent_service_pb2.StreamTelemetryRequest(batch_id="1")
            await end.wait()

        stream = AgentServiceStub(channel).StreamTelemetry(batches())
        first = await stream.read()
        assert first.batch_id == "1"
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        end.set()
        await stopping


def test_a_job_that_dies_brings_the_server_down_loudly(
    database_url: str, postgres: PostgresServer
) -> None:
    postgres.sql("REVOKE ALL ON tokens FROM orca", database_url.rsplit("/", 1)[1])
    with server_process(database_url) as child:
        child.start()
        assert child.wait() == 1
        (line,) = child.events("job_died")
        assert line["level"] == "error"
        assert "permission denied for table tokens" in line["exception"]


@pytest.mark.parametrize("name", ["ORCA_GRPC_ADDRESS", "ORCA_METRICS_ADDRESS"])
def test_an_address_that_is_taken_is_named(database_url: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with server_process(database_url, **{name: address}) as child:
            with pytest.raises(AssertionError, match="ended"):
                child.start()
            assert child.wait() == 1
            assert any(f"{name} {address} cannot be had" in line for line in child.other)


def test_bad_settings_are_all_named_and_nothing_starts() -> None:
    with server_process("mysql://x", PGMAXCONNECTIONS="0", ORCA_LOG_LEVEL="loud") as child:
        with pytest.raises(AssertionError, match="ended"):
            child.start()
        assert child.wait() == 1
        said = "\n".join(child.other)
        for name in ("DATABASE_URL", "PGMAXCONNECTIONS", "ORCA_LOG_LEVEL"):
            assert f"  {name}: " in said

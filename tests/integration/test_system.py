"""Health and status over a real channel, with the database there and away."""

import asyncio
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orca.v1 import agent_service_pb2
from orca.v1 import system_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.store.migrate import needed_version
from tests.servers import PostgresServer
from tests.serving import (
    info_of,
    reason_of,
    running_server,
    server_process,
    settings_for,
    token_for,
    wait_until_ready,
)

SERVICES = ("orca.v1.AgentService", "orca.v1.SystemService", "orca.v1.TrustService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    status: int = answer.status
    return status


async def until_health(channel: grpc.aio.Channel, service: str, wanted: int) -> None:
    while await health_of(channel, service) != wanted:  # noqa: ASYNC110 - told by nobody
        await asyncio.sleep(0.02)


async def test_a_ready_server_says_what_it_looked_at(system_stub: SystemServiceStub) -> None:
    health = await system_stub.GetHealth(pb.GetHealthRequest())
    assert health.status == "SERVING"
    assert all(check.ok for check in health.checks)
    names = {check.name for check in health.checks}
    assert {"database", "schema", "partitions", "ingest"} <= names


async def test_the_status_speaks_of_every_part(system_stub: SystemServiceStub) -> None:
    status = await system_stub.GetStatus(pb.GetStatusRequest())
    assert (status.ready, status.access, status.anonymous_role) == (True, "open", "operator")
    assert status.instance.rpartition(":")[0] == socket.gethostname()
    assert status.version
    assert status.started_at.ToSeconds() > 0
    assert status.database.server_version
    assert status.database.schema_version == needed_version()
    assert status.database.schema_version_needed == needed_version()
    assert 14 <= status.database.partition_days_ahead <= 15
    assert 1 <= status.database.connections <= 8


async def test_a_closed_server_says_so(database_url: str) -> None:
    async with (
        running_server(settings_for(database_url, anonymous_role="none")) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        metadata = (("authorization", f"Bearer {token_for('viewer')}"),)
        stub = SystemServiceStub(channel)
        status = await stub.GetStatus(pb.GetStatusRequest(), metadata=metadata)
        assert (status.access, status.anonymous_role) == ("closed", "none")


async def test_a_registry_file_that_is_not_there_is_told_and_stops_nothing(
    database_url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "registry.yaml"
    async with (
        running_server(settings_for(database_url, mcp_registry_path=missing)) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        status = await SystemServiceStub(channel).GetStatus(pb.GetStatusRequest())
        assert status.ready
        assert not next(each for each in status.checks if each.name == "registry_file").ok
        assert status.registry.path == str(missing)


async def test_each_service_has_a_health_of_its_own(channel: grpc.aio.Channel) -> None:
    for service in SERVICES:
        await until_health(channel, service, SERVING)
    assert await health_of(channel, "") == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_of(channel, "orca.v1.NoService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_every_service(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        names = {service.name for service in answer.list_services_response.service}
        assert names >= {*SERVICES, "grpc.health.v1.Health"}


async def test_a_server_starts_without_its_database_says_why_and_recovers(
    durable_postgres: PostgresServer,
) -> None:
    durable_postgres.kill()
    async with (
        running_server(settings_for(durable_postgres.url())) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        system, agents = SystemServiceStub(channel), AgentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await system.GetHealth(pb.GetHealthRequest())
        assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")
        assert "connection refused" in info_of(caught.value).metadata["database"]
        status = await system.GetStatus(pb.GetStatusRequest())
        assert not status.ready
        assert not status.HasField("database")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agents.ListAgents(agent_service_pb2.ListAgentsRequest())
        assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert await health_of(channel, "") == SERVING
        assert await health_of(channel, "orca.v1.AgentService") == NOT_SERVING

        durable_postgres.start()
        await wait_until_ready(channel)  # it migrated, and made partitions
        await agents.ListAgents(agent_service_pb2.ListAgentsRequest())
        await until_health(channel, "orca.v1.AgentService", SERVING)

        durable_postgres.kill()
        await until_health(channel, "orca.v1.AgentService", NOT_SERVING)
        durable_postgres.start()
        await wait_until_ready(channel)


async def test_a_database_without_the_extension_is_named_and_waited_for(
    postgres: PostgresServer,
) -> None:
    with postgres.database("template0") as url:
        async with (
            running_server(settings_for(url)) as addresses,
            grpc.aio.insecure_channel(addresses.grpc) as channel,
        ):
            system = SystemServiceStub(channel)
            while True:
                status = await system.GetStatus(pb.GetStatusRequest())
                schema = next(each for each in status.checks if each.name == "schema")
                assert not schema.ok
                if "CREATE EXTENSION vector" in schema.message:
                    break
                await asyncio.sleep(0.02)
            postgres.sql("CREATE EXTENSION vector", url.rsplit("/", 1)[1])
            await wait_until_ready(channel)


async def test_a_newer_schema_does_not_take_a_server_down(
    database_url: str, postgres: PostgresServer
) -> None:
    newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')"
    postgres.sql(newer, database_url.rsplit("/", 1)[1])
    async with (
        running_server(settings_for(database_url)) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)


def test_three_servers_that_start_together_all_get_ready(postgres: PostgresServer) -> None:
    async def ready(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            await wait_until_ready(channel)

    with (
        postgres.database() as url,
        server_process(url) as one,
        server_process(url) as two,
        server_process(url) as three,
    ):
        addresses = [each.start() for each in (one, two, three)]
        for each in addresses:
            asyncio.run(ready(each.grpc))
        migrated = [line for each in (one, two, three) for line in each.events("migrated")]
        applied = [label for line in migrated for label in line["applied"]]
        assert len(applied) == len(set(applied)) == needed_version()
        assert [each.terminate() for each in (one, two, three)] == [0, 0, 0]

"""gRPC through a real Envoy, and what a gateway is apart from requests."""

import re
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from orca.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
)
from orca_server.local.descriptors import read_contract
from tests.e2e.gateways import Upstream, ask, front, upstream
from tests.servers import GatewayServer

__all__ = ["front", "upstream"]


@pytest.fixture(params=["rest", "grpc"])
def channel(request: pytest.FixtureRequest, front: GatewayServer) -> Iterator[grpc.Channel]:
    port = {"rest": front.settings.rest_port, "grpc": front.settings.grpc_port}[request.param]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def test_grpc_passes_through_both_ports(channel: grpc.Channel) -> None:
    stub = agent_service_pb2_grpc.AgentServiceStub(channel)
    assert stub.GetAgent(agent_service_pb2.GetAgentRequest(id="a1")).id == "a1"
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetAgent(agent_service_pb2.GetAgentRequest(id="missing"))
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "AGENT_NOT_FOUND"


def test_a_stream_goes_both_ways_and_outlives_the_unary_limit(channel: grpc.Channel) -> None:
    stub = agent_service_pb2_grpc.AgentServiceStub(channel)
    batches: SimpleQueue[str | None] = SimpleQueue()
    requests = iter(batches.get, None)
    replies = stub.StreamTelemetry(
        agent_service_pb2.StreamTelemetryRequest(batch_id=batch) for batch in requests
    )
    for number in range(3):
        batches.put(str(number))  # each after the reply to the one before
        assert next(replies).batch_id == str(number)
        time.sleep(1)  # the limit for unary calls is 2 seconds here
    batches.put(None)
    assert list(replies) == []


def test_a_native_call_that_takes_too_long_is_deadline_exceeded(channel: grpc.Channel) -> None:
    stub = agent_service_pb2_grpc.AgentServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetAgent(agent_service_pb2.GetAgentRequest(id="slow"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not caught.value.details().startswith("{")


def test_standard_health_is_served(channel: grpc.Channel) -> None:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_server_that_is_not_serving_gets_nothing(
    upstream: Upstream, gateway: Callable[..., GatewayServer]
) -> None:
    front = gateway(upstream.port)
    upstream.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        front.wait(healthy=False)
        assert ask(front, "GET", "/health").error == (503, 14, "SERVER_UNAVAILABLE")
        with grpc.insecure_channel(front.grpc_target) as native:
            stub = agent_service_pb2_grpc.AgentServiceStub(native)
            with pytest.raises(grpc.RpcError) as caught:
                stub.CreateAgent(agent_service_pb2.CreateAgentRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not caught.value.details().startswith("{")
    finally:
        upstream.health.set("", health_pb2.HealthCheckResponse.SERVING)
    front.wait()
    assert ask(front, "GET", "/health").status == 200


def test_a_second_envoy_on_the_same_ports_fails(front: GatewayServer) -> None:
    from orca_server.local import program as programs

    second = programs.spawn(front.gateway.program)
    assert second.wait(timeout=20) != 0
    assert ask(front, "GET", "/health").status == 200


def test_admin_is_a_private_socket(front: GatewayServer) -> None:
    assert front.gateway.admin_socket.stat().st_mode & 0o777 == 0o600


def test_every_service_of_the_contract_is_served_and_every_stream_has_no_limit() -> None:
    contract = read_contract()
    assert {"orca.v1.AgentService", "orca.v1.SystemService"} <= set(contract.services)
    streams = re.compile(contract.stream_paths)
    assert streams.fullmatch("/orca.v1.AgentService/StreamTelemetry")
    assert streams.fullmatch("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    assert not streams.fullmatch("/orca.v1.AgentService/GetAgent")

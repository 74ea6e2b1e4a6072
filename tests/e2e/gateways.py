"""What tests of the gateway have in common: an echo behind a real Envoy."""
# ruff: noqa: N802  # gRPC names its methods in CamelCase

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from orca.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)
from tests.servers import GatewayServer, running_gateway

MEBIBYTE = 1024 * 1024


class Echo(
    agent_service_pb2_grpc.AgentServiceServicer, system_service_pb2_grpc.SystemServiceServicer
):
    """Answers with what it was sent."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures_left = 0

    def GetHealth(self, request: Any, context: grpc.ServicerContext) -> Any:
        return system_service_pb2.Health(status="SERVING")

    def CreateAgent(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._fail("CreateAgent", context)
        metadata = {
            key: value for key, value in context.invocation_metadata() if key[-4:] != "-bin"
        }
        binary = [key for key, _ in context.invocation_metadata() if key[-4:] == "-bin"]
        request.agent.labels.update({**metadata, "binary": ",".join(binary)})
        return request.agent

    def GetAgent(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._fail("GetAgent", context)
        if request.id == "slow":
            while context.is_active():
                time.sleep(0.01)
        if request.id == "missing":
            detail = AnyMessage()
            detail.Pack(error_details_pb2.ErrorInfo(reason="AGENT_NOT_FOUND", domain="orca"))
            status = status_pb2.Status(code=5, message="No agent.", details=[detail])
            context.abort_with_status(rpc_status.to_status(status))
        return agent_pb2.Agent(id=request.id)

    def ListAgents(self, request: Any, context: grpc.ServicerContext) -> Any:
        big = agent_pb2.Agent(description="x" * MEBIBYTE)
        return agent_service_pb2.ListAgentsResponse(agents=[big] * request.page_size)

    def ImportAgents(self, request: Any, context: grpc.ServicerContext) -> Any:
        body = request.content
        return agent_service_pb2.ImportAgentsResponse(
            created=len(body.data),
            refused=[
                agent_service_pb2.RefusedEntry(
                    name=body.content_type, message=hashlib.sha256(body.data).hexdigest()
                )
            ],
        )

    def StreamTelemetry(self, requests: Any, context: grpc.ServicerContext) -> Any:
        for request in requests:
            yield agent_service_pb2.StreamTelemetryResponse(batch_id=request.batch_id)

    def _fail(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls.append(name)
        if self.failures_left:
            self.failures_left -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "in a moment")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The echo server, and how it feels."""

    port: int
    echo: Echo
    health: health.HealthServicer


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    echo, checks = Echo(), health.HealthServicer()
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(echo, server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(echo, server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Upstream(port, echo, checks)
    server.stop(0).wait()


@pytest.fixture(scope="module")
def front(upstream: Upstream) -> Iterator[GatewayServer]:
    with running_gateway(upstream.port, unary_timeout_seconds=2) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body, which must say that it is JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, int, str]:
        """HTTP status, code and reason of an error."""
        error = self.json
        assert error["message"]
        info = error["details"][0]
        assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert info["domain"] == "orca"
        return self.status, error["code"], info["reason"]


def ask(
    front: GatewayServer,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", front.settings.rest_port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, names, answer.read())
    finally:
        connection.close()

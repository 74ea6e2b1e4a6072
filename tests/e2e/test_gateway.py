"""The gateway: what it passes on, what it answers itself, whom it turns away.

Behind it stands a small gRPC server that shows what arrived.
"""
# ruff: noqa: N802  # gRPC names its methods in CamelCase

import hashlib
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from orca.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)
from orca_server.local.descriptors import read_contract
from orca_server.local.envoy import allowed_hosts
from orca_server.local.errors import LocalError
from tests.servers import GatewayServer, running_gateway

MEBIBYTE = 1024 * 1024
JSON = {"content-type": "application/json"}


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


def raw(
    front: GatewayServer,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    port: int | None = None,
) -> Reply:
    """One request without body, and every byte that comes back before the connection ends.

    http.client reads no body after HEAD, so it could not see one.
    """
    lines = {"host": "localhost", "connection": "close", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port or front.settings.rest_port), 30) as wire:
        wire.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b"".join(iter(partial(wire.recv, 65_536), b""))
    top, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = top.decode().split("\r\n")
    names = dict(line.lower().split(": ", 1) for line in rest)
    return Reply(int(first.split()[1]), names, body)


def seen(front: GatewayServer, headers: dict[str, str]) -> dict[str, str]:
    """The metadata that arrives at the server."""
    reply = ask(front, "POST", "/agents", "{}", {**JSON, **headers})
    assert reply.status == 200, reply.body
    labels: dict[str, str] = reply.json["labels"]
    return labels


def test_rest_is_transcoded_with_zeros_and_own_field_names(front: GatewayServer) -> None:
    reply = ask(front, "GET", "/agents/a1")
    assert reply.status == 200
    assert reply.json["id"] == "a1"
    assert reply.json["display_name"] == ""


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
def test_each_path_stands_under_v1_too(front: GatewayServer, path: str) -> None:
    assert ask(front, "GET", path).json["status"] == "SERVING"


def test_errors_of_the_server_keep_their_details(front: GatewayServer) -> None:
    assert ask(front, "GET", "/agents/missing").error == (404, 5, "AGENT_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "expected"),
    [
        ("GET", "/nowhere", None, {}, (404, 5, "PATH_NOT_FOUND")),
        ("PUT", "/agents", "{}", JSON, (404, 5, "PATH_NOT_FOUND")),
        ("POST", "/agents", "{x", JSON, (400, 3, "REQUEST_MALFORMED")),
        ("POST", "/agents", '{"name": 7}', JSON, (400, 3, "REQUEST_MALFORMED")),
        ("GET", "/health?surprise=1", None, {}, (400, 3, "REQUEST_MALFORMED")),
        ("GET", "/health", None, {"under_score": "1"}, (400, 3, "REQUEST_MALFORMED")),
        (
            "POST",
            "/agents",
            "a=b",
            {"content-type": "text/plain"},
            (415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ),
        ("POST", "/agents", "{}", {}, (415, 3, "UNSUPPORTED_MEDIA_TYPE")),
        ("POST", "/agents", iter([b"{}"]), {}, (415, 3, "UNSUPPORTED_MEDIA_TYPE")),
        (
            "POST",
            "/agents",
            "a: b",
            {"content-type": "application/yaml"},
            (415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ),
        ("GET", "/health", None, {"host": "evil.example"}, (403, 7, "HOST_NOT_ALLOWED")),
        ("GET", "/nowhere", None, {"host": "evil.example"}, (403, 7, "HOST_NOT_ALLOWED")),
        ("GET", "/health", None, {"host": "localhost.evil.example"}, (403, 7, "HOST_NOT_ALLOWED")),
        (
            "POST",
            "/agents",
            "{}",
            {**JSON, "origin": "http://evil.example"},
            (403, 7, "ORIGIN_NOT_ALLOWED"),
        ),
        ("POST", "/agents", "{}", {**JSON, "origin": "null"}, (403, 7, "ORIGIN_NOT_ALLOWED")),
        (
            "DELETE",
            "/agents/a1",
            None,
            {"origin": "http://localhost:1"},
            (403, 7, "ORIGIN_NOT_ALLOWED"),
        ),
        ("GET", "/health", None, {"x-long": "x" * 70_000}, (431, 3, "REQUEST_TOO_LARGE")),
        ("GET", "/agents/slow", None, {}, (504, 4, "DEADLINE_EXCEEDED")),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:40],
)
def test_own_replies_look_like_the_servers(
    front: GatewayServer,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    expected: tuple[int, int, str],
) -> None:
    assert ask(front, method, path, body, headers).error == expected


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1:9", "[::1]:3000"])
def test_names_of_this_machine_are_let_in_with_any_port(front: GatewayServer, host: str) -> None:
    assert ask(front, "GET", "/health", headers={"host": host}).status == 200


def test_further_host_names_are_a_setting(
    upstream: Upstream, gateway: Callable[..., GatewayServer]
) -> None:
    named = gateway(upstream.port, allowed_hosts=allowed_hosts("orca.example, gateway"))
    assert ask(named, "GET", "/health", headers={"host": "orca.example:80"}).status == 200
    assert ask(named, "GET", "/health", headers={"host": "other.example"}).status == 403
    anybody = gateway(upstream.port, allowed_hosts=("*",))
    assert ask(anybody, "GET", "/health", headers={"host": "other.example"}).status == 200


def test_a_host_setting_cannot_carry_code() -> None:
    with pytest.raises(LocalError, match="no host name"):
        allowed_hosts('x"] = true, ["*')


def test_a_page_of_its_own_may_write(front: GatewayServer) -> None:
    origin = f"http://127.0.0.1:{front.settings.rest_port}"
    assert ask(front, "POST", "/agents", "{}", {**JSON, "origin": origin}).status == 200


def test_a_write_without_a_body_needs_no_type(front: GatewayServer) -> None:
    # The server does not know this RPC: what matters is that the gateway let it through.
    assert ask(front, "POST", "/registry:sync").status == 501


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/yaml"])
@pytest.mark.parametrize("path", ["/agents:import", "/v1/agents:import"])
def test_imports_arrive_byte_for_byte(front: GatewayServer, path: str, kind: str) -> None:
    body = bytes(range(256)) * 4 * 1024 * 8
    reply = ask(front, "POST", path, body, {"content-type": kind})
    assert reply.json["created"] == len(body)
    [shown] = reply.json["refused"]
    assert shown["name"] == kind
    assert shown["message"] == hashlib.sha256(body).hexdigest()


def test_fifteen_mebibytes_pass_both_ways_and_more_is_refused(front: GatewayServer) -> None:
    large = {"content-type": "application/json"}
    assert ask(front, "POST", "/agents:import", b"x" * 15 * MEBIBYTE, large).status == 200
    assert len(ask(front, "GET", "/agents?page_size=15").json["agents"]) == 15
    refused = ask(front, "POST", "/agents:import", b"x" * 17 * MEBIBYTE, large)
    assert refused.error == (413, 3, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("path", ["/telemetry", "/v1/telemetry", "/agents", "/agents:import"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_over_sixteen_mebibytes_is_refused_however_it_comes(
    front: GatewayServer, path: str, chunked: bool
) -> None:
    record = b'{"id": "' + b"x" * MEBIBYTE + b'"}'
    body = b'{"records": [' + b", ".join([record] * 17) + b"]}"
    parts = (body[at : at + MEBIBYTE] for at in range(0, len(body), MEBIBYTE))
    reply = ask(front, "POST", path, parts if chunked else body, JSON)
    assert reply.error == (413, 3, "REQUEST_TOO_LARGE")
    assert "16 MiB" in reply.json["message"]


def test_a_head_is_answered_like_a_get_without_the_body(front: GatewayServer) -> None:
    for path in ("/health", "/agents/a1", "/agents/missing", "/nowhere"):
        asked, told = ask(front, "GET", path), raw(front, "HEAD", path)
        assert told.status == asked.status
        assert told.body == b""
        for name in ("content-type", "content-length"):
            assert told.headers.get(name) == asked.headers.get(name), path


def test_rest_on_the_port_of_grpc_is_told_where_rest_is(front: GatewayServer) -> None:
    settings = front.settings
    for method, headers in (("GET", {}), ("POST", JSON), ("HEAD", {})):
        reply = raw(front, method, "/health", headers, port=settings.grpc_port)
        assert reply.status == 415
        if method != "HEAD":
            assert reply.error == (415, 3, "UNSUPPORTED_MEDIA_TYPE")
            assert f"REST is on port {settings.rest_port}" in reply.json["message"]


def test_identity_from_outside_is_stripped(front: GatewayServer) -> None:
    arrived = seen(
        front,
        {
            "x-orca-tenant": "other",
            "X-Orca-Role": "admin",
            "x-envoy-original-method": "GET",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "broken-bin": "%%%",
            "authorization": "Bearer kept",
        },
    )
    assert arrived["authorization"] == "Bearer kept"
    assert arrived["binary"] == ""
    assert not [name for name in arrived if name.startswith("x-orca-")]
    assert arrived.get("x-envoy-original-method") == "POST"  # the gateway's own word
    assert "x-envoy-upstream-rq-timeout-ms" not in arrived


def test_a_request_id_is_kept_passed_on_and_returned(front: GatewayServer) -> None:
    reply = ask(front, "POST", "/agents", "{}", {**JSON, "x-request-id": "trace/1-a"})
    assert reply.headers["x-request-id"] == "trace/1-a"
    assert reply.json["labels"]["x-request-id"] == "trace/1-a"


def test_a_request_without_id_gets_one_also_when_refused(front: GatewayServer) -> None:
    assert len(ask(front, "GET", "/health").headers["x-request-id"]) == 36
    assert len(ask(front, "GET", "/nowhere").headers["x-request-id"]) == 36


def test_an_insane_request_id_is_tamed(front: GatewayServer) -> None:
    reply = ask(front, "GET", "/health", headers={"x-request-id": "a b\tc" + "d" * 200})
    assert reply.headers["x-request-id"] == "a_b_c" + "d" * 123


def test_reads_are_asked_again_and_writes_are_not(upstream: Upstream, front: GatewayServer) -> None:
    upstream.echo.calls.clear()
    upstream.echo.failures_left = 2
    assert ask(front, "GET", "/agents/a1").status == 200
    upstream.echo.failures_left = 1
    assert ask(front, "POST", "/agents", "{}", JSON).status == 503
    assert upstream.echo.failures_left == 0
    assert upstream.echo.calls == ["GetAgent"] * 3 + ["CreateAgent"]


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

"""The gateway: what it passes on, what it answers itself, whom it turns away.

Behind it stands a small gRPC server that shows what arrived.
"""

import hashlib
import re
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orca_server.local.envoy import allowed_hosts
from orca_server.local.errors import LocalError
from tests.e2e.gateways import MEBIBYTE, Reply, Upstream, ask, front, upstream
from tests.servers import GatewayServer

__all__ = ["front", "upstream"]
JSON = {"content-type": "application/json"}


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
        ("POST", "/agents", [b"{}"], {}, (415, 3, "UNSUPPORTED_MEDIA_TYPE")),
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

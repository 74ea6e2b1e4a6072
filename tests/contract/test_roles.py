"""Every method against every kind of caller, over a real channel.

What is allowed is asked of the server, never computed from its own table alone: a caller who may
gets past the door (any answer but UNAUTHENTICATED and SCOPE_MISSING), all others do not.
"""

import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orca_server.domain.access import ROLES
from orca_server.services import access_page
from orca_server.services.authentication import sign
from orca_server.services.interceptors import scope_of
from tests.serving import SECRET, reason_of, running_server, settings_for, wait_until_ready

METHODS = access_page.methods()
WRONG = "another-secret-that-this-server-does-not-know"

# Written by hand from the design, not from access.py: who may call what.
READ = {"viewer", "operator", "admin"}
WRITE = {"operator", "admin"}
ALLOWED = {
    "CreateAgent": WRITE,
    "GetAgent": READ | {"adapter"},
    "ListAgents": READ | {"adapter"},
    "UpdateAgent": WRITE | {"adapter"},
    "DeleteAgent": WRITE,
    "BatchGetAgents": READ | {"adapter"},
    "SearchAgents": READ | {"adapter"},
    "SuspendAgent": WRITE,
    "ResumeAgent": WRITE,
    "RetireAgent": WRITE,
    "EnrolAgent": WRITE,
    "ObserveAgent": WRITE | {"adapter"},
    "RecordTelemetry": WRITE | {"adapter"},
    "StreamTelemetry": WRITE | {"adapter"},
    "ListTelemetry": READ,
    "SyncRegistry": WRITE,
    "ImportAgents": WRITE,
    "CreateWorkflow": WRITE | {"adapter"},
    "GetWorkflow": READ | {"adapter"},
    "ListWorkflows": READ | {"adapter"},
    "UpdateWorkflow": WRITE | {"adapter"},
    "DeleteWorkflow": WRITE,
    "PauseWorkflow": WRITE,
    "ResumeWorkflow": WRITE,
    "RetireWorkflow": WRITE,
    "RecordEvents": WRITE | {"adapter"},
    "StreamEvents": WRITE | {"adapter"},
    "ListEvents": READ,
    "GetRun": READ,
    "ListRuns": READ,
    "GetTrust": READ,
    "RefreshTrust": WRITE,
    "GetAgentTrust": READ,
    "GetTrustHistory": READ,
    "ListViolations": READ,
    "ResolveViolation": WRITE,
    "ListDrift": READ,
    "AcceptDrift": WRITE,
    "GetExecutiveSummary": READ,
    "ExportReport": READ,
    "GetHealing": READ,
    "GetStatus": READ | {"adapter"},
    "GetHealth": set(ROLES),
    "GetOpenApi": set(ROLES),
    "GetDocs": set(ROLES),
}
PUBLIC = {"GetHealth", "GetOpenApi", "GetDocs"}


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good operator's token, changed; None leaves a claim out."""
    now = int(time.time())
    good = {
        "sub": "test",
        "role": "operator",
        "iat": now,
        "exp": now + 600,
        "jti": str(uuid.uuid4()),
        "iss": "orca",
        "aud": "orca",
        **changes,
    }
    return {name: value for name, value in good.items() if value is not None}


def bearer(secret: str = SECRET, **changes: Any) -> str:
    import jwt

    return f"Bearer {jwt.encode(claims(**changes), secret, algorithm='HS256')}"


def unsigned() -> str:
    import jwt

    return f"Bearer {jwt.encode(claims(), None, algorithm='none')}"


NOW = int(time.time())
BAD = {
    "none": (None, "TOKEN_MISSING"),
    "empty": ("", "TOKEN_INVALID"),
    "no scheme": ("abc", "TOKEN_INVALID"),
    "another scheme": ("Basic b3JjYTpvcmNh", "TOKEN_INVALID"),
    "garbage": ("Bearer abc.def.ghi", "TOKEN_INVALID"),
    "too long": ("Bearer " + "a" * 8_000 + "a" * 193, "TOKEN_INVALID"),
    "unsigned": (unsigned(), "TOKEN_INVALID"),
    "expired": (bearer(exp=NOW - 5, iat=NOW - 600), "TOKEN_EXPIRED"),
    "wrong key": (bearer(WRONG), "TOKEN_INVALID"),
    "expired under a wrong key": (bearer(WRONG, exp=NOW - 5), "TOKEN_INVALID"),
    "wrong audience": (bearer(aud="another"), "TOKEN_INVALID"),
    "wrong issuer": (bearer(iss="another"), "TOKEN_INVALID"),
    "from the future": (bearer(iat=NOW + 3600), "TOKEN_INVALID"),
    "role of nobody": (bearer(role="none"), "TOKEN_INVALID"),
    "unknown role": (bearer(role="root"), "TOKEN_INVALID"),
    "role is a list": (bearer(role=["admin"]), "TOKEN_INVALID"),
    "bad tenant": (bearer(tenant="x"), "TOKEN_INVALID"),
    "bad agents": (bearer(agents="mcp/x"), "TOKEN_INVALID"),
    **{
        f"without {name}": (bearer(**{name: None}), "TOKEN_INVALID")
        for name in ("sub", "role", "iat", "exp", "jti", "iss", "aud")
    },
}


@pytest.fixture(scope="module")
def closed_database(postgres: Any, template: str) -> Any:
    with postgres.database(template) as url:
        yield url


@pytest.fixture
async def closed(closed_database: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that lets nobody in without a token."""
    async with (
        running_server(settings_for(closed_database, anonymous_role="none")) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        yield channel


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, token: str | None) -> Any:
    """Calls the method with an empty request, or with a stream of none.

    A write into a stream that the server has ended meanwhile hides the server's answer from
    grpc.aio's client.
    """
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = GetMessageClass(method.input_type)()
    decode = GetMessageClass(method.output_type).FromString
    metadata = () if token is None else (("authorization", token),)
    encode = type(request).SerializeToString
    if method.client_streaming:
        stream = channel.stream_stream(path, encode, decode)
        return [answer async for answer in stream(iter([]), metadata=metadata)]
    unary = channel.unary_unary(path, encode, decode)
    return await unary(request, metadata=metadata)


async def door(channel: grpc.aio.Channel, method: MethodDescriptor, token: str | None) -> str:
    """`in`, or the reason for which the caller was turned away."""
    try:
        await call(channel, method, token)
    except grpc.aio.AioRpcError as error:
        code, reason = reason_of(error)
        assert code is not grpc.StatusCode.INTERNAL
        if code is grpc.StatusCode.UNAUTHENTICATED or reason == "SCOPE_MISSING":
            return reason
    return "in"


def test_the_table_by_hand_names_every_method() -> None:
    assert set(ALLOWED) == {method.name for method in METHODS}


async def test_each_role_gets_in_where_it_may_and_nowhere_else(closed: grpc.aio.Channel) -> None:
    for role in ROLES:
        token = bearer(role=role)
        for method in METHODS:
            expected = "in" if role in ALLOWED[method.name] else "SCOPE_MISSING"
            assert await door(closed, method, token) == expected, f"{role}: {method.name}"


async def test_no_bad_token_gets_in_anywhere(closed: grpc.aio.Channel) -> None:
    for name, (token, reason) in BAD.items():
        for method in METHODS:
            expected = "in" if method.name in PUBLIC else reason
            assert await door(closed, method, token) == expected, f"{name}: {method.name}"


async def test_what_is_missing_is_named(closed: grpc.aio.Channel) -> None:
    from tests.serving import info_of

    method = next(each for each in METHODS if each.name == "CreateAgent")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(closed, method, bearer(role="viewer"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert dict(info_of(caught.value).metadata) == {"scope": "agents.write", "role": "viewer"}


@pytest.mark.parametrize("role", ROLES)
async def test_calls_without_a_token_have_the_anonymous_role(
    role: str, closed_database: str
) -> None:
    settings = settings_for(closed_database, anonymous_role=role)
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        for method in METHODS:
            expected = "in" if role in ALLOWED[method.name] else "SCOPE_MISSING"
            assert await door(channel, method, None) == expected, method.name
            bad = "in" if method.name in PUBLIC else "TOKEN_INVALID"
            assert await door(channel, method, bearer(WRONG)) == bad, method.name


async def test_health_and_reflection_ask_for_no_token(closed: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(closed)
    for service in ("", "orca.v1.AgentService"):
        await health.Check(health_pb2.HealthCheckRequest(service=service))
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    reflection = reflection_pb2_grpc.ServerReflectionStub(closed)
    assert len([answer async for answer in reflection.ServerReflectionInfo(iter([asked]))]) == 1


def test_signing_adds_issuer_and_audience() -> None:
    import jwt

    token = sign(SECRET, {"sub": "x"})
    assert jwt.decode(token, SECRET, algorithms=["HS256"], audience="orca", issuer="orca")


def test_every_method_has_a_scope() -> None:
    assert all(scope_of(method) for method in METHODS)


def test_the_page_is_what_is_enforced() -> None:
    page = Path(__file__).parents[2] / "docs" / "access.md"
    assert page.read_text() == access_page.render(), (
        "run: python -m orca_server.services.access_page > docs/access.md"
    )

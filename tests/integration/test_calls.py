"""What surrounds every call: request ids, malformed bytes, deadlines, metrics, errors."""

import asyncio
import urllib.request

import grpc
import pytest

from orca.v1 import agent_pb2, agent_service_pb2, telemetry_pb2
from orca.v1 import system_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.app import Addresses
from orca_server.services import interceptors
from tests.servers import PostgresServer
from tests.serving import detail_of, info_of, reason_of, violations_of

CODE = grpc.StatusCode


async def request_id_of(call: grpc.aio.UnaryUnaryCall) -> str:
    found: dict[str, str] = dict(await call.trailing_metadata())
    return found["x-request-id"]


async def test_a_sane_request_id_comes_back_and_any_other_is_replaced(
    system_stub: SystemServiceStub,
) -> None:
    for sent, kept in (("abc-123", True), ("a b", False), ("x" * 129, False), ("<script>", False)):
        call = system_stub.GetHealth(pb.GetHealthRequest(), metadata=(("x-request-id", sent),))
        await call
        assert (await request_id_of(call) == sent) == kept, sent
    first, second = (system_stub.GetHealth(pb.GetHealthRequest()) for _ in range(2))
    await asyncio.gather(first, second)
    assert await request_id_of(first) != await request_id_of(second)


async def test_errors_carry_the_request_id_too(agents_stub: AgentServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.GetAgent(
            agent_service_pb2.GetAgentRequest(id="x"), metadata=(("x-request-id", "mine"),)
        )
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "mine"


MALFORMED = {
    "no message": b"\xff\xff\xff",
    "truncated": b"\x0a\x05ab",
    "not UTF-8": b"\x0a\x02\xff\xfe",
    "another type": b"\x08\x01\x0a",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_bytes_that_are_no_request_are_refused_as_such(
    channel: grpc.aio.Channel, data: bytes
) -> None:
    unary = channel.unary_unary("/orca.v1.AgentService/GetAgent")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unary(data)
    assert reason_of(caught.value) == (CODE.INVALID_ARGUMENT, "REQUEST_MALFORMED")
    stream = channel.stream_stream("/orca.v1.AgentService/StreamTelemetry")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(iter([data])).read()
    assert reason_of(caught.value) == (CODE.INVALID_ARGUMENT, "REQUEST_MALFORMED")


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/orca.v1.AgentService/Nothing")(b"")
    assert caught.value.code() is CODE.UNIMPLEMENTED


async def test_a_call_without_deadline_is_ended_all_the_same(
    agents_stub: AgentServiceStub,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    postgres: PostgresServer,
) -> None:
    import asyncpg

    monkeypatch.setattr(interceptors, "LONGEST_UNARY_SECONDS", 0.2)
    blocker = await asyncpg.connect(database_url)
    try:
        await blocker.execute("BEGIN; LOCK TABLE audit_entries")
        agent = agent_pb2.Agent(type="mcp", name="blocked")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agents_stub.CreateAgent(agent_service_pb2.CreateAgentRequest(agent=agent))
        assert reason_of(caught.value) == (CODE.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    finally:
        await blocker.close()
    listed = await agents_stub.ListAgents(agent_service_pb2.ListAgentsRequest())
    assert listed.total_size == 0


async def test_the_unforeseen_is_told_to_the_log_and_not_to_the_caller(
    agents_stub: AgentServiceStub,
    database_url: str,
    postgres: PostgresServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = database_url.rsplit("/", 1)[1]
    postgres.sql("REVOKE ALL ON audit_entries FROM orca", name)
    agent = agent_pb2.Agent(type="mcp", name="x")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.CreateAgent(
            agent_service_pb2.CreateAgentRequest(agent=agent),
            metadata=(("x-request-id", "look-me-up"),),
        )
    assert reason_of(caught.value) == (CODE.INTERNAL, "INTERNAL")
    assert info_of(caught.value).metadata["request_id"] == "look-me-up"
    assert "audit" not in f"{caught.value.details()}"
    logged = "".join(capfd.readouterr())
    assert "unexpected_error" in logged
    assert "permission denied for table audit_entries" in logged


async def test_a_thousand_wrong_records_get_past_a_plain_client(
    agents_stub: AgentServiceStub,
) -> None:
    records = [telemetry_pb2.TelemetryRecord(id=str(n), operations=-1) for n in range(1000)]
    request = agent_service_pb2.RecordTelemetryRequest(records=records)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.RecordTelemetry(request)
    assert reason_of(caught.value) == (CODE.INVALID_ARGUMENT, "TELEMETRY_INVALID")
    assert all("[0-999]" in field for field, _ in violations_of(caught.value))


async def test_what_cannot_be_done_now_says_when_to_try_again() -> None:
    from google.rpc import error_details_pb2

    from tests.serving import running_server, settings_for

    settings = settings_for("postgresql://nobody@127.0.0.1:1/none")
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await SystemServiceStub(channel).GetHealth(pb.GetHealthRequest())
        retry = detail_of(caught.value, error_details_pb2.RetryInfo)
        pushback = dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]
        assert int(pushback) == retry.retry_delay.ToMilliseconds()
        assert retry.retry_delay.ToMilliseconds() == 1000


async def test_calls_are_counted_by_method_and_status(
    server: Addresses, agents_stub: AgentServiceStub
) -> None:
    def count(code: str) -> float:
        with urllib.request.urlopen(f"http://{server.metrics}/metrics") as page:
            text = page.read().decode()
        name = f'orca_grpc_requests_total{{code="{code}",method="orca.v1.AgentService/GetAgent"}} '
        found = [line for line in text.splitlines() if line.startswith(name)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    before = await asyncio.to_thread(count, "INVALID_ARGUMENT")
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await agents_stub.GetAgent(agent_service_pb2.GetAgentRequest(id="x"))
    assert await asyncio.to_thread(count, "INVALID_ARGUMENT") == before + 3


async def test_a_cancelled_call_harms_nobody(agents_stub: AgentServiceStub) -> None:
    for _ in range(50):
        call = agents_stub.ListAgents(agent_service_pb2.ListAgentsRequest())
        await asyncio.sleep(0.001)
        call.cancel()
    listed = await agents_stub.ListAgents(agent_service_pb2.ListAgentsRequest())
    assert listed.total_size == 0

"""Faults that the fuzzer found, each by a request of its own."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from orca.v1 import agent_service_pb2 as pb
from orca.v1 import telemetry_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.services import record_fields
from orca_server.store import migrate
from tests.fuzz.http import Answer, Connection
from tests.inventory import create, refused
from tests.servers import GatewayServer
from tests.serving import server_process


def record(agent_id: str, at: datetime, **fields: Any) -> telemetry_pb2.TelemetryRecord:
    made = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1, **fields)
    made.observed_at.FromDatetime(at)
    return made


async def test_a_day_without_partition_is_unavailable_and_holds_up_no_other(
    agents_stub: AgentServiceStub, database_url: str
) -> None:
    now = datetime.now(UTC)
    missing = now - timedelta(days=30)
    connection = await asyncpg.connect(database_url)
    # The server makes the partitions of the past last.
    while not await connection.fetchval(f"SELECT to_regclass('telemetry_p{missing:%Y%m%d}')"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await connection.execute(f"DROP TABLE telemetry_p{missing:%Y%m%d}")
    await connection.close()
    agent = await create(agents_stub, "a")
    calls = [
        agents_stub.RecordTelemetry(
            pb.RecordTelemetryRequest(records=[record(agent.id, at, id=str(number))])
        )
        for number in range(20)
        for at in [missing if number == 7 else now]
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [7]
    again = agents_stub.RecordTelemetry(
        pb.RecordTelemetryRequest(records=[record(agent.id, missing, id="7")])
    )
    unavailable = (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert await refused(again) == unavailable


async def ask(port: int, request: bytes) -> Answer:
    connection = Connection(port)
    try:
        return await connection.ask(request)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /status HTTP/1.1\r\nhost: localhost\r\ngrpc-timeout: soon\r\n\r\n", 200),
        (b"GET /status HTTP/1.1\r\nhost: localhost\r\ngrpc-timeout: 1n\r\n\r\n", 200),
        (b"GET /status HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc\r\n\r\n", 200),
        (b"GET /status HTTP/1.0\r\nhost: localhost\r\n\r\n", 400),
        (b"POST /agents HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\nx", 400),
    ],
    ids=["no deadline", "a deadline of gRPC", "gRPC by GET", "HTTP/1.0", "transfer encoding"],
)
def test_what_the_gateway_cannot_read_is_no_fault_of_the_server(
    database_url: str, gateway: Callable[..., GatewayServer], request_: bytes, status: int
) -> None:
    with server_process(database_url) as server:
        front = gateway(int(server.start().grpc.rpartition(":")[2]))
        answer = asyncio.run(ask(front.settings.rest_port, request_))
    body = json.loads(answer.body)
    if status == 400:
        assert (body["code"], body["details"][0]["reason"]) == (3, "REQUEST_MALFORMED")
    else:
        assert body["access"] == "open"
    assert answer.status == status, body


def test_files_of_a_newer_release_do_not_change_what_a_running_server_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = migrate.needed_version()
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(migrate, "sql_folder", lambda: tmp_path)
    assert migrate.read_migrations() == ()
    assert migrate.needed_version() == before > 0


def test_long_texts_in_place_of_an_id_are_not_kept() -> None:
    before = record_fields._parse_id.cache_info().currsize
    assert record_fields.parse_id("x" * 1_000_000) is None
    assert record_fields._parse_id.cache_info().currsize == before

"""Faults that the fuzzer found, each by a request of its own."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc

from orca.v1 import agent_service_pb2 as pb
from orca.v1 import telemetry_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.inventory import create, refused


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

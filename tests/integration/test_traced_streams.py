"""Streams while spans are recorded: tracing must change nothing that a caller sees."""

import time

import grpc

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.serving import server_process, wait_until_ready


async def test_a_stream_gets_its_receipts_while_traced(database_url: str) -> None:
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "ORCA_TRACE_SAMPLE_RATIO": "1",
    }
    with server_process(database_url, **otlp) as child:
        async with grpc.aio.insecure_channel(child.start().grpc) as channel:
            await wait_until_ready(channel)
            stub = AgentServiceStub(channel)
            agent = agent_pb2.Agent(type="mcp", name="traced")
            created = await stub.CreateAgent(pb.CreateAgentRequest(agent=agent))
            requests = []
            for number in range(2):
                request = pb.StreamTelemetryRequest(batch_id=str(number))
                record = request.records.add(agent_id=created.id, operations=1)
                record.observed_at.FromSeconds(int(time.time()) - number)
                requests.append(request)
            receipts = [receipt async for receipt in stub.StreamTelemetry(iter(requests))]
    assert [(r.batch_id, r.accepted) for r in receipts] == [("0", 1), ("1", 1)]

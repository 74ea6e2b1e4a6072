"""Logs, metrics and spans of a real server process."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator
from datetime import datetime

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)

from orca.v1 import agent_pb2, agent_service_pb2
from orca.v1 import system_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server import observability
from tests.servers import PostgresServer
from tests.serving import server_process, wait_until_ready

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.address = ""
        self.spans: dict[str, list[str]] = {}
        """Names of spans by trace id."""

    async def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.trace_id.hex(), []).append(span.name)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    kept = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    kept.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield kept
    await server.stop(None)


async def test_spans_of_calls_and_queries_reach_the_collector_and_the_log(
    database_url: str, collector: Collector, postgres: PostgresServer
) -> None:
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        "ORCA_TRACE_SAMPLE_RATIO": "0",  # the caller's decision counts all the same
    }
    with server_process(database_url, **otlp) as child:
        addresses = child.start()
        async with grpc.aio.insecure_channel(addresses.grpc) as channel:
            await wait_until_ready(channel)
            sampled = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "traced"))
            stub = AgentServiceStub(channel)
            await stub.ListAgents(agent_service_pb2.ListAgentsRequest(), metadata=sampled)
            postgres.sql("REVOKE ALL ON audit_entries FROM orca", database_url.rsplit("/", 1)[1])
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CreateAgent(
                    agent_service_pb2.CreateAgentRequest(
                        agent=agent_pb2.Agent(type="mcp", name="x")
                    ),
                    metadata=sampled,
                )
        assert await asyncio.to_thread(child.terminate) == 0  # it flushes
    assert set(collector.spans) == {TRACE}, "nothing else was sampled"
    names = collector.spans[TRACE]
    assert any("ListAgents" in name for name in names)
    assert any(name.startswith(("SELECT", "WITH")) for name in names)
    (line,) = child.events("unexpected_error")
    assert (line["trace_id"], line["request_id"]) == (TRACE, "traced")
    assert len(line["span_id"]) == 16


def test_a_collector_that_is_away_holds_nobody_up(database_url: str) -> None:
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "ORCA_TRACE_SAMPLE_RATIO": "1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }

    async def ready(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            await wait_until_ready(channel)

    with server_process(database_url, **otlp) as child:
        asyncio.run(ready(child.start().grpc))
        started = time.monotonic()
        assert child.terminate() == 0
        assert time.monotonic() - started < 60


def test_every_log_line_is_json_with_time_and_level(database_url: str) -> None:
    with server_process(database_url, ORCA_LOG_LEVEL="debug") as child:
        child.start()
        child.terminate()
    assert child.other == []
    assert child.lines
    for line in child.lines:
        assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
        assert line["level"] in ("debug", "info", "warning", "error")
        assert line["event"]
    assert "for-tests_only" not in str(child.lines), "the database's password"


async def test_metrics_have_a_port_of_their_own(database_url: str) -> None:
    def read(address: str) -> str:
        with urllib.request.urlopen(f"http://{address}/metrics") as page:
            text: str = page.read().decode()
        return text

    with server_process(database_url) as child:
        addresses = child.start()
        async with grpc.aio.insecure_channel(addresses.grpc) as channel:
            await wait_until_ready(channel)
            await SystemServiceStub(channel).GetStatus(pb.GetStatusRequest())
        text = await asyncio.to_thread(read, addresses.metrics)
    for metric in (
        observability.REQUESTS,
        observability.REQUEST_SECONDS,
        observability.READY,
        observability.CONNECTIONS_IN_USE,
        observability.PARTITION_DAYS,
    ):
        assert f"# HELP {metric.describe()[0].name}" in text
    assert "orca_ready 1.0" in text
    counted = 'orca_grpc_requests_total{code="OK",method="orca.v1.SystemService/GetStatus"} 1.0'
    assert counted in text

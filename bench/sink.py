"""A collector that takes spans and forgets them, so that tracing costs what it costs."""

from typing import Any

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from bench.child import serve_orders


class TraceSink(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts the spans."""

    def __init__(self) -> None:
        """Has seen none."""
        self.spans = 0

    async def Export(  # noqa: N802 - gRPC's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Takes them."""
        for resource in request.resource_spans:
            self.spans += sum(len(scope.spans) for scope in resource.scope_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def serve() -> None:
    """Answers until the parent is gone."""
    server, sink = grpc.aio.server(), TraceSink()
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # publishes no types
    add(sink, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def address() -> str:
        return f"http://127.0.0.1:{port}"

    async def spans() -> int:
        return sink.spans

    await serve_orders({"address": address, "spans": spans})
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())

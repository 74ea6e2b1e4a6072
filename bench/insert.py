"""The ceiling of one caller's latency: a server that does one INSERT per call, and nothing else."""

import sys
from typing import Any

import asyncpg
import grpc
import uvloop

from bench.child import serve_orders
from bench.records import rows_of
from bench.sql import QUERIES
from orca.v1 import agent_service_pb2 as service_pb
from orca_server.domain.access import DEFAULT_TENANT

METHOD = "/bench.Insert/Call"


async def serve(url: str) -> None:
    """Answers until the parent is gone."""
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    insert = await connection.prepare(QUERIES["insert_record"])
    answer = service_pb.RecordTelemetryResponse(accepted=1).SerializeToString()

    async def call(data: bytes, context: Any) -> bytes:
        request = service_pb.RecordTelemetryRequest.FromString(data)
        await insert.fetch(DEFAULT_TENANT, *rows_of(request.records)[0][:-1])  # no rule
        return answer

    async def address() -> str:
        return f"127.0.0.1:{port}"

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Insert", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await serve_orders({"address": address})
    await server.stop(None)
    await connection.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

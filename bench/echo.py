"""The ceiling of unary calls: a bare grpc.aio server, on uvloop too, that sends back what came."""

from typing import Any

import grpc
import uvloop

from bench.child import serve_orders

METHOD = "/bench.Echo/Call"


async def echo(data: bytes, context: Any) -> bytes:
    """What came."""
    return data


async def serve() -> None:
    """Answers until the parent is gone."""
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def address() -> str:
        return f"127.0.0.1:{port}"

    await serve_orders({"address": address})
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())

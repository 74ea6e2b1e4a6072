"""A way to a server on which the first call of each method is lost."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

Handler = Callable[[bytes, grpc.ServicerContext], bytes]


class _Way(grpc.GenericRpcHandler):
    """Hands unary calls on as they are, all but the first of each method."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.lost: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """How a call of that method is answered."""
        method = details.method

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if method not in self.lost:
                self.lost.append(method)
                context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            reply: bytes = self._channel.unary_unary(method)(request, timeout=30)
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def flaky(address: str) -> Iterator[tuple[str, list[str]]]:
    """The way's own address, and the methods of which a call was lost."""
    with grpc.insecure_channel(address) as channel:
        way = _Way(channel)
        server = grpc.server(ThreadPoolExecutor(max_workers=2), handlers=(way,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", way.lost
        finally:
            server.stop(grace=None).wait()

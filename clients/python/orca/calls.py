"""One call: token, request id, deadline, and typed exceptions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import grpc

from orca.credentials import TokenSource
from orca.errors import REQUEST_ID_KEY, from_rpc_error

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes calls the same way for all parts of the client.

    Attributes:
        channel: Channel to the server.
        tokens: Where the token of each call comes from.
        timeout_seconds: Deadline of a call that names none, retries included.
    """

    channel: grpc.aio.Channel
    tokens: TokenSource
    timeout_seconds: float

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Response:
        """The response.

        Args:
            method: Method of a stub.
            request: Its request.
            timeout: Seconds until it fails, retries included; None: the client's default.

        Raises:
            OrcaError: Of the type that fits the status.
        """
        request_id, metadata = self.metadata()
        deadline = self.timeout_seconds if timeout is None else timeout
        async with typed_errors(request_id):
            return await method(request, timeout=deadline, metadata=metadata)

    def metadata(self) -> tuple[str, grpc.aio.Metadata]:
        """A new request id, and the metadata that carry it and the token of now."""
        request_id = str(uuid4())
        metadata = grpc.aio.Metadata((REQUEST_ID_KEY, request_id))
        if token := self.tokens.read():
            metadata.add("authorization", f"Bearer {token}")
        return request_id, metadata


@asynccontextmanager
async def typed_errors(request_id: str) -> AsyncIterator[None]:
    """Turns what grpc raises into an OrcaError."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, request_id) from error

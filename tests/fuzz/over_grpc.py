"""Sends requests over gRPC, past the gateway or through it."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from grpc_status import rpc_status

from orca_server.services import error_catalog as catalog
from tests.fuzz import requests
from tests.fuzz.pool import Pool
from tests.fuzz.requests import Case, label
from tests.fuzz.tally import Tally, documented

TIMEOUT_SECONDS = 60
CANCELLED, GARBLED, TALKATIVE = 0.004, 0.03, 0.12
WRITE_FAILED = "Internal error from Core"
"""What grpc.aio itself says when a stream was refused that it still writes to."""
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class _About:
    """A request for people, written out only if need be."""

    case: Case
    metadata: Metadata
    data: bytes

    def __str__(self) -> str:
        return f"{self.case.kind} {self.metadata}\n{self.data[:300]!r}\n{self.case.request!r}"


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


class GrpcFuzzer:
    """Sends one request after the other; several may be under way."""

    def __init__(
        self, channel: grpc.aio.Channel, pool: Pool, tally: Tally, tokens: Sequence[str]
    ) -> None:
        """Keeps what it needs.

        Args:
            channel: To the server.
            pool: Real values.
            tally: Where answers are counted.
            tokens: Good tokens of several roles.
        """
        self._channel = channel
        self._pool = pool
        self._tally = tally
        self._tokens = tokens

    async def send(self, case: Case, dice: random.Random) -> None:
        """Sends a request and counts what came of it."""
        data = case.request.SerializeToString()
        if dice.random() < GARBLED:
            data = requests.garble(data, dice)
        about = _About(case, self._metadata(dice), data)
        try:
            if case.method.client_streaming:
                await self._converse(about, dice.choice((1, 1, 2)))
            else:
                await self._call(about, dice)
        except grpc.aio.AioRpcError as error:
            self._refused(case, error, about)

    async def _call(self, about: "_About", dice: random.Random) -> None:
        method = about.case.method
        unary = self._channel.unary_unary(
            _path(method), response_deserializer=GetMessageClass(method.output_type).FromString
        )
        call = unary(about.data, metadata=about.metadata, timeout=TIMEOUT_SECONDS)
        if dice.random() < CANCELLED:
            await asyncio.sleep(dice.random() * 0.004)
            call.cancel()
        try:
            answer = await call
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
        else:
            self._tally.accept(label(method))
            self._pool.learn(method.name, about.case.request, answer)

    async def _converse(self, about: "_About", batches: int) -> None:
        """One stream with a few batches; each receipt is an answer."""
        method = about.case.method
        stream = self._channel.stream_stream(
            _path(method), response_deserializer=GetMessageClass(method.output_type).FromString
        )
        call = stream(
            iter([about.data] * batches), metadata=about.metadata, timeout=TIMEOUT_SECONDS
        )
        receipts = 0
        async for receipt in call:
            receipts += 1
            self._count(receipt, about.case, about)
        if receipts != batches:
            self._tally.fault(f"{label(method)}: {receipts} receipts", about)

    def _count(self, receipt: Any, case: Case, about: "_About") -> None:
        name = label(case.method)
        if receipt.accepted + receipt.duplicates or not receipt.refused:
            self._tally.accept(name)
        else:
            self._tally.refuse(name, "", receipt.refused[0].reason)
        for refused in receipt.refused:
            if refused.reason not in catalog.FIELD_REASONS:
                self._tally.fault(f"{name}: receipt with {refused.reason}", about)

    def _refused(self, case: Case, error: grpc.aio.AioRpcError, about: "_About") -> None:
        name = label(case.method)
        if error.details() == WRITE_FAILED:
            self._tally.refuse(name, "WRITE_FAILED", "")
            return
        details = rpc_status.from_call(error) or status_pb2.Status(message=error.details() or "")
        self._tally.judge(name, error.code().name, details, documented(name), about)

    def _metadata(self, dice: random.Random) -> Metadata:
        if dice.random() > TALKATIVE:
            return ()
        odd = "".join(chr(dice.randrange(0x20, 0x7F)) for _ in range(dice.choice((1, 30, 700))))
        return dice.choice(
            (
                (("authorization", f"Bearer {dice.choice(self._tokens)}"),),
                (("authorization", f"bearer  {dice.choice(self._tokens)}"),),
                (("authorization", f"Bearer {odd}"),),
                (("authorization", odd), ("authorization", "Bearer a.b.c")),
                (("x-request-id", odd),),
                (("x-orca-tenant", odd), ("x-something-bin", dice.randbytes(40))),
                (("traceparent", odd), ("grpc-tags-bin", b"\0\xff"), ("user-agent", odd)),
            )
        )

"""What surrounds every call: caller, scope, request id, deadline, metrics, errors.

Not a chain of gRPC interceptors, which costs a coroutine each per call, but handlers that are
built once per method, from the descriptor, around the servicer's own. A handler takes and gives
bytes, so that a request that cannot be decoded is answered like any other bad request.
"""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry.trace import Span
from prometheus_client import Counter

from orca.v1 import options_pb2
from orca_server.domain.access import PUBLIC_SCOPE
from orca_server.domain.errors import InvalidRequest, OrcaError
from orca_server.observability import (
    REQUEST_ID,
    REQUEST_SECONDS,
    REQUESTS,
    CallTracer,
    close_span,
    span_attributes,
)
from orca_server.services.authentication import Authenticator, set_caller
from orca_server.services.errors import deadline_error, internal_error, to_status

if TYPE_CHECKING:  # generic in its published types alone
    Handler = grpc.RpcMethodHandler[Any, Any]

LONGEST_UNARY_SECONDS = 60.0
"""Deadline of a unary call whose caller set none."""
REQUEST_ID_HEADER = "x-request-id"
PUSHBACK_HEADER = "grpc-retry-pushback-ms"

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_OK = grpc.StatusCode.OK
_CODE_OF = {code.value[0]: code for code in grpc.StatusCode}

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]
UnaryCall = Callable[[Any, Context], Awaitable[Message]]
StreamCall = Callable[[Any, Context], Awaitable[None]]
"""Answers by `context.write`."""


def scope_of(method: MethodDescriptor) -> str:
    """The scope that a caller of the method needs, from its option.

    Raises:
        ValueError: If it has none: that would be a method that nobody thought about.
    """
    scope: str = method.GetOptions().Extensions[options_pb2.scope]
    if not scope:
        raise ValueError(f"{method.full_name} has no option (orca.v1.scope)")
    return scope


def guarded_handlers(
    service: ServiceDescriptor,
    servicers: Sequence[object],
    authenticator: Authenticator,
    tracer: CallTracer | None = None,
) -> dict[str, "Handler"]:
    """A guarded handler for each method of a service.

    Args:
        service: Descriptor of the service.
        servicers: Have a coroutine per method, each of them some; one that streams answers
            with `context.write`.
        authenticator: Knows the callers.

    Raises:
        ValueError: If a method has no scope, or not exactly one servicer.
    """
    handlers = {}
    for method in service.methods:
        found = [each for each in servicers if hasattr(each, method.name)]
        if len(found) != 1:
            raise ValueError(f"{method.full_name}: {len(found)} servicers answer it, not one")
        call = getattr(found[0], method.name)
        handlers[method.name] = _Guard(method, authenticator, tracer).handler(call)
    return handlers


@dataclass(slots=True)
class _Run:
    """One call: when it came and how it ended; one that nobody answered was cancelled."""

    started: float
    span: Span | None
    code: grpc.StatusCode = grpc.StatusCode.CANCELLED


class _Guard:
    """One method's surroundings."""

    def __init__(
        self, method: MethodDescriptor, authenticator: Authenticator, tracer: CallTracer | None
    ) -> None:
        self._name = f"{method.containing_service.full_name}/{method.name}"
        self._descriptor = method
        self._scope = scope_of(method)
        self._authenticator = authenticator
        self._tracer = tracer
        self._attributes = span_attributes(method.containing_service.full_name, method.name)
        self._request: type[Message] = GetMessageClass(method.input_type)
        self._seconds = REQUEST_SECONDS.labels(self._name)
        self._counters: dict[grpc.StatusCode, Counter] = {}

    def handler(self, call: Any) -> "Handler":
        """gRPC's handler around the servicer's method."""
        match self._descriptor.client_streaming, self._descriptor.server_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(self._unary(call))
            case False, True:
                guarded = self._stream(call, self._parse)
                return grpc.unary_stream_rpc_method_handler(guarded, None, _encode)
            case True, True:
                guarded = self._stream(call, self._parse_each)
                return grpc.stream_stream_rpc_method_handler(guarded, None, _encode)
            case _:
                raise ValueError(f"{self._name}: client streams with one answer are not foreseen")

    def _unary(self, call: UnaryCall) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def guarded(data: bytes, context: Context) -> bytes:
            metadata = context.invocation_metadata() or ()
            run = self._begin(metadata)
            try:
                self._admit(context, metadata)
                answer = _encode(await self._in_time(call, self._parse(data), context))
                run.code = _OK
                return answer
            except Exception as error:  # noqa: BLE001 - the one place where errors are answered
                status = self._answer(error, run)
            finally:
                self._end(run)
            await _abort(context, status)
            raise AssertionError("abort() raises")

        return guarded

    def _stream(
        self, call: StreamCall, parse: Callable[[Any], Any]
    ) -> Callable[[Any, Context], Awaitable[None]]:
        async def guarded(received: Any, context: Context) -> None:
            metadata = context.invocation_metadata() or ()
            run = self._begin(metadata)
            try:
                self._admit(context, metadata)
                await call(parse(received), context)
                run.code = _OK
                return
            except Exception as error:  # noqa: BLE001 - the one place where errors are answered
                status = self._answer(error, run)
            finally:
                self._end(run)
            await _abort(context, status)

        return guarded

    def _begin(self, metadata: Metadata) -> _Run:
        started = time.perf_counter()
        if self._tracer is None:
            return _Run(started, None)
        return _Run(started, self._tracer.open(self._name, self._attributes, metadata))

    def _admit(self, context: Context, metadata: Metadata) -> None:
        """Finds out who calls, and refuses who may not.

        Raises:
            Unauthenticated, PermissionDenied: If so.
        """
        authorization, request_id = None, ""
        for key, value in metadata:
            if key == "authorization":
                authorization = str(value)
            elif key == REQUEST_ID_HEADER:
                request_id = str(value)
        if not _SANE_REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        REQUEST_ID.set(request_id)
        context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
        if self._scope == PUBLIC_SCOPE:  # no token is looked at: health answers in any case
            set_caller(self._authenticator.anonymous)
            return
        caller = self._authenticator.authenticate(authorization)
        caller.require(self._scope)
        set_caller(caller)

    async def _in_time(self, call: UnaryCall, request: Message, context: Context) -> Message:
        """The answer; gRPC itself cancels calls whose callers set a deadline."""
        if context.time_remaining() is not None:
            return await call(request, context)
        try:
            async with asyncio.timeout(LONGEST_UNARY_SECONDS) as limit:
                return await call(request, context)
        except TimeoutError as error:
            if limit.expired():
                raise _TooLong from error
            raise

    def _parse(self, data: bytes) -> Message:
        try:
            return self._request.FromString(data)
        except (DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                "REQUEST_MALFORMED",
                f"The request is no valid {self._descriptor.input_type.full_name}: text that is "
                "not UTF-8, or bytes of another message.",
                {"type": self._descriptor.input_type.full_name},
            ) from error

    async def _parse_each(self, received: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in received:
            yield self._parse(data)

    def _answer(self, error: Exception, run: _Run) -> status_pb2.Status:
        if isinstance(error, OrcaError):
            status = to_status(error)
        elif isinstance(error, _TooLong):
            status = deadline_error(LONGEST_UNARY_SECONDS)
        else:
            log.error("unexpected_error", method=self._name, exc_info=error)
            if run.span is not None:
                run.span.record_exception(error)
            status = internal_error(REQUEST_ID.get())
        run.code = _CODE_OF[status.code]
        return status

    def _end(self, run: _Run) -> None:
        self._seconds.observe(time.perf_counter() - run.started)
        counter = self._counters.get(run.code)
        if counter is None:  # labels() costs more than the rest of this
            counter = self._counters[run.code] = REQUESTS.labels(self._name, run.code.name)
        counter.inc()
        if run.span is not None:
            close_span(run.span, run.code.value[0])


class _TooLong(Exception):
    """The call took longer than any call may."""


def _encode(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data


async def _abort(context: Context, status: status_pb2.Status) -> None:
    answer = rpc_status.to_status(status)
    own: list[tuple[str, str | bytes]] = [(REQUEST_ID_HEADER, REQUEST_ID.get())]
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):  # gRPC's own retries then wait as long as we ask
            own.append((PUSHBACK_HEADER, str(retry.retry_delay.ToMilliseconds())))
    await context.abort(answer.code, answer.details, (*own, *answer.trailing_metadata))

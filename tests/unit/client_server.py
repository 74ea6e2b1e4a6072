"""A small real gRPC server whose answers a test scripts; the client under test dials it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from orca.v1 import (
    agent_service_pb2_grpc,
    system_service_pb2_grpc,
    trust_service_pb2_grpc,
    workflow_service_pb2_grpc,
)
from orca.v1.agent_service_pb2 import StreamTelemetryRequest, StreamTelemetryResponse


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status with details, as our server sends it."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "no"
    retry_after_seconds: float | None = None
    violations: tuple[tuple[str, str, str], ...] = ()

    def status(self) -> grpc.Status:
        """The status as grpc sends it."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(
                reason=self.reason, domain="orca", metadata={"about": "x"}
            )
            status.details.add().Pack(info)
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for where, reason, description in self.violations:
                bad.field_violations.add(field=where, reason=reason, description=description)
            status.details.add().Pack(bad)
        if self.retry_after_seconds is not None:
            delay = Duration(nanos=int(self.retry_after_seconds * 1e9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return rpc_status.to_status(status)


BatchHandler = Callable[[StreamTelemetryRequest], StreamTelemetryResponse | Refusal | None]


@dataclass(slots=True)
class Script:
    """What the server answers, and what it has seen.

    Attributes:
        answers: For each method name, answers in order; the last one repeats.
        seen: Every unary request, with its method.
        metadata: The metadata of each unary request.
        on_batch: Answers a batch of a telemetry stream; None: swallows it.
        streams: How many telemetry streams were opened.
        batches: Every batch that arrived, over all streams.
    """

    answers: dict[str, list[Message | Refusal]] = field(default_factory=dict)
    seen: list[tuple[str, Message]] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    on_batch: BatchHandler = lambda batch: StreamTelemetryResponse(
        batch_id=batch.batch_id, accepted=len(batch.records)
    )
    streams: int = 0
    batches: list[StreamTelemetryRequest] = field(default_factory=list)

    async def answer(
        self, method: str, request: Message, context: grpc.aio.ServicerContext
    ) -> Message:
        """The next answer of the method."""
        self.seen.append((method, request))
        self.metadata.append(dict(context.invocation_metadata() or ()))
        answers = self.answers.get(method, [Empty()])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Refusal):
            await context.abort_with_status(answer.status())
        return answer

    async def stream(
        self,
        requests: AsyncIterator[StreamTelemetryRequest],
        context: grpc.aio.ServicerContext,
    ) -> AsyncIterator[StreamTelemetryResponse]:
        """Answers each batch as `on_batch` says."""
        self.streams += 1
        async for batch in requests:
            self.batches.append(batch)
            answer = self.on_batch(batch)
            if isinstance(answer, Refusal):
                await context.abort_with_status(answer.status())
            if answer is not None:
                yield answer


def _scripted(base: type, script: Script) -> object:
    """A servicer whose unary methods all answer from the script."""

    def unary(name: str) -> Callable[..., object]:
        async def method(_self: object, request: Message, context: object) -> Message:
            return await script.answer(name, request, context)

        return method

    async def stream(_self: object, requests: object, context: object) -> AsyncIterator[Message]:
        async for receipt in script.stream(requests, context):
            yield receipt

    names = [name for name in vars(base) if name[0].isupper()]
    methods = {name: unary(name) for name in names} | {"StreamTelemetry": stream}
    return type("Scripted", (base,), methods)()


@asynccontextmanager
async def scripted_server(script: Script, port: int = 0) -> AsyncIterator[str]:
    """The address of a running server."""
    server = grpc.aio.server()
    for module, service in (
        (agent_service_pb2_grpc, "AgentService"),
        (trust_service_pb2_grpc, "TrustService"),
        (system_service_pb2_grpc, "SystemService"),
        (workflow_service_pb2_grpc, "WorkflowService"),
    ):
        servicer = _scripted(getattr(module, f"{service}Servicer"), script)
        getattr(module, f"add_{service}Servicer_to_server")(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
        await asyncio.sleep(0)

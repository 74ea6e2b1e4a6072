"""Logs, metrics and traces: their names in one place, and how they start and stop.

Logs are JSON lines on standard output with the ids of request and trace. Metrics are kept by
prometheus-client and served on a port of their own. Spans leave only when an OTLP endpoint is set.
"""

import logging
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, make_wsgi_app

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the present task works for."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # publishes no types
REQUESTS = Counter("orca_grpc_requests", "Calls that were answered.", ("method", "code"))
REQUEST_SECONDS = Histogram(
    "orca_grpc_request_seconds",
    "Time from a call's arrival to its answer; streams last as long as they stay open.",
    ("method",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
READY = Gauge("orca_ready", "1 while the server can do its work, else 0.")
CONNECTIONS_IN_USE = Gauge("orca_database_connections_in_use", "Database connections in use.")
PARTITION_DAYS = Gauge(
    "orca_partition_days_ahead", "Days for which telemetry partitions lie ahead."
)

SERVICE = "orca-agentmesh"
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_NO_PARENT = Context()
with suppress_instrumentation():
    _NO_STATEMENTS = get_current()
    """In it no spans of SQL statements are made, which cost 35 µs each even if not sampled."""
_SERVER_FAULTS = frozenset({2, 4, 12, 13, 14, 15})
"""Statuses that are the server's fault by OpenTelemetry's conventions."""
Event = MutableMapping[str, Any]


def _add_ids(_logger: object, _method: str, event: Event) -> Event:
    """Adds the ids of request, trace and span, as far as there are any."""
    if request_id := REQUEST_ID.get():
        event.setdefault("request_id", request_id)
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def set_up_logging(level: str) -> None:
    """Sends every log line of this process, libraries' too, to standard output as JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _add_ids,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.getLevelNamesMapping()[level.upper()]


class _QuietHandler(WSGIRequestHandler):
    """Scrapes are not worth a log line."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _MetricsServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _MetricsServer6(_MetricsServer):
    address_family = socket.AF_INET6


def serve_metrics(host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Serves /metrics in a thread.

    Returns:
        The port it got, and a function that stops it.

    Raises:
        OSError: If the address cannot be had.
    """
    kind = _MetricsServer6 if ":" in host else _MetricsServer
    server = make_server(host, port, make_wsgi_app(), kind, _QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop


def set_up_tracing(endpoint: str, instance: str) -> Callable[[], None]:
    """Sends sampled spans to the endpoint; returns a function that flushes and stops."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    resource = Resource.create({"service.name": SERVICE, "service.instance.id": instance})
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),  # CallTracer chooses among those without a parent
        resource=resource,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    instrumentor = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]  # publishes no types
    instrumentor.instrument(tracer_provider=provider)
    attach(_NO_STATEMENTS)  # of this task and those it starts: jobs are told by metrics

    def stop() -> None:
        instrumentor.uninstrument()
        provider.shutdown()

    return stop


def span_attributes(service: str, method: str) -> dict[str, str]:
    """What the spans of a method have in common, by OpenTelemetry's names for RPCs."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


@dataclass(frozen=True, slots=True)
class CallTracer:
    """Opens a span per sampled call.

    In place of opentelemetry-instrumentation-grpc's interceptor, which costs 50 µs for a call that
    is not sampled, and fails streams that answer by `context.write`.
    """

    tracer: trace.Tracer
    sample_ratio: float
    """Of calls whose caller did not decide."""

    def open(
        self,
        name: str,
        attributes: Mapping[str, str],
        metadata: Iterable[tuple[str, str | bytes]],
    ) -> trace.Span | None:
        """A span, current in the call's task; None if nobody wants to know of the call."""
        carrier = {key: str(value) for key, value in metadata if key in _TRACE_HEADERS}
        parent = _PROPAGATOR.extract(carrier, _NO_PARENT) if carrier else _NO_PARENT
        if not trace.get_current_span(parent).get_span_context().is_valid and (
            random.random() >= self.sample_ratio  # noqa: S311 - no secret
        ):
            return None
        span = self.tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        base = parent if span.is_recording() else _NO_STATEMENTS
        attach(trace.set_span_in_context(span, base))  # until the call's task ends
        return span


def close_span(span: trace.Span, code: int) -> None:
    """Ends a call's span.

    Args:
        span: From CallTracer.open().
        code: The gRPC status.
    """
    if span.is_recording():
        span.set_attribute("rpc.grpc.status_code", code)
        if code in _SERVER_FAULTS:
            span.set_status(trace.StatusCode.ERROR)
    span.end()

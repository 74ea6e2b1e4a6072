"""The telemetry that is sent: the same records as gRPC messages and as rows for COPY.

A record is one that a gateway reports of a model call: agent, time, id, one operation, latency,
cost and tokens; no attributes. An adapter's message holds 100 records, a second apart, of each
of 5 agents.
"""

import itertools
import struct
import time
from collections.abc import Iterator, Sequence
from uuid import UUID

from orca.v1 import agent_service_pb2 as service_pb
from orca.v1 import telemetry_pb2 as pb
from orca_server.domain.telemetry import Row
from orca_server.services.telemetry_records import to_columns

MESSAGE_RECORDS = 500
RECORDS_PER_AGENT = 100
_PG_EPOCH_US = 946_684_800_000_000
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
_COLUMNS = struct.Struct(">h i16s i16s i16s iq ii ii ii i i iq iq iq ii ii i i?")

COPY_COLUMNS = (
    *("tenant_id", "agent_id", "key", "observed_at", "operations", "errors", "violations"),
    *("attempts", "blocked_violations", "latency_us", "latency_max_us", "cost_nano_usd"),
    *("input_tokens", "output_tokens", "attributes", "counted"),
)


def fill(record: pb.TelemetryRecord, agent_id: str, number: int, observed_us: int) -> None:
    """Writes a record of one model call; `number` makes it unique."""
    record.agent_id = agent_id
    record.observed_at.seconds, micros = divmod(observed_us, 1_000_000)
    record.observed_at.nanos = micros * 1000
    record.id = f"{number:016x}"
    record.operations = 1
    record.errors = int(number % 50 == 0)
    record.latency_ms = 180.0 + number % 1000
    record.latency_max_ms = record.latency_ms
    record.cost_usd = 0.0021
    record.input_tokens = 700 + number % 300
    record.output_tokens = 150 + number % 90


def unary_requests(agents: Sequence[str], first: int, count: int) -> list[bytes]:
    """Serialized RecordTelemetry requests of one record each, agents in turn."""
    request = service_pb.RecordTelemetryRequest()
    record = request.records.add()
    now_us = time.time_ns() // 1000
    found = []
    for number in range(first, first + count):
        fill(record, agents[number % len(agents)], number, now_us - number % 1_000_000)
        found.append(request.SerializeToString())
    return found


def stream_requests(
    agents: Sequence[str], first: int, count: int
) -> Iterator[service_pb.StreamTelemetryRequest]:
    """StreamTelemetry messages; `first` counts messages and makes them unique."""
    per_message = MESSAGE_RECORDS // RECORDS_PER_AGENT
    now_us = time.time_ns() // 1000
    turns = itertools.islice(itertools.cycle(agents), (first * per_message) % len(agents), None)
    for message in range(first, first + count):
        request = service_pb.StreamTelemetryRequest(batch_id=str(message))
        start_us = now_us - RECORDS_PER_AGENT * 1_000_000
        number = message * MESSAGE_RECORDS
        for agent_id in itertools.islice(turns, per_message):
            for second in range(RECORDS_PER_AGENT):
                fill(request.records.add(), agent_id, number, start_us + second * 1_000_000)
                number += 1
        yield request


def rows_of(records: Sequence[pb.TelemetryRecord]) -> Sequence[Row]:
    """The rows that the server makes of the records."""
    columns = to_columns(records, named=None, allowed=None, oldest_us=0, newest_us=2**62)
    assert not columns.refusals
    return columns.rows


def copy_bytes(tenant_id: UUID, rows: Sequence[Row]) -> bytes:
    """The rows in COPY's binary format, encoded before the clock starts."""
    return b"".join((_COPY_HEAD, *(_copy_row(tenant_id.bytes, row) for row in rows), _COPY_TAIL))


def _copy_row(tenant: bytes, row: Row) -> bytes:
    agent, key, at, ops, errors, violations, _, _, latency, latency_max, cost, inp, out, _, _ = row
    return _COLUMNS.pack(
        *(16, 16, tenant, 16, agent.bytes, 16, key.bytes, 8, at - _PG_EPOCH_US),
        *(4, ops, 4, errors, 4, violations, -1, -1, 8, latency, 8, latency_max, 8, cost),
        *(4, inp, 4, out, -1, 1, True),
    )

"""Telemetry records: from proto to rows, and back.

The one place where rows are made straight from proto, without a dataclass per record: a
stream brings hundreds of thousands of records a second through here.
"""

import json
from collections.abc import Sequence
from uuid import UUID

from asyncpg import Record
from asyncpg.pgproto import pgproto

from orca.v1 import telemetry_pb2 as pb
from orca_server.domain import telemetry as domain
from orca_server.domain.telemetry import MAX_COUNT, Columns, Refusal
from orca_server.services.record_fields import (
    Named,
    WrongField,
    parse_id,
    read_attributes,
    read_instant_us,
)

_ROW_BYTES = 400
_COUNTS = ("operations", "errors", "violations")
_OPTIONAL_COUNTS = ("attempts", "blocked_violations", "input_tokens", "output_tokens")
_MEASURES = (*_OPTIONAL_COUNTS, "latency_ms", "latency_max_ms", "cost_usd")


def names_in(records: Sequence[pb.TelemetryRecord]) -> set[tuple[str, str]]:
    """Type and name of the agents that the records name."""
    return {(r.agent.type, r.agent.name) for r in records if r.HasField("agent")}


def to_columns(
    records: Sequence[pb.TelemetryRecord],
    *,
    named: Named,
    allowed: frozenset[UUID] | None,
    oldest_us: int,
    newest_us: int,
) -> Columns[domain.Row]:
    """The rows of a request, and why the others are refused.

    Args:
        records: As they came.
        named: Id of the agents that they name.
        allowed: Agents that the caller may report for; None: all.
        oldest_us: Smallest `observed_at`, microseconds since 1970.
        newest_us: Largest.
    """
    columns: Columns[domain.Row] = Columns()
    for index, record in enumerate(records):
        try:
            row = _to_row(record, named, allowed, oldest_us, newest_us)
        except WrongField as wrong:
            columns.refusals.append(Refusal(index, *wrong.args))
        else:
            columns.rows.append(row)
            columns.indexes.append(index)
            columns.size_bytes += _ROW_BYTES + len(row[13] or "")
    return columns


def _to_row(
    record: pb.TelemetryRecord,
    named: Named,
    allowed: frozenset[UUID] | None,
    oldest_us: int,
    newest_us: int,
) -> domain.Row:
    agent_id = _agent(record, named, allowed)
    observed_us = read_instant_us(record.observed_at, record, "observed_at", oldest_us, newest_us)
    operations, errors, violations = record.operations, record.errors, record.violations
    if not 0 <= errors <= operations <= MAX_COUNT or not 0 <= violations <= MAX_COUNT:
        _check_counts(record)
    has = record.HasField  # not asked where a value other than 0 says it
    attempts = record.attempts or (0 if has("attempts") else None)
    blocked = record.blocked_violations or (0 if has("blocked_violations") else None)
    tokens_in = record.input_tokens or (0 if has("input_tokens") else None)
    tokens_out = record.output_tokens or (0 if has("output_tokens") else None)
    if not (
        0 <= (blocked or 0) <= MAX_COUNT
        and 0 <= (tokens_in or 0) <= MAX_COUNT
        and 0 <= (tokens_out or 0) <= MAX_COUNT
    ):
        _check_counts(record)
    if attempts is not None and not operations <= attempts <= MAX_COUNT:
        raise WrongField("attempts", "OUT_OF_RANGE", "must lie within operations and 10^9")
    if operations == 0:
        _check_heartbeat(record)
    latency_us, latency_max_us, cost = _latency_and_cost(record)
    attributes = read_attributes(record.attributes) if has("attributes") else None
    values = (
        observed_us,
        operations,
        errors,
        violations,
        attempts,
        blocked,
        latency_us,
        latency_max_us,
        cost,
        tokens_in,
        tokens_out,
        attributes,
    )
    if record.id:
        if len(record.id) > domain.MAX_ID_LENGTH:
            raise WrongField("id", "TOO_LONG", f"at most {domain.MAX_ID_LENGTH} characters")
        identity = domain.client_identity(record.id)
    else:
        identity = domain.content_identity(values)
    key = pgproto.UUID(domain.record_key(observed_us, agent_id.bytes, identity))
    return (agent_id, key, *values)


def _agent(record: pb.TelemetryRecord, named: Named, allowed: frozenset[UUID] | None) -> UUID:
    if record.HasField("agent"):
        if record.agent_id:
            raise WrongField("agent", "CONFLICTING", "give agent_id or agent, not both")
        found = named.get((record.agent.type, record.agent.name))
        if found is None:
            text = f"no agent of type '{record.agent.type}' is called '{record.agent.name}'"
            raise WrongField("agent", "AGENT_NOT_FOUND", text)
        agent_id = found
    else:
        if not record.agent_id:
            raise WrongField("agent_id", "REQUIRED", "give agent_id or agent")
        parsed = parse_id(record.agent_id)
        if parsed is None:
            raise WrongField("agent_id", "INVALID_FORMAT", "must be a UUID")
        agent_id = parsed
    if allowed is not None and agent_id not in allowed:
        raise WrongField("agent_id", "AGENT_NOT_ALLOWED", "the token may not report for this agent")
    return agent_id


def _check_counts(record: pb.TelemetryRecord) -> None:
    for name in (*_COUNTS, *_OPTIONAL_COUNTS):
        if not 0 <= getattr(record, name) <= MAX_COUNT:
            raise WrongField(name, "OUT_OF_RANGE", "must lie within 0 and 10^9")
    if record.errors > record.operations:
        raise WrongField("errors", "OUT_OF_RANGE", "must not exceed operations")


def _check_heartbeat(record: pb.TelemetryRecord) -> None:
    for name in ("violations", *_MEASURES):
        if getattr(record, name) != 0:
            raise WrongField(name, "NOT_ALLOWED", "must be 0 or absent where operations is 0")


def _latency_and_cost(
    record: pb.TelemetryRecord,
) -> tuple[int | None, int | None, int | None]:
    has = record.HasField
    latency = record.latency_ms or (0.0 if has("latency_ms") else None)
    largest = record.latency_max_ms or (0.0 if has("latency_max_ms") else None)
    cost = record.cost_usd or (0.0 if has("cost_usd") else None)
    if latency is not None and not 0 <= latency <= domain.MAX_LATENCY_MS:
        raise WrongField("latency_ms", "OUT_OF_RANGE", "must lie within 0 and 86,400,000")
    if largest is not None and not (latency or 0) <= largest <= domain.MAX_LATENCY_MS:
        raise WrongField(
            "latency_max_ms", "OUT_OF_RANGE", "must lie within latency_ms and 86,400,000"
        )
    if cost is not None and not 0 <= cost <= domain.MAX_COST_USD:
        raise WrongField("cost_usd", "OUT_OF_RANGE", "must lie within 0 and 10^6")
    return (
        None if latency is None else round(latency * 1000),
        None if largest is None else round(largest * 1000),
        None if cost is None else round(cost * 1_000_000_000),
    )


def from_row(agent_id: UUID, row: Record) -> pb.StoredTelemetry:
    """A stored record for a reply."""
    record = pb.TelemetryRecord(
        agent_id=str(agent_id),
        operations=row["operations"],
        errors=row["errors"],
        violations=row["violations"],
    )
    record.observed_at.FromDatetime(row["observed_at"])
    for name in _OPTIONAL_COUNTS:
        if row[name] is not None:
            setattr(record, name, row[name])
    for name, column, scale in (
        ("latency_ms", "latency_us", 1000),
        ("latency_max_ms", "latency_max_us", 1000),
        ("cost_usd", "cost_nano_usd", 1_000_000_000),
    ):
        if row[column] is not None:
            setattr(record, name, row[column] / scale)
    if row["attributes"] is not None:
        record.attributes.update(json.loads(row["attributes"]))
    stored = pb.StoredTelemetry(key=str(row["key"]), record=record, counted=row["counted"])
    stored.created_at.FromDatetime(row["created_at"])
    return stored

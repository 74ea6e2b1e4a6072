"""Telemetry records: from proto to rows, and back.

The one place where rows are made straight from proto, without a dataclass per record: a
stream brings hundreds of thousands of records a second through here.
"""

import json
from collections.abc import Sequence
from functools import partial
from operator import attrgetter, methodcaller
from typing import NoReturn
from uuid import UUID

from asyncpg import Record
from asyncpg.pgproto import pgproto

from orca.v1 import telemetry_pb2 as pb
from orca_server.domain import telemetry as domain
from orca_server.domain.telemetry import MAX_COUNT, Columns, Refusal
from orca_server.services.record_fields import (
    Named,
    WrongField,
    id_bytes,
    kept_indexes,
    parse_id,
    read_attributes,
    wrong_instant,
)
from orca_server.services.telemetry_columns import LEAST_RECORDS, read_block

_ROW_BYTES = 400
_COUNTS = ("operations", "errors", "violations")
_OTHER_COUNTS = ("blocked_violations", "input_tokens", "output_tokens")
_OPTIONAL_COUNTS = ("attempts", *_OTHER_COUNTS)
_MEASURES = (*_OPTIONAL_COUNTS, "latency_ms", "latency_max_ms", "cost_usd")
_Measures = tuple[
    int | None, int | None, int | None, int | None, int | None, int | None, int | None, str | None
]


def names_in(records: Sequence[pb.TelemetryRecord]) -> set[tuple[str, str]]:
    """Type and name of the agents that the records name."""
    if not any(map(methodcaller("HasField", "agent"), records)):
        return set()
    return {(r.agent.type, r.agent.name) for r in records if r.HasField("agent")}


def to_columns(
    records: Sequence[pb.TelemetryRecord],
    *,
    named: Named | None,
    allowed: frozenset[UUID] | None,
    oldest_us: int,
    newest_us: int,
) -> Columns[domain.Row]:
    """The rows of a request, and why the others are refused.

    Args:
        records: As they came.
        named: Id of the agents that they name; None if none names its agent.
        allowed: Agents that the caller may report for; None: all.
        oldest_us: Smallest `observed_at`, microseconds since 1970.
        newest_us: Largest.
    """
    if len(records) >= LEAST_RECORDS:
        plain = named is None and allowed is None
        agents_of = _plain_agents if plain else partial(_agents, named=named, allowed=allowed)
        block = read_block(records, agents_of, oldest_us, newest_us)
        if block is not None:
            return Columns(block, range(len(block)), _ROW_BYTES * len(block))
    rows: list[domain.Row] = []
    refusals: list[Refusal] = []
    for index, record in enumerate(records):
        try:
            rows.append(_to_row(record, named, allowed, oldest_us, newest_us))
        except WrongField as wrong:
            refusals.append(Refusal(index, *wrong.args))
    size_bytes = len(rows) * _ROW_BYTES + sum(len(row[13]) for row in rows if row[13])
    return Columns(rows, kept_indexes(len(records), refusals), size_bytes, refusals)


def _plain_agents(records: Sequence[pb.TelemetryRecord]) -> list[bytes | None]:
    """The agents of records that give them by id, None where that must be explained."""
    return list(map(id_bytes, map(attrgetter("agent_id"), records)))


def _agents(
    records: Sequence[pb.TelemetryRecord], named: Named | None, allowed: frozenset[UUID] | None
) -> list[bytes | None]:
    """The agents of any records, None where that must be explained."""

    def agent(record: pb.TelemetryRecord) -> bytes | None:
        try:
            return _agent(record, named or {}, allowed).bytes
        except WrongField:
            return None

    return list(map(agent, records))


def _to_row(
    record: pb.TelemetryRecord,
    named: Named | None,
    allowed: frozenset[UUID] | None,
    oldest_us: int,
    newest_us: int,
) -> domain.Row:
    agent_id = parse_id(record.agent_id)
    if agent_id is None or named is not None or allowed is not None:
        agent_id = _agent(record, named or {}, allowed)
    at = record.observed_at
    observed_us, nanos = at.seconds * 1_000_000 + at.nanos // 1000, at.nanos
    if not (oldest_us <= observed_us <= newest_us and 0 <= nanos < 1_000_000_000):
        raise wrong_instant(record, "observed_at")
    operations, errors, violations = record.operations, record.errors, record.violations
    if not 0 <= errors <= operations <= MAX_COUNT or not 0 <= violations <= MAX_COUNT:
        _check_counts(record)
    if operations == 0:
        _check_heartbeat(record)
    values = (observed_us, operations, errors, violations, *_measures(record, operations))
    rule = record.rule or None
    if rule is not None:
        _check_rule(record)
    if given := record.id:
        if len(given) > domain.MAX_ID_LENGTH:
            raise WrongField("id", "TOO_LONG", f"at most {domain.MAX_ID_LENGTH} characters")
        identity = domain.client_identity(given)
    else:
        identity = domain.content_identity(values if rule is None else (*values, rule))
    key = pgproto.UUID(domain.record_key(observed_us, agent_id.bytes, identity))
    return (agent_id, key, *values, rule)


def _measures(record: pb.TelemetryRecord, operations: int) -> _Measures:
    """The columns from attempts to attributes."""
    has = record.HasField  # not asked where a value other than 0 says it
    attempts = record.attempts or (0 if has("attempts") else None)
    blocked = record.blocked_violations or (0 if has("blocked_violations") else None)
    latency = record.latency_ms or (0.0 if has("latency_ms") else None)
    largest = record.latency_max_ms or (0.0 if has("latency_max_ms") else None)
    cost = record.cost_usd or (0.0 if has("cost_usd") else None)
    tokens_in = record.input_tokens or (0 if has("input_tokens") else None)
    tokens_out = record.output_tokens or (0 if has("output_tokens") else None)
    if not (
        0 <= (blocked or 0) <= MAX_COUNT
        and 0 <= (tokens_in or 0) <= MAX_COUNT
        and 0 <= (tokens_out or 0) <= MAX_COUNT
        and (attempts is None or operations <= attempts <= MAX_COUNT)
        and 0 <= (latency or 0) <= domain.MAX_LATENCY_MS
        and (largest is None or (latency or 0) <= largest <= domain.MAX_LATENCY_MS)
        and 0 <= (cost or 0) <= domain.MAX_COST_USD
    ):
        _refuse_measures(record, attempts, latency, largest)
    return (
        attempts,
        blocked,
        None if latency is None else round(latency * 1000),
        None if largest is None else round(largest * 1000),
        None if cost is None else round(cost * 1_000_000_000),
        tokens_in,
        tokens_out,
        read_attributes(record.attributes) if has("attributes") else None,
    )


def _refuse_measures(
    record: pb.TelemetryRecord,
    attempts: int | None,
    latency: float | None,
    largest: float | None,
) -> NoReturn:
    """Names the first of the measures that lies outside its bounds."""
    if any(not 0 <= getattr(record, name) <= MAX_COUNT for name in _OTHER_COUNTS):
        _check_counts(record)
    if attempts is not None and not record.operations <= attempts <= MAX_COUNT:
        raise WrongField("attempts", "OUT_OF_RANGE", "must lie within operations and 10^9")
    if latency is not None and not 0 <= latency <= domain.MAX_LATENCY_MS:
        raise WrongField("latency_ms", "OUT_OF_RANGE", "must lie within 0 and 86,400,000")
    if largest is not None and not (latency or 0) <= largest <= domain.MAX_LATENCY_MS:
        raise WrongField(
            "latency_max_ms", "OUT_OF_RANGE", "must lie within latency_ms and 86,400,000"
        )
    raise WrongField("cost_usd", "OUT_OF_RANGE", "must lie within 0 and 10^6")


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


def _check_rule(record: pb.TelemetryRecord) -> None:
    if len(record.rule) > domain.MAX_RULE_LENGTH:
        raise WrongField("rule", "TOO_LONG", f"at most {domain.MAX_RULE_LENGTH} characters")
    if not record.rule.isprintable():
        raise WrongField("rule", "INVALID_FORMAT", "must have no control characters")
    if not record.violations and not record.blocked_violations:
        raise WrongField("rule", "NOT_ALLOWED", "names what violations broke, and there are none")


def _check_heartbeat(record: pb.TelemetryRecord) -> None:
    for name in ("violations", *_MEASURES):
        if getattr(record, name) != 0:
            raise WrongField(name, "NOT_ALLOWED", "must be 0 or absent where operations is 0")


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
    record.rule = row["rule"] or ""
    stored = pb.StoredTelemetry(key=str(row["key"]), record=record, counted=row["counted"])
    stored.created_at.FromDatetime(row["created_at"])
    return stored

"""Events of workflows: from proto to rows, and back."""

import json
import re
from collections.abc import Sequence
from uuid import UUID

from asyncpg import Record
from asyncpg.pgproto import pgproto

from orca.v1 import workflow_pb2 as pb
from orca_server.domain import events as domain
from orca_server.domain.checks import url_problem
from orca_server.domain.telemetry import (
    MAX_ID_LENGTH,
    Columns,
    Refusal,
    client_identity,
    content_identity,
    record_key,
)
from orca_server.services.record_fields import (
    Named,
    WrongField,
    kept_indexes,
    parse_id,
    read_attributes,
    read_instant_us,
)

_ROW_BYTES = 600
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def names_in(events: Sequence[pb.WorkflowEvent]) -> set[tuple[str, str]]:
    """Provider and name of the workflows that the events name."""
    return {(e.workflow.provider, e.workflow.name) for e in events if e.HasField("workflow")}


def to_columns(
    events: Sequence[pb.WorkflowEvent], *, named: Named, oldest_us: int, newest_us: int
) -> Columns[domain.Row]:
    """The rows of a request, and why the others are refused.

    Args:
        events: As they came.
        named: Id of the workflows that they name.
        oldest_us: Smallest `occurred_at`, microseconds since 1970.
        newest_us: Largest.
    """
    rows: list[domain.Row] = []
    refusals: list[Refusal] = []
    for index, event in enumerate(events):
        try:
            rows.append(_to_row(event, named, oldest_us, newest_us))
        except WrongField as wrong:
            refusals.append(Refusal(index, *wrong.args))
    texts = (len(value) for row in rows for value in row if isinstance(value, str))
    size_bytes = len(rows) * _ROW_BYTES + sum(texts)
    return Columns(rows, kept_indexes(len(events), refusals), size_bytes, refusals)


def _to_row(event: pb.WorkflowEvent, named: Named, oldest_us: int, newest_us: int) -> domain.Row:
    workflow_id = _workflow(event, named)
    occurred_us = read_instant_us(event.occurred_at, event, "occurred_at", oldest_us, newest_us)
    _check_run(event)
    values = (
        event.run_id,
        event.attempt or 1,
        event.kind,
        occurred_us,
        _text("trigger", event.trigger, domain.MAX_TRIGGER),
        _url(event.url),
        *_error(event),
        _duration_us(event),
        read_attributes(event.attributes) if event.HasField("attributes") else None,
    )
    if len(event.id) > MAX_ID_LENGTH:
        raise WrongField("id", "TOO_LONG", f"at most {MAX_ID_LENGTH} characters")
    identity = client_identity(event.id) if event.id else content_identity(values)
    key = record_key(occurred_us, workflow_id.bytes, identity)
    return (workflow_id, pgproto.UUID(key), *values)


def _workflow(event: pb.WorkflowEvent, named: Named) -> UUID:
    if event.HasField("workflow"):
        if event.workflow_id:
            raise WrongField("workflow", "CONFLICTING", "give workflow_id or workflow, not both")
        found = named.get((event.workflow.provider, event.workflow.name))
        if found is None:
            text = f"'{event.workflow.provider}' has no workflow that is called"
            raise WrongField("workflow", "WORKFLOW_NOT_FOUND", f"{text} '{event.workflow.name}'")
        return found
    if not event.workflow_id:
        raise WrongField("workflow_id", "REQUIRED", "give workflow_id or workflow")
    parsed = parse_id(event.workflow_id)
    if parsed is None:
        raise WrongField("workflow_id", "INVALID_FORMAT", "must be a UUID")
    return parsed


def _check_run(event: pb.WorkflowEvent) -> None:
    if not event.run_id:
        raise WrongField("run_id", "REQUIRED", "must be given")
    if len(event.run_id) > domain.MAX_RUN_ID:
        raise WrongField("run_id", "TOO_LONG", f"at most {domain.MAX_RUN_ID} characters")
    if _CONTROL.search(event.run_id):
        raise WrongField("run_id", "INVALID_FORMAT", "contains a control character")
    if not 0 <= event.attempt <= domain.MAX_ATTEMPT:
        raise WrongField("attempt", "OUT_OF_RANGE", f"must lie within 1 and {domain.MAX_ATTEMPT:,}")
    if not event.kind:
        raise WrongField("kind", "REQUIRED", "must be given")
    if event.kind not in domain.KINDS:
        raise WrongField("kind", "INVALID_VALUE", f"must be one of {', '.join(domain.KINDS)}")


def _text(field: str, value: str, most: int) -> str:
    if len(value) > most:
        raise WrongField(field, "TOO_LONG", f"at most {most:,} characters")
    if "\0" in value:  # PostgreSQL stores none
        raise WrongField(field, "INVALID_FORMAT", "contains a NUL character")
    return value


def _url(url: str) -> str:
    if url and (problem := url_problem(url)):
        raise WrongField("url", *problem)
    return url


def _error(event: pb.WorkflowEvent) -> tuple[str | None, str | None]:
    """Type and message; None for both where the event names no error."""
    kind, message = event.error.type, event.error.message
    if not (kind or message):
        return None, None
    if event.kind != domain.FAILED:
        raise WrongField("error", "NOT_ALLOWED", "goes with kind 'failed' alone")
    return (
        _text("error.type", kind, domain.MAX_ERROR_TYPE),
        _text("error.message", message, domain.MAX_ERROR_MESSAGE),
    )


def _duration_us(event: pb.WorkflowEvent) -> int | None:
    if not event.HasField("duration_ms"):
        return None
    if event.kind not in domain.ENDS:
        raise WrongField("duration_ms", "NOT_ALLOWED", "goes with an end of the run alone")
    if not 0 <= event.duration_ms <= domain.MAX_DURATION_MS:
        raise WrongField("duration_ms", "OUT_OF_RANGE", "must lie within 0 and 31,622,400,000")
    return round(event.duration_ms * 1000)


def from_row(workflow_id: UUID, row: Record) -> pb.StoredEvent:
    """A stored event for a reply."""
    event = pb.WorkflowEvent(
        workflow_id=str(workflow_id),
        run_id=row["run_id"],
        attempt=row["attempt"],
        kind=row["kind"],
        trigger=row["trigger"],
        url=row["url"],
    )
    event.occurred_at.FromDatetime(row["occurred_at"])
    if row["error_type"] is not None:
        event.error.type, event.error.message = row["error_type"], row["error_message"]
    if row["duration_us"] is not None:
        event.duration_ms = row["duration_us"] / 1000
    if row["attributes"] is not None:
        event.attributes.update(json.loads(row["attributes"]))
    stored = pb.StoredEvent(key=str(row["key"]), event=event)
    stored.created_at.FromDatetime(row["created_at"])
    return stored

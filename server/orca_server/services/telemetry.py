"""The telemetry methods of AgentService."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from grpc.aio import ServicerContext

from orca.v1 import agent_service_pb2 as service_pb
from orca.v1 import telemetry_pb2 as pb
from orca_server.domain.access import Caller
from orca_server.domain.errors import (
    FieldViolation,
    InvalidRequest,
    PermissionDenied,
    Unavailable,
    invalid_fields,
)
from orca_server.domain.telemetry import (
    FUTURE_TOLERANCE_US,
    MAX_RECORDS,
    Columns,
    Refusal,
    first_key,
)
from orca_server.runtime.agent_names import AgentNames
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.services import page_token
from orca_server.services.authentication import current_caller
from orca_server.services.requests import (
    EARLIEST,
    LATEST,
    read_id,
    read_page_size,
    read_time,
)
from orca_server.services.telemetry_records import from_row, names_in, parse_id, to_columns
from orca_server.store.agents import agent_missing
from orca_server.store.database import Database
from orca_server.store.telemetry import LAST_KEY, count_rows, list_rows
from orca_server.store.trust import agent_exists

STREAM_BATCHES_AHEAD = 8
MOST_BATCH_ID = 200
DEFAULT_PAGE, MOST_PAGE = 1_000, 5_000
DAY_US = 86_400_000_000

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A decoded request; `done` is None if nothing of it was queued."""

    batch_id: str
    columns: Columns
    named: Mapping[tuple[str, str], UUID]
    done: asyncio.Future[Outcome] | None = None


class _Ahead:
    """Batches of one stream that were read and not answered yet; None ends them."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[_Batch | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(STREAM_BATCHES_AHEAD)

    def abandon(self) -> None:
        """Takes batches that nobody will hear of out of the ingest queue."""
        while not self.batches.empty():
            batch = self.batches.get_nowait()
            if batch is not None and batch.done is not None:
                batch.done.cancel()


class TelemetryServicer:
    """RecordTelemetry, StreamTelemetry and ListTelemetry."""

    def __init__(
        self, db: Database, ingest: Ingest, names: AgentNames, *, retention_days: int
    ) -> None:
        """Keeps what it needs.

        Args:
            db: For reads.
            ingest: The one path by which records become rows.
            names: Ids of agents by name.
            retention_days: Age at which records are refused.
        """
        self._db = db
        self._ingest = ingest
        self._names = names
        self._retention_us = retention_days * DAY_US
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def drain(self) -> None:
        """Reads no more of any stream; each ends once what was read is answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def RecordTelemetry(
        self, request: service_pb.RecordTelemetryRequest, context: Context
    ) -> service_pb.RecordTelemetryResponse:
        """Stores all records or none."""
        if wrong := _wrong_size(len(request.records)):
            raise invalid_fields([FieldViolation(wrong.field, wrong.reason, wrong.message)])
        caller = current_caller()
        batch = await self._decode(caller, request.records, "")
        if batch.columns.refusals:
            raise self._refused(batch.columns.refusals)
        columns = batch.columns
        outcome = await self._ingest.submit(
            caller.tenant_id, columns.rows, columns.size_bytes, atomic=True
        )
        if refusals := self._settle(caller, batch, outcome):
            raise self._refused(refusals)
        return service_pb.RecordTelemetryResponse(
            accepted=outcome.accepted, duplicates=outcome.duplicates
        )

    async def StreamTelemetry(
        self,
        requests: AsyncIterator[service_pb.StreamTelemetryRequest],
        context: Context,
    ) -> None:
        """Stores batches as they come and sends their receipts in order.

        A reader queues batches ahead of the receipts. When the server drains, the reader
        stops, what was read is answered, and the stream ends with `SERVER_DRAINING`.
        """
        if self._draining:  # a stream that came too late to be told
            raise _server_drains()
        caller = current_caller()
        ahead = _Ahead()
        reader = asyncio.create_task(self._read(caller, requests, ahead), name="telemetry-reader")
        self._readers.add(reader)
        try:
            while (batch := await ahead.batches.get()) is not None:
                await context.write(await self._receipt(caller, batch))
                ahead.room.release()
            await reader
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.wait([reader])
            ahead.abandon()
        if self._draining:
            raise _server_drains()

    async def ListTelemetry(
        self, request: service_pb.ListTelemetryRequest, context: Context
    ) -> service_pb.ListTelemetryResponse:
        """A page of an agent's records by time."""
        agent_id = read_id("agent_id", request.agent_id)
        limit = read_page_size(request.page_size, default=DEFAULT_PAGE, most=MOST_PAGE)
        newest_first = _newest_first(request.order_by)
        first, end = _key_range(request)
        query = f"telemetry|{agent_id}|{first}|{end}|{newest_first}"
        last = page_token.redeem(query, request.page_token, parts=1)
        page_first, page_end = first, end
        if last is not None:
            key = parse_id(last[0])
            if key is None:
                raise page_token.invalid()
            after = UUID(int=min(key.int + 1, LAST_KEY.int))
            page_first, page_end = (first, key) if newest_first else (after, end)
        tenant_id = current_caller().tenant_id
        async with self._db.connection() as connection:
            if not await agent_exists(connection, tenant_id, agent_id):
                raise agent_missing(agent_id)
            rows = await list_rows(
                connection,
                tenant_id,
                agent_id,
                first=page_first,
                end=page_end,
                newest_first=newest_first,
                limit=limit + 1,
            )
            total = await count_rows(connection, tenant_id, agent_id, first, end)
        response = service_pb.ListTelemetryResponse(
            telemetry=[from_row(agent_id, row) for row in rows[:limit]], total_size=total
        )
        if len(rows) > limit:
            response.next_page_token = page_token.issue(query, [str(rows[limit - 1]["key"])])
        return response

    async def _read(
        self,
        caller: Caller,
        requests: AsyncIterator[service_pb.StreamTelemetryRequest],
        ahead: _Ahead,
    ) -> None:
        try:
            async for request in requests:
                await ahead.room.acquire()
                if wrong := _wrong_batch(request):
                    batch_id = request.batch_id[:MOST_BATCH_ID]
                    batch = _Batch(batch_id, Columns(refusals=[wrong]), {})
                else:
                    batch = await self._decode(caller, request.records, request.batch_id)
                    batch = await self._queue(caller, batch)
                ahead.batches.put_nowait(batch)
        except asyncio.CancelledError:
            if not self._draining:
                raise
        finally:
            ahead.batches.put_nowait(None)

    async def _queue(self, caller: Caller, batch: _Batch) -> _Batch:
        """Queues the rows once there is room: a full queue makes the sender wait."""
        columns = batch.columns
        if not columns.rows:
            return batch
        await self._ingest.wait_for_room(len(columns.rows), columns.size_bytes)
        done = self._ingest.submit(caller.tenant_id, columns.rows, columns.size_bytes, atomic=False)
        return replace(batch, done=done)

    async def _receipt(self, caller: Caller, batch: _Batch) -> service_pb.StreamTelemetryResponse:
        outcome = Outcome(0, 0)
        refusals = list(batch.columns.refusals)
        if batch.done is not None:
            outcome = await batch.done
            refusals += self._settle(caller, batch, outcome)
            refusals.sort(key=lambda refusal: refusal.index)
        self._ingest.count_refused(len(refusals))
        return service_pb.StreamTelemetryResponse(
            batch_id=batch.batch_id,
            accepted=outcome.accepted,
            duplicates=outcome.duplicates,
            refused=[
                pb.RefusedRecord(index=r.index, field=r.field, reason=r.reason, message=r.message)
                for r in refusals
            ],
        )

    async def _decode(
        self, caller: Caller, records: Sequence[pb.TelemetryRecord], batch_id: str
    ) -> _Batch:
        records = list(records)  # protobuf's own list makes each record anew at each turn
        names = names_in(records)
        bound = _bound_names(caller)
        named = await self._names.resolve(caller.tenant_id, names | bound) if names | bound else {}
        now_us = time.time_ns() // 1000
        columns = to_columns(
            records,
            named=named if names else None,
            allowed=_allowed(caller, named),
            oldest_us=now_us - self._retention_us,
            newest_us=now_us + FUTURE_TOLERANCE_US,
        )
        return _Batch(batch_id, columns, {name: named[name] for name in names if name in named})

    def _settle(self, caller: Caller, batch: _Batch, outcome: Outcome) -> list[Refusal]:
        """Remembers names that proved right, and gives what the database refused."""
        if outcome.unknown:
            self._names.forget(caller.tenant_id, batch.named)
        elif batch.named and not outcome.retired:
            self._names.remember(caller.tenant_id, batch.named.items())
        indexes = batch.columns.indexes
        unknown = [
            Refusal(indexes[row], "agent_id", "AGENT_NOT_FOUND", "there is no such agent")
            for row in outcome.unknown
        ]
        retired = [
            Refusal(indexes[row], "agent_id", "AGENT_RETIRED", "the agent is retired; resume it")
            for row in outcome.retired
        ]
        return sorted(unknown + retired, key=lambda refusal: refusal.index)

    def _refused(self, refusals: Sequence[Refusal]) -> InvalidRequest | PermissionDenied:
        self._ingest.count_refused(len(refusals))
        if all(refusal.reason == "AGENT_NOT_ALLOWED" for refusal in refusals):
            return PermissionDenied(
                "AGENT_NOT_ALLOWED",
                f"records[{refusals[0].index}]: {refusals[0].message}; nothing was stored.",
                {"index": str(refusals[0].index)},
            )
        first = refusals[0]
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        return InvalidRequest(
            "TELEMETRY_INVALID",
            f"records[{first.index}].{first.field}: {first.message}{more}; nothing was stored.",
            violations=[
                FieldViolation(f"records[{r.index}].{r.field}", r.reason, r.message)
                for r in refusals
            ],
        )


def _server_drains() -> Unavailable:
    return Unavailable(
        "SERVER_DRAINING",
        "The server stops; send the batches without a receipt on a new stream.",
        retry_after_seconds=1.0,
    )


def _newest_first(order_by: str) -> bool:
    words = order_by.split()
    if words in ([], ["observed_at"], ["observed_at", "asc"]):
        return False
    if words == ["observed_at", "desc"]:
        return True
    raise InvalidRequest(
        "ORDER_BY_INVALID",
        "order_by may be 'observed_at' or 'observed_at desc'.",
        violations=[FieldViolation("order_by", "UNKNOWN_FIELD", "only observed_at is known")],
    )


def _key_range(request: service_pb.ListTelemetryRequest) -> tuple[UUID, UUID]:
    """The range of keys of the span of time that is asked for."""
    start = read_time(
        "start_time", request.start_time, given=request.HasField("start_time"), default=EARLIEST
    )
    end = read_time(
        "end_time", request.end_time, given=request.HasField("end_time"), default=LATEST
    )
    microsecond = timedelta(microseconds=1)
    return first_key((start - EARLIEST) // microsecond), first_key((end - EARLIEST) // microsecond)


def _wrong_size(records: int) -> Refusal | None:
    if 1 <= records <= MAX_RECORDS:
        return None
    reason = "TOO_MANY" if records else "REQUIRED"
    return Refusal(0, "records", reason, f"must hold 1 to {MAX_RECORDS:,} records")


def _wrong_batch(request: service_pb.StreamTelemetryRequest) -> Refusal | None:
    if len(request.batch_id) > MOST_BATCH_ID:
        said = f"has {len(request.batch_id)} characters, at most {MOST_BATCH_ID} are allowed"
        return Refusal(0, "batch_id", "TOO_LONG", said)
    return _wrong_size(len(request.records))


def _bound_names(caller: Caller) -> set[tuple[str, str]]:
    """Type and name of the agents that the token is bound to by name."""
    split = (agent.partition("/") for agent in caller.agents or ())
    return {(agent_type, name) for agent_type, slash, name in split if slash}


def _allowed(caller: Caller, named: Mapping[tuple[str, str], UUID]) -> frozenset[UUID] | None:
    if caller.agents is None:
        return None
    by_id = {agent_id for agent in caller.agents if (agent_id := parse_id(agent))}
    by_name = {named[name] for name in _bound_names(caller) if name in named}
    return frozenset(by_id | by_name)

"""The telemetry methods of AgentService."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from grpc.aio import ServicerContext

from orca.v1 import agent_service_pb2 as service_pb
from orca.v1 import telemetry_pb2 as pb
from orca_server.domain.access import Caller
from orca_server.domain.errors import PermissionDenied
from orca_server.domain.telemetry import DAY_US, FUTURE_TOLERANCE_US, Refusal, Row
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.runtime.names import Name, Names
from orca_server.services.authentication import current_caller
from orca_server.services.intake import Batch, Intake, Kind
from orca_server.services.key_pages import List, read_page
from orca_server.services.receipt_stream import ReceiptStreams
from orca_server.services.record_fields import parse_id
from orca_server.services.telemetry_records import from_row, names_in, to_columns
from orca_server.store.agents import agent_missing
from orca_server.store.database import Connection, Database
from orca_server.store.trust import agent_exists

Context = ServicerContext[Any, Any]

_KIND = Kind("records", "agent", "TELEMETRY_INVALID")


async def _require_agent(connection: Connection, tenant_id: UUID, agent_id: UUID) -> None:
    if not await agent_exists(connection, tenant_id, agent_id):
        raise agent_missing(agent_id)


_LIST = List("telemetry", "agent_id", "observed_at", _require_agent, from_row)


class TelemetryServicer:
    """RecordTelemetry, StreamTelemetry and ListTelemetry."""

    def __init__(
        self, db: Database, ingest: Ingest[Row], names: Names, *, retention_days: int
    ) -> None:
        """Keeps what it needs.

        Args:
            db: For reads.
            ingest: The one path by which records become rows.
            names: Ids of agents by name.
            retention_days: Age at which records are refused.
        """
        self._db = db
        self._intake = Intake(_KIND, ingest, names)
        self._streams = ReceiptStreams(self._intake, self._decode, _receipt)
        self._retention_us = retention_days * DAY_US

    def drain(self) -> None:
        """Reads no more of any stream; each ends once what was read is answered."""
        self._streams.drain()

    async def RecordTelemetry(
        self, request: service_pb.RecordTelemetryRequest, context: Context
    ) -> service_pb.RecordTelemetryResponse:
        """Stores all records or none."""
        self._intake.check_size(len(request.records))
        caller = current_caller()
        batch = await self._decode(caller, request.records)
        self._check_binding(batch.columns.refusals)
        outcome = await self._intake.store_all(caller, batch)
        return service_pb.RecordTelemetryResponse(
            accepted=outcome.accepted, duplicates=outcome.duplicates
        )

    async def StreamTelemetry(
        self,
        requests: AsyncIterator[service_pb.StreamTelemetryRequest],
        context: Context,
    ) -> None:
        """Stores batches as they come and sends their receipts in order."""
        await self._streams.serve(requests, context)

    async def ListTelemetry(
        self, request: service_pb.ListTelemetryRequest, context: Context
    ) -> service_pb.ListTelemetryResponse:
        """A page of an agent's records by time."""
        page = await read_page(self._db, _LIST, request)
        return service_pb.ListTelemetryResponse(
            telemetry=page.resources, next_page_token=page.next_token, total_size=page.total
        )

    async def _decode(self, caller: Caller, records: Sequence[pb.TelemetryRecord]) -> Batch[Row]:
        records = list(records)  # protobuf's own list makes each record anew at each turn
        names = names_in(records)
        named = await self._intake.resolve(caller, names | _bound_names(caller))
        now_us = time.time_ns() // 1000
        columns = to_columns(
            records,
            named=named if names else None,
            allowed=_allowed(caller, named),
            oldest_us=now_us - self._retention_us,
            newest_us=now_us + FUTURE_TOLERANCE_US,
        )
        return Batch(columns, {name: named[name] for name in names if name in named})

    def _check_binding(self, refusals: Sequence[Refusal]) -> None:
        """Refuses a request in which nothing is wrong but that the token is bound elsewhere."""
        if refusals and all(refusal.reason == "AGENT_NOT_ALLOWED" for refusal in refusals):
            self._intake.count_refused(len(refusals))
            raise PermissionDenied(
                "AGENT_NOT_ALLOWED",
                f"records[{refusals[0].index}]: {refusals[0].message}; nothing was stored.",
                {"index": str(refusals[0].index)},
            )


def _receipt(
    batch_id: str, outcome: Outcome, refusals: Sequence[Refusal]
) -> service_pb.StreamTelemetryResponse:
    return service_pb.StreamTelemetryResponse(
        batch_id=batch_id,
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        refused=[
            pb.RefusedRecord(index=r.index, field=r.field, reason=r.reason, message=r.message)
            for r in refusals
        ],
    )


def _bound_names(caller: Caller) -> set[Name]:
    """Type and name of the agents that the token is bound to by name."""
    split = (agent.partition("/") for agent in caller.agents or ())
    return {(agent_type, name) for agent_type, slash, name in split if slash}


def _allowed(caller: Caller, named: Mapping[Name, UUID]) -> frozenset[UUID] | None:
    if caller.agents is None:
        return None
    by_id = {agent_id for agent in caller.agents if (agent_id := parse_id(agent))}
    by_name = {named[name] for name in _bound_names(caller) if name in named}
    return frozenset(by_id | by_name)

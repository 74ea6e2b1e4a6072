"""What is found about agents: policy violations and drift of TrustService."""

from typing import Any
from uuid import UUID

from grpc.aio import ServicerContext

from orca.v1 import drift_pb2, violation_pb2
from orca.v1 import trust_service_pb2 as service_pb
from orca_server.domain import agents, drift
from orca_server.domain.agents import AgentState
from orca_server.domain.checks import Violations, check_reason
from orca_server.domain.errors import Conflict, NotAllowedNow
from orca_server.services.authentication import current_caller
from orca_server.services.convert_findings import drift_etag, drift_to_proto, violation_to_proto
from orca_server.services.pages import read_page
from orca_server.services.requests import author_of, note_id, read_id
from orca_server.store import agents as agent_store
from orca_server.store import drift as drift_store
from orca_server.store import violations as violation_store
from orca_server.store.database import Connection, Database, Record
from orca_server.store.listings import DRIFT, VIOLATIONS

DEFAULT_ROWS = 1_000

Context = ServicerContext[Any, Any]


class FindingServicer:
    """Answers the methods about violations and drift."""

    def __init__(self, db: Database) -> None:
        """Keeps what it needs."""
        self._db = db

    async def ListViolations(
        self, request: service_pb.ListViolationsRequest, context: Context
    ) -> service_pb.ListViolationsResponse:
        """A page of violations."""
        page = await read_page(
            self._db, VIOLATIONS, request, violation_to_proto, default=DEFAULT_ROWS
        )
        return service_pb.ListViolationsResponse(
            violations=page.resources, next_page_token=page.next_token, total_size=page.total
        )

    async def ResolveViolation(
        self, request: service_pb.ResolveViolationRequest, context: Context
    ) -> violation_pb2.PolicyViolation:
        """Ends a violation by hand."""
        violation_id = _read_resolved(request)
        author = author_of(current_caller(), request.reason)
        async with self._db.transaction() as tx:
            row = await violation_store.resolve(tx, author, violation_id)
        return violation_to_proto(row)

    async def ListDrift(
        self, request: service_pb.ListDriftRequest, context: Context
    ) -> service_pb.ListDriftResponse:
        """A page of drift."""
        page = await read_page(self._db, DRIFT, request, drift_to_proto, default=DEFAULT_ROWS)
        return service_pb.ListDriftResponse(
            drift=page.resources, next_page_token=page.next_token, total_size=page.total
        )

    async def AcceptDrift(
        self, request: service_pb.AcceptDriftRequest, context: Context
    ) -> drift_pb2.DriftDetection:
        """Makes what was observed what the agent is."""
        drift_id = read_id("id", request.id, request.reason)
        author = author_of(current_caller(), request.reason)
        async with self._db.transaction() as tx:
            agent_id = await drift_store.find_agent(tx, author.tenant_id, drift_id)
            agent, _ = await agent_store.lock_agent(tx, author.tenant_id, agent_id)
            if agent.state is AgentState.RETIRED:
                raise agents.retired_error(agent.id, agent.type, agent.name)
            # Under the agent's lock, so that nothing else is observed or accepted meanwhile.
            row = await drift_store.get(tx, author.tenant_id, drift_id)
            _check_open(row, request.etag)
            observed = await _observed(tx, author.tenant_id, agent_id, row["rule"])
            content = drift.with_value(agent.content, row["rule"], observed)
            changed = agents.with_content(agent, content)
            await drift_store.accept(tx, author, drift_id)
            await agent_store.save_agents(tx, author, "drift.accept", [(agent, changed)])
            await drift_store.mark(tx, author.tenant_id, [agent_id])
            row = await drift_store.get(tx, author.tenant_id, drift_id)
        return drift_to_proto(row)


def _read_resolved(request: service_pb.ResolveViolationRequest) -> UUID:
    """The id of ResolveViolation.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    found = note_id(violations, "id", request.id)
    check_reason(violations, request.reason)
    if not request.reason.strip():
        violations.add("reason", "REQUIRED", "say why it is over")
    violations.refuse()
    assert found is not None  # noqa: S101 - else it was refused
    return found


def _check_open(row: Record, etag: str) -> None:
    """Refuses what is over, and what is not what the caller saw.

    Raises:
        NotAllowedNow: `DRIFT_RESOLVED`.
        Conflict: `ETAG_MISMATCH`.
    """
    about = {"drift_id": str(row["id"]), "agent_id": str(row["entity_id"])}
    if row["resolved"]:
        raise NotAllowedNow(
            "DRIFT_RESOLVED",
            f"It was resolved by '{row['resolved_by']}' at {row['resolved_at']:%Y-%m-%d %H:%M}Z.",
            about | {"resolution": row["resolution"]},
        )
    if etag and etag != drift_etag(row):
        raise Conflict(
            "ETAG_MISMATCH",
            f"Drift '{row['id']}' changed since it was read; list it and retry.",
            about,
        )


async def _observed(tx: Connection, tenant_id: UUID, agent_id: UUID, rule: str) -> Any:
    """What was observed last of a field, of which there is a drift."""
    found = await drift_store.list_observations(tx, tenant_id, [agent_id])
    return next(one.value for one in found if one.rule == rule)

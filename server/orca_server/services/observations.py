"""ObserveAgent of AgentService: what somebody saw that an agent really is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from grpc.aio import ServicerContext

from orca.v1 import drift_pb2 as pb
from orca_server.domain import agents, drift
from orca_server.domain.agent_checks import MAX_VERSION, check_endpoint, check_tools
from orca_server.domain.agents import Agent, AgentState, Endpoint
from orca_server.domain.checks import Violations, check_reason
from orca_server.services.agent_requests import check_binding
from orca_server.services.authentication import current_caller
from orca_server.services.convert_agents import agent_to_proto, tools_of
from orca_server.services.convert_findings import drift_to_proto
from orca_server.services.requests import author_of, note_id
from orca_server.store import agents as store
from orca_server.store import drift as drift_store
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Database

OLDEST, NEWEST = timedelta(days=-1), timedelta(minutes=5)
"""When something may have been observed, from now."""

Context = ServicerContext[Any, Any]


class ObservationServicer:
    """Answers ObserveAgent."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        """Keeps what it needs; the clock says what is too old."""
        self._db = db
        self._clock = clock

    async def ObserveAgent(
        self, request: pb.ObserveAgentRequest, context: Context
    ) -> pb.ObserveAgentResponse:
        """Compares what was seen with what is accepted."""
        caller = current_caller()
        violations = Violations()
        agent_id = note_id(violations, "id", request.id)
        check_reason(violations, request.reason)
        at = self._read_time(violations, request.observation)
        seen = _read_values(violations, request.observation)
        violations.refuse()
        assert agent_id is not None  # noqa: S101 - else it was refused
        author = author_of(caller, request.reason)
        async with self._db.transaction() as tx:
            agent, _ = await store.lock_agent(tx, author.tenant_id, agent_id)
            check_binding(caller, agent.id, agent.type, agent.name)
            if agent.state is AgentState.RETIRED:
                raise agents.retired_error(agent.id, agent.type, agent.name)
            await observe(tx, author, agent, seen, at)
            row = await store.get_agent(tx, author.tenant_id, agent_id)
            open_drift = await drift_store.list_open(tx, author.tenant_id, agent_id)
        return pb.ObserveAgentResponse(
            agent=agent_to_proto(row), drift=[drift_to_proto(one) for one in open_drift]
        )

    def _read_time(self, violations: Violations, observation: pb.AgentObservation) -> datetime:
        now = self._clock()
        if not observation.HasField("observed_at"):
            violations.add("observation.observed_at", "REQUIRED", "is required")
            return now
        try:
            at = observation.observed_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            at = datetime.min.replace(tzinfo=UTC)
        if not now + OLDEST <= at <= now + NEWEST:
            message = "must lie within the last day and at most 5 minutes ahead"
            violations.add("observation.observed_at", "OUT_OF_RANGE", message)
        return at


def _read_values(violations: Violations, observation: pb.AgentObservation) -> dict[str, Any]:
    """What was seen, as JSON by rule."""
    seen: dict[str, Any] = {}
    if observation.HasField("tools"):
        tools = tuple(tools_of(observation.tools.tools, violations, "observation.tools.tools"))
        check_tools(violations, "observation.tools.tools", tools)
        seen["tools"] = drift.tools_value(tools)
    if observation.HasField("version"):
        violations.text("observation.version", observation.version, MAX_VERSION)
        seen["version"] = observation.version
    if observation.HasField("command"):
        started = observation.command
        endpoint = Endpoint(command=started.command, args=tuple(started.args))
        if not started.command:
            violations.add("observation.command.command", "REQUIRED", "is required")
        check_endpoint(violations, "observation.command", endpoint)
        seen["command"] = drift.command_value(endpoint)
    if not seen:
        violations.add("observation", "REQUIRED", "must hold tools, version or command")
    return seen


async def observe(
    tx: Connection, author: Author, agent: Agent, seen: Mapping[str, Any], at: datetime
) -> None:
    """Writes what was seen of a locked agent, and its drift from what is accepted.

    What nobody had said or seen before is accepted at once, and a catalogue entry becomes part
    of the fleet: it has reported.

    Args:
        tx: The caller's transaction.
        author: Who saw it.
        agent: As it is accepted.
        seen: As JSON by rule.
        at: When.
    """
    known = {
        one.rule: one.observed_at
        for one in await drift_store.list_observations(tx, author.tenant_id, [agent.id])
    }
    fresh = {rule: value for rule, value in seen.items() if rule not in known or known[rule] < at}
    content = agent.content
    for rule in fresh.keys() - known.keys():
        content = drift.completed(content, rule, fresh[rule])
    current = agents.activate(agent) if agent.state is AgentState.CATALOG else agent
    current = replace(current, content=content)
    await store.save_agents(tx, author, "agents.observe", [(agent, current)])
    await drift_store.save_observations(tx, author, agent.id, fresh, at)
    await drift_store.judge(tx, author, [current], seen=fresh)
    if not known:
        await drift_store.mark(tx, author.tenant_id, [agent.id])

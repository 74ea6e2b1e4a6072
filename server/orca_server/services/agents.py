"""The inventory's methods of AgentService: create, read, update, delete, and change of state."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from grpc.aio import ServicerContext

from orca.v1 import agent_pb2 as pb
from orca.v1 import agent_service_pb2 as service_pb
from orca_server.domain import agents, drift
from orca_server.domain.agents import Agent, AgentState, Source
from orca_server.domain.errors import (
    AlreadyExists,
    FieldViolation,
    NotAllowedNow,
    invalid_fields,
)
from orca_server.domain.etags import check_etag
from orca_server.runtime.agent_reads import AgentReads
from orca_server.runtime.new_ids import new_id
from orca_server.services import agent_requests
from orca_server.services.agent_requests import AgentUpdate, NewAgent
from orca_server.services.authentication import current_caller
from orca_server.services.convert_agents import agent_to_proto
from orca_server.services.observations import observe
from orca_server.services.pages import fitting, read_page
from orca_server.services.requests import author_of, read_id
from orca_server.services.update_requests import StateRequest, check_no_etag, request_id_reused
from orca_server.store import agents as store
from orca_server.store.agents import Taken
from orca_server.store.database import Connection, Database, Record
from orca_server.store.listings import AGENTS, WITHOUT_CATALOG
from orca_server.store.totals import Totals
from orca_server.store.trust import read_clock

Context = ServicerContext[Any, Any]
Transition = Callable[[Agent, datetime], Agent]


class AgentServicer:
    """Answers the inventory's methods of AgentService."""

    def __init__(self, db: Database, reads: AgentReads) -> None:
        """Keeps what it needs."""
        self._db = db
        self._reads = reads
        self._totals = Totals()

    async def CreateAgent(
        self, request: service_pb.CreateAgentRequest, context: Context
    ) -> pb.Agent:
        """Adds an agent to the fleet; a retry by request id finds it again."""
        new = agent_requests.read_new(request, current_caller())
        async with self._db.transaction() as tx:
            agent_id = await _created_before(tx, new) or await _create(tx, new)
            row = await store.get_agent(tx, new.author.tenant_id, agent_id)
        return agent_to_proto(row)

    async def GetAgent(self, request: service_pb.GetAgentRequest, context: Context) -> pb.Agent:
        """One agent."""
        agent_id = read_id("id", request.id)
        return agent_to_proto(await self._reads.get(current_caller().tenant_id, agent_id))

    async def ListAgents(
        self, request: service_pb.ListAgentsRequest, context: Context
    ) -> service_pb.ListAgentsResponse:
        """A page of agents; fewer than asked for if they are large."""
        restriction = "" if request.show_catalog else WITHOUT_CATALOG
        response = service_pb.ListAgentsResponse()

        def convert(row: Record) -> pb.Agent:
            return agent_to_proto(row, response.agents.add)

        page = await read_page(
            self._db, AGENTS, request, convert, self._totals, restriction=restriction
        )
        del response.agents[len(page.resources) :]  # one that did not fit any more
        response.next_page_token, response.total_size = page.next_token, page.total
        return response

    async def UpdateAgent(
        self, request: service_pb.UpdateAgentRequest, context: Context
    ) -> pb.Agent:
        """Changes fields of an agent, or creates it."""
        update = agent_requests.read_update(request, current_caller())
        async with self._db.transaction() as tx:
            agent_id = await _upsert(tx, update)
            row = await store.get_agent(tx, update.author.tenant_id, agent_id)
        return agent_to_proto(row)

    async def DeleteAgent(self, request: service_pb.DeleteAgentRequest, context: Context) -> Empty:
        """Removes an agent that never reported."""
        agent_id = read_id("id", request.id, request.reason)
        author = author_of(current_caller(), request.reason)
        async with self._db.connection() as connection:
            # Without a lock first, so that a hopeless request never holds up ingest.
            await store.get_agent(connection, author.tenant_id, agent_id)
            if await store.has_history(connection, author.tenant_id, agent_id):
                raise _has_history(agent_id)
        async with self._db.transaction() as tx:
            agent = await store.lock_for_deletion(tx, author.tenant_id, agent_id)
            check_etag("agent", agent.id, agent.revision, request.etag)
            if not await store.delete_agent(tx, author, agent):
                raise _has_history(agent_id)
        return Empty()

    async def BatchGetAgents(
        self, request: service_pb.BatchGetAgentsRequest, context: Context
    ) -> service_pb.BatchGetAgentsResponse:
        """Agents in the order of their ids."""
        ids = agent_requests.read_ids(request.ids)
        async with self._db.connection() as connection:
            rows = await store.get_agents(connection, current_caller().tenant_id, ids)
        page = await fitting(rows, agent_to_proto)
        if len(page) < len(rows):
            message = f"the agents are too large for one reply; ask for {len(page)} at a time"
            raise invalid_fields([FieldViolation("ids", "TOO_MANY", message)])
        return service_pb.BatchGetAgentsResponse(agents=page)

    async def SuspendAgent(
        self, request: service_pb.SuspendAgentRequest, context: Context
    ) -> pb.Agent:
        """Sets an agent aside."""
        return await self._change_state(request, "agents.suspend", agents.suspend)

    async def ResumeAgent(
        self, request: service_pb.ResumeAgentRequest, context: Context
    ) -> pb.Agent:
        """Brings an agent back."""
        return await self._change_state(
            request, "agents.resume", lambda agent, now: agents.resume(agent)
        )

    async def RetireAgent(
        self, request: service_pb.RetireAgentRequest, context: Context
    ) -> pb.Agent:
        """Ends an agent."""
        return await self._change_state(request, "agents.retire", agents.retire)

    async def EnrolAgent(self, request: service_pb.EnrolAgentRequest, context: Context) -> pb.Agent:
        """Makes a catalogue entry part of the fleet."""
        return await self._change_state(
            request, "agents.enrol", lambda agent, now: agents.enrol(agent)
        )

    async def _change_state(
        self, request: StateRequest, action: str, transition: Transition
    ) -> pb.Agent:
        agent_id = read_id("id", request.id, request.reason)
        author = author_of(current_caller(), request.reason)
        async with self._db.transaction() as tx:
            agent, now = await store.lock_agent(tx, author.tenant_id, agent_id)
            check_etag("agent", agent.id, agent.revision, request.etag)
            await store.save_agents(tx, author, action, [(agent, transition(agent, now))])
            row = await store.get_agent(tx, author.tenant_id, agent_id)
        return agent_to_proto(row)


async def _created_before(tx: Connection, new: NewAgent) -> UUID | None:
    """The agent that an earlier call with the same request id created.

    Raises:
        AlreadyExists: If that call was for another agent (`REQUEST_ID_REUSED`).
    """
    if new.request_id is None:
        return None
    found = await store.find_created(tx, new.author.tenant_id, new.request_id)
    if found is None:
        return None
    if (found.type, found.name) != (new.family, new.name):
        about = {"agent_id": str(found.id), "type": found.type, "name": found.name}
        raise request_id_reused("agent", found.type, found.name, about)
    return found.id


async def _create(tx: Connection, new: NewAgent) -> UUID:
    agent = Agent(
        id=new_id(),
        type=new.family,
        name=new.name,
        state=AgentState.ACTIVE,
        source=Source.API,
        content=new.content,
    )
    if await store.add_agents(tx, new.author, "agents.create", [agent], new.request_id):
        return agent.id
    if (found := await _created_before(tx, new)) is not None:  # by the same request, just now
        return found
    holder = await store.find_named(tx, new.author.tenant_id, new.family, new.name)
    if holder is None:
        raise store.inventory_changed(1)
    raise _taken(holder)


async def _upsert(tx: Connection, update: AgentUpdate) -> UUID:
    """Changes the agent, or creates it if that is allowed."""
    agent = await _locked(tx, update)
    if agent is None:
        new = _missing(update)
        if await store.add_agents(tx, update.author, "agents.create", [new]):
            return new.id
        agent = await _locked(tx, update)  # someone was faster
        if agent is None:
            raise store.inventory_changed(1)
    agent_requests.check_binding(update.caller, agent.id, agent.type, agent.name)
    check_etag("agent", agent.id, agent.revision, update.etag)
    if agent.state is AgentState.RETIRED:
        raise agents.retired_error(agent.id, agent.type, agent.name)
    content = agent_requests.changed_content(update, agent)
    if update.caller.may(agent_requests.WRITE_SCOPE):
        observed: dict[str, object] = {}
    else:
        told = {change.field for change in update.changes}
        content, observed = drift.observed_by_report(agent.content, content, told)
    changed = agents.with_content(agent, content)
    await store.save_agents(tx, update.author, "agents.update", [(agent, changed)])
    if observed:
        await observe(tx, update.author, changed, observed, await read_clock(tx))
    return agent.id


async def _locked(tx: Connection, update: AgentUpdate) -> Agent | None:
    """The agent; None if it is missing and may be created.

    Raises:
        NotFound: If it is missing otherwise.
    """
    tenant_id = update.author.tenant_id
    if update.id is not None:
        return (await store.lock_agent(tx, tenant_id, update.id))[0]
    found = await store.lock_named_agents(tx, tenant_id, update.family, [update.name])
    if not found and not update.allow_missing:
        raise store.agent_missing(update.who)
    return found[0] if found else None


def _missing(update: AgentUpdate) -> Agent:
    """The agent that an update creates."""
    agent = Agent(
        id=new_id(),
        type=update.family,
        name=update.name,
        state=AgentState.ACTIVE,
        source=Source.API,
        content=agent_requests.new_content(update),
    )
    agent_requests.check_binding(update.caller, agent.id, agent.type, agent.name)
    check_no_etag("agent", update)
    return agent


def _taken(holder: Taken) -> AlreadyExists:
    if holder.state is AgentState.RETIRED:
        return agents.retired_error(holder.id, holder.type, holder.name)
    advice = "enrol it" if holder.state is AgentState.CATALOG else "update that one"
    return AlreadyExists(
        "AGENT_EXISTS",
        f"Agent '{holder.type}/{holder.name}' exists already, from source '{holder.source}';"
        f" {advice}.",
        {
            "agent_id": str(holder.id),
            "type": holder.type,
            "name": holder.name,
            "state": holder.state,
            "source": holder.source,
        },
    )


def _has_history(agent_id: UUID) -> NotAllowedNow:
    return NotAllowedNow(
        "AGENT_HAS_HISTORY",
        f"Agent '{agent_id}' has reported and is evidence; retire it instead.",
        {"agent_id": str(agent_id)},
    )

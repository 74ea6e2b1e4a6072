"""Agents: the inventory."""

from collections.abc import Iterable, Sequence
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from orca import references
from orca.calls import Calls
from orca.paging import Pages
from orca.references import Noun
from orca.v1 import agent_pb2, agent_service_pb2, drift_pb2, search_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub

NOUN = Noun("agent", "type")


class Agents:
    """The agents of the fleet, and the catalogue. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = AgentServiceStub(calls.channel)

    async def get(self, id: str, *, timeout: float | None = None) -> agent_pb2.Agent:
        """One agent, by id."""
        request = agent_service_pb2.GetAgentRequest(id=id)
        return await self._calls.unary(self._stub.GetAgent, request, timeout)

    def list(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        show_catalog: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[agent_pb2.Agent, agent_service_pb2.ListAgentsResponse]:
        """The agents that match, by id unless `order_by` says otherwise.

        Args:
            filter: AIP-160, such as `type = "mcp" AND trust_level < 0.75`.
            order_by: `id`, `name`, `created_at`, `updated_at`, `trust_level`; ` desc` reverses.
            show_catalog: Also those that are only in the catalogue.
            page_size: Agents per call; 0: as the server likes.
            timeout: Of each page.
        """

        async def fetch(token: str) -> agent_service_pb2.ListAgentsResponse:
            request = agent_service_pb2.ListAgentsRequest(
                page_size=page_size,
                page_token=token,
                filter=filter,
                order_by=order_by,
                show_catalog=show_catalog,
            )
            return await self._calls.unary(self._stub.ListAgents, request, timeout)

        return Pages(fetch, lambda page: page.agents)

    async def batch_get(
        self, ids: Sequence[str], *, timeout: float | None = None
    ) -> Sequence[agent_pb2.Agent]:
        """Up to 1,000 agents, in the order of the ids."""
        request = agent_service_pb2.BatchGetAgentsRequest(ids=ids)
        response = await self._calls.unary(self._stub.BatchGetAgents, request, timeout)
        return response.agents

    async def search(
        self,
        query: str,
        *,
        filter: str = "",
        show_catalog: bool = True,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Sequence[search_pb2.SearchHit]:
        """The agents that fit best, best first, each with why.

        Args:
            query: What is looked for, in words.
            filter: Only these agents: AIP-160, such as `type = "mcp"`.
            show_catalog: Whether those that are only in the catalogue are found, too.
            page_size: At most so many, 100 at most; 0: ten.
            timeout: Of the call.
        """
        request = search_pb2.SearchAgentsRequest(
            query=query, filter=filter, show_catalog=show_catalog, page_size=page_size
        )
        response = await self._calls.unary(self._stub.SearchAgents, request, timeout)
        return response.hits

    async def find(self, reference: str, *, timeout: float | None = None) -> agent_pb2.Agent:
        """The one agent that a person means, of the fleet or the catalogue.

        Args:
            reference: An id, a name, or TYPE/NAME.

        Raises:
            NotFound: If there is none (`AGENT_NOT_FOUND`).
            InvalidRequest: If there are several (`AGENT_AMBIGUOUS`).
        """

        async def get(id: str) -> agent_pb2.Agent:
            return await self.get(id, timeout=timeout)

        async def search(filter: str) -> Sequence[agent_pb2.Agent]:
            pages = self.list(filter=filter, show_catalog=True, page_size=10, timeout=timeout)
            return await pages.collect(limit=10)

        return await references.find(NOUN, reference, get, search)

    async def create(
        self,
        agent: agent_pb2.Agent,
        *,
        request_id: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> agent_pb2.Agent:
        """The agent as created; a `request_id` is made up unless given, so retries are safe."""
        request = agent_service_pb2.CreateAgentRequest(
            agent=agent, request_id=request_id or str(uuid4()), reason=reason
        )
        return await self._calls.unary(self._stub.CreateAgent, request, timeout)

    async def update(
        self,
        agent: agent_pb2.Agent,
        *,
        update_mask: Iterable[str] = (),
        allow_missing: bool = False,
        reason: str = "",
        timeout: float | None = None,
    ) -> agent_pb2.Agent:
        """The agent as changed, found by id or by type and name.

        Args:
            agent: The new values.
            update_mask: Fields to change; none: those that are set in `agent`.
            allow_missing: Create it when there is none of this type and name.
            reason: Why, for the audit log.
            timeout: Of the call.
        """
        paths = list(update_mask)
        request = agent_service_pb2.UpdateAgentRequest(
            agent=agent,
            update_mask=FieldMask(paths=paths) if paths else None,
            allow_missing=allow_missing,
            reason=reason,
        )
        return await self._calls.unary(self._stub.UpdateAgent, request, timeout)

    async def observe(
        self,
        id: str,
        observation: drift_pb2.AgentObservation,
        *,
        reason: str = "",
        timeout: float | None = None,
    ) -> drift_pb2.ObserveAgentResponse:
        """Says what was seen of an agent; the agent as it is accepted, and its open drift."""
        request = drift_pb2.ObserveAgentRequest(id=id, observation=observation, reason=reason)
        return await self._calls.unary(self._stub.ObserveAgent, request, timeout)

    async def delete(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> None:
        """Deletes an agent that never reported."""
        request = agent_service_pb2.DeleteAgentRequest(id=id, etag=etag, reason=reason)
        await self._calls.unary(self._stub.DeleteAgent, request, timeout)

    async def suspend(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> agent_pb2.Agent:
        """The agent, set aside."""
        request = agent_service_pb2.SuspendAgentRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.SuspendAgent, request, timeout)

    async def resume(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> agent_pb2.Agent:
        """The agent, back in the fleet."""
        request = agent_service_pb2.ResumeAgentRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.ResumeAgent, request, timeout)

    async def retire(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> agent_pb2.Agent:
        """The agent, retired."""
        request = agent_service_pb2.RetireAgentRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.RetireAgent, request, timeout)

    async def enrol(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> agent_pb2.Agent:
        """The catalogue entry, now part of the fleet."""
        request = agent_service_pb2.EnrolAgentRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.EnrolAgent, request, timeout)

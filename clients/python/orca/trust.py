"""Trust: how far the fleet may be trusted, and why."""

from datetime import datetime

from orca.calls import Calls
from orca.paging import Pages
from orca.times import timestamp
from orca.v1 import trust_pb2, trust_service_pb2
from orca.v1.trust_service_pb2_grpc import TrustServiceStub


class Trust:
    """The fleet's trust. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = TrustServiceStub(calls.channel)

    async def get(
        self, *, show_interval: bool = False, timeout: float | None = None
    ) -> trust_pb2.Trust:
        """The score as the last tick computed it; with its interval if asked."""
        request = trust_service_pb2.GetTrustRequest(show_interval=show_interval)
        return await self._calls.unary(self._stub.GetTrust, request, timeout)

    async def refresh(self, *, timeout: float | None = None) -> trust_pb2.Trust:
        """The score, computed after this call began."""
        request = trust_service_pb2.RefreshTrustRequest()
        return await self._calls.unary(self._stub.RefreshTrust, request, timeout)

    async def of_agent(
        self, agent_id: str, *, timeout: float | None = None
    ) -> trust_pb2.AgentTrust:
        """One agent's trust, explained."""
        request = trust_service_pb2.GetAgentTrustRequest(agent_id=agent_id)
        return await self._calls.unary(self._stub.GetAgentTrust, request, timeout)

    def history(
        self,
        *,
        agent_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[trust_pb2.TrustPoint, trust_service_pb2.GetTrustHistoryResponse]:
        """How the score changed, oldest first.

        Args:
            agent_id: Of this agent; empty: of the fleet.
            start: Points at or after this.
            end: Points before this.
            page_size: Points per call; 0: as the server likes.
            timeout: Of each page.
        """

        async def fetch(token: str) -> trust_service_pb2.GetTrustHistoryResponse:
            request = trust_service_pb2.GetTrustHistoryRequest(
                agent_id=agent_id,
                start_time=timestamp(start),
                end_time=timestamp(end),
                page_size=page_size,
                page_token=token,
            )
            return await self._calls.unary(self._stub.GetTrustHistory, request, timeout)

        return Pages(fetch, lambda page: page.points)

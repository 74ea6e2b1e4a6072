"""Registries: the server's own file, and imports into the catalogue."""

from google.api.httpbody_pb2 import HttpBody

from orca.calls import Calls
from orca.v1 import agent_service_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub

IMPORT_TIMEOUT_SECONDS = 60.0
"""A document may hold 1,000 entries, each of which may be written."""


class Registry:
    """Where agents are described outside of the fleet."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = AgentServiceStub(calls.channel)

    async def sync(
        self,
        *,
        validate_only: bool = False,
        reason: str = "",
        timeout: float | None = IMPORT_TIMEOUT_SECONDS,
    ) -> agent_service_pb2.SyncRegistryResponse:
        """What changed when the server read its MCP registry file."""
        request = agent_service_pb2.SyncRegistryRequest(validate_only=validate_only, reason=reason)
        return await self._calls.unary(self._stub.SyncRegistry, request, timeout)

    async def import_document(
        self,
        document: bytes,
        *,
        content_type: str = "",
        validate_only: bool = False,
        reason: str = "",
        timeout: float | None = IMPORT_TIMEOUT_SECONDS,
    ) -> agent_service_pb2.ImportAgentsResponse:
        """What a document of a public registry brought into the catalogue.

        Args:
            document: JSON or YAML, at most 8 MiB and 1,000 entries.
            content_type: Its media type; empty: the server looks at it.
            validate_only: Say what would change and change nothing.
            reason: Why, for the audit log.
            timeout: Of the call, in seconds.
        """
        request = agent_service_pb2.ImportAgentsRequest(
            content=HttpBody(content_type=content_type, data=document),
            validate_only=validate_only,
            reason=reason,
        )
        return await self._calls.unary(self._stub.ImportAgents, request, timeout)

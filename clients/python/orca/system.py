"""The server itself."""

from orca.calls import Calls
from orca.v1 import system_service_pb2
from orca.v1.system_service_pb2_grpc import SystemServiceStub


class System:
    """Health and status of the server that answers; both also while its database is down."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = SystemServiceStub(calls.channel)

    async def health(self, *, timeout: float | None = None) -> system_service_pb2.Health:
        """That it can do its work.

        Raises:
            Unavailable: If it cannot (`NOT_READY`); the message says why.
        """
        request = system_service_pb2.GetHealthRequest()
        return await self._calls.unary(self._stub.GetHealth, request, timeout)

    async def status(self, *, timeout: float | None = None) -> system_service_pb2.Status:
        """The state of each of its parts, whether or not they work."""
        request = system_service_pb2.GetStatusRequest()
        return await self._calls.unary(self._stub.GetStatus, request, timeout)

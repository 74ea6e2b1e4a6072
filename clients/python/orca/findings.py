"""What is found about agents: policy violations, and drift from what was accepted."""

from orca.calls import Calls
from orca.errors import NotFound
from orca.paging import Pages
from orca.references import quote
from orca.v1 import drift_pb2, trust_service_pb2, violation_pb2
from orca.v1.trust_service_pb2_grpc import TrustServiceStub


class Violations:
    """Policy violations that agents report. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = TrustServiceStub(calls.channel)

    def list(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[violation_pb2.PolicyViolation, trust_service_pb2.ListViolationsResponse]:
        """The violations that match, by id unless `order_by` says otherwise.

        Args:
            filter: AIP-160, such as `resolved = false AND rule = "pii"`.
            order_by: `id`, `created_at`, `last_seen_at`; ` desc` reverses.
            page_size: Violations per call; 0: as the server likes.
            timeout: Of each page.
        """

        async def fetch(token: str) -> trust_service_pb2.ListViolationsResponse:
            request = trust_service_pb2.ListViolationsRequest(
                page_size=page_size, page_token=token, filter=filter, order_by=order_by
            )
            return await self._calls.unary(self._stub.ListViolations, request, timeout)

        return Pages(fetch, lambda page: page.violations)

    async def resolve(
        self, id: str, *, reason: str, timeout: float | None = None
    ) -> violation_pb2.PolicyViolation:
        """Ends an open violation by hand; a reason is needed."""
        request = trust_service_pb2.ResolveViolationRequest(id=id, reason=reason)
        return await self._calls.unary(self._stub.ResolveViolation, request, timeout)


class Drift:
    """Drift of agents from what was accepted. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = TrustServiceStub(calls.channel)

    def list(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[drift_pb2.DriftDetection, trust_service_pb2.ListDriftResponse]:
        """The drift that matches, by id unless `order_by` says otherwise.

        Args:
            filter: AIP-160, such as `resolved = false AND rule = "tools"`.
            order_by: `id`, `created_at`, `last_seen_at`; ` desc` reverses.
            page_size: Rows per call; 0: as the server likes.
            timeout: Of each page.
        """

        async def fetch(token: str) -> trust_service_pb2.ListDriftResponse:
            request = trust_service_pb2.ListDriftRequest(
                page_size=page_size, page_token=token, filter=filter, order_by=order_by
            )
            return await self._calls.unary(self._stub.ListDrift, request, timeout)

        return Pages(fetch, lambda page: page.drift)

    async def get(self, id: str, *, timeout: float | None = None) -> drift_pb2.DriftDetection:
        """One drift.

        Raises:
            NotFound: If none has this id (`DRIFT_NOT_FOUND`).
        """
        listed = self.list(filter=f"id = {quote(id)}", page_size=1, timeout=timeout)
        async for found in listed:
            return found
        raise NotFound(
            f"No drift has the id '{id}'.", reason="DRIFT_NOT_FOUND", metadata={"drift_id": id}
        )

    async def accept(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> drift_pb2.DriftDetection:
        """Makes what was observed what the agent is; with `etag`, only if it is what you saw."""
        request = trust_service_pb2.AcceptDriftRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.AcceptDrift, request, timeout)

"""Who may do what: roles, their scopes, and the caller of a request."""

from dataclasses import dataclass
from uuid import UUID

from orca_server.domain.errors import PermissionDenied

DEFAULT_TENANT = UUID("00000000-0000-0000-0000-000000000001")
PUBLIC_SCOPE = "public"

_VIEWER = frozenset(
    {
        *("agents.read", "telemetry.read", "workflows.read", "events.read", "trust.read"),
        *("reports.read", "system.read"),
    }
)
_OPERATOR = _VIEWER | {
    "agents.write",
    "agents.report",
    "registry.write",
    "telemetry.write",
    "workflows.write",
    "workflows.report",
    "events.write",
    "trust.refresh",
    "trust.resolve",
}

# Role -> scopes. `admin` has all that `operator` has; what only it may do comes with the
# first method that needs it.
SCOPES: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "viewer": _VIEWER,
    "adapter": frozenset(
        {
            *("agents.read", "agents.report", "telemetry.write"),
            *("workflows.read", "workflows.report", "events.write", "system.read"),
        }
    ),
    "operator": frozenset(_OPERATOR),
    "admin": frozenset(_OPERATOR),
}
ROLES = tuple(role for role in SCOPES if role != "none")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        tenant_id: Tenant whose rows it may see.
        subject: Name of the token, or `anonymous`.
        role: One of `SCOPES`.
        agents: Ids, or `type/name`, of the agents it may report for; None: all.
    """

    tenant_id: UUID
    subject: str
    role: str
    agents: frozenset[str] | None = None

    def may(self, scope: str) -> bool:
        """Whether the role has the scope."""
        return scope == PUBLIC_SCOPE or scope in SCOPES[self.role]

    def require(self, scope: str) -> None:
        """Refuses a caller whose role lacks the scope.

        Raises:
            PermissionDenied: If it does (`SCOPE_MISSING`).
        """
        if not self.may(scope):
            raise PermissionDenied(
                "SCOPE_MISSING",
                f"Role '{self.role}' lacks scope '{scope}'.",
                {"scope": scope, "role": self.role},
            )

    def may_report_for(self, agent_id: UUID, agent_type: str, name: str) -> bool:
        """Whether it may report for this agent."""
        if self.agents is None:
            return True
        return str(agent_id) in self.agents or f"{agent_type}/{name}" in self.agents

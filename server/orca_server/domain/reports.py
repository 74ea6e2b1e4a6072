"""Reports: how trust moved, and what is found that is not as it should be.

Pure functions over values that were read in one snapshot.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from uuid import UUID

from orca_server.domain.fleet_trust import COMPONENTS
from orca_server.domain.numbers import PPB

PERIODS: Mapping[str, timedelta] = {"day": timedelta(days=1), "week": timedelta(weeks=1)}
"""What a score is compared with: itself so long before."""
HISTORY = tuple(timedelta(hours=hours) for hours in range(168, 0, -3))
"""How long before now a week's history looks, the longest first; the periods are among them."""


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """A score and what its components added to it, parts per billion; an absent one adds 0."""

    trust_ppb: int
    contributions_ppb: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """How a score changed.

    Attributes:
        change_ppb: Now minus before.
        moved_by: Component and what it adds now minus before, the largest first, those that
            did not change left out; these add up to `change_ppb`.
    """

    change_ppb: int
    moved_by: tuple[tuple[str, int], ...]


def compare(before: ScorePoint, now: ScorePoint) -> ScoreChange:
    """How a score changed, and which components moved it."""
    moved = [
        (name, now.contributions_ppb.get(name, 0) - before.contributions_ppb.get(name, 0))
        for name in COMPONENTS
    ]
    ordered = sorted(moved, key=lambda part: -abs(part[1]))  # stable: ties as in COMPONENTS
    return ScoreChange(now.trust_ppb - before.trust_ppb, tuple(part for part in ordered if part[1]))


class Kind(StrEnum):
    """What is wrong."""

    SILENT = "silent"
    UNREACHABLE = "unreachable"
    FAILING = "failing"
    STALE = "stale"
    DEGRADED = "degraded"
    DRIFTED = "drifted"
    VIOLATING = "violating"
    UNOWNED = "unowned"


class Severity(IntEnum):
    """How much it matters; the smallest number matters most."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is found.

    Attributes:
        least_operations: Fewer operations prove no failure.
        errors_ppb: Share of errors above which an agent fails.
        health_ppb: Health below which it is degraded.
    """

    least_operations: int = 20
    errors_ppb: int = 50_000_000
    health_ppb: int = 750_000_000


@dataclass(frozen=True, slots=True)
class DriftFacts:
    """The open drift of an agent: the newest id, what differs, in how many fields, since when."""

    id: UUID
    rules: str
    differences: int
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class ViolationFacts:
    """The open violations of an agent: how many rules, the one broken last, how often, when."""

    rules: int
    newest_rule: str
    violations: int
    blocked: int
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What is known of an agent of which something was found.

    Attributes:
        id: Its id.
        type: Its type.
        name: Its name.
        source: Where it comes from; the owner of one from the `file` stands there.
        critical: Whether its criticality is critical.
        heartbeat_seconds: Its declared heartbeat; None if it declares none.
        operations: Operations in its window of seven days.
        errors: Errors in it.
        trust_ppb: Its trust as it counts; None while unmeasured.
        health_ppb: Its health; None while unmeasured.
        latency_us: Mean latency in its window; None if not reported.
        last_seen_at: When it last reported; None if never.
        probe_state: What the probe found that its newest record is of; None if it is of none.
        drift: Its open drift; None if there is none.
        violated: Its open violations; None if there are none.
    """

    id: UUID
    type: str
    name: str
    source: str
    critical: bool
    heartbeat_seconds: int | None
    operations: int
    errors: int
    trust_ppb: int | None
    health_ppb: int | None
    latency_us: int | None
    last_seen_at: datetime | None
    probe_state: str | None = None
    drift: DriftFacts | None = None
    violated: ViolationFacts | None = None


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What is known of a workflow of which something was found.

    Attributes:
        id: Its id.
        provider: What runs it.
        name: Its name.
        failed: Runs that failed in the 168 hours up to its last end.
        last_success_at: When it last succeeded; None if never.
        last_end_at: When its last finished run ended; None if none did.
    """

    id: UUID
    provider: str
    name: str
    failed: int
    last_success_at: datetime | None
    last_end_at: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: What is wrong.
        severity: How much it matters.
        entity_type: `agent` or `workflow`.
        entity_id: Its id.
        entity: How people call it.
        figures: What it was found by, for people.
        evidence: REST path that shows it.
        likely_cause: What is probably behind it.
        proposed_action: What to do.
        command: What does it, or shows what is needed to decide.
        automatic: Whether the command is complete and can be undone.
    """

    kind: Kind
    severity: Severity
    entity_type: str
    entity_id: UUID
    entity: str
    figures: str
    evidence: str
    likely_cause: str
    proposed_action: str
    command: str
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class _Advice:
    cause: str
    action: str
    command: str
    automatic: bool = False


_AGENT_ADVICE = {
    Kind.SILENT: _Advice(
        "It stopped, lost its network, or its token ended or was revoked.",
        "Start it again; retire it if it is gone for good.",
        "orca agents get {name}",
    ),
    Kind.UNREACHABLE: _Advice(
        "It does not run, its address or command changed, or the network is in between.",
        "Start it, or correct its url or command; the next probe shows whether it answers.",
        "orca agents get {name}",
    ),
    Kind.FAILING: _Advice(
        "A dependency of it fails, or a new version of it is broken.",
        "Suspend it until its errors are understood; orca agents resume brings it back.",
        "orca agents suspend {name}",
        automatic=True,
    ),
    Kind.DEGRADED: _Advice(
        "It answers slowly, violates policy, or errs now and then.",
        "Look at what lowers its trust.",
        "orca trust show {name}",
    ),
    Kind.DRIFTED: _Advice(
        "It was changed or released anew, or somebody tampers with it.",
        "Look at the differences; accept them, or restore the agent as it was accepted.",
        "orca drift show {drift}",
    ),
    Kind.VIOLATING: _Advice(
        "Its instructions or its permissions let it break the rule.",
        "Look at the evidence; suspend the agent, or mend it and resolve the violation.",
        "orca violations list --filter {violations}",
    ),
}
_OWNERLESS = "It was registered without an owner."
_FILE_OWNER = _Advice(
    _OWNERLESS,
    "Write its owner into the registry file, then take the file over.",
    "orca registry sync",
)
_API_OWNER = _Advice(
    _OWNERLESS,
    "Say who looks after it, in place of TEAM.",
    "curl -X PATCH 'http://localhost:3000/agents/{id}?update_mask=owner' "
    "-H 'Content-Type: application/json' -d '{{\"owner\": \"TEAM\"}}'",
)
_WORKFLOW_ADVICE = {
    Kind.FAILING: _Advice(
        "A step of it fails, or what it needs does not answer.",
        "Read the error of its last run, mend it, and run it again.",
        "orca runs list {name}",
    ),
    Kind.STALE: _Advice(
        "Its schedule is off, it hangs, or its adapter does not report.",
        "See whether it still starts; pause it if it rests on purpose.",
        "orca runs list {name}",
    ),
    Kind.UNOWNED: _Advice(
        "It was registered without an owner.",
        "Say who looks after it, in place of TEAM.",
        "orca workflows update {name} --owner TEAM",
    ),
}
_SEVERITIES = {
    Kind.SILENT: Severity.HIGH,
    Kind.UNREACHABLE: Severity.HIGH,
    Kind.FAILING: Severity.HIGH,
    Kind.STALE: Severity.HIGH,
    Kind.DEGRADED: Severity.MEDIUM,
    Kind.DRIFTED: Severity.MEDIUM,
    Kind.VIOLATING: Severity.MEDIUM,
    Kind.UNOWNED: Severity.LOW,
}


def diagnose_agent(kind: Kind, agent: AgentFacts) -> Finding:
    """The finding of a kind about an agent."""
    if kind is Kind.UNOWNED:
        advice = _FILE_OWNER if agent.source == "file" else _API_OWNER
    else:
        advice = _AGENT_ADVICE[kind]
    severity = _SEVERITIES[kind]
    if agent.critical:
        severity = Severity(max(1, severity - 1))
    return Finding(
        kind=kind,
        severity=severity,
        entity_type="agent",
        entity_id=agent.id,
        entity=f"{agent.type}/{agent.name}",
        figures=_agent_figures(kind, agent),
        evidence=_agent_evidence(kind, agent.id),
        likely_cause=advice.cause,
        proposed_action=advice.action,
        command=advice.command.format(
            name=shlex.quote(f"{agent.type}/{agent.name}"),
            id=agent.id,
            drift=agent.drift.id if agent.drift else "",
            violations=shlex.quote(f'entity_id = "{agent.id}"'),
        ),
        automatic=advice.automatic,
    )


def _agent_evidence(kind: Kind, id: UUID) -> str:
    match kind:
        case Kind.UNOWNED:
            return f"/agents/{id}"
        case Kind.DRIFTED:
            return f"/drift?filter=resolved=false%20AND%20entity_id=%22{id}%22"
        case Kind.VIOLATING:
            return f"/violations?filter=resolved=false%20AND%20entity_id=%22{id}%22"
    return f"/agents/{id}/trust"


def _agent_figures(kind: Kind, agent: AgentFacts) -> str:
    match kind:
        case Kind.SILENT:
            beat = agent.heartbeat_seconds
            told = f"; it declares a heartbeat of {beat} s" if beat else ""
            return f"last report {_at(agent.last_seen_at)}{told}"
        case Kind.UNREACHABLE:
            return f"newest probe {_at(agent.last_seen_at)}: {agent.probe_state}"
        case Kind.DRIFTED if agent.drift:
            drift = agent.drift
            fields = f"{drift.differences} field{'s' if drift.differences != 1 else ''} of"
            return f"{fields} {drift.rules} not as accepted since {_at(drift.first_seen_at)}"
        case Kind.VIOLATING if agent.violated:
            return _violated(agent.violated)
        case Kind.UNOWNED:
            return "no owner"
    parts = [f"{agent.errors} of {agent.operations} operations failed"]
    if agent.health_ppb is not None:
        parts.append(f"health {agent.health_ppb / PPB:.4f}")
    if agent.trust_ppb is not None:
        parts.append(f"trust {agent.trust_ppb / PPB:.4f}")
    if agent.latency_us is not None:
        parts.append(f"mean latency {agent.latency_us / 1000:.1f} ms")
    return ", ".join(parts)


def _violated(found: ViolationFacts) -> str:
    more = f" and {found.rules - 1} more" if found.rules > 1 else ""
    return (
        f"{found.violations} violations and {found.blocked} blocked of {found.newest_rule}{more}, "
        f"the newest {_at(found.last_seen_at)}"
    )


def diagnose_workflow(kind: Kind, workflow: WorkflowFacts) -> Finding:
    """The finding of a kind about a workflow."""
    advice = _WORKFLOW_ADVICE[kind]
    name = f"{workflow.provider}/{workflow.name}"
    path = f"/workflows/{workflow.id}"
    return Finding(
        kind=kind,
        severity=_SEVERITIES[kind],
        entity_type="workflow",
        entity_id=workflow.id,
        entity=name,
        figures=_workflow_figures(kind, workflow),
        evidence=path if kind is Kind.UNOWNED else f"{path}/runs",
        likely_cause=advice.cause,
        proposed_action=advice.action,
        command=advice.command.format(name=shlex.quote(name)),
        automatic=advice.automatic,
    )


def _workflow_figures(kind: Kind, workflow: WorkflowFacts) -> str:
    if kind is Kind.UNOWNED:
        return "no owner"
    success = f"last success {_at(workflow.last_success_at)}"
    if kind is Kind.STALE:
        return success
    return (
        f"last run failed {_at(workflow.last_end_at)}, {workflow.failed} failed in the week "
        f"before; {success}"
    )


def order(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the most severe first, then by id and kind."""
    place = list(Kind).index
    return sorted(findings, key=lambda one: (one.severity, one.entity_id, place(one.kind)))


def _at(instant: datetime | None) -> str:
    if instant is None:
        return "never"
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"

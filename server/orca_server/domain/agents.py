"""Agents: what is said of one, the states it passes through, and who may say what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orca_server.domain.errors import AlreadyExists, NotAllowedNow
from orca_server.domain.update_masks import Updatable

# An agent that left the fleet stays in its means for this long, so that setting it aside
# never raises a score.
STAY = timedelta(days=7)


class AgentState(StrEnum):
    """Where an agent stands between the public catalogue and the fleet."""

    CATALOG = "CATALOG"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    RETIRED = "RETIRED"


class Source(StrEnum):
    """What created an agent and owns its description."""

    FILE = "file"
    IMPORT = "import"
    API = "api"
    OTLP = "otlp"
    PROBE = "probe"


class Criticality(StrEnum):
    """How much depends on an agent."""

    LOW = "low"
    NORMAL = "normal"
    CRITICAL = "critical"


# What an adapter may say of the agents that it reports for: nothing that weighs trust.
REPORTED_FIELDS = frozenset(
    {"display_name", "description", "version", "endpoint", "capabilities", "tools", "labels"}
)
# What the registry file says of its servers, and nothing else may change.
FILE_FIELDS = frozenset(
    {"display_name", "description", "endpoint", "capabilities", "owner", "labels"}
)
# Fields that weigh the last values of an agent that left: they stay as they were when it left.
FROZEN_FIELDS = frozenset({"criticality", "heartbeat_interval_seconds"})
# Fields that the trust tick reads: a change of one marks the agent.
TRUST_FIELDS = frozenset({"state", "criticality", "heartbeat_interval_seconds", "latency_limit_us"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an agent is reached: by `url`, or started by `command`."""

    url: str = ""
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that an agent offers; `input_schema` is a JSON object, None if not said."""

    name: str
    description: str = ""
    input_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What is said of an agent, apart from its identity and state.

    Attributes:
        latency_limit_us: Mean latency limit in microseconds; None: the default, 1,000,000.
        heartbeat_interval_seconds: It promises to report this often; None: no promise.
    """

    display_name: str = ""
    description: str = ""
    owner: str = ""
    version: str = ""
    endpoint: Endpoint = field(default_factory=Endpoint)
    capabilities: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    criticality: Criticality = Criticality.NORMAL
    heartbeat_interval_seconds: int | None = None
    latency_limit_us: int | None = None


CONTENT_FIELDS = tuple(one.name for one in fields(Content))
UPDATABLE = Updatable(
    mutable={
        "display_name": "display_name",
        "description": "description",
        "owner": "owner",
        "version": "version",
        "endpoint": "endpoint",
        "capabilities": "capabilities",
        "tools": "tools",
        "labels": "labels",
        "criticality": "criticality",
        "heartbeat_interval_seconds": "heartbeat_interval_seconds",
        "latency_limit_ms": "latency_limit_us",
    },
    identity=("id", "type", "name"),
    parts={"endpoint": ("url", "command", "args", "env")},
)
"""What an update of an agent may speak of."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as it is written; its trust lives elsewhere.

    Attributes:
        left_at: When it was suspended or retired; None while it is neither.
        counted_until: End of its stay in the means after it left.
        import_stamp: Orders the versions of an imported entry.
        revision: Grows by one with each write.
    """

    id: UUID
    type: str
    name: str
    state: AgentState
    source: Source
    content: Content = field(default_factory=Content)
    left_at: datetime | None = None
    counted_until: datetime | None = None
    import_stamp: str = ""
    revision: int = 1


def suspend(agent: Agent, now: datetime) -> Agent:
    """The agent once it is set aside; equal to itself if it already was.

    Raises:
        NotAllowedNow: If it is retired or no part of the fleet.
    """
    _in_fleet(agent)
    if agent.state is AgentState.RETIRED:
        raise NotAllowedNow(
            "AGENT_RETIRED",
            f"Agent '{agent.name}' is retired; a retired agent cannot be suspended.",
            _about(agent),
        )
    if agent.state is AgentState.SUSPENDED:
        return agent
    return replace(agent, state=AgentState.SUSPENDED, left_at=now, counted_until=now + STAY)


def resume(agent: Agent) -> Agent:
    """The agent once it is back in the fleet; equal to itself if it is active.

    Raises:
        NotAllowedNow: If it is a catalogue entry.
    """
    _in_fleet(agent)
    return activate(agent)


def retire(agent: Agent, now: datetime) -> Agent:
    """The agent once it is gone; equal to itself if it already was.

    Its stay in the means ends 7 days from now, unless it had ended before.

    Raises:
        NotAllowedNow: If it is a catalogue entry.
    """
    _in_fleet(agent)
    if agent.state is AgentState.RETIRED:
        return agent
    stay_ended = agent.counted_until is not None and agent.counted_until <= now
    return replace(
        agent,
        state=AgentState.RETIRED,
        left_at=agent.left_at or now,
        counted_until=agent.counted_until if stay_ended else now + STAY,
    )


def enrol(agent: Agent) -> Agent:
    """The catalogue entry once it is part of the fleet; an active agent stays as it is.

    Raises:
        NotAllowedNow: If it is suspended or retired.
    """
    if agent.state in (AgentState.SUSPENDED, AgentState.RETIRED):
        raise NotAllowedNow(
            "AGENT_NOT_IN_CATALOG",
            f"Agent '{agent.name}' is {agent.state.lower()}; resume it instead.",
            _about(agent) | {"state": agent.state},
        )
    return activate(agent)


def activate(agent: Agent) -> Agent:
    """The agent as an active part of the fleet, wherever it comes from."""
    return replace(agent, state=AgentState.ACTIVE, left_at=None, counted_until=None)


def with_content(agent: Agent, new: Content) -> Agent:
    """The agent with what is said of it now.

    Raises:
        NotAllowedNow: If that would change what the registry file says of its own servers
            (`AGENT_OWNED_BY_FILE`), or what weighs the trust of a suspended agent
            (`AGENT_SUSPENDED`).
    """
    owned = sorted(FILE_FIELDS & set(changed_fields(agent.content, new)))
    if owned and agent.source is Source.FILE:
        raise NotAllowedNow(
            "AGENT_OWNED_BY_FILE",
            f"The registry file owns '{owned[0]}' of agent '{agent.name}'; change it there.",
            _about(agent) | {"fields": ",".join(owned)},
        )
    frozen = sorted(FROZEN_FIELDS & set(changed_fields(agent.content, new)))
    if frozen and agent.state is AgentState.SUSPENDED:
        raise NotAllowedNow(
            "AGENT_SUSPENDED",
            f"Agent '{agent.name}' is suspended and keeps its last values, so its '{frozen[0]}'"
            " cannot change; resume it first.",
            _about(agent) | {"fields": ",".join(frozen)},
        )
    return replace(agent, content=new)


def retired_error(agent_id: UUID, agent_type: str, name: str) -> AlreadyExists:
    """The error for a write of what a retired agent is."""
    return AlreadyExists(
        "AGENT_RETIRED",
        f"Agent '{agent_type}/{name}' is retired; resume it first.",
        {"agent_id": str(agent_id), "type": agent_type, "name": name},
    )


def changed_fields(old: Content, new: Content) -> tuple[str, ...]:
    """Names of the fields in which two contents differ."""
    return tuple(name for name in CONTENT_FIELDS if getattr(old, name) != getattr(new, name))


def changes(old: Agent, new: Agent) -> dict[str, list[object]]:
    """What differs between two versions, for the audit log: field -> [before, after].

    Tools are told by their names, since their schemas can be long.
    """
    found: dict[str, list[object]] = {}
    for name in ("state", "source"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            found[name] = [str(before), str(after)]
    for name in changed_fields(old.content, new.content):
        found[name] = [_told(getattr(old.content, name)), _told(getattr(new.content, name))]
    return found


def moves_trust(old: Agent, new: Agent) -> bool:
    """Whether the trust tick must compute the agent anew."""
    return not TRUST_FIELDS.isdisjoint(changes(old, new))


def _told(value: object) -> object:
    match value:
        case Endpoint():
            return {
                "url": value.url,
                "command": value.command,
                "args": list(value.args),
                "env": dict(value.env),
            }
        case tuple():
            return [one.name if isinstance(one, Tool) else one for one in value]
        case Mapping():
            return dict(value)
        case _:
            return value


def _in_fleet(agent: Agent) -> None:
    if agent.state is AgentState.CATALOG:
        raise NotAllowedNow(
            "AGENT_IN_CATALOG",
            f"Agent '{agent.name}' is a catalogue entry, no part of the fleet; enrol it first.",
            _about(agent),
        )


def _about(agent: Agent) -> dict[str, str]:
    return {"agent_id": str(agent.id), "type": agent.type, "name": agent.name}

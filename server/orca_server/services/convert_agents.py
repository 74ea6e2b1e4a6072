"""Agents for replies, from rows; and from requests, with all that is wrong with them."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf import json_format

from orca.v1 import agent_pb2 as pb
from orca.v1 import trust_pb2
from orca_server.domain.agent_checks import LATENCY_LIMIT_MS
from orca_server.domain.agents import Content, Criticality, Endpoint, Tool
from orca_server.domain.checks import Violations, check_range
from orca_server.domain.etags import etag
from orca_server.domain.numbers import PPB
from orca_server.services.convert_trust import STATES as TRUST_STATES
from orca_server.services.timestamps import set_timestamp, timestamp
from orca_server.store.database import Record
from orca_server.store.listings import DEGRADED_PPB, HEALTHY_PPB

_STATES = {name.removeprefix("STATE_"): value for name, value in pb.Agent.State.items()}
_CRITICALITIES = {
    name.removeprefix("CRITICALITY_").lower(): value for name, value in pb.Agent.Criticality.items()
}
# json.loads looks for white space around, twice, which takes most of its time.
_scan: Any = vars(json.JSONDecoder())["scan_once"]
_instant = lru_cache(maxsize=64)(timestamp)
"""The instants of ticks: many agents have the same."""
_CRITICALITY_OF = {
    pb.Agent.CRITICALITY_UNSPECIFIED: Criticality.NORMAL,
    pb.Agent.CRITICALITY_LOW: Criticality.LOW,
    pb.Agent.CRITICALITY_NORMAL: Criticality.NORMAL,
    pb.Agent.CRITICALITY_CRITICAL: Criticality.CRITICAL,
}


def agent_to_proto(row: Record, make: Callable[..., pb.Agent] = pb.Agent) -> pb.Agent:
    """An agent with its trust, as `list_agents` selects it.

    Lists convert thousands of rows a second, so what looks longer here is what takes less time: to
    ask a row for a column by its name takes as long as to write a field.

    Args:
        row: The agent.
        make: Makes the message; a reply's own `add` saves to copy it there.
    """
    columns: Any = row
    key, agent_type, name, display_name, description, state, source, *more = columns
    owner, version, endpoint, capabilities, tools, labels, criticality, *more = more
    heartbeat, latency_limit_us, created_at, updated_at, revision, *trust = more
    agent_id = str(key)
    agent = make(
        id=agent_id,
        type=agent_type,
        name=name,
        display_name=display_name,
        description=description,
        state=_STATES[state],
        source=source,
        owner=owner,
        version=version,
        capabilities=capabilities,
        criticality=_CRITICALITIES[criticality],
        heartbeat_interval_seconds=heartbeat,
        etag=etag(agent_id, revision),
        trust_state=trust_pb2.TRUST_STATE_UNMEASURED,
    )
    set_timestamp(agent.created_at, created_at)
    set_timestamp(agent.updated_at, updated_at)
    if latency_limit_us is not None:
        agent.latency_limit_ms = latency_limit_us / 1000
    if endpoint != "{}":
        _add_endpoint(agent.endpoint, _parsed(endpoint))
    if labels != "{}":
        field = agent.labels
        for label, value in _parsed(labels).items():
            field[label] = value
    if tools != "[]":
        agent.tools.extend(_tool_to_proto(tool) for tool in _parsed(tools))
    if trust[0] is not None:
        _add_trust(agent, trust)
    return agent


def _parsed(text: str) -> Any:
    """The value of a jsonb column."""
    found, _ = _scan(text, 0)
    return found


def _add_endpoint(endpoint: pb.AgentEndpoint, found: Mapping[str, Any]) -> None:
    if "url" in found:
        endpoint.url = found["url"]
    if "command" in found:
        endpoint.command = found["command"]
    if "args" in found:
        endpoint.args.extend(found["args"])
    if "env" in found:
        endpoint.env.update(found["env"])


def _add_trust(agent: pb.Agent, trust: Sequence[Any]) -> None:
    """What the tick wrote of it: the columns from `trust_state` on. A zero is not written."""
    state, ppb, health_ppb, last_seen_at, operations, errors, violations, *spent, as_of = trust
    agent.trust_state = TRUST_STATES[state]
    agent.trust_as_of.CopyFrom(_instant(as_of))
    if operations:
        agent.operations = operations
        agent.errors = errors
        agent.violations = violations
    if any(spent):
        cost_nano_usd, agent.input_tokens, agent.output_tokens = spent
        agent.cost_usd = cost_nano_usd / PPB
    if last_seen_at is not None:
        set_timestamp(agent.last_seen_at, last_seen_at)
    if ppb is not None:
        agent.trust_ppb = ppb
        agent.trust_level = ppb / PPB
    if health_ppb is not None:
        agent.health_score = health_ppb / PPB
        agent.health = _health(health_ppb)


def _health(ppb: int) -> pb.Agent.Health.ValueType:
    if ppb >= HEALTHY_PPB:
        return pb.Agent.HEALTH_HEALTHY
    return pb.Agent.HEALTH_DEGRADED if ppb >= DEGRADED_PPB else pb.Agent.HEALTH_CRITICAL


def _tool_to_proto(found: Mapping[str, Any]) -> pb.AgentTool:
    tool = pb.AgentTool(name=found["name"], description=found.get("description", ""))
    if "input_schema" in found:
        tool.input_schema.update(found["input_schema"])
    return tool


def content_of(agent: pb.Agent, violations: Violations, prefix: str) -> Content:
    """What a request says of an agent; notes what cannot even be expressed."""
    return Content(
        display_name=agent.display_name,
        description=agent.description,
        owner=agent.owner,
        version=agent.version,
        endpoint=_endpoint_of(agent.endpoint),
        capabilities=tuple(agent.capabilities),
        tools=tuple(tools_of(agent.tools, violations, f"{prefix}tools")),
        labels=dict(agent.labels),
        criticality=_criticality_of(agent, violations, f"{prefix}criticality"),
        heartbeat_interval_seconds=(
            agent.heartbeat_interval_seconds
            if agent.HasField("heartbeat_interval_seconds")
            else None
        ),
        latency_limit_us=_latency_limit_of(agent, violations, f"{prefix}latency_limit_ms"),
    )


def _endpoint_of(endpoint: pb.AgentEndpoint) -> Endpoint:
    return Endpoint(
        url=endpoint.url,
        command=endpoint.command,
        args=tuple(endpoint.args),
        env=dict(endpoint.env),
    )


def _criticality_of(agent: pb.Agent, violations: Violations, name: str) -> Criticality:
    found = _CRITICALITY_OF.get(agent.criticality)
    if found is None:
        violations.add(name, "INVALID_VALUE", f"{agent.criticality} is no value of Criticality")
    return found or Criticality.NORMAL


def _latency_limit_of(agent: pb.Agent, violations: Violations, name: str) -> int | None:
    """The limit in whole microseconds."""
    limit = agent.latency_limit_ms
    if not agent.HasField("latency_limit_ms"):
        return None
    if not check_range(violations, name, limit, LATENCY_LIMIT_MS):
        return None
    return math.floor(limit * 1000 + 0.5)


def tools_of(tools: Iterable[pb.AgentTool], violations: Violations, name: str) -> Iterable[Tool]:
    for index, tool in enumerate(tools):
        schema: Mapping[str, object] | None = None
        if tool.HasField("input_schema"):
            try:
                schema = json_format.MessageToDict(tool.input_schema)
            except ValueError:  # NaN or infinity, which JSON does not know
                path = f"{name}[{index}].input_schema"
                violations.add(path, "INVALID_FORMAT", "holds a number that JSON does not know")
        yield Tool(tool.name, tool.description, schema)

"""Probes MCP servers and reports what it finds: `python -m orca_adapters.probe CONFIG`.

Knows only the client. Each server is asked what it is, over streamable HTTP or as a started
command, and the answer becomes

* a telemetry record of its agent: one operation, an error if nobody answers or what answers is
  no MCP. A server that wants credentials (401, 403), refuses POST (405) or limits the rate
  (429) is alive: that is a heartbeat, not an error. What was not tried leaves no record;
* an observation of its tools and version, when it speaks MCP: what differs from what was
  accepted is drift.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import mcp_types
from google.protobuf.json_format import ParseDict, ParseError

from orca.client import Client
from orca.errors import NotFound, OrcaError
from orca.times import timestamp
from orca.v1.agent_pb2 import Agent, AgentTool
from orca.v1.drift_pb2 import AgentObservation
from orca.v1.telemetry_pb2 import TelemetryRecord
from orca_adapters.probe_config import (
    ProbeConfig,
    Target,
    Unresolved,
    base_environment,
    resolve,
    secrets_in,
)
from orca_adapters.probe_mcp import Finding, State, probe_http, probe_stdio
from orca_adapters.probe_stdio import Start

HEARTBEATS = frozenset(
    {
        State.AUTH_REQUIRED,
        State.METHOD_NOT_ALLOWED,
        State.RATE_LIMITED,
        State.UNSUPPORTED_VERSION,
    }
)
"""The server is alive, and nothing was measured."""
ERRORS = frozenset({State.UNREACHABLE, State.NOT_MCP})

_AGENT_TYPE = "mcp"
_MAX_NAME = 200
_MAX_DESCRIPTION = 4000
_MAX_VERSION = 100
_MAX_TOOLS_BYTES = 250_000  # a little below what the server takes


@dataclass(frozen=True, slots=True)
class Reached:
    """An agent, and the ways to it.

    Attributes:
        agent: As the server knows it; without an id if it does not know it yet.
        target: How it is reached.
        trusted: Whether the operator wrote that, or the server says it.
    """

    agent: Agent
    target: Target
    trusted: bool

    @property
    def name(self) -> str:
        """Type and name."""
        return f"{self.agent.type}/{self.agent.name}"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one agent.

    Attributes:
        name: Of the agent.
        finding: What was found.
        problem: Why that could not be reported; None if it was.
        drift: What of it is not as it was accepted: `tools`, `version`.
    """

    name: str
    finding: Finding
    problem: OrcaError | None = None
    drift: tuple[str, ...] = ()


async def probe_all(client: Client, config: ProbeConfig) -> list[Report]:
    """Probes and reports on every agent of the configuration, some at a time.

    Raises:
        OrcaError: If the fleet cannot be read.
    """
    room = asyncio.Semaphore(config.concurrency)

    async def one(target: Target | Reached) -> Report:
        async with room:
            return await _probe_one(client, config, target)

    wanted: list[Target | Reached] = [*config.agents, *await _fleet(client, config)]
    return list(await asyncio.gather(*(one(each) for each in wanted)))


async def _fleet(client: Client, config: ProbeConfig) -> list[Reached]:
    """The agents that the filter finds and the configuration does not name."""
    if not config.filter:
        return []
    named = {target.agent for target in config.agents}
    found = [agent async for agent in client.agents.list(filter=config.filter)]
    return [
        Reached(agent, _target_of(agent), trusted=False)
        for agent in found
        if agent.state == Agent.STATE_ACTIVE
        and not named & {agent.id, agent.name, f"{agent.type}/{agent.name}"}
    ]


async def _probe_one(client: Client, config: ProbeConfig, wanted: Target | Reached) -> Report:
    try:
        reached = wanted if isinstance(wanted, Reached) else await _reach(client, wanted)
    except OrcaError as error:
        assert isinstance(wanted, Target)  # noqa: S101 - what is reached needs no look-up
        return Report(wanted.agent, Finding(State.NOT_TRIED, error.message), error)
    observed_at = datetime.now(UTC)
    finding = await look(config, reached)
    try:
        drift = await report(client, reached.agent, finding, observed_at)
    except OrcaError as error:
        return Report(reached.name, finding, error)
    return Report(reached.name, finding, drift=drift)


async def _reach(client: Client, target: Target) -> Reached:
    """The agent that a target names; a new one if the server does not know it and may."""
    trusted = bool(target.url or target.command)
    try:
        agent = await client.agents.find(target.agent)
    except NotFound:
        kind, slash, name = target.agent.partition("/")
        if not trusted:
            raise
        known = (kind, name) if slash else (_AGENT_TYPE, target.agent)
        return Reached(Agent(type=known[0], name=known[1]), target, trusted)
    return Reached(agent, target if trusted else _target_of(agent), trusted)


def _target_of(agent: Agent) -> Target:
    """How an agent is reached, as the server knows it."""
    endpoint = agent.endpoint
    return Target(
        agent=agent.id,
        url=endpoint.url,
        command="" if endpoint.url else endpoint.command,
        args=() if endpoint.url or not endpoint.command else tuple(endpoint.args),
        env={} if endpoint.url or not endpoint.command else dict(endpoint.env),
    )


async def look(config: ProbeConfig, reached: Reached) -> Finding:
    """What is there; never raises for what a server does."""
    target, variables = reached.target, os.environ
    allowed = None if reached.trusted else frozenset(config.allow_variables)
    try:
        if target.url:
            url = resolve(target.url, variables, allowed)
            headers = _resolved(target.headers, variables, allowed)
            finding = await probe_http(url, headers, config.timeout_seconds)
        elif target.command:
            start = _start(config, reached, variables, allowed)
            finding = await probe_stdio(start, config.timeout_seconds)
        else:
            return Finding(State.NOT_TRIED, "neither url nor command is known")
    except Unresolved as cause:
        return Finding(State.NOT_TRIED, str(cause))
    texts = (target.url, *target.headers.values(), *target.args, *target.env.values())
    return _without_secrets(finding, secrets_in(texts, variables))


def _start(
    config: ProbeConfig,
    reached: Reached,
    variables: Mapping[str, str],
    allowed: frozenset[str] | None,
) -> Start:
    """How the target's command is started.

    Raises:
        Unresolved: If it may not be, or cannot.
    """
    target = reached.target
    if not reached.trusted and not config.allows((target.command, *target.args)):
        raise Unresolved(f"'{target.command}' is not in allow_commands")
    environment = base_environment(config.environment)
    environment |= _resolved(target.env, variables, allowed)
    program = target.command
    if os.sep in program:
        program = str(config.folder / program)
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise Unresolved(f"'{target.command}' cannot be run here")
    args = [resolve(each, variables, allowed) for each in target.args]
    return Start((program, *args), environment, config.folder, config.limits.limits())


def _resolved(
    values: Mapping[str, str], variables: Mapping[str, str], allowed: frozenset[str] | None
) -> dict[str, str]:
    return {name: resolve(value, variables, allowed) for name, value in values.items()}


def _without_secrets(finding: Finding, secrets: Mapping[str, str]) -> Finding:
    """The finding with references in place of their values."""
    message = finding.message
    for value, reference in sorted(secrets.items(), key=lambda pair: -len(pair[0])):
        message = message.replace(value, reference)
    return replace(finding, message=message)


async def report(
    client: Client, agent: Agent, finding: Finding, observed_at: datetime
) -> tuple[str, ...]:
    """Tells the server what was found; nothing, if nothing was tried.

    Returns:
        What of the agent has drifted.

    Raises:
        OrcaError: If it does not take it.
    """
    if finding.state is State.NOT_TRIED:
        return ()
    if not agent.id:
        described = Agent(type=agent.type, name=agent.name)
        agent = await client.agents.update(described, allow_missing=True, reason="probe")
    await client.telemetry.record([record_of(agent.id, finding, observed_at)])
    if finding.state is not State.SPEAKS_MCP or finding.tools is None:
        return ()
    seen = AgentObservation(
        observed_at=timestamp(observed_at), version=finding.version[:_MAX_VERSION]
    )
    seen.tools.tools.extend(tools_of(finding.tools))
    seen.tools.SetInParent()  # also if there are none: that was seen
    response = await client.agents.observe(agent.id, seen, reason="probe")
    return tuple(each.rule for each in response.drift)


def record_of(agent_id: str, finding: Finding, observed_at: datetime) -> TelemetryRecord:
    """The finding as telemetry."""
    failed = finding.failed or finding.state in ERRORS
    record = TelemetryRecord(
        agent_id=agent_id,
        id="probe",
        observed_at=timestamp(observed_at),
        operations=0 if finding.state in HEARTBEATS else 1,
        errors=1 if failed else 0,
        latency_ms=finding.latency_ms,
    )
    attributes: dict[str, Any] = {"probe.state": finding.state.value}
    if finding.http_status is not None:
        attributes["probe.http_status"] = finding.http_status
    if finding.protocol:
        attributes["probe.protocol"] = finding.protocol
    if finding.initialize_ms is not None:
        attributes["probe.initialize_ms"] = round(finding.initialize_ms, 3)
    record.attributes.update(attributes)
    return record


def tools_of(tools: tuple[mcp_types.Tool, ...]) -> list[AgentTool]:
    """The tools as the server takes them: each once, and schemas as long as there is room."""
    found: dict[str, AgentTool] = {}
    size = 0
    for tool in tools:
        name, description = tool.name[:_MAX_NAME], (tool.description or "")[:_MAX_DESCRIPTION]
        schema = json.dumps(tool.input_schema)
        size += len(description)
        if not name or name in found or size > _MAX_TOOLS_BYTES:
            continue
        found[name] = AgentTool(name=name, description=description)
        if size + len(schema) <= _MAX_TOOLS_BYTES:
            size += len(schema)
            _set_schema(found[name], tool.input_schema)
    return list(found.values())


def _set_schema(tool: AgentTool, schema: Mapping[str, Any]) -> None:
    try:
        ParseDict(dict(schema), tool.input_schema)
    except (ParseError, RecursionError):  # deeper than protobuf reads: the tool counts without it
        tool.ClearField("input_schema")


if __name__ == "__main__":
    from orca_adapters.cli import run

    run()

"""What a sync plans for agents that operators set aside."""

from datetime import UTC, datetime
from uuid import UUID

from orca_server.domain import agents
from orca_server.domain.agents import Agent, AgentState, Content, Criticality, Source
from orca_server.domain.inventory import plan_sync
from orca_server.domain.registry_file import parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE = b"""
version: "1.0.0"
servers:
  files:
    command: npx
    criticality: low
    heartbeat_interval_seconds: 86400
"""


def of_file(content: Content) -> Agent:
    return Agent(UUID(int=1), "mcp", "files", AgentState.ACTIVE, Source.FILE, content)


def test_a_sync_leaves_what_weighs_a_suspended_agent_until_it_is_resumed() -> None:
    servers = parse(FILE, "file.yaml")
    active = of_file(Content(criticality=Criticality.CRITICAL, heartbeat_interval_seconds=60))
    suspended = agents.suspend(active, NOW)
    plan = plan_sync(servers, [suspended], NOW, UUID)
    ((_, planned),) = plan.updated
    assert planned.state is AgentState.SUSPENDED
    assert planned.content.criticality is Criticality.CRITICAL
    assert planned.content.heartbeat_interval_seconds == 60
    assert planned.content.endpoint.command == "npx"

    resumed = agents.resume(planned)
    ((_, planned),) = plan_sync(servers, [resumed], NOW, UUID).updated
    assert planned.content.criticality is Criticality.LOW
    assert planned.content.heartbeat_interval_seconds == 86_400

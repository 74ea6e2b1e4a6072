"""What tests of the registry file have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.serving import (
    running_server,
    settings_for,
    wait_until_ready,
)

HEAD = 'version: "1.0.0"\nservers:\n'
TWO = f"""{HEAD}  github:
    name: GitHub
    url: https://example.com/mcp
    labels: {{team: a}}
  files:
    command: npx
    args: ["-y", files]
    criticality: critical
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry file lies, or will."""
    return tmp_path / "registry.yaml"


@pytest.fixture
async def opened(database_url: str, path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server with a registry file that is not there yet."""
    settings = settings_for(database_url, mcp_registry_path=path)
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        yield channel


@pytest.fixture
def stub(opened: grpc.aio.Channel) -> AgentServiceStub:
    """AgentService of that server."""
    return AgentServiceStub(opened)


def write(path: Path, text: str) -> None:
    """Writes the file in place, as some editors do."""
    path.write_text(text)


async def sync(stub: AgentServiceStub, **fields: Any) -> pb.SyncRegistryResponse:
    """Reads the file now."""
    return await stub.SyncRegistry(pb.SyncRegistryRequest(**fields))


def counts(answer: pb.SyncRegistryResponse) -> tuple[int, int, int, int]:
    """How many were created, updated, unchanged and retired."""
    return answer.created, answer.updated, answer.unchanged, answer.retired


async def fleet(stub: AgentServiceStub) -> dict[str, agent_pb2.Agent]:
    """All agents by name, the catalogue's too."""
    page = await stub.ListAgents(pb.ListAgentsRequest(show_catalog=True))
    return {agent.name: agent for agent in page.agents}


async def until(condition: Callable[[], Any]) -> Any:
    """Waits until a coroutine function says something true."""
    async with asyncio.timeout(20):
        while not (found := await condition()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
        return found


async def is_named(stub: AgentServiceStub, name: str) -> bool:
    """Whether there is an agent of that name."""
    return name in await fleet(stub)


async def state_of(stub: AgentServiceStub, name: str) -> int:
    """The state of the agent of that name."""
    return (await fleet(stub))[name].state


async def is_in_state(stub: AgentServiceStub, name: str, state: int) -> bool:
    """Whether the agent of that name is in that state."""
    return await state_of(stub, name) == state

"""The registry file becomes agents: changes, leavers, faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from orca.v1 import agent_pb2, system_service_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.store.audit import Author
from orca_server.store.database import Database
from tests.integration.registry_files import (
    HEAD,
    TWO,
    counts,
    fleet,
    is_in_state,
    is_named,
    opened,
    path,
    state_of,
    stub,
    sync,
    until,
    write,
)
from tests.inventory import FAILED, audits, create, refused, sql
from tests.serving import (
    reason_of,
    violations_of,
)

__all__ = ["opened", "path", "sql", "stub"]
Agent = agent_pb2.Agent


def remove(path: Path) -> None:
    """Takes the file away."""
    path.unlink()


@contextmanager
def folder(path: Path) -> Iterator[None]:
    """A folder in the file's place, which nobody can read as a file."""
    path.mkdir()
    yield
    path.rmdir()


async def test_new_servers_are_listed_in_the_order_of_the_file(
    stub: AgentServiceStub, path: Path
) -> None:
    names = [f"{'zyx'[number % 3]}{number}" for number in range(60)]
    write(path, HEAD + "".join(f"  {name}: {{command: npx}}\n" for name in names))
    await until(lambda: fleet(stub))
    assert list(await fleet(stub)) == names


async def test_servers_of_the_file_are_active_agents(stub: AgentServiceStub, path: Path) -> None:
    write(path, TWO)
    await until(lambda: fleet(stub))
    answer = await sync(stub)
    assert (counts(answer), answer.path) == ((0, 0, 2, 0), str(path))
    agents = await fleet(stub)
    github, files = agents["github"], agents["files"]
    assert (github.type, github.source, github.state) == ("mcp", "file", Agent.STATE_ACTIVE)
    assert (github.display_name, github.endpoint.url) == ("GitHub", "https://example.com/mcp")
    assert dict(github.labels) == {"team": "a"}
    assert (files.endpoint.command, list(files.endpoint.args)) == ("npx", ["-y", "files"])
    assert files.criticality == Agent.CRITICALITY_CRITICAL


async def test_a_change_is_taken_over_and_the_same_again_writes_nothing(
    stub: AgentServiceStub, path: Path, sql: Any
) -> None:
    write(path, TWO)
    await until(lambda: fleet(stub))
    before, written = await fleet(stub), len(await audits(sql))
    assert counts(await sync(stub)) == (0, 0, 2, 0)
    assert await fleet(stub) == before
    assert len(await audits(sql)) == written
    write(path, TWO.replace("name: GitHub", "name: Hub") + "  new: {}\n")
    await until(lambda: is_named(stub, "new"))
    assert (await fleet(stub))["github"].display_name == "Hub"


async def test_a_server_that_leaves_is_retired_and_one_that_returns_is_active(
    stub: AgentServiceStub, path: Path, sql: Any
) -> None:
    await create(stub, "of-the-api")
    write(path, TWO)
    await until(lambda: is_named(stub, "files"))
    agent_id = (await fleet(stub))["files"].id
    write(path, TWO[: TWO.index("  files:")])
    answer = await sync(stub, reason="moved")
    assert counts(answer) in ((0, 0, 1, 1), (0, 0, 1, 0))  # the server may have seen it first
    await until(lambda: is_in_state(stub, "files", Agent.STATE_RETIRED))
    row = await sql.fetchrow("SELECT left_at, counted_until FROM agents WHERE name = 'files'")
    assert (row["counted_until"] - row["left_at"]).days == 7
    assert await state_of(stub, "of-the-api") == Agent.STATE_ACTIVE
    write(path, TWO)
    await until(lambda: is_in_state(stub, "files", Agent.STATE_ACTIVE))
    assert (await fleet(stub))["files"].id == agent_id
    row = await sql.fetchrow("SELECT left_at, counted_until FROM agents WHERE name = 'files'")
    assert tuple(row) == (None, None)


BROKEN = f"{HEAD}  github:\n    comand: x\n    env:\n      API_KEY: sk-123\n"


async def test_a_broken_file_changes_nothing_and_names_line_and_key(
    stub: AgentServiceStub, path: Path, opened: grpc.aio.Channel
) -> None:
    write(path, TWO)
    await until(lambda: fleet(stub))
    before = await fleet(stub)
    write(path, BROKEN)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sync(stub)
    assert reason_of(caught.value) == (FAILED, "REGISTRY_FILE_INVALID")
    assert violations_of(caught.value) == [
        ("servers.github.comand", "UNKNOWN_KEY"),
        ("servers.github.env.API_KEY", "SECRET_IN_PLAIN_TEXT"),
    ]
    assert "line 4" in str(caught.value.details())
    assert str(path) in str(caught.value.details())
    assert await fleet(stub) == before
    status = SystemServiceStub(opened)
    told = (await status.GetStatus(system_service_pb2.GetStatusRequest())).registry
    assert (told.ok, told.path, told.servers) == (False, str(path), 2)
    assert "comand" in told.message
    write(path, TWO)
    await sync(stub)
    told = (await status.GetStatus(system_service_pb2.GetStatusRequest())).registry
    assert (told.ok, told.message, told.servers) == (True, "", 2)
    assert told.HasField("synced_at")


async def test_a_missing_or_unreadable_file_retires_nothing(
    stub: AgentServiceStub, path: Path
) -> None:
    assert await refused(sync(stub)) == (FAILED, "REGISTRY_FILE_MISSING")
    write(path, TWO)
    await until(lambda: fleet(stub))
    before = await fleet(stub)
    remove(path)
    assert await refused(sync(stub)) == (FAILED, "REGISTRY_FILE_MISSING")
    with folder(path):
        assert await refused(sync(stub)) == (FAILED, "REGISTRY_FILE_MISSING")
    for text in ("", HEAD):
        write(path, text)
        assert await refused(sync(stub)) == (FAILED, "REGISTRY_FILE_INVALID")
    assert await fleet(stub) == before


async def test_only_an_explicitly_empty_file_retires_all(
    stub: AgentServiceStub, path: Path
) -> None:
    write(path, TWO)
    await until(lambda: fleet(stub))
    write(path, 'version: "1.0.0"\nservers: {}\n')
    await sync(stub)
    assert {agent.state for agent in (await fleet(stub)).values()} == {Agent.STATE_RETIRED}


async def test_a_preview_says_what_would_change_and_changes_nothing(
    agents_stub: AgentServiceStub, database_url: str, path: Path
) -> None:
    write(path, TWO)
    database = Database(database_url, size=2)
    try:
        plan = await RegistrySync(database, path).sync(
            Author(DEFAULT_TENANT, "test"), validate_only=True
        )
    finally:
        await database.close()
    assert [agent.name for agent in plan.new] == ["github", "files"]
    assert await fleet(agents_stub) == {}

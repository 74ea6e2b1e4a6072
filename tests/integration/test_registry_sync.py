"""The registry file and the fleet: what each change of the file does, and what it never does."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from orca.v1 import agent_pb2, system_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Unavailable
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.store.audit import Author
from orca_server.store.database import Database
from tests.inventory import FAILED, audits, bearer, create, refused, sql, wrong_fields
from tests.serving import (
    reason_of,
    running_server,
    settings_for,
    violations_of,
    wait_until_ready,
)

__all__ = ["sql"]

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
Agent = agent_pb2.Agent


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


def remove(path: Path) -> None:
    """Takes the file away."""
    path.unlink()


@contextmanager
def folder(path: Path) -> Iterator[None]:
    """A folder in the file's place, which nobody can read as a file."""
    path.mkdir()
    yield
    path.rmdir()


async def sync(stub: AgentServiceStub, **fields: Any) -> pb.SyncRegistryResponse:
    return await stub.SyncRegistry(pb.SyncRegistryRequest(**fields))


def counts(answer: pb.SyncRegistryResponse) -> tuple[int, int, int, int]:
    return answer.created, answer.updated, answer.unchanged, answer.retired


async def fleet(stub: AgentServiceStub) -> dict[str, agent_pb2.Agent]:
    page = await stub.ListAgents(pb.ListAgentsRequest(show_catalog=True))
    return {agent.name: agent for agent in page.agents}


async def until(condition: Callable[[], Any]) -> Any:
    """Waits until a coroutine function says something true."""
    async with asyncio.timeout(20):
        while not (found := await condition()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
        return found


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
    await until(lambda: _named(stub, "new"))
    assert (await fleet(stub))["github"].display_name == "Hub"


async def _named(stub: AgentServiceStub, name: str) -> bool:
    return name in await fleet(stub)


async def _state(stub: AgentServiceStub, name: str) -> int:
    return (await fleet(stub))[name].state


async def test_a_server_that_leaves_is_retired_and_one_that_returns_is_active(
    stub: AgentServiceStub, path: Path, sql: Any
) -> None:
    await create(stub, "of-the-api")
    write(path, TWO)
    await until(lambda: _named(stub, "files"))
    agent_id = (await fleet(stub))["files"].id
    write(path, TWO[: TWO.index("  files:")])
    answer = await sync(stub, reason="moved")
    assert counts(answer) in ((0, 0, 1, 1), (0, 0, 1, 0))  # the server may have seen it first
    await until(lambda: _is(stub, "files", Agent.STATE_RETIRED))
    row = await sql.fetchrow("SELECT left_at, counted_until FROM agents WHERE name = 'files'")
    assert (row["counted_until"] - row["left_at"]).days == 7
    assert await _state(stub, "of-the-api") == Agent.STATE_ACTIVE
    write(path, TWO)
    await until(lambda: _is(stub, "files", Agent.STATE_ACTIVE))
    assert (await fleet(stub))["files"].id == agent_id
    row = await sql.fetchrow("SELECT left_at, counted_until FROM agents WHERE name = 'files'")
    assert tuple(row) == (None, None)


async def _is(stub: AgentServiceStub, name: str, state: int) -> bool:
    return await _state(stub, name) == state


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


async def test_names_of_others_are_refused_with_both_named(
    stub: AgentServiceStub, path: Path
) -> None:
    made = await create(stub, "github", owner="me")
    write(path, TWO)
    answer = await sync(stub)
    (entry,) = answer.refused
    assert (entry.index, entry.name, entry.reason) == (0, "github", "OWNED_BY_OTHER_SOURCE")
    assert "'api'" in entry.message
    assert "'file'" in entry.message
    assert made.id in entry.message
    assert (await fleet(stub))["github"] == made
    assert "files" in await fleet(stub)


async def test_a_catalogue_entry_that_the_file_names_joins_the_fleet(
    stub: AgentServiceStub, path: Path, sql: Any
) -> None:
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, state, source, version)"
        " VALUES ($1, $2, 'mcp', 'github', 'CATALOG', 'import', '1')",
        DEFAULT_TENANT,
        uuid4(),
    )
    write(path, TWO)
    await until(lambda: _is(stub, "github", Agent.STATE_ACTIVE))
    github = (await fleet(stub))["github"]
    assert (github.source, github.version, github.display_name) == ("file", "1", "GitHub")


async def test_an_operators_suspension_stays(stub: AgentServiceStub, path: Path) -> None:
    write(path, TWO)
    await until(lambda: _named(stub, "github"))
    agent_id = (await fleet(stub))["github"].id
    await stub.SuspendAgent(pb.SuspendAgentRequest(id=agent_id))
    write(path, TWO.replace("GitHub", "Hub"))
    await until(lambda: _shown(stub, "github", "Hub"))
    assert await _state(stub, "github") == Agent.STATE_SUSPENDED


async def _shown(stub: AgentServiceStub, name: str, display_name: str) -> bool:
    return (await fleet(stub))[name].display_name == display_name


async def test_the_file_owns_what_it_says_and_the_api_the_rest(
    stub: AgentServiceStub, path: Path
) -> None:
    write(path, TWO)
    await until(lambda: _named(stub, "github"))
    github = (await fleet(stub))["github"]
    for fields in ({"owner": "x"}, {"display_name": "x"}, {"labels": {"a": "b"}}):
        request = pb.UpdateAgentRequest(agent=Agent(id=github.id, **fields))
        assert await refused(stub.UpdateAgent(request)) == (FAILED, "AGENT_OWNED_BY_FILE")
    changed = Agent(
        id=github.id,
        version="2",
        criticality=Agent.CRITICALITY_LOW,
        heartbeat_interval_seconds=60,
        latency_limit_ms=5,
        tools=[agent_pb2.AgentTool(name="t")],
    )
    await stub.UpdateAgent(pb.UpdateAgentRequest(agent=changed))
    assert counts(await sync(stub)) == (0, 0, 2, 0)
    kept = (await fleet(stub))["github"]
    assert (kept.version, kept.criticality, kept.latency_limit_ms) == (
        *("2", Agent.CRITICALITY_LOW),
        5,
    )
    # What the file does state, it keeps stating.
    files = Agent(type="mcp", name="files", criticality=Agent.CRITICALITY_LOW)
    await stub.UpdateAgent(pb.UpdateAgentRequest(agent=files))
    assert counts(await sync(stub)) == (0, 1, 1, 0)


async def test_an_editor_that_replaces_the_file_is_noticed(
    stub: AgentServiceStub, path: Path
) -> None:
    write(path, TWO)
    await until(lambda: fleet(stub))
    other = path.with_suffix(".new")
    write(other, TWO.replace("GitHub", "GitLab"))  # the same size
    os.replace(other, path)
    await until(lambda: _shown(stub, "github", "GitLab"))


async def test_a_server_without_a_file_says_so(
    agents_stub: AgentServiceStub, system_stub: SystemServiceStub
) -> None:
    assert await refused(sync(agents_stub)) == (FAILED, "REGISTRY_FILE_MISSING")
    told = (await system_stub.GetStatus(system_service_pb2.GetStatusRequest())).registry
    assert (told.ok, told.path) == (False, "")
    assert "MCP_REGISTRY_PATH" in told.message
    call = sync(agents_stub, reason="x" * 501)
    assert await wrong_fields(call) == [("reason", "TOO_LONG")]


async def test_replicas_that_sync_at_once_do_no_harm(
    database_url: str, agents_stub: AgentServiceStub, path: Path, sql: Any
) -> None:
    write(path, HEAD + "".join(f"  s{n}: {{}}\n" for n in range(50)))
    databases = [Database(database_url, size=2) for _ in range(4)]
    try:
        plans = await asyncio.gather(
            *(
                RegistrySync(database, path).sync(Author(DEFAULT_TENANT, f"replica-{n}"))
                for n, database in enumerate(databases)
            )
        )
    finally:
        for database in databases:
            await database.close()
    assert sorted(len(plan.new) for plan in plans) == [0, 0, 0, 50]
    assert len(await fleet(agents_stub)) == 50
    assert len(await audits(sql)) == 50


async def statements(sql: Any, database_url: str, path: Path, text: str) -> int:
    """How many statements a sync takes."""
    write(path, text)
    database = Database(database_url, size=1, name="counted")
    try:
        async with database.connection() as connection:
            seen: list[str] = []
            driver: Any = connection
            driver.add_query_logger(lambda record: seen.append(record.query))
        await RegistrySync(database, path).sync(Author(DEFAULT_TENANT, "test"))
    finally:
        await database.close()
    return len(seen)


async def test_a_sync_takes_as_many_statements_for_many_servers_as_for_one(
    agents_stub: AgentServiceStub, database_url: str, path: Path, sql: Any
) -> None:
    taken = []
    for count, old in ((1, "a"), (100, "b")):
        names = [f"{old}{n}" for n in range(count)]
        first = HEAD + "".join(f"  {name}: {{}}\n  x{name}: {{}}\n" for name in names)
        await statements(sql, database_url, path, first)
        second = HEAD + "".join(f"  {name}: {{owner: me}}\n  n{name}: {{}}\n" for name in names)
        taken.append(await statements(sql, database_url, path, second))
    assert taken[0] == taken[1] <= 17


async def test_a_database_that_is_away_is_told(path: Path) -> None:
    write(path, TWO)
    database = Database("postgresql://nobody:x@127.0.0.1:1/none", size=1)
    registry = RegistrySync(database, path)
    with pytest.raises(Unavailable):
        await registry.sync(Author(DEFAULT_TENANT, "test"))
    assert registry.state.synced_at is None
    await database.close()


async def test_another_tenant_has_no_file(stub: AgentServiceStub, path: Path) -> None:
    write(path, TWO)
    call = stub.SyncRegistry(
        pb.SyncRegistryRequest(), metadata=bearer("operator", tenant=str(uuid4()))
    )
    assert await refused(call) == (FAILED, "REGISTRY_FILE_MISSING")

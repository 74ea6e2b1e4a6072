"""The registry file beside others: names, states and fields of others, replicas, tenants."""

import asyncio
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

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
from tests.inventory import FAILED, audits, bearer, create, refused, sql, wrong_fields

__all__ = ["opened", "path", "sql", "stub"]
Agent = agent_pb2.Agent


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
    await until(lambda: is_in_state(stub, "github", Agent.STATE_ACTIVE))
    github = (await fleet(stub))["github"]
    assert (github.source, github.version, github.display_name) == ("file", "1", "GitHub")


async def test_an_operators_suspension_stays(stub: AgentServiceStub, path: Path) -> None:
    write(path, TWO)
    await until(lambda: is_named(stub, "github"))
    agent_id = (await fleet(stub))["github"].id
    await stub.SuspendAgent(pb.SuspendAgentRequest(id=agent_id))
    write(path, TWO.replace("GitHub", "Hub"))
    await until(lambda: _shown(stub, "github", "Hub"))
    assert await state_of(stub, "github") == Agent.STATE_SUSPENDED


async def _shown(stub: AgentServiceStub, name: str, display_name: str) -> bool:
    return (await fleet(stub))[name].display_name == display_name


async def test_the_file_owns_what_it_says_and_the_api_the_rest(
    stub: AgentServiceStub, path: Path
) -> None:
    write(path, TWO)
    await until(lambda: is_named(stub, "github"))
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

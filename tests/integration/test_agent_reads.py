"""Reads of single agents share statements, and no caller can tell."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import NotFound, Unavailable
from orca_server.runtime.agent_reads import AgentReads
from orca_server.store import agents as store
from orca_server.store.database import Connection, Database, Record
from tests.histories import OTHER_TENANT, World, agent
from tests.servers import free_port

AGENTS = [agent(number) for number in range(20)]
THEIRS = agent(1, tenant=OTHER_TENANT)


@pytest.fixture
async def world(bare_database_url: str) -> AsyncIterator[World]:
    """Twenty agents, and one of another tenant."""
    world = World(bare_database_url)
    await world.open(replicas=1)
    await world.add(*AGENTS)
    await world.add(THEIRS, tenant=OTHER_TENANT)
    yield world
    await world.close()


@asynccontextmanager
async def reading(db: Database) -> AsyncIterator[AgentReads]:
    """Reads that run."""
    reads = AgentReads(db)
    running = asyncio.create_task(reads.run())
    yield reads
    running.cancel()
    await asyncio.wait([running])


@pytest.fixture
async def reads(world: World) -> AsyncIterator[AgentReads]:
    """Reads of the world's agents."""
    async with reading(world.replicas[0].database) as reads:
        yield reads


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many agents each shared statement was asked for."""
    sizes: list[int] = []
    find = store.find_agents

    async def counted(
        connection: Connection, tenant_id: UUID, ids: Sequence[UUID]
    ) -> dict[UUID, Record]:
        sizes.append(len(ids))
        return await find(connection, tenant_id, ids)

    monkeypatch.setattr(store, "find_agents", counted)
    return sizes


async def test_each_caller_gets_its_own_agent(reads: AgentReads, together: list[int]) -> None:
    ids = [one.id for one in AGENTS] * 2
    rows = await asyncio.gather(
        *(reads.get(DEFAULT_TENANT, one) for one in ids), reads.get(OTHER_TENANT, THEIRS.id)
    )
    assert [row["id"] for row in rows] == [*ids, THEIRS.id]
    assert together == [40, 1], "those of a tenant are read together"
    assert (await reads.get(DEFAULT_TENANT, ids[0]))["id"] == ids[0]
    assert together[2:] == [1]


async def test_who_asks_for_nobody_is_told_and_disturbs_nobody(reads: AgentReads) -> None:
    ids = [AGENTS[0].id, THEIRS.id, AGENTS[1].id, UUID(int=9)]
    first, theirs, second, nobody = await asyncio.gather(
        *(reads.get(DEFAULT_TENANT, one) for one in ids), return_exceptions=True
    )
    assert isinstance(theirs, NotFound)
    assert isinstance(nobody, NotFound)
    assert [row["id"] for row in (first, second)] == [AGENTS[0].id, AGENTS[1].id]


async def test_who_goes_away_disturbs_nobody(reads: AgentReads) -> None:
    calls = [asyncio.create_task(reads.get(DEFAULT_TENANT, one.id)) for one in AGENTS]
    await asyncio.sleep(0)
    for gone in (0, 7):
        calls[gone].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    expected = [one.id for number, one in enumerate(AGENTS) if number not in (0, 7)]
    assert [row["id"] for row in found if not isinstance(row, BaseException)] == expected
    assert (await reads.get(DEFAULT_TENANT, AGENTS[0].id))["id"] == AGENTS[0].id


async def test_a_read_sees_what_was_committed_before_it(world: World, reads: AgentReads) -> None:
    slow = asyncio.create_task(reads.get(DEFAULT_TENANT, AGENTS[0].id))
    await asyncio.sleep(0)
    await world.operate(AGENTS[1].id, "suspend")
    rows = await asyncio.gather(slow, reads.get(DEFAULT_TENANT, AGENTS[1].id))
    assert rows[1]["state"] == "SUSPENDED"


async def test_all_are_told_that_the_database_is_away() -> None:
    away = Database(f"postgresql://orca@127.0.0.1:{free_port()}/orcamesh", size=2)
    async with reading(away) as reads:
        calls = (reads.get(DEFAULT_TENANT, one.id) for one in AGENTS)
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {Unavailable}
    assert len({id(error) for error in errors}) == len(AGENTS)
    await away.close()

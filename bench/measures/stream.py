"""Streams against raw COPY, alone and beside a held snapshot.

Two adapters stream, each 500 records a message over 5 agents, cycling through the fleet; the
server stores with two connections, and so does COPY. The product checks duplicates, answers per
record, appends to the tick's inbox, and its tick keeps agent_hours all the while.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.child import Child, running_child
from bench.fleet import connection_to, fill_agents, fill_telemetry
from bench.goals import Result
from bench.measures.pairs import interleave
from bench.records import MESSAGE_RECORDS
from bench.scale import Scale
from bench.stage import Server, Stage

CONNECTIONS = 2
"""Of COPY, as many as ingest has statements under way; and streams."""
STORED_HOURS = 7 * 24
"""Age of the oldest record that is in the table before."""
WARM_MESSAGES = 20


@dataclass(slots=True)
class _Scene:
    """A server and COPY, each on a table that holds the same records; `sent` counts messages."""

    url: str
    server: Server
    caller: Child
    copying: Child
    agents: list[str]
    sent: int = 0

    async def stream(self, messages: int, limit_seconds: float = 1e9) -> float:
        """Records a second through StreamTelemetry."""
        await self.caller.ask(
            "prepare_messages", agents=self.agents, first=self.sent, messages=messages
        )
        self.sent += messages
        answer = await self.caller.ask(
            "stream",
            target=self.server.target,
            streams=CONNECTIONS,
            token=self.server.token,
            limit_seconds=limit_seconds,
        )
        rate: float = answer["records"] / answer["seconds"]
        return rate

    async def copy(self, messages: int) -> float:
        """Records a second through COPY."""
        await self.copying.ask("prepare", agents=self.agents, first=self.sent, messages=messages)
        self.sent += messages
        seconds: float = await self.copying.ask("copy")
        return messages * MESSAGE_RECORDS / seconds


@contextlib.asynccontextmanager
async def _scene(stage: Stage, scale: Scale) -> AsyncIterator[_Scene]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = await enter(stage.database())
        agents = await fill_agents(url, scale.reporting_agents)
        per_agent = scale.stored_records // scale.reporting_agents
        await fill_telemetry(url, per_agent, STORED_HOURS)
        other = await enter(stage.database(template=url))
        stage.settle()
        yield _Scene(
            url=url,
            server=await enter(stage.server(url)),
            caller=await enter(running_child("caller")),
            copying=await enter(running_child("copying", other, str(CONNECTIONS))),
            agents=agents,
        )


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The two goals of streams."""
    async with _scene(stage, scale) as scene:
        await scene.copy(WARM_MESSAGES)
        await scene.stream(WARM_MESSAGES)
        return [await _against_copy(scene, scale), await _under_snapshot(scene, scale)]


async def _against_copy(scene: _Scene, scale: Scale) -> Result:
    async def ours() -> float:
        return await scene.stream(scale.stream_messages)

    async def ceiling() -> float:
        return await scene.copy(scale.stream_messages)

    pair = await interleave(scale.rounds, ours, ceiling)
    return Result(
        "stream_ingest_vs_copy", pair.ratio, f"{pair.ours:,.0f} / {pair.ceiling:,.0f} records/s"
    )


async def _under_snapshot(scene: _Scene, scale: Scale) -> Result:
    """Half of the time without, all of it with, half without: the table grows meanwhile."""
    seconds = scale.stream_seconds
    messages = int(scale.fastest_records * seconds / MESSAGE_RECORDS)
    before = await scene.stream(messages // 2, seconds / 2)
    async with _held_snapshot(scene.url):
        held = await scene.stream(messages, seconds)
    after = await scene.stream(messages // 2, seconds / 2)
    without = (before + after) / 2
    return Result(
        "stream_ingest_under_snapshot",
        held / without,
        f"{held:,.0f} / {without:,.0f} records/s",
    )


@contextlib.asynccontextmanager
async def _held_snapshot(url: str) -> AsyncIterator[None]:
    """A REPEATABLE READ transaction that has read, as pg_dump holds one."""
    async with (
        connection_to(url) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.fetchval("SELECT count(*) FROM schema_migrations")
        yield

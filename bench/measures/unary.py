"""Unary ingest against a bare echo, and one caller's latency against one INSERT per call."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import echo, insert
from bench.child import Child, running_child
from bench.fleet import fill_agents
from bench.goals import Result
from bench.measures.pairs import interleave
from bench.scale import Scale
from bench.stage import Server, Stage

RECORD = "/orca.v1.AgentService/RecordTelemetry"
WARM_CALLS = 1_000


@dataclass(slots=True)
class _Scene:
    """A server, both ceilings and a caller; `sent` makes the records of each round new."""

    server: Server
    echo: str
    insert: str
    caller: Child
    agents: list[str]
    sent: int = 0

    async def record(self, calls: int, in_flight: int) -> dict[str, float]:
        """Unary ingest of new records."""
        await self._prepare(calls)
        return await self._call(self.server.target, RECORD, in_flight, self.server.token)

    async def echo_back(self, calls: int, in_flight: int) -> dict[str, float]:
        """The same bytes, echoed."""
        await self._prepare(calls)
        return await self._call(self.echo, echo.METHOD, in_flight)

    async def insert_each(self, calls: int) -> dict[str, float]:
        """The same records, an INSERT for each; one caller."""
        await self._prepare(calls)
        return await self._call(self.insert, insert.METHOD, 1)

    async def _prepare(self, calls: int) -> None:
        await self.caller.ask("prepare_records", agents=self.agents, first=self.sent, count=calls)
        self.sent += calls

    async def _call(
        self, target: str, method: str, in_flight: int, token: str = ""
    ) -> dict[str, float]:
        answer: dict[str, float] = await self.caller.ask(
            "unary", target=target, method=method, in_flight=in_flight, token=token
        )
        return answer


@contextlib.asynccontextmanager
async def _scene(stage: Stage, scale: Scale) -> AsyncIterator[_Scene]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = await enter(stage.database())
        agents = await fill_agents(url, scale.reporting_agents)
        other = await enter(stage.database(template=url))
        echoing = await enter(running_child("echo"))
        inserting = await enter(running_child("insert", other))
        yield _Scene(
            server=await enter(stage.server(url)),
            echo=await echoing.ask("address"),
            insert=await inserting.ask("address"),
            caller=await enter(running_child("caller")),
            agents=agents,
        )


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The three goals of unary ingest."""
    async with _scene(stage, scale) as scene:
        warm = min(WARM_CALLS, scale.unary_calls)
        await scene.record(warm, 100)
        await scene.echo_back(warm, 100)
        await scene.insert_each(min(100, warm))
        stage.settle()
        return [
            await _against_echo(scene, scale, 100),
            await _against_echo(scene, scale, 1_000),
            await _against_insert(scene, scale),
        ]


async def _against_echo(scene: _Scene, scale: Scale, in_flight: int) -> Result:
    async def ours() -> float:
        return rate_of(await scene.record(scale.unary_calls, in_flight))

    async def ceiling() -> float:
        return rate_of(await scene.echo_back(scale.unary_calls, in_flight))

    pair = await interleave(scale.rounds, ours, ceiling)
    return Result(
        f"unary_ingest_vs_echo_{in_flight}",
        pair.ratio,
        f"{pair.ours:,.0f} / {pair.ceiling:,.0f} calls/s",
    )


async def _against_insert(scene: _Scene, scale: Scale) -> Result:
    async def ours() -> float:
        return (await scene.record(scale.single_calls, 1))["p50"]

    async def ceiling() -> float:
        return (await scene.insert_each(scale.single_calls))["p50"]

    pair = await interleave(scale.rounds, ours, ceiling)
    return Result(
        "unary_ingest_p50_vs_insert",
        pair.ratio,
        f"{pair.ours * 1e6:,.0f} / {pair.ceiling * 1e6:,.0f} µs",
    )


def rate_of(answer: dict[str, float]) -> float:
    """Calls a second of a caller's answer."""
    return answer["calls"] / answer["seconds"]

"""The tick over a large fleet with a week of facts, and GetTrust on it against a small fleet."""

import asyncio
import contextlib
import random
import statistics
import time

from bench.child import Child, running_child
from bench.fleet import (
    compute,
    connection_to,
    fill_agents,
    fill_embeddings,
    fill_hours,
    report,
    ticking,
)
from bench.goals import Result
from bench.measures.pairs import interleave
from bench.scale import Scale
from bench.sql import QUERIES
from bench.stage import Server, Stage
from orca.v1 import trust_service_pb2 as service_pb
from orca_server.domain.access import DEFAULT_TENANT

GET = "/orca.v1.TrustService/GetTrust"
SEED = 7


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The two goals of trust."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        large, small = await enter(stage.database()), await enter(stage.database())
        agents = await fill_agents(large, scale.agents)
        await fill_agents(small, scale.few_agents)
        for url in (large, small):
            await fill_embeddings(url)
            await fill_hours(url, scale.hours)
            await _compute_all(url)
        stage.settle()
        ticked = await _tick(large, agents, scale)
        servers = (await enter(stage.server(large)), await enter(stage.server(small)))
        caller = await enter(running_child("caller"))
        return [await _flat(caller, servers, scale), ticked]


async def _compute_all(url: str) -> None:
    async with connection_to(url) as connection:
        await connection.execute(QUERIES["mark_agents"], DEFAULT_TENANT)
    await compute(url)
    async with connection_to(url) as connection:
        await connection.execute("VACUUM ANALYZE agent_trust, trust_inbox")


async def _tick(url: str, agents: list[str], scale: Scale) -> Result:
    """Other agents change before each tick, chosen at random all over the fleet."""
    chosen = random.Random(SEED)
    seconds = []
    async with ticking(url) as tick:
        for _ in range(scale.ticks + 1):  # the first one warms up
            await report(url, chosen.sample(agents, scale.changed_agents))
            started = time.perf_counter()
            await tick.tick(wait=True)
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[1:])
    return Result(
        "tick_us_per_changed_agent",
        median * 1e6 / scale.changed_agents,
        f"{median * 1e3:,.0f} ms, {scale.changed_agents:,} of {len(agents):,} agents changed",
    )


async def _flat(caller: Child, servers: tuple[Server, Server], scale: Scale) -> Result:
    large, small = servers
    request = service_pb.GetTrustRequest().SerializeToString().hex()
    await caller.ask("prepare", requests=[request], count=scale.single_calls)

    async def p50(server: Server) -> float:
        answer: dict[str, float] = await caller.ask(
            "unary", target=server.target, method=GET, in_flight=1, token=server.token
        )
        return answer["p50"]

    for server in servers:
        await p50(server)
    await asyncio.sleep(1)  # the servers' first ticks
    pair = await interleave(scale.rounds, lambda: p50(large), lambda: p50(small))
    return Result(
        "get_trust_flat", pair.ratio, f"{pair.ours * 1e6:,.0f} / {pair.ceiling * 1e6:,.0f} µs"
    )

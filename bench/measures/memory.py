"""How much the server's resident memory grows while records stream through it."""

import asyncio

from bench.child import running_child
from bench.fleet import fill_agents
from bench.goals import Result
from bench.records import MESSAGE_RECORDS
from bench.scale import Scale
from bench.stage import Server, Stage

STREAMS = 2
PARTS = 10
"""Memory is read after each, when the server rests."""
REST_SECONDS = 0.5
MEGABYTE = 2**20


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The goal of memory."""
    async with (
        stage.database() as url,
        stage.server(url) as server,
        running_child("caller") as caller,
    ):
        agents = await fill_agents(url, scale.reporting_agents)
        messages = scale.memory_records // MESSAGE_RECORDS // PARTS
        sizes = []
        for part in range(PARTS):
            await caller.ask(
                "prepare_messages", agents=agents, first=part * messages, messages=messages
            )
            await caller.ask("stream", target=server.target, streams=STREAMS, token=server.token)
            sizes.append(await _resting_bytes(server))
    second = sizes[PARTS // 2 - 1 :]
    records = messages * MESSAGE_RECORDS * (len(second) - 1)
    grown = (second[-1] - second[0]) / MEGABYTE
    return [
        Result(
            "server_mb_per_100k_records",
            max(0.0, grown) / records * 100_000,
            f"{second[0] / MEGABYTE:.1f} → {second[-1] / MEGABYTE:.1f} MB over {records:,} records",
        )
    ]


async def _resting_bytes(server: Server) -> int:
    await asyncio.sleep(REST_SECONDS)  # until what was answered is given back
    return server.resident_bytes

"""Streams what an agent did: batch after batch, with a receipt for each, through breaks."""

import asyncio
import time

from google.protobuf.timestamp_pb2 import Timestamp

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.telemetry_pb2 import AgentRef, TelemetryRecord

bot, run = AgentRef(type="bot", name="stream-bot"), time.time_ns()
times = (Timestamp(seconds=run // 10**9 - each) for each in range(2_500))
records = (TelemetryRecord(agent=bot, id=f"{run}", observed_at=at, operations=1) for at in times)


async def main() -> None:
    async with orca.connect() as client:
        await client.agents.update(Agent(type=bot.type, name=bot.name), allow_missing=True)
        async for receipt in client.telemetry.stream(orca.batched(records, 1_000)):
            print(f"accepted {receipt.accepted}, refused {len(receipt.refused)}")


asyncio.run(main())

"""Streams what an agent did: batch after batch, with a receipt for each, through breaks."""

import asyncio
from datetime import UTC, datetime, timedelta

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.telemetry_pb2 import AgentRef, TelemetryRecord

bot, now = AgentRef(type="bot", name="stream-bot"), datetime.now(UTC)
times = (now - timedelta(seconds=each) for each in range(2_500))
records = (TelemetryRecord(agent=bot, observed_at=each, operations=1) for each in times)


async def main() -> None:
    async with orca.connect() as client:
        await client.agents.update(Agent(type=bot.type, name=bot.name), allow_missing=True)
        async for receipt in client.telemetry.stream(orca.batched(records, 1_000)):
            print(f"accepted {receipt.accepted}, refused {len(receipt.refused)}")


asyncio.run(main())

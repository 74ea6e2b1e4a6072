"""Lists the agents that deserve a look, the least trusted first, with async."""

import asyncio

import orca


async def main() -> None:
    async with orca.connect() as client:
        await client.trust.refresh()
        async for agent in client.agents.list(filter="trust_level < 1", order_by="trust_level"):
            print(agent.name, agent.trust_ppb)


asyncio.run(main())

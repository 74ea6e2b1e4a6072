"""Finds an MCP server in the catalogue and takes it into the fleet, with async."""

import asyncio

import orca
from orca.v1.agent_pb2 import Agent


async def main() -> None:
    async with orca.connect() as client:
        best = (await client.agents.search("query a sqlite database"))[0]
        agent = await client.agents.enrol(best.agent.id, reason="the reporting team uses it")
        print(agent.name, Agent.State.Name(agent.state))


asyncio.run(main())

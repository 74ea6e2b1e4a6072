"""Finds an MCP server in the catalogue and takes it into the fleet."""

import orca
from orca.v1.agent_pb2 import Agent

with orca.connect_sync() as client:
    best = client.agents.search("query a sqlite database")[0]
    agent = client.agents.enrol(best.agent.id, reason="the reporting team uses it")
    print(agent.name, Agent.State.Name(agent.state))

"""What is known of the fleet that is fuzzed: ids, names, etags, tokens, learned from replies."""

import base64
import copy
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb

MOST_AGENTS = 300
MOST_TOKENS = 50
FRESH = "fresh-"
"""What names of agents begin with that never report, so that they can be deleted."""


@dataclass
class Pool:
    """Real values, so that requests can be right."""

    agents: dict[str, agent_pb2.Agent] = field(default_factory=dict)
    pages: dict[str, list[Message]] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    """Ids of agents that never reported, as far as this process knows."""

    def agent(self, dice: random.Random, *states: int) -> agent_pb2.Agent:
        """A known agent, in one of these states if there is any; else an empty one."""
        wanted = [a for a in self.agents.values() if a.state in states] if states else []
        known = wanted or list(self.agents.values())
        return dice.choice(known) if known else agent_pb2.Agent(id=str(UUID(int=0)))

    def reporter(self, dice: random.Random) -> agent_pb2.Agent:
        """A known agent that may report: no retired one, and none that is to be deleted."""
        for _ in range(9):
            agent = self.agent(dice)
            if agent.state != agent_pb2.Agent.STATE_RETIRED and not agent.name.startswith(FRESH):
                break
        return agent

    def page(self, method: str, dice: random.Random) -> Message | None:
        """A request for a page that follows one that was read."""
        known = self.pages.get(method)
        return copy.deepcopy(dice.choice(known)) if known else None

    def learn(self, method: str, request: Message, reply: Message) -> None:
        """Takes what a reply says."""
        self._learn_agents(_agents_in(reply))
        if isinstance(reply, agent_pb2.Agent) and method == "CreateAgent":
            self.fresh += [reply.id] if reply.name.startswith(FRESH) else []
        if method == "DeleteAgent" and isinstance(request, pb.DeleteAgentRequest):
            self.agents.pop(request.id, None)
        token = getattr(reply, "next_page_token", "")
        if token and hasattr(request, "page_token"):
            following = type(request)()
            following.CopyFrom(request)
            following.page_token = token
            known = self.pages.setdefault(method, [])
            known.append(following)
            del known[:-MOST_TOKENS]

    def _learn_agents(self, agents: Iterable[agent_pb2.Agent]) -> None:
        for agent in agents:
            self.agents.pop(agent.id, None)
            self.agents[agent.id] = agent
        while len(self.agents) > MOST_AGENTS:
            self.agents.pop(next(iter(self.agents)))


def _agents_in(reply: Message) -> Iterable[agent_pb2.Agent]:
    if isinstance(reply, agent_pb2.Agent):
        return [reply]
    if isinstance(reply, pb.ListAgentsResponse | pb.BatchGetAgentsResponse):
        return reply.agents
    return ()


def forge(token: str, dice: random.Random, values: Iterable[Any]) -> str:
    """A page token whose digest is right and whose key is not."""
    parts = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    parts[dice.randrange(len(parts))] = dice.choice(list(values))
    if dice.random() < 0.1:
        parts.append("more")
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")

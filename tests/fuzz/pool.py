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

from orca.v1 import (
    agent_pb2,
    drift_pb2,
    trust_service_pb2,
    workflow_pb2,
    workflow_service_pb2,
)
from orca.v1 import agent_service_pb2 as pb

MOST_AGENTS = 300
MOST_WORKFLOWS = 100
MOST_TOKENS = 50
MOST_FINDINGS = 200
FRESH = "fresh-"
"""What names of agents begin with that never report, so that they can be deleted."""


@dataclass
class Pool:
    """Real values, so that requests can be right."""

    agents: dict[str, agent_pb2.Agent] = field(default_factory=dict)
    workflows: dict[str, workflow_pb2.Workflow] = field(default_factory=dict)
    pages: dict[str, list[Message]] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    """Ids of agents that never reported, as far as this process knows."""
    fresh_workflows: list[str] = field(default_factory=list)
    """The same of workflows."""
    runs: list[tuple[str, str]] = field(default_factory=list)
    """Workflow and id of runs whose events were stored."""
    violations: list[str] = field(default_factory=list)
    """Ids of open violations, as far as this process knows."""
    drift: list[str] = field(default_factory=list)
    """The same of drift."""
    spent: set[str] = field(default_factory=set)
    """Those that this process ended, or tried to."""

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

    def workflow(self, dice: random.Random, *states: int) -> workflow_pb2.Workflow:
        """A known workflow, in one of these states if there is any; else an empty one."""
        wanted = [w for w in self.workflows.values() if w.state in states] if states else []
        known = wanted or list(self.workflows.values())
        return dice.choice(known) if known else workflow_pb2.Workflow(id=str(UUID(int=0)))

    def reporting_workflow(self, dice: random.Random) -> workflow_pb2.Workflow:
        """A known workflow that may report: no retired one, and none that is to be deleted."""
        for _ in range(9):
            found = self.workflow(dice)
            retired = found.state == workflow_pb2.Workflow.STATE_RETIRED
            if not retired and not found.name.startswith(FRESH):
                break
        return found

    def page(self, method: str, dice: random.Random) -> Message | None:
        """A request for a page that follows one that was read."""
        known = self.pages.get(method)
        return copy.deepcopy(dice.choice(known)) if known else None

    def learn(self, method: str, request: Message, reply: Message) -> None:
        """Takes what a reply says."""
        self._learn_agents(_agents_in(reply))
        self._learn_workflows(_workflows_in(reply))
        if isinstance(reply, agent_pb2.Agent) and method == "CreateAgent":
            self.fresh += [reply.id] if reply.name.startswith(FRESH) else []
        if method == "DeleteAgent" and isinstance(request, pb.DeleteAgentRequest):
            self.agents.pop(request.id, None)
        if isinstance(reply, workflow_pb2.Workflow) and method == "CreateWorkflow":
            self.fresh_workflows += [reply.id] if reply.name.startswith(FRESH) else []
        if isinstance(request, workflow_service_pb2.DeleteWorkflowRequest):
            self.workflows.pop(request.id, None)
        if isinstance(request, workflow_service_pb2.RecordEventsRequest):
            told = [(event.workflow_id, event.run_id) for event in request.events]
            self.runs += [run for run in told if run[0]]
            del self.runs[:-MOST_TOKENS]
        self._learn_findings(reply)
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

    def _learn_findings(self, reply: Message) -> None:
        if isinstance(reply, trust_service_pb2.ListViolationsResponse):
            self.violations = self._open(reply.violations) + self.violations
            del self.violations[MOST_FINDINGS:]
        if isinstance(reply, trust_service_pb2.ListDriftResponse | drift_pb2.ObserveAgentResponse):
            self.drift = self._open(reply.drift) + self.drift
            del self.drift[MOST_FINDINGS:]

    def _open(self, found: Iterable[Any]) -> list[str]:
        return [one.id for one in found if not one.resolved and one.id not in self.spent]

    def spend(self, found: list[str]) -> str | None:
        """An id that nobody ended yet, as far as this process knows; none twice."""
        while found:
            one = found.pop()
            if one not in self.spent:
                self.spent.add(one)
                return one
        return None

    def _learn_workflows(self, workflows: Iterable[workflow_pb2.Workflow]) -> None:
        for workflow in workflows:
            self.workflows.pop(workflow.id, None)
            self.workflows[workflow.id] = workflow
        while len(self.workflows) > MOST_WORKFLOWS:
            self.workflows.pop(next(iter(self.workflows)))


def _workflows_in(reply: Message) -> Iterable[workflow_pb2.Workflow]:
    if isinstance(reply, workflow_pb2.Workflow):
        return [reply]
    if isinstance(reply, workflow_service_pb2.ListWorkflowsResponse):
        return reply.workflows
    return ()


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

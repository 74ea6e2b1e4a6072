"""Requests about violations, drift and observations that should be accepted."""

import random
import time
from collections.abc import Callable
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import agent_pb2, drift_pb2
from orca.v1 import trust_service_pb2 as pb
from tests.fuzz import filters
from tests.fuzz.pool import Pool

ORDERS = ("", "id", "created_at", "last_seen_at")
REASONS = ("reviewed", "très bien", "x" * 500)
NOBODY = str(UUID(int=0))

Dice = random.Random
Maker = Callable[[Pool, Dice], Message]


def _list(kind: Callable[..., Message], method: str) -> Maker:
    def make(pool: Pool, dice: Dice) -> Message:
        following = pool.page(method, dice)
        if following is not None and dice.random() < 0.2:
            return following
        order = dice.choice(ORDERS)
        open_ones = dice.random() < 0.5  # whose ids others need
        return kind(
            page_size=dice.choice((1, 20, 60, 10**9)),
            filter="resolved = false" if open_ones else filters.good(dice, filters.FINDINGS),
            order_by=order + dice.choice(("", " desc")) if order else "",
        )

    return make


def _resolve(pool: Pool, dice: Dice) -> Message:
    found = pool.spend(pool.violations) or NOBODY
    return pb.ResolveViolationRequest(id=found, reason=dice.choice(REASONS))


def _accept(pool: Pool, dice: Dice) -> Message:
    found = pool.spend(pool.drift) or NOBODY
    return pb.AcceptDriftRequest(id=found, reason=dice.choice(("", *REASONS)))


def _observe(pool: Pool, dice: Dice) -> Message:
    states = agent_pb2.Agent.State
    agent = pool.agent(dice, states.STATE_ACTIVE, states.STATE_SUSPENDED)
    observation = drift_pb2.AgentObservation()
    observation.observed_at.FromMicroseconds(int(time.time() * 1e6) - dice.randrange(10**6))
    if dice.random() < 0.8:
        observation.version = str(dice.randrange(1000))
    if dice.random() < 0.5 or not observation.version:
        for name in dice.sample(("search", "a/b~c", "🦑"), dice.randrange(4)):
            tool = observation.tools.tools.add(name=name, description=dice.choice(REASONS))
            tool.input_schema.update({"type": "object", "minimum": dice.random()})
        observation.tools.SetInParent()
    if dice.random() < 0.3:
        observation.command.command = dice.choice(("npx", "uvx"))
        observation.command.args.extend(dice.sample(("-y", "server", "--debug"), 2))
    return drift_pb2.ObserveAgentRequest(id=agent.id, observation=observation)


MAKERS: dict[str, Maker] = {
    "ObserveAgent": _observe,
    "ListViolations": _list(pb.ListViolationsRequest, "ListViolations"),
    "ResolveViolation": _resolve,
    "ListDrift": _list(pb.ListDriftRequest, "ListDrift"),
    "AcceptDrift": _accept,
}

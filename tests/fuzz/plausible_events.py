"""Requests about events that should be accepted, made of real workflows and tokens."""

import random
import time

from google.protobuf.message import Message

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from tests.fuzz.pool import Pool
from tests.fuzz.spans import DAY, span

Dice = random.Random


def _event(pool: Pool, dice: Dice) -> workflow_pb2.WorkflowEvent:
    event = workflow_pb2.WorkflowEvent()
    workflow = pool.reporting_workflow(dice)
    if dice.random() < 0.3 and workflow.name:
        event.workflow.provider, event.workflow.name = workflow.provider, workflow.name
    else:
        event.workflow_id = workflow.id
    event.occurred_at.FromMicroseconds(int((time.time() - dice.random() * 80 * DAY) * 1e6))
    event.id = dice.choice(("", str(dice.getrandbits(60)), "again"))
    event.run_id = dice.choice(("1", f"run {dice.randrange(99)}", "🦑", "x" * 200))
    event.attempt = dice.choice((0, 1, 2, 10_000))
    event.kind = dice.choice(("started", "succeeded", "failed", "cancelled", "heartbeat"))
    event.trigger = dice.choice(("", "schedule", "très bien"))
    event.url = dice.choice(("", "https://example.org/runs/1?a=b"))
    if event.kind == "failed":
        event.error.type = dice.choice(("", "Timeout"))
        event.error.message = dice.choice(("", "two\nlines", "x" * 4_000))
    if event.kind in ("succeeded", "failed", "cancelled") and dice.random() < 0.6:
        event.duration_ms = dice.choice((0.0, 0.0004, 12.5, 31_622_400_000.0))
    if dice.random() < 0.3:
        event.attributes.update({"run": "7", "nested": {"list": [1, None, True, {"a": 0.1}]}})
    return event


def record_events(pool: Pool, dice: Dice) -> Message:
    """Some events."""
    return pb.RecordEventsRequest(events=[_event(pool, dice) for _ in range(dice.randint(1, 3))])


def stream_events(pool: Pool, dice: Dice) -> Message:
    """A batch."""
    events = [_event(pool, dice) for _ in range(dice.randint(1, 5))]
    return pb.StreamEventsRequest(events=events, batch_id=str(dice.getrandbits(20)))


def list_events(pool: Pool, dice: Dice) -> Message:
    """A page of a workflow's events."""
    following = pool.page("ListEvents", dice)
    if following is not None and dice.random() < 0.4:
        return following
    start, end = span(dice)
    return pb.ListEventsRequest(
        workflow_id=pool.workflow(dice).id,
        page_size=dice.choice((1, 2, 20, 10**9)),
        start_time=start,
        end_time=end,
        order_by=dice.choice(("", "occurred_at", "occurred_at desc")),
    )

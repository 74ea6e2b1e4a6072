"""The workflows that chaos works on, and batches of their events: the same for the same seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import workflow_pb2 as pb
from orca.v1 import workflow_service_pb2 as service_pb
from tests.chaos.batches import HOURS, LARGEST_BATCH, LEDGER_KEY, UNKNOWN, Batch

WORKFLOWS = 12
RUNS = 400
STATES = ("ACTIVE",) * 4 + ("PAUSED", "RETIRED")
"""Of every six workflows."""
UNTIL = "now() + interval '7 days'"
KINDS = ("started", "succeeded", "failed", "cancelled", "heartbeat")


@dataclass(frozen=True, slots=True)
class FleetWorkflow:
    """One workflow of the fleet."""

    id: UUID
    name: str
    state: str


def workflows() -> list[FleetWorkflow]:
    """The workflows, in all states."""
    return [
        FleetWorkflow(UUID(int=(7 << 76) | (2 << 62) | number), f"w{number}", state)
        for number in range(1, WORKFLOWS + 1)
        for state in (STATES[number % len(STATES)],)
    ]


def workflows_sql() -> str:
    """Statements that make the workflows, and put them up for the tick as every write does."""
    rows = ",".join(
        f"('00000000-0000-0000-0000-000000000001', '{each.id}', 'n8n', '{each.name}',"
        f" '{each.state}', {UNTIL if each.state == 'RETIRED' else 'NULL'})"
        for each in workflows()
    )
    return (
        "INSERT INTO workflows (tenant_id, id, provider, name, state, counted_until)"
        f" VALUES {rows};"
        " INSERT INTO workflow_inbox (tenant_id, workflow_id) SELECT tenant_id, id FROM workflows"
    )


@dataclass(frozen=True, slots=True)
class EventBatch(Batch):
    """Events under a name, and which of them must be stored."""

    @property
    def for_stream(self) -> Message:
        """As a stream takes it."""
        return service_pb.StreamEventsRequest(events=self.records, batch_id=self.name)

    @property
    def for_call(self) -> Message:
        """As a unary call takes it."""
        return service_pb.RecordEventsRequest(events=self.records)


def make(seed: int, newest_hour: int, lane: str, number: int) -> EventBatch:
    """The batch of that number; as `batches.make`."""
    dice = random.Random(f"events/{seed}/{lane}/{number}")
    name = f"{lane}-{number}"
    taking = [each for each in workflows() if each.state != "RETIRED"]
    retired = [each for each in workflows() if each.state == "RETIRED"]
    events, good, bad = [], [], []
    planted = dice.random() < 0.05
    for index in range(dice.randint(1, LARGEST_BATCH)):
        ledger_id = f"{name}/{index}"
        event = _event(dice, dice.choice(taking), newest_hour, ledger_id)
        if planted and dice.random() < 0.2:
            _spoil(dice, event, retired)
            bad.append(ledger_id)
        else:
            good.append(ledger_id)
        events.append(event)
        if dice.random() < 0.03:
            events.append(event)
    return EventBatch(name, events, tuple(good), tuple(bad))


def _event(
    dice: random.Random, workflow: FleetWorkflow, newest_hour: int, ledger_id: str
) -> pb.WorkflowEvent:
    event = pb.WorkflowEvent(
        run_id=f"run-{dice.randrange(RUNS)}",
        attempt=dice.choice((0, 1, 1, 2, 3)),
        kind=dice.choice(KINDS),
        trigger=dice.choice(("", "schedule", "webhook")),
    )
    if dice.random() < 0.3:
        event.workflow.provider, event.workflow.name = "n8n", workflow.name
    else:
        event.workflow_id = str(workflow.id)
    hours_ago = min(dice.randrange(HOURS), dice.randrange(HOURS))
    event.occurred_at.seconds = newest_hour - 3600 * hours_ago + dice.randrange(3600)
    event.occurred_at.nanos = dice.randrange(1_000_000_000)
    if dice.random() < 0.5:
        event.id = ledger_id
    event.attributes[LEDGER_KEY] = ledger_id
    if event.kind == "failed":
        event.error.type, event.error.message = "Timeout", f"after {dice.randrange(99)} s"
    if event.kind in ("succeeded", "failed", "cancelled") and dice.random() < 0.7:
        event.duration_ms = dice.uniform(0, 10_000_000)
    return event


def _spoil(dice: random.Random, event: pb.WorkflowEvent, retired: Sequence[FleetWorkflow]) -> None:
    """Makes an event one that must be refused."""
    event.ClearField("workflow")
    match dice.randrange(3):
        case 0:
            event.workflow_id = str(UNKNOWN)
        case 1:
            event.workflow_id = str(dice.choice(retired).id)
        case _:
            event.workflow_id, event.kind = str(retired[0].id), "exploded"

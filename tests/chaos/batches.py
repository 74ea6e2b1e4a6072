"""The fleet that chaos works on, and its batches: the same ones for the same seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import agent_service_pb2 as service_pb
from orca.v1 import telemetry_pb2 as pb

AGENTS = 24
HOURS = 24 * 12
LARGEST_BATCH = 40
UNKNOWN = UUID(int=1 << 90)
STATES = ("ACTIVE",) * 9 + ("SUSPENDED", "CATALOG", "RETIRED")
"""Of every twelve agents."""
LEFT = "now(), now() + interval '7 days'"
LEDGER_KEY = "ledger"
"""Attribute that holds a record's id in the ledger."""


@dataclass(frozen=True, slots=True)
class FleetAgent:
    """One agent of the fleet."""

    id: UUID
    name: str
    state: str

    @property
    def takes_telemetry(self) -> bool:
        """Whether its records are stored."""
        return self.state != "RETIRED"


def fleet() -> list[FleetAgent]:
    """The agents, in all states."""
    return [
        FleetAgent(UUID(int=(7 << 76) | (2 << 62) | number), f"worker-{number}", state)
        for number in range(1, AGENTS + 1)
        for state in (STATES[number % len(STATES)],)
    ]


def fleet_sql() -> str:
    """Statements that make the fleet, and put it up for the tick as every write to agents does."""
    rows = ",".join(
        f"('00000000-0000-0000-0000-000000000001', '{agent.id}', 'bot', '{agent.name}',"
        f" '{agent.state}', 'api',"
        f" {LEFT if agent.state in ('SUSPENDED', 'RETIRED') else 'NULL, NULL'},"
        f" '{('low', 'normal', 'critical')[number % 3]}')"
        for number, agent in enumerate(fleet())
    )
    return (
        "INSERT INTO agents"
        " (tenant_id, id, type, name, state, source, left_at, counted_until, criticality)"
        f" VALUES {rows};"
        " INSERT INTO trust_inbox (tenant_id, agent_id)"
        " SELECT tenant_id, id FROM agents WHERE state <> 'CATALOG'"
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Records under a name, and which of them must be stored."""

    name: str
    records: Sequence[Any]
    good: tuple[str, ...]
    bad: tuple[str, ...]

    @property
    def for_stream(self) -> Message:
        """As a stream takes it."""
        return service_pb.StreamTelemetryRequest(records=self.records, batch_id=self.name)

    @property
    def for_call(self) -> Message:
        """As a unary call takes it."""
        return service_pb.RecordTelemetryRequest(records=self.records)


def make(seed: int, newest_hour: int, lane: str, number: int) -> Batch:
    """The batch of that number.

    Args:
        seed: Of the run.
        newest_hour: The last hour that records may lie in, seconds since 1970.
        lane: Who sends it.
        number: From 0.
    """
    dice = random.Random(f"{seed}/{lane}/{number}")
    name = f"{lane}-{number}"
    agents = fleet()
    taking = [agent for agent in agents if agent.takes_telemetry]
    retired = [agent for agent in agents if not agent.takes_telemetry]
    records, good, bad = [], [], []
    planted = dice.random() < 0.05
    for index in range(dice.randint(1, LARGEST_BATCH)):
        ledger_id = f"{name}/{index}"
        record = _record(dice, dice.choice(taking), newest_hour, ledger_id)
        if planted and dice.random() < 0.2:
            _spoil(dice, record, retired)
            bad.append(ledger_id)
        else:
            good.append(ledger_id)
        records.append(record)
        if dice.random() < 0.03:
            records.append(record)
    return Batch(name, records, tuple(good), tuple(bad))


def _record(
    dice: random.Random, agent: FleetAgent, newest_hour: int, ledger_id: str
) -> pb.TelemetryRecord:
    record = pb.TelemetryRecord()
    if dice.random() < 0.3:
        record.agent.type, record.agent.name = "bot", agent.name
    else:
        record.agent_id = str(agent.id)
    hours_ago = min(dice.randrange(HOURS), dice.randrange(HOURS))
    record.observed_at.seconds = newest_hour - 3600 * hours_ago + dice.randrange(3600)
    record.observed_at.nanos = dice.randrange(1_000_000_000)
    if dice.random() < 0.5:
        record.id = ledger_id
    record.attributes[LEDGER_KEY] = ledger_id
    if dice.random() < 0.1:
        return record  # alive, and nothing else
    record.operations = dice.randint(1, 60)
    record.errors = dice.randint(0, record.operations) if dice.random() < 0.2 else 0
    record.violations = dice.randint(0, 2) if dice.random() < 0.1 else 0
    if dice.random() < 0.1:
        record.blocked_violations = dice.randint(0, 3)
    if (record.violations or record.blocked_violations) and dice.random() < 0.5:
        record.rule = dice.choice(("pii", "egress"))
    if dice.random() < 0.7:
        record.latency_ms = dice.uniform(0, 3000)
    if dice.random() < 0.5:
        record.cost_usd = dice.uniform(0, 2)
        record.input_tokens = dice.randint(0, 100_000)
        record.output_tokens = dice.randint(0, 100_000)
    return record


def _spoil(dice: random.Random, record: pb.TelemetryRecord, retired: Sequence[FleetAgent]) -> None:
    """Makes a record one that must be refused."""
    match dice.randrange(3):
        case 0:
            record.agent_id = str(UNKNOWN)
            record.ClearField("agent")
        case 1:
            record.agent_id = str(dice.choice(retired).id)
            record.ClearField("agent")
        case _:
            record.errors = record.operations + 1

"""`orca db seed`: a small fleet to look at, sent through the public API, and its removal."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Annotated, Any

import typer

from orca.cli.output import facts
from orca.cli.session import Session, command
from orca.client import Client
from orca.errors import AlreadyExists, OrcaError, Unavailable
from orca.stream import batched
from orca.times import timestamp
from orca.v1.agent_pb2 import Agent
from orca.v1.telemetry_pb2 import TelemetryRecord
from orca_server.domain import sample_fleet
from orca_server.domain.sample_fleet import LABEL, SampleAgent, SampleRecord

REASON = "orca db seed"
_REMAINS = (
    "What remains: the fleet's score as it was with the sample (`orca trust history`), "
    "and the audit entries that tell of it."
)


@command
async def seed(
    session: Session,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the sample away, with all of its history.")
    ] = False,
) -> None:
    """Put a small sample fleet there, with a week of telemetry, or take it away again.

    All of it is made up and labelled `sample: "true"`. It goes through the server, and a second
    run changes nothing. --remove works on the database itself, as the API never deletes an agent
    that has reported; what is not labelled is never touched.
    Example: orca db seed
    """
    if remove:
        await _remove(session)
        return
    done = await _seed(session.client)
    trust = await session.client.trust.refresh()
    document = {
        "created": done.created,
        "present": done.present,
        "left_alone": done.left_alone,
        "records": {
            "accepted": done.accepted,
            "duplicates": done.duplicates,
            "refused": done.refused,
        },
    }
    session.printer.show(
        document,
        facts(
            [
                ("sample", f"{done.created} created, {done.present} there already"),
                ("left alone", ", ".join(done.left_alone)),
                ("records", _told(done)),
                ("trust", f"{trust.trust_score:.4f}"),
                ("look at it", f"orca agents list --filter 'labels.{LABEL} = \"true\"'"),
                ("take it away", "orca db seed --remove"),
            ]
        ),
    )


@dataclass(slots=True)
class _Done:
    """What a run did."""

    created: int = 0
    present: int = 0
    left_alone: list[str] = field(default_factory=list)
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0


def _told(done: _Done) -> str:
    refused = f", {done.refused} refused: older than the retention" if done.refused else ""
    return f"{done.accepted:,} new, {done.duplicates:,} there already{refused}"


async def _seed(client: Client) -> _Done:
    done = _Done()
    fleet = [found async for found in _agents(client, done)]
    records = (
        _record(agent, record)
        for sample, agent in fleet
        for record in sample_fleet.records(sample, agent.created_at.ToDatetime(tzinfo=UTC))
    )
    await _count(client.telemetry.stream(batched(records)), done)
    return done


async def _agents(client: Client, done: _Done) -> AsyncIterator[tuple[SampleAgent, Agent]]:
    """The agents of the sample that may report, made where they are missing."""
    labelled = client.agents.list(filter=f'labels.{LABEL} = "true"')
    present = {(agent.type, agent.name): agent async for agent in labelled}
    for sample in sample_fleet.AGENTS:
        agent = present.get((sample.kind, sample.name))
        if agent is None:
            agent = await _create(client, sample)
            done.created += agent is not None
        else:
            done.present += 1
        if agent is None or agent.state != Agent.STATE_ACTIVE:
            done.left_alone.append(f"{sample.kind}/{sample.name}")
        else:
            yield sample, agent


async def _create(client: Client, sample: SampleAgent) -> Agent | None:
    """The agent, new; None if somebody else's has its name."""
    agent = Agent(
        type=sample.kind,
        name=sample.name,
        description=sample.purpose,
        owner=sample.owner,
        labels={LABEL: "true"},
        criticality=Agent.Criticality.Value(f"CRITICALITY_{sample.criticality.upper()}"),
        heartbeat_interval_seconds=sample.heartbeat_seconds,
        latency_limit_ms=sample.limit_ms,
    )
    try:
        return await client.agents.create(agent, reason=REASON)
    except AlreadyExists:
        return None


def _record(agent: Agent, record: SampleRecord) -> TelemetryRecord:
    return TelemetryRecord(
        agent_id=agent.id,
        id=record.id,
        observed_at=timestamp(record.observed_at),
        operations=record.operations,
        errors=record.errors,
        violations=record.violations,
        latency_ms=record.latency_ms,
        cost_usd=record.cost_usd,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
    )


async def _count(receipts: AsyncIterator[Any], done: _Done) -> None:
    async for receipt in receipts:
        done.accepted += receipt.accepted
        done.duplicates += receipt.duplicates
        done.refused += len(receipt.refused)


async def _remove(session: Session) -> None:
    from orca_server.cli.settings import load_settings_or_stack

    url = load_settings_or_stack().database_url.get_secret_value()
    agents, records = await _take_away(url)
    try:
        await session.client.trust.refresh()
        trust = "computed without it"
    except Unavailable:
        trust = "no server answers: the next tick computes it"
    session.printer.show(
        {"agents": agents, "records": records, "remains": ["trust history", "audit entries"]},
        facts([("removed", f"{agents} agents with {records:,} records"), ("trust", trust)]),
        _REMAINS,
    )


async def _take_away(url: str) -> tuple[int, int]:
    """How many agents and records went, in one transaction."""
    from orca_server.domain import errors
    from orca_server.domain.access import DEFAULT_TENANT
    from orca_server.store import seed as store
    from orca_server.store.audit import Author
    from orca_server.store.database import Database

    author = Author(DEFAULT_TENANT, REASON, "orca db seed --remove")
    names = [(each.kind, each.name) for each in sample_fleet.AGENTS]
    db = Database(url, size=1, name="orca-seed")
    try:
        async with db.transaction() as tx:
            removed = await store.remove_agents(tx, author, names)
    except errors.Unavailable as error:
        raise OrcaError(error.message, reason=error.reason) from error
    finally:
        await db.close()
    return removed.entities, removed.records

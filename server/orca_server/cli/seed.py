"""`orca db seed`: a small fleet to look at, sent through the public API, and its removal."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orca import batched
from orca.cli.output import facts
from orca.cli.session import Session, command
from orca.client import Client
from orca.errors import AlreadyExists, OrcaError
from orca.times import timestamp
from orca.v1.agent_pb2 import Agent, AgentTool
from orca.v1.drift_pb2 import AgentObservation, ObservedTools
from orca.v1.telemetry_pb2 import TelemetryRecord
from orca.v1.workflow_pb2 import RunError, Schedule, Workflow, WorkflowEvent
from orca_server.domain import sample_fleet, sample_workflows
from orca_server.domain.sample_fleet import LABEL, SampleAgent, SampleRecord
from orca_server.domain.sample_workflows import SampleEvent, SampleWorkflow

if TYPE_CHECKING:
    from orca_server.store.seed import Removed

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
    """Put a small sample fleet there, with a week of what it did, or take it away again.

    Agents and workflows are made up and labelled `sample: "true"`. They go through the server, and
    a second run changes nothing. --remove works on the database itself, as the API never deletes
    what has reported; what is not labelled is never touched.

    Example: orca db seed
    """
    if remove:
        await _remove(session)
        return
    done = await _seed(session.client)
    trust = await session.client.trust.refresh()
    _show(session, done, trust.trust_score)


def _show(session: Session, done: "_Done", trust_score: float) -> None:
    document = {
        "created": done.created,
        "present": done.present,
        "left_alone": done.left_alone,
        "records": asdict(done.records),
        "events": asdict(done.events),
    }
    session.printer.show(
        document,
        facts(
            [
                ("sample", f"{done.created} created, {done.present} there already"),
                ("left alone", ", ".join(done.left_alone)),
                ("records", _told(done.records)),
                ("events", _told(done.events)),
                ("trust", f"{trust_score:.4f}"),
                ("look at it", f"orca agents list --filter 'labels.{LABEL} = \"true\"'"),
                ("take it away", "orca db seed --remove"),
            ]
        ),
    )


@dataclass(slots=True)
class _Counts:
    """What the server did with what was sent."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Done:
    """What a run did."""

    created: int = 0
    present: int = 0
    left_alone: list[str] = field(default_factory=list)
    records: _Counts = field(default_factory=_Counts)
    events: _Counts = field(default_factory=_Counts)


def _told(counts: _Counts) -> str:
    refused = f", {counts.refused} refused: older than the retention" if counts.refused else ""
    return f"{counts.accepted:,} new, {counts.duplicates:,} there already{refused}"


async def _seed(client: Client) -> _Done:
    done = _Done()
    fleet = [found async for found in _agents(client, done)]
    records = (
        _record(agent, record)
        for sample, agent in fleet
        for record in sample_fleet.records(sample, agent.created_at.ToDatetime(tzinfo=UTC))
    )
    await _count(client.telemetry.stream(batched(records)), done.records)
    for sample, agent in fleet:
        await _observe(client, sample, agent)
    flows = [found async for found in _workflows(client, done)]
    events = (
        _event(workflow, event)
        for sample, workflow in flows
        for event in sample_workflows.events(sample, workflow.created_at.ToDatetime(tzinfo=UTC))
    )
    await _count(client.events.stream(batched(events)), done.events)
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
        tools=_tools(sample.tools),
    )
    try:
        return await client.agents.create(agent, reason=REASON)
    except AlreadyExists:
        return None


def _tools(named: Iterable[tuple[str, str]]) -> list[AgentTool]:
    return [AgentTool(name=name, description=text) for name, text in named]


async def _observe(client: Client, sample: SampleAgent, agent: Agent) -> None:
    """Looks at what the agent really offers, once: what became of that is left alone."""
    about = f'entity_id = "{agent.id}"'
    if not sample.seen_tools or await client.drift.list(filter=about, page_size=1).count():
        return
    seen = AgentObservation(
        observed_at=timestamp(datetime.now(UTC) - timedelta(minutes=1)),
        tools=ObservedTools(tools=_tools(sample.seen_tools)),
    )
    await client.agents.observe(agent.id, seen, reason=REASON)


def _record(agent: Agent, record: SampleRecord) -> TelemetryRecord:
    return TelemetryRecord(
        agent_id=agent.id,
        id=record.id,
        observed_at=timestamp(record.observed_at),
        operations=record.operations,
        errors=record.errors,
        violations=record.violations,
        rule=record.rule,
        latency_ms=record.latency_ms,
        cost_usd=record.cost_usd,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
    )


async def _workflows(client: Client, done: _Done) -> AsyncIterator[tuple[SampleWorkflow, Workflow]]:
    """The workflows of the sample that may report, made where they are missing."""
    labelled = client.workflows.list(filter=f'labels.{LABEL} = "true"')
    present = {(each.provider, each.name): each async for each in labelled}
    for sample in sample_workflows.WORKFLOWS:
        workflow = present.get((sample.provider, sample.name))
        if workflow is None:
            workflow = await _create_workflow(client, sample)
            done.created += workflow is not None
        else:
            done.present += 1
        if workflow is None or workflow.state == Workflow.STATE_RETIRED:
            done.left_alone.append(f"{sample.provider}/{sample.name}")
        else:
            yield sample, workflow


async def _create_workflow(client: Client, sample: SampleWorkflow) -> Workflow | None:
    """The workflow, new; None if somebody else's has its name."""
    workflow = Workflow(
        provider=sample.provider,
        name=sample.name,
        display_name=sample.title,
        owner=sample.owner,
        schedule=Schedule(cron=sample.cron),
        freshness_slo_hours=sample.slo_hours,
        labels={LABEL: "true"},
    )
    try:
        return await client.workflows.create(workflow, reason=REASON)
    except AlreadyExists:
        return None


def _event(workflow: Workflow, event: SampleEvent) -> WorkflowEvent:
    error = RunError(type=event.error_type, message=event.error_message)
    return WorkflowEvent(
        workflow_id=workflow.id,
        id=event.id,
        run_id=event.run_id,
        kind=event.kind,
        occurred_at=timestamp(event.occurred_at),
        trigger="schedule",
        error=error if event.error_type else None,
    )


async def _count(receipts: AsyncIterator[Any], counts: _Counts) -> None:
    async for receipt in receipts:
        counts.accepted += receipt.accepted
        counts.duplicates += receipt.duplicates
        counts.refused += len(receipt.refused)


async def _remove(session: Session) -> None:
    from orca_server.cli.settings import load_settings_or_stack

    url = load_settings_or_stack().database_url.get_secret_value()
    agents, workflows = await _take_away(url)
    try:
        await session.client.trust.refresh()
        trust = "computed without it"
    except OrcaError as error:  # it is gone all the same
        trust = f"the next tick computes it; asking for it now failed: {error.message}"
    session.printer.show(
        {
            "agents": agents.entities,
            "records": agents.records,
            "workflows": workflows.entities,
            "events": workflows.records,
            "remains": ["trust history", "audit entries"],
        },
        facts(
            [
                ("agents", f"{agents.entities} removed, with {agents.records:,} records"),
                ("workflows", f"{workflows.entities} removed, with {workflows.records:,} events"),
                ("trust", trust),
            ]
        ),
        _REMAINS,
    )


async def _take_away(url: str) -> "tuple[Removed, Removed]":
    """How many agents and how many workflows went, in one transaction."""
    from orca_server.domain import errors
    from orca_server.domain.access import DEFAULT_TENANT
    from orca_server.store import seed as store
    from orca_server.store.audit import Author
    from orca_server.store.database import Database

    author = Author(DEFAULT_TENANT, REASON, "orca db seed --remove")
    agents = [(each.kind, each.name) for each in sample_fleet.AGENTS]
    workflows = [(each.provider, each.name) for each in sample_workflows.WORKFLOWS]
    db = Database(url, size=1, name="orca-seed")
    try:
        async with db.transaction() as tx:
            return (
                await store.remove_agents(tx, author, agents),
                await store.remove_workflows(tx, author, workflows),
            )
    except errors.Unavailable as error:
        raise OrcaError(error.message, reason=error.reason) from error
    finally:
        await db.close()

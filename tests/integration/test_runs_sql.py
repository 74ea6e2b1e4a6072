"""The tick's runs and the status of workflows equal the domain's, whatever the order of events."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca_server.domain import runs as domain
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.fleet_trust import FleetSums, TrustSettings, WorkflowSums, score_fleet
from orca_server.domain.runs import Event, Kind, Standing
from orca_server.domain.telemetry import client_identity, record_key
from orca_server.runtime.tick import Tick
from orca_server.store.database import Connection, Database, connect
from tests.histories import Stage, microseconds, staged
from tests.servers import PostgresServer

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
SLO = timedelta(hours=24)
SPANS = (timedelta(minutes=2), timedelta(hours=30), timedelta(days=12), timedelta(days=40))
Told = tuple[UUID, str, Event]


@dataclass(frozen=True, slots=True)
class Made:
    """A workflow with what an operator declared of it."""

    id: UUID
    standing: Standing


def random_workflow(rng: Random, number: int) -> Made:
    """An active, paused or retired workflow."""
    state = rng.choice(["ACTIVE", "ACTIVE", "ACTIVE", "PAUSED", "RETIRED"])
    until = NOW + rng.choice([-1, 0, 3]) * timedelta(days=1) if state == "RETIRED" else None
    slo = rng.choice([SLO, SLO, timedelta(hours=1), timedelta(days=9)])
    return Made(uuid5(DEFAULT_TENANT, f"workflow {number}"), Standing(state, until, slo))


def random_events(rng: Random, workflows: Sequence[Made], count: int) -> list[Told]:
    """Events of few runs, many of them at one instant or of one attempt."""
    span = rng.choice(SPANS)
    instants = [NOW - rng.random() * span for _ in range(max(2, count // 2))]
    return [_random_event(rng, rng.choice(workflows), instants, n) for n in range(count)]


def _random_event(rng: Random, workflow: Made, instants: Sequence[datetime], number: int) -> Told:
    at = rng.choice(instants)
    if rng.random() < 0.2:
        at = at.replace(minute=0, second=0, microsecond=0)
    kind = rng.choice(list(Kind))
    identity = client_identity(f"event {number}")
    event = Event(
        key=UUID(bytes=record_key(microseconds(at), workflow.id.bytes, identity)),
        kind=kind,
        occurred_at=at,
        attempt=rng.choice([1, 1, 1, 2, 3]),
        trigger=rng.choice(["", "", "schedule", "webhook"]),
        url=rng.choice(["", "", "https://example.com/1", "https://example.com/2"]),
        error=("Timeout", "it took too long") if kind is Kind.FAILED else None,
        duration_us=rng.choice([None, 0, 1, 999, 10**6, 10**9]) if kind in domain.ENDS else None,
    )
    return workflow.id, f"run {rng.randint(1, 6)}", event


@pytest.fixture(scope="module")
def stage(postgres: PostgresServer, bare_template: str) -> Iterator[Stage]:
    """One database for all tests of this module, with one partition for events of any day."""
    with staged(postgres, bare_template) as made:
        made.runner.run(_take_any_day(made.world.url))
        yield made


async def _take_any_day(url: str) -> None:
    connection = await connect(url, name="orca-test")
    await connection.execute(
        "CREATE TABLE workflow_events_always PARTITION OF workflow_events FOR VALUES FROM"
        " ('00000000-0000-0000-0000-000000000000') TO ('ffffffff-ffff-ffff-ffff-ffffffffffff')"
    )
    await connection.close()


class Fleet:
    """Workflows on a real database, and the tick that two replicas take in turn."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ticks: list[Tick] = []

    async def open(self, workflows: Sequence[Made]) -> None:
        """Starts on an empty database."""
        self.view: Connection = await connect(self.url, name="orca-test-view")
        self.databases = [Database(self.url, size=2, name="orca-test") for _ in range(2)]
        self.ticks = [Tick(db, TrustSettings()) for db in self.databases]
        await self.view.execute(
            "TRUNCATE workflows, workflow_events, workflow_inbox, workflow_runs, workflow_hours,"
            " workflow_durations, workflow_status, trust_current, trust_snapshots"
        )
        for made in workflows:
            await self.view.execute(
                "INSERT INTO workflows (tenant_id, id, provider, name, state, counted_until,"
                " freshness_slo_seconds) VALUES ($1, $2, 'n8n', $3, $4, $5, $6)",
                DEFAULT_TENANT,
                made.id,
                str(made.id),
                made.standing.state,
                made.standing.counted_until,
                None if made.standing.slo == SLO else int(made.standing.slo.total_seconds()),
            )
        await self.view.execute(
            "INSERT INTO workflow_inbox (tenant_id, workflow_id)"
            " SELECT tenant_id, id FROM workflows"
        )

    async def close(self) -> None:
        """Closes all connections."""
        for database in self.databases:
            await database.close()
        await self.view.close()

    async def store(self, told: Sequence[Told], connection: Connection | None = None) -> None:
        """Stores events as ingest does: those that are there already are left out."""
        for workflow_id, run_id, event in told:
            error = event.error or (None, None)
            await (connection or self.view).execute(
                """
                WITH stored AS (
                    INSERT INTO workflow_events (
                        tenant_id, workflow_id, key, run_id, attempt, kind, occurred_at, trigger,
                        url, error_type, error_message, duration_us
                    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                    ON CONFLICT DO NOTHING RETURNING tenant_id, workflow_id, key
                )
                INSERT INTO workflow_inbox (tenant_id, workflow_id, key) SELECT * FROM stored
                """,
                DEFAULT_TENANT,
                workflow_id,
                event.key,
                run_id,
                event.attempt,
                event.kind,
                event.occurred_at,
                event.trigger,
                event.url,
                *error,
                event.duration_us,
            )

    async def tick(self, number: int, as_of: datetime) -> None:
        """One tick of one replica."""
        await self.ticks[number % 2].tick(wait=True, as_of=as_of)


async def played(
    fleet: Fleet, rng: Random, workflows: Sequence[Made], told: Sequence[Told]
) -> None:
    """Stores the events in any order, some twice, some late, with ticks between."""
    await fleet.open(workflows)
    order = [*told, *rng.sample(told, len(told) // 3)]
    rng.shuffle(order)
    held = await connect(fleet.url, name="orca-test-held")
    transaction = held.transaction()
    await transaction.start()
    cut = rng.randint(0, len(order))
    late, order = order[:cut], order[cut:]
    await fleet.store([one for one in late if one not in order], held)
    for number, start in enumerate(range(0, len(order), 5)):
        await fleet.store(order[start : start + 5])
        if rng.random() < 0.6:
            ago = rng.choice([timedelta(0), timedelta(hours=20)])
            await fleet.tick(number, NOW - ago)
    await transaction.commit()
    await held.close()
    await fleet.tick(0, NOW)


def expected_runs(told: Sequence[Told]) -> dict[UUID, dict[str, domain.Run]]:
    """Runs as the domain derives them."""
    events: dict[UUID, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for workflow_id, run_id, event in told:
        events[workflow_id][run_id].append(event)
    return {
        workflow_id: {run_id: domain.derive(each) for run_id, each in found.items()}
        for workflow_id, found in events.items()
    }


def told_of(run: domain.Run) -> tuple[Any, ...]:
    """A run as the columns that people see."""
    end = run.outcome
    return (
        run.state,
        run.attempts,
        run.first_event_at,
        run.last_event_at,
        None if end is None else end.at,
        run.duration_us,
        run.trigger[1] if run.trigger else "",
        run.url[1] if run.url else "",
        None if end is None else end.error,
    )


async def check_runs(fleet: Fleet, runs: dict[UUID, dict[str, domain.Run]]) -> None:
    """Each row of workflow_runs equals the domain's run, and none is missing."""
    rows = await fleet.view.fetch("SELECT * FROM workflow_runs")
    found: dict[UUID, dict[str, tuple[Any, ...]]] = defaultdict(dict)
    for row in rows:
        error = (row["error_type"], row["error_message"])
        found[row["workflow_id"]][row["run_id"]] = (
            *(row["state"], row["attempts"], row["first_event_at"], row["last_event_at"]),
            *(row["ended_at"], row["duration_us"], row["trigger"], row["url"]),
            error if row["ended_at"] is not None and error[0] is not None else None,
        )
    expected = {
        workflow_id: {run_id: told_of(run) for run_id, run in each.items()}
        for workflow_id, each in runs.items()
    }
    assert found == expected


async def check_status(
    fleet: Fleet, workflows: Sequence[Made], runs: dict[UUID, dict[str, domain.Run]]
) -> None:
    """Each row of workflow_status and the fleet's component equal the domain's."""
    rows = {
        row["workflow_id"]: row for row in await fleet.view.fetch("SELECT * FROM workflow_status")
    }
    assert rows.keys() == {made.id for made in workflows}
    counts: dict[str, int] = defaultdict(int)
    for made in workflows:
        status = domain.judge(list(runs.get(made.id, {}).items()), made.standing, NOW)
        row = rows[made.id]
        for name in ("first_event_at", "last_event_at", "last_run_at", "last_end_at"):
            assert row[name] == getattr(status, name), name
        for name in ("last_outcome", "last_success_at", "timed_runs", "next_deadline_at"):
            assert row[name] == getattr(status, name), name
        for kind in domain.ENDS:
            assert row[kind] == status.outcomes.get(kind, 0), kind
        times = (row["p50_us"], row["p95_us"], row["p99_us"])
        assert times == (status.percentiles_us or (None, None, None))
        assert (row["freshness"], row["counted"]) == (status.freshness, status.counted)
        shown = status.freshness if status.counted == "counted" else status.counted
        counts[shown] += 1
    counts.pop("gone", None)
    sums = FleetSums(workflows=WorkflowSums(**counts))
    current = await fleet.view.fetchrow("SELECT trust_ppb, summary FROM trust_current")
    assert current is not None
    assert current["trust_ppb"] == score_fleet(sums, TrustSettings()).trust_ppb
    assert json.loads(current["summary"])["workflows"] == {
        name: counts.get(name, 0) for name in ("fresh", "stale", "unmeasured", "paused")
    }


@settings(max_examples=settings().max_examples // 2)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 40))
def test_any_order_of_events_gives_the_same_runs_and_status(
    stage: Stage, seed: int, count: int
) -> None:
    async def run() -> None:
        rng = Random(seed)
        workflows = [random_workflow(rng, number) for number in range(rng.randint(1, 4))]
        told = random_events(rng, workflows, count)
        fleet = Fleet(stage.world.url)
        try:
            await played(fleet, rng, workflows, told)
            runs = expected_runs(told)
            await check_runs(fleet, runs)
            await check_status(fleet, workflows, runs)
        finally:
            await fleet.close()

    stage.runner.run(run())

"""The sample fleet: the same each time, sensible, and with something to find in it."""

from datetime import UTC, datetime

import pytest

from orca_server.domain import sample_fleet, sample_workflows

NOON = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize("agent", sample_fleet.AGENTS, ids=lambda agent: agent.name)
def test_a_week_of_an_agent_is_the_same_each_time_and_makes_sense(
    agent: sample_fleet.SampleAgent,
) -> None:
    week = list(sample_fleet.records(agent, NOON))
    assert week == list(sample_fleet.records(agent, NOON.replace(minute=1)))
    assert len({each.id for each in week}) == len(week) > 40
    for each in week:
        assert 0 <= each.errors <= each.operations > 0
        assert 0 <= each.violations <= each.operations
        assert each.observed_at < NOON.replace(minute=0, second=0)
        assert bool(each.rule) == bool(each.violations)
    assert agent.last_violations <= week[-1].violations
    failing = [each for each in week if each.errors > each.operations / 2]
    assert len(failing) == agent.outage_hours


def test_the_fleet_has_something_to_find_in_it() -> None:
    agents = sample_fleet.AGENTS
    assert len(agents) == len({(each.kind, each.name) for each in agents}) == 12
    assert len({each.kind for each in agents}) >= 4
    assert len({each.owner for each in agents}) >= 6
    assert [each.name for each in agents if each.quiet_hours]
    assert [each.name for each in agents if each.violations_ppm > 10_000]


@pytest.mark.parametrize("workflow", sample_workflows.WORKFLOWS, ids=lambda each: each.name)
def test_a_week_of_a_workflow_is_the_same_each_time_and_each_run_ends(
    workflow: sample_workflows.SampleWorkflow,
) -> None:
    week = list(sample_workflows.events(workflow, NOON))
    assert week == list(sample_workflows.events(workflow, NOON.replace(minute=1)))
    starts, ends = week[::2], week[1::2]
    assert {each.kind for each in starts} == {"started"}
    assert {each.kind for each in ends} <= {"succeeded", "failed"}
    assert [each.run_id for each in starts] == [each.run_id for each in ends]
    assert all(a.occurred_at < b.occurred_at for a, b in zip(starts, ends, strict=True))
    assert max(each.occurred_at for each in week) < NOON.replace(minute=0, second=0)

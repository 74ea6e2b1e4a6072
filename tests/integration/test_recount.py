"""The third recomputation agrees with the ticks, and sees through a planted fault of each rule."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings

from orca_server.domain import agents as agents_domain
from orca_server.domain import fleet_trust
from orca_server.domain.fleet_trust import COMPONENTS, TrustSettings
from orca_server.store.queries import QUERIES
from tests.exercise import Exercise
from tests.faults import IN_COMPUTING, IN_THE_SCORE, ON_THE_WAY
from tests.histories import Stage, World, record, staged
from tests.plays import Fleet, Steps, fleets, histories, play
from tests.recount import BILLION, Chosen
from tests.recount_differences import differences
from tests.servers import PostgresServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "trust.md"


@pytest.fixture(scope="module")
def stage(postgres: PostgresServer, bare_template: str) -> Iterator[Stage]:
    """One database for all tests of this module."""
    with staged(postgres, bare_template) as made:
        yield made


def chosen_of(settings_: TrustSettings) -> Chosen:
    """The same choice, as the recount takes it."""
    return Chosen(
        baseline=Fraction(settings_.baseline_ppb, BILLION),
        cost_nano_usd=settings_.risk_baseline_cost_nano_usd,
        weights={name: Fraction(ppb, BILLION) for name, ppb in settings_.weights_ppb.items()},
    )


async def recount(world: World) -> list[str]:
    """What the recount finds to differ."""
    return await differences(world.connection, chosen_of(world.settings))


async def check(world: World) -> None:
    """Nothing differs, once no record and no open transaction waits for the next tick."""
    if not world.held and not await world.fetch("SELECT 1 FROM trust_inbox LIMIT 1"):
        assert await recount(world) == []


@settings(max_examples=settings().max_examples // 5)
@given(fleet=fleets(), history=histories)
def test_records_alone_give_the_digits_of_every_tick(
    stage: Stage, fleet: Fleet, history: Steps
) -> None:
    stage.runner.run(play(stage.world, fleet, history, check))


# Weights that tie when they are scaled to the three components that are there.
EQUAL = TrustSettings(weights_ppb=dict.fromkeys(COMPONENTS, BILLION // 4))


async def exercise(world: World, chosen: TrustSettings = TrustSettings()) -> None:  # noqa: B008
    """Plays the history that touches every rule, and leaves the world open."""
    await world.close()
    world.settings = chosen
    await world.open()
    await Exercise().play(world)


async def computed_anew(world: World) -> list[str]:
    """Computes every agent once more, for the same instant; gives what the recount finds."""
    await world.execute(QUERIES["mark_all_agents"])
    await world.tick()
    return await recount(world)


@pytest.fixture(scope="module")
def exercised(stage: Stage) -> Iterator[Stage]:
    """The stage after the history that touches every rule, in which nothing differs."""
    stage.runner.run(exercise(stage.world, EQUAL))
    assert stage.runner.run(recount(stage.world)) == []
    yield stage
    stage.runner.run(stage.world.close())


@pytest.mark.parametrize("rule", IN_COMPUTING)
def test_a_fault_in_computing_is_found(
    exercised: Stage, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    IN_COMPUTING[rule].plant(monkeypatch)
    assert exercised.runner.run(computed_anew(exercised.world)) != []
    monkeypatch.undo()
    assert exercised.runner.run(computed_anew(exercised.world)) == []


@pytest.mark.parametrize("rule", IN_THE_SCORE)
def test_a_fault_in_the_score_is_found(
    exercised: Stage, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    name, value = IN_THE_SCORE[rule]
    monkeypatch.setattr(fleet_trust, name, value)
    found = exercised.runner.run(computed_anew(exercised.world))
    assert found != []
    assert all(each.startswith("fleet: ") for each in found)
    monkeypatch.undo()
    assert exercised.runner.run(computed_anew(exercised.world)) == []


@pytest.fixture(scope="module")
def replayed(postgres: PostgresServer, bare_template: str) -> Iterator[Stage]:
    """A stage of its own on which the history is played anew for each fault."""
    with staged(postgres, bare_template) as made:
        yield made
        made.runner.run(made.world.close())


@pytest.mark.parametrize("rule", ON_THE_WAY)
def test_a_fault_on_the_way_is_found(
    replayed: Stage, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    ON_THE_WAY[rule].plant(monkeypatch)
    replayed.runner.run(exercise(replayed.world))
    repairs = sum(replica.tick.state.repairs for replica in replayed.world.replicas)
    assert repairs or replayed.runner.run(recount(replayed.world)) != []


def test_the_same_history_without_a_fault_differs_in_nothing(replayed: Stage) -> None:
    replayed.runner.run(exercise(replayed.world))
    assert replayed.runner.run(recount(replayed.world)) == []


async def spoil_sums(world: World) -> None:
    """Changes the sums of windows by hand, then lets each of them move."""
    await world.execute("UPDATE agent_trust SET operations = 1, errors = 0 WHERE operations > 1")
    ids = [row["id"] for row in await world.fetch("SELECT id FROM agents WHERE state = 'ACTIVE'")]
    world.now += timedelta(days=8)
    await world.send(*(record(one, world.now, 30) for one in ids))
    await world.tick()


def test_sums_that_no_hours_can_have_are_made_anew(replayed: Stage) -> None:
    replayed.runner.run(exercise(replayed.world))
    replayed.runner.run(spoil_sums(replayed.world))
    assert sum(replica.tick.state.repairs for replica in replayed.world.replicas) == 1
    assert replayed.runner.run(recount(replayed.world)) == []


def test_a_stay_that_is_cut_short_is_found(
    replayed: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_domain, "STAY", timedelta(days=6))
    replayed.runner.run(exercise(replayed.world))
    with pytest.raises(AssertionError, match="a week"):
        replayed.runner.run(recount(replayed.world))


@pytest.mark.parametrize(
    "chosen",
    [
        replace(EQUAL, baseline_ppb=849_999_999),
        replace(
            EQUAL,
            weights_ppb={
                **EQUAL.weights_ppb,
                "agent_uptime": 249_999_999,
                "sync_freshness": 250_000_001,
            },
        ),
        replace(EQUAL, risk_baseline_cost_nano_usd=10_001 * BILLION),
    ],
    ids=["baseline", "weights", "cost"],
)
def test_a_setting_that_was_not_chosen_is_found(exercised: Stage, chosen: TrustSettings) -> None:
    world, runner = exercised.world, exercised.runner
    runner.run(world.restart(chosen))
    runner.run(world.tick())
    assert runner.run(differences(world.connection, chosen_of(EQUAL))) != []
    runner.run(world.restart(EQUAL))
    runner.run(world.tick())
    assert runner.run(recount(world)) == []


def test_the_select_in_the_document_yields_the_digits(exercised: Stage) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (select,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    world, runner = exercised.world, exercised.runner
    rows = {row["agent"]: tuple(row)[1:] for row in runner.run(world.fetch(select))}
    held = runner.run(
        world.fetch(
            "SELECT type || '/' || name, agent_trust.state, counted_success_ppb,"
            " counted_adherence_ppb, counted_level_ppb FROM agent_trust"
            " JOIN agents ON agents.id = agent_id WHERE in_fleet AND window_end IS NOT NULL"
        )
    )
    (current,) = runner.run(world.fetch("SELECT * FROM trust_current"))
    parts = json.loads(current["summary"])["components"]
    expected = {row[0]: tuple(row)[1:] for row in held}
    expected["the fleet"] = (
        f"risk_exposure {parts['risk_exposure']['ppb']}",
        parts["agent_uptime"]["ppb"],
        parts["policy_adherence"]["ppb"],
        current["trust_ppb"],
    )
    assert rows == expected

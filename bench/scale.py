"""How much is measured: the full run, or a smoke run that only shows that the bench works."""

import os
from dataclasses import dataclass

QUICK_VARIABLE = "BENCH_QUICK"


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of everything.

    Attributes:
        rounds: Times that each pair is measured, interleaved.
        agents: A large fleet.
        few_agents: A small one.
        small_fleet: One that has a few pages.
        searched_agents: Agents that are searched.
        reporting_agents: Agents whose telemetry is sent.
        unary_calls: Calls of a round with many in flight.
        single_calls: Calls of a round of one caller.
        pages: Pages of a round with several callers.
        searches: Searches of a round.
        stored_records: Records that are in the table before streams are measured.
        stream_messages: Messages of a round.
        stream_seconds: Seconds for which streams run beside a snapshot.
        fastest_records: Records a second that no stream exceeds; so many are prepared.
        hours: Hours of facts per agent of the large fleet.
        changed_agents: Agents that change between two ticks.
        ticks: Ticks that are measured.
        memory_records: Records that are sent while memory is watched.
    """

    rounds: int
    agents: int
    few_agents: int
    small_fleet: int
    searched_agents: int
    reporting_agents: int
    unary_calls: int
    single_calls: int
    pages: int
    searches: int
    stored_records: int
    stream_messages: int
    stream_seconds: float
    fastest_records: int
    hours: int
    changed_agents: int
    ticks: int
    memory_records: int


FULL = Scale(
    rounds=5,
    agents=100_000,
    few_agents=100,
    small_fleet=1_000,
    searched_agents=10_000,
    reporting_agents=1_000,
    unary_calls=16_000,
    single_calls=1_000,
    pages=4_000,
    searches=2_000,
    stored_records=2_000_000,
    stream_messages=400,
    stream_seconds=30.0,
    fastest_records=120_000,
    hours=168,
    changed_agents=1_000,
    ticks=9,
    memory_records=1_000_000,
)
QUICK = Scale(
    rounds=1,
    agents=2_000,
    few_agents=100,
    small_fleet=500,
    searched_agents=200,
    reporting_agents=100,
    unary_calls=1_000,
    single_calls=50,
    pages=100,
    searches=100,
    stored_records=20_000,
    stream_messages=20,
    stream_seconds=1.0,
    fastest_records=120_000,
    hours=24,
    changed_agents=100,
    ticks=2,
    memory_records=20_000,
)


def is_quick() -> bool:
    """Whether this is a smoke run, whose figures are not judged."""
    return os.environ.get(QUICK_VARIABLE, "") not in ("", "0")


def chosen_scale() -> Scale:
    """The scale that the environment asks for."""
    return QUICK if is_quick() else FULL

"""`python -m bench`: measures every goal that has come, writes it down, and judges the floors."""

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench import machine, report
from bench.goals import Result, reached_goals
from bench.measures import lists, memory, reads, search, stream, trust, unary
from bench.scale import Scale, chosen_scale, is_quick
from bench.stage import Stage, set_stage
from orca_server.observability import set_up_logging

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "performance.md"
LATEST = REPOSITORY / "bench" / "latest.json"
SMOKE = REPOSITORY / "build" / "bench-quick.json"
"""Where a smoke run writes: its figures say nothing, so they replace none."""

FAMILIES: dict[str, Callable[[Stage, Scale], Awaitable[list[Result]]]] = {
    "unary": unary.measure,
    "stream": stream.measure,
    "reads": reads.measure,
    "trust": trust.measure,
    "memory": memory.measure,
    "lists": lists.measure,
    "search": search.measure,
}


async def measure(families: Sequence[str]) -> tuple[list[Result], dict[str, str]]:
    """The results, in the order of the goals, and the machine."""
    goals, results = reached_goals(), list[Result]()
    async with set_stage() as stage:
        for family in families:
            started = time.monotonic()
            found = await FAMILIES[family](stage, chosen_scale())
            results += found
            print(f"-- {family}: {time.monotonic() - started:.0f} s", flush=True)
            print(*report.lines(goals, found), sep="\n", flush=True)
        described = machine.describe(stage.postgres_version())
    order = list(goals)
    return sorted(results, key=lambda result: order.index(result.name)), described


def main() -> int:
    """Runs the bench; 1 if a floor does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    chosen = parser.parse_args().families
    if unknown := set(chosen) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    set_up_logging("warning")
    goals = reached_goals()
    results, described = uvloop.run(measure(chosen or list(FAMILIES)))
    if is_quick():
        report.write_latest(SMOKE, goals, results)
        return 0
    if not chosen:
        assert [result.name for result in results] == list(goals), "a goal was not measured"
        report.write_latest(LATEST, goals, results)
        report.write_document(DOCUMENT, goals, results, described)
    missed = [result.name for result in results if not goals[result.name].holds(result.value)]
    if missed:
        print(f"floors missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

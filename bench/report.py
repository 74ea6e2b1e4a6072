"""Writes what was measured: latest.json, and the generated part of docs/performance.md."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.goals import Goal, Result

BEGIN = "<!-- Between these lines `make bench` writes. -->"
END = "<!-- Until here. -->"


def write_latest(path: Path, goals: Mapping[str, Goal], results: Sequence[Result]) -> None:
    """Writes name, value, floor and whether it holds, of each goal."""
    rows = [
        {
            "name": result.name,
            "value": _rounded(result.value),
            "floor": goals[result.name].floor,
            "holds": goals[result.name].holds(result.value),
        }
        for result in results
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def write_document(
    path: Path,
    goals: Mapping[str, Goal],
    results: Sequence[Result],
    machine: Mapping[str, str],
) -> None:
    """Replaces the generated part of the document; what people wrote around it stays."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    day = datetime.now(UTC).date()
    parts = (f"Measured on {day} on this machine:", _machine(machine), _table(goals, results))
    body = "\n\n".join((BEGIN, *parts, END))
    path.write_text(f"{before}{body}{after}", encoding="utf-8")


def lines(goals: Mapping[str, Goal], results: Sequence[Result]) -> list[str]:
    """A line per goal, for the terminal."""
    return [_line(goals[result.name], result) for result in results]


def _line(goal: Goal, result: Result) -> str:
    verdict = "holds" if goal.holds(result.value) else "MISSED"
    return (
        f"{goal.name:<30} {_rounded(result.value):>8g}  floor {goal.floor:<6g}"
        f" {verdict:<7} {result.measured}"
    )


def _machine(machine: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())


def _table(goals: Mapping[str, Goal], results: Sequence[Result]) -> str:
    head = (
        "| goal | better | value | floor | ambition | floor holds | ambition | measured |",
        "|---|---|---|---|---|---|---|---|",
    )
    return "\n".join((*head, *(_row(goals[result.name], result) for result in results)))


def _row(goal: Goal, result: Result) -> str:
    cells = (
        f"`{goal.name}`",
        goal.better,
        f"{_rounded(result.value):g}",
        f"{goal.floor:g}",
        f"{goal.ambition:g}",
        "yes" if goal.holds(result.value) else "**no**",
        "reached" if goal.is_ambitious(result.value) else "",
        result.measured,
    )
    return f"| {' | '.join(cells)} |"


def _rounded(value: float) -> float:
    """Three significant digits: more would say what was not measured."""
    return float(f"{value:.3g}")

"""The goals: what is measured, what must hold, what is aimed at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GOALS = Path(__file__).with_name("goals.json")
STAGES = ("main", "surface", "workflows", "operate")
"""In the order in which they come."""
REACHED = "surface"
"""The stage whose goals, and those before, are measured now."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of goals.json."""

    name: str
    stage: str
    better: Literal["higher", "lower"]
    floor: float
    ambition: float
    meaning: str

    def holds(self, value: float) -> bool:
        """Whether the floor holds."""
        return self._reaches(value, self.floor)

    def is_ambitious(self, value: float) -> bool:
        """Whether the ambition is reached."""
        return self._reaches(value, self.ambition)

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.better == "higher" else value <= bound


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured for a goal.

    Attributes:
        name: The goal's name.
        value: The figure that is judged.
        measured: What it is made of, for people, such as `3,912 / 6,120 calls/s`.
    """

    name: str
    value: float
    measured: str


def load_goals(path: Path = GOALS) -> list[Goal]:
    """The goals of a file, in its order."""
    return [
        Goal(
            name=row["name"],
            stage=row["from"],
            better=row["better"],
            floor=row["floor"],
            ambition=row["ambition"],
            meaning=row["meaning"],
        )
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


def reached_goals() -> dict[str, Goal]:
    """The goals that are measured now, by name."""
    reached = STAGES[: STAGES.index(REACHED) + 1]
    return {goal.name: goal for goal in load_goals() if goal.stage in reached}

"""Filters for lists of agents and workflows: from the grammar, and from noise."""

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """What filters of one list may speak of."""

    texts: tuple[str, ...]
    times: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    more: tuple[str, ...]
    numbers: tuple[str, ...] = ()


AGENTS = Words(
    texts=("type", "name", "display_name", "description", "source", "owner", "version"),
    times=("last_seen_at", "created_at", "updated_at"),
    choices={
        "state": ("ACTIVE", "STATE_RETIRED", "catalog", "SUSPENDED"),
        "criticality": ("LOW", "CRITICALITY_NORMAL", "critical"),
        "trust_state": ("MEASURED", "IDLE", "SILENT", "UNMEASURED"),
        "health": ("HEALTHY", "HEALTH_DEGRADED", "CRITICAL"),
    },
    more=("labels:team", 'capabilities:"files"', "last_seen_at:*", "owner:*"),
    numbers=("trust_level", "health_score", "operations", "errors", "violations"),
)
WORKFLOWS = Words(
    texts=("provider", "name", "display_name", "external_id", "owner"),
    times=("last_event_at", "last_run_at", "last_success_at", "created_at", "updated_at"),
    choices={
        "state": ("ACTIVE", "STATE_RETIRED", "paused"),
        "freshness": ("FRESH", "FRESHNESS_STALE", "unmeasured"),
        "last_outcome": ("SUCCEEDED", "failed", "cancelled"),
    },
    more=("labels:team", "last_outcome:*", "last_success_at:*", "owner:*"),
)
FINDINGS = Words(
    texts=("entity_type", "type", "name", "rule", "resolution"),
    times=("first_seen_at", "last_seen_at", "resolved_at", "created_at"),
    choices={"resolved": ("true", "false", "FALSE")},
    more=("resolution:*", "resolved_at:*", "resolved != true", "NOT resolved = true"),
)
TEXTS = ("mcp", '"io.github.*"', '"*a*"', '"%_"', r'"a\\b"', r'"\*"', '"é🦑"', "''", '"x y"', "7")
NUMBERS = ("0", "0.75", "-1", "1e3", "1e-9", "999999999999999999", "0.333333333333333333333333333")
TIMES = ("2026-01-01T00:00:00Z", "2026-01-01", "1970-01-01T00:00:00.123456789+14:00", "9998-12-31")
NOISE = (
    "(",
    ")",
    '"',
    "'",
    "AND",
    "OR",
    "NOT",
    "-",
    ":",
    "=",
    "!=",
    "<",
    "*",
    "\\",
    "\0",
    "é",
    ".",
)
MORE_NOISE = (
    "1e999",
    "NaN",
    "2026-13-99T99:99:99Z",
    "labels.",
    "labels.a.b",
    "id = 7",
    "unknown = 1",
)


def good(dice: random.Random, words: Words = AGENTS, depth: int = 0) -> str:
    """A filter that can be read."""
    if depth < 3 and dice.random() < 0.4:
        first, second = good(dice, words, depth + 1), good(dice, words, depth + 1)
        match dice.randrange(4):
            case 0:
                return f"{first} AND {second}"
            case 1:
                return f"({first} OR {second})"
            case 2:
                return f"NOT ({first})"
            case _:
                return f"-({first})"
    return _comparison(dice, words)


def _comparison(dice: random.Random, words: Words) -> str:
    match dice.randrange(6):
        case 0:
            sign = dice.choice(("=", "!=", ":"))
            return f"{dice.choice(words.texts)} {sign} {dice.choice(TEXTS)}"
        case 1 if words.numbers:
            sign = dice.choice(("=", "!=", "<", "<=", ">", ">=", ":"))
            return f"{dice.choice(words.numbers)} {sign} {dice.choice(NUMBERS)}"
        case 2:
            sign = dice.choice(("<", ">=", "=", "!="))
            return f'{dice.choice(words.times)} {sign} "{dice.choice(TIMES)}"'
        case 3:
            field, values = dice.choice(list(words.choices.items()))
            return f"{field} {dice.choice(('=', '!='))} {dice.choice(values)}"
        case 4:
            return f'labels.{dice.choice(("team", "a-b", "x.y"))} {dice.choice(("=", ":"))} "blue"'
        case _:
            return dice.choice(words.more)


def bad(dice: random.Random) -> str:
    """A filter with something wrong, or nothing but noise."""
    words = good(dice).split(" ") if dice.random() < 0.7 else []
    for _ in range(dice.randint(1, 4)):
        words.insert(dice.randint(0, len(words)), dice.choice(NOISE + MORE_NOISE))
    match dice.randrange(12):
        case 0:
            return "(" * dice.choice((10, 60, 3_000)) + " ".join(words)
        case 1:
            return " AND ".join(["name = a"] * dice.choice((101, 300, 2_000)))
        case 2:
            return "NOT " * dice.choice((60, 900)) + "name = a"
        case _:
            return " ".join(words)

"""Cron: whether a text is a schedule of five fields, in the dialect that most tools share.

Minute, hour, day of month, month, day of week; each is `*` or a list of numbers, ranges `a-b` and
steps `*/n`, `a-b/n`, `a/n` (from a to the end). Months and days of the week also have names of
three letters; Sunday is 0 and 7. What only some tools know (seconds, years, `@daily`, `L`, `W`,
`#`, `?`) is refused, since it would mean different things in different tools.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_PART = re.compile(r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([0-9]{1,2}))?")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: Mapping[str, int] = field(default_factory=dict)


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


def cron_problem(text: str) -> str | None:
    """What is wrong with a schedule, for people; None if it is well formed and ever comes."""
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        return f"has {len(words)} fields, cron has 5: minute hour day month weekday"
    found: list[frozenset[int]] = []
    for about, word in zip(_FIELDS, words, strict=True):
        try:
            found.append(frozenset(_numbers(about, word)))
        except ValueError as error:
            return f"{about.name} '{word[:50]}': {error}"
    _, _, days, months, _ = found
    any_weekday = words[4].startswith("*")
    if any_weekday and min(days) > max(_LONGEST_MONTHS[month - 1] for month in months):
        return "never comes: none of its months has such a day"
    return None


def _numbers(about: _Field, word: str) -> Iterator[int]:
    """The numbers that a field allows.

    Raises:
        ValueError: If it is malformed, or beyond its bounds.
    """
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError("is not *, a number, a range, or a list of them")
        start, end, step = match.groups()
        if start == "*":
            if end is not None:
                raise ValueError("* has no end")
            low, high = about.first, about.last
        else:
            low = _number(about, start)
            high = _number(about, end) if end else about.last if step else low
        if low > high:
            raise ValueError(f"the range {start}-{end} runs backwards")
        if step is not None and not 1 <= int(step) <= about.last:
            raise ValueError(f"the step {step} is not from 1 to {about.last}")
        yield from range(low, high + 1, int(step or 1))


def _number(about: _Field, text: str) -> int:
    number = about.names.get(text, -1) if text.isalpha() else int(text)
    if about.first <= number <= about.last:
        return number
    names = f", or {next(iter(about.names))} and so on" if about.names else ""
    raise ValueError(f"'{text}' is not from {about.first} to {about.last}{names}")

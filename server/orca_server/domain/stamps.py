"""Stamps: which of two versions of an imported entry is the newer one."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_VERSION = 255
_PART = re.compile(r"[0-9]+|[a-z]+")


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an entry was published, and what it is called.

    Attributes:
        latest: Whether its registry calls it the latest; None: it does not say.
        published: RFC 3339 in UTC with microseconds; empty: unknown.
        version: As it was written.
    """

    latest: bool | None = None
    published: str = ""
    version: str = ""

    def is_older_than(self, other: "Stamp") -> bool:
        """Whether the other one replaces this one.

        What the registry calls the latest wins; then the time of publication, if both have
        one; then the version.
        """
        if None not in (self.latest, other.latest) and self.latest != other.latest:
            return bool(other.latest)
        if self.published and other.published and self.published != other.published:
            return self.published < other.published
        return version_key(self.version) < version_key(other.version)

    def written(self) -> str:
        """The stamp as a text, for a column."""
        return json.dumps([self.latest, self.published, self.version])


def read_stamp(text: str) -> Stamp:
    """The stamp of a column; an empty text is one that knows nothing."""
    return Stamp(*json.loads(text)) if text else Stamp()


def published_at(text: object) -> str:
    """A time in the form that stamps compare; empty if it is none."""
    if not isinstance(text, str):
        return ""
    try:
        time = datetime.fromisoformat(text)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return ""


Part = tuple[int, int, str]


def version_key(version: str) -> tuple[tuple[Part, ...], bool, tuple[Part, ...]]:
    """A key by which versions order: numbers as numbers, a pre-release before its release.

    Semantic versions order as they should, others at least without surprise.
    """
    release, dash, before = version[:MAX_VERSION].lower().partition("+")[0].partition("-")
    parts = list(_parts(release.removeprefix("v")))
    while parts and parts[-1] == (1, 0, ""):
        parts.pop()
    return tuple(parts), not dash, tuple(_parts(before))


def _parts(text: str) -> tuple[Part, ...]:
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in _PART.findall(text)
    )

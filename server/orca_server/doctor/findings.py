"""What the doctor says: one finding per check, and the sections of the operations guide."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is; only FAIL keeps the product from its work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Stable name of the check.
        status: How bad it is.
        found: What was seen, or why nothing could be.
        cause: What is probably behind it; empty when all is well.
        mend: The command or the edit that mends it; empty when all is well.
    """

    name: str
    status: Status
    found: str
    cause: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the guide's troubleshooting, and how its checks went together."""

    title: str
    status: Status
    checks: tuple[str, ...]


SECTIONS = {
    "API Won't Start": ("database", "settings", "ports", "logs"),
    "High Memory Usage": ("connections", "limits", "memory", "transactions"),
    "Stale Workflows": ("freshness", "adapters", "ingest", "logs"),
    "Trust Score Dropping": ("trust", "agents", "violations", "freshness"),
}
"""The guide's sections, and the checks that it asks for in each."""

_BADNESS = (Status.SKIPPED, Status.OK, Status.WARN, Status.FAIL)


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, Status.OK, found)


def skipped(name: str, why: str) -> Finding:
    """It could not be looked at, or there is nothing to look at."""
    return Finding(name, Status.SKIPPED, why)


def warn(name: str, found: str, cause: str, mend: str) -> Finding:
    """It works, and should be looked after."""
    return Finding(name, Status.WARN, found, cause, mend)


def fail(name: str, found: str, cause: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(name, Status.FAIL, found, cause, mend)


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of them; SKIPPED if nothing could be looked at."""
    return max(statuses, key=_BADNESS.index, default=Status.SKIPPED)


def sections(findings: Iterable[Finding]) -> tuple[Section, ...]:
    """The guide's sections, each as bad as the worst of its checks."""
    by_name = {each.name: each.status for each in findings}
    return tuple(
        Section(title, worst(by_name[name] for name in names), names)
        for title, names in SECTIONS.items()
    )

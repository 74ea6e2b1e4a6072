"""Bounds that resources share; collects every violation, never only the first."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orca_server.domain.errors import FieldViolation, invalid_fields

MAX_NAME = 200
MAX_SHORT = 200
MAX_REASON = 500
MAX_URL = 2000
MAX_LABELS = 64
MAX_LABEL_VALUE = 255

KEBAB_CASE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
LABEL_KEY = re.compile(r"[A-Za-z0-9._-]{1,63}")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(slots=True)
class Violations:
    """Collects what is wrong with one request."""

    found: list[FieldViolation] = field(default_factory=list)

    def add(self, name: str, reason: str, message: str) -> None:
        """Notes one wrong field."""
        self.found.append(FieldViolation(name, reason, message))

    def refuse(self) -> None:
        """Refuses the request if anything was found.

        Raises:
            InvalidRequest: With all violations (`FIELD_INVALID`).
        """
        if self.found:
            raise invalid_fields(self.found)

    def text(self, name: str, value: str, most: int, *, lines: bool = False) -> None:
        """Checks a text's length and characters; `lines` allows tab and line breaks."""
        if len(value) > most:
            self.add(name, "TOO_LONG", f"has {len(value)} characters, at most {most} are allowed")
        if (_CONTROL_BUT_LINES if lines else _CONTROL).search(value):
            self.add(name, "INVALID_FORMAT", "contains a control character")

    def count(self, name: str, size: int, most: int) -> None:
        """Checks how many entries there are."""
        if size > most:
            self.add(name, "TOO_MANY", f"has {size} entries, at most {most} are allowed")

    def unique(self, name: str, values: Iterable[str]) -> None:
        """Checks that no value stands twice."""
        seen: set[str] = set()
        for value in values:
            if value in seen:
                self.add(name, "DUPLICATE", f"'{value[:100]}' stands there twice")
                return
            seen.add(value)


def check_kebab_case(violations: Violations, field: str, value: str, example: str) -> None:
    """Checks a word of an open set, such as a type or a provider; it is required."""
    if not value:
        violations.add(field, "REQUIRED", "is required")
    elif not KEBAB_CASE.fullmatch(value):
        message = f"must be kebab-case, 1 to 63 characters, like '{example}'"
        violations.add(field, "INVALID_FORMAT", message)


def check_name(violations: Violations, field: str, name: str) -> None:
    """Checks the name by which a resource is known."""
    if problem := name_problem(name):
        violations.add(field, *problem)


def name_problem(name: str) -> tuple[str, str] | None:
    """Reason and message if a text cannot be the name of a resource."""
    if not name:
        return "REQUIRED", "is required"
    if len(name) > MAX_NAME:
        return "TOO_LONG", f"has {len(name)} characters, at most {MAX_NAME} are allowed"
    if _SPACE_OR_CONTROL.search(name):
        return "INVALID_FORMAT", "contains white space or a control character"
    return None


def check_reason(violations: Violations, reason: str) -> None:
    """Checks the reason that goes into the audit log."""
    violations.text("reason", reason, MAX_REASON, lines=True)


def check_range(
    violations: Violations, name: str, value: float, bounds: tuple[float, float]
) -> bool:
    """Checks that a number lies in bounds, ends included; NaN lies nowhere."""
    if bounds[0] <= value <= bounds[1]:
        return True
    violations.add(name, "OUT_OF_RANGE", f"must be from {bounds[0]:,} to {bounds[1]:,}")
    return False


def check_labels(violations: Violations, name: str, labels: Mapping[str, str]) -> None:
    """Checks keys, values and number of labels."""
    violations.count(name, len(labels), MAX_LABELS)
    for key, value in list(labels.items())[:MAX_LABELS]:
        if not LABEL_KEY.fullmatch(key):
            violations.add(
                f"{name}.{key[:63]}",
                "INVALID_FORMAT",
                "a key has 1 to 63 characters: letters, digits, '.', '_', '-'",
            )
        violations.text(f"{name}.{key[:63]}", value, MAX_LABEL_VALUE)


def url_problem(url: str) -> tuple[str, str] | None:
    """Reason and message if a text is no HTTP(S) address that may be kept."""
    if len(url) > MAX_URL:
        return "TOO_LONG", f"has {len(url)} characters, at most {MAX_URL} are allowed"
    if _SPACE_OR_CONTROL.search(url):
        return "INVALID_FORMAT", "contains white space or a control character"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "INVALID_FORMAT", "is no valid address"
    if parts.scheme not in ("http", "https") or not host:
        return "INVALID_FORMAT", "must be an http:// or https:// address with a host"
    if "@" in parts.netloc:
        return "SECRET_IN_PLAIN_TEXT", "contains a user or password; leave them out"
    return None

"""Which fields an update changes, and what comes of it (AIP-134, AIP-161)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orca_server.domain.agent_checks import Violations
from orca_server.domain.agents import Content
from orca_server.domain.errors import FieldViolation, InvalidRequest

# Field of the API -> field of Content.
MUTABLE = {
    "display_name": "display_name",
    "description": "description",
    "owner": "owner",
    "version": "version",
    "endpoint": "endpoint",
    "capabilities": "capabilities",
    "tools": "tools",
    "labels": "labels",
    "criticality": "criticality",
    "heartbeat_interval_seconds": "heartbeat_interval_seconds",
    "latency_limit_ms": "latency_limit_us",
}
IDENTITY = ("id", "type", "name")
ENDPOINT_PARTS = ("url", "command", "args", "env")
_CAPITAL = re.compile(r"(?<=[a-z])([A-Z])")


@dataclass(frozen=True, slots=True)
class Change:
    """One path of an update mask: a field of the API, and what of it, if not all."""

    field: str
    part: str = ""


EVERYTHING = tuple(Change(name) for name in MUTABLE)


def read_mask(paths: Sequence[str], output_only: Iterable[str]) -> tuple[list[Change], list[str]]:
    """The changes that a mask asks for, and the identity fields that it names.

    Args:
        paths: Such as `display_name`, `labels.team`, `endpoint.url`, `*`; a field may also be
            written in lowerCamelCase, as JSON has it.
        output_only: Fields that only the server writes.

    Raises:
        InvalidRequest: `FIELD_INVALID` for unknown paths, else `FIELD_IMMUTABLE` for output-only
            ones; either names all of them.
    """
    violations, fixed = Violations(), list[FieldViolation]()
    changes, identity, read_only = list[Change](), list[str](), frozenset(output_only)
    for path in paths:
        head, _, part = path.partition(".")
        name = _CAPITAL.sub(lambda found: "_" + found[1].lower(), head)
        if path == "*":
            changes.extend(EVERYTHING)
        elif name in IDENTITY and not part:
            identity.append(name)
        elif name == "etag" and not part:
            continue  # says which version is meant; no change
        elif name in read_only:
            fixed.append(FieldViolation(path, "OUTPUT_ONLY", "is written by the server alone"))
        elif name in MUTABLE and _has_part(name, part, path):
            changes.append(Change(name, part))
        else:
            violations.add("update_mask", "UNKNOWN_FIELD", f"'{path[:200]}' is no field")
    violations.refuse()
    if fixed:
        raise immutable(fixed)
    return changes, identity


def immutable(violations: Sequence[FieldViolation]) -> InvalidRequest:
    """The error for fields that nobody may change."""
    first = violations[0]
    names = ",".join(one.field for one in violations)
    return InvalidRequest(
        "FIELD_IMMUTABLE",
        f"{first.field}: {first.message}.",
        {"fields": names},
        violations=violations,
    )


def apply(old: Content, new: Content, changes: Iterable[Change]) -> Content:
    """The old content with the new one's values in the fields that change."""
    content = old
    for change in changes:
        name = MUTABLE[change.field]
        value: Any = getattr(new, name)
        if change.field == "labels" and change.part:
            rest = {key: label for key, label in content.labels.items() if key != change.part}
            given = change.part in new.labels
            value = rest | ({change.part: new.labels[change.part]} if given else {})
        elif change.part:
            value = replace(content.endpoint, **{change.part: getattr(new.endpoint, change.part)})
        content = replace(content, **{name: value})
    return content


def _has_part(name: str, part: str, path: str) -> bool:
    """Whether a field has such a part; every field has the empty one."""
    if "." not in path:
        return True
    return (name == "labels" and bool(part)) or (name == "endpoint" and part in ENDPOINT_PARTS)

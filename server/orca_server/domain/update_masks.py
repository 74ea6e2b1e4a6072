"""Which fields an update changes, and what comes of it (AIP-134, AIP-161)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from orca_server.domain.checks import Violations
from orca_server.domain.errors import FieldViolation, InvalidRequest

Content = TypeVar("Content")
_CAPITAL = re.compile(r"(?<=[a-z])([A-Z])")


@dataclass(frozen=True, slots=True)
class Change:
    """One path of an update mask: a field of the API, and what of it, if not all."""

    field: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class Updatable:
    """What an update of a resource may speak of.

    Attributes:
        mutable: Field of the API -> field of the resource's content, which is a dataclass.
        identity: Fields by which the resource is known, and that never change.
        parts: Mutable fields that consist of others -> those. Labels have any part.
    """

    mutable: Mapping[str, str]
    identity: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def everything(self) -> tuple[Change, ...]:
        """All that an update can change."""
        return tuple(Change(name) for name in self.mutable)

    def has_part(self, name: str, path: str) -> bool:
        """Whether the mutable field at the head of a path has the part that it names, if any."""
        _, dot, part = path.partition(".")
        return not dot or (name == "labels" and bool(part)) or part in self.parts.get(name, ())


def read_mask(
    fields: Updatable, paths: Sequence[str], output_only: Iterable[str]
) -> tuple[list[Change], list[str]]:
    """The changes that a mask asks for, and the identity fields that it names.

    Args:
        fields: Of the resource.
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
            changes.extend(fields.everything)
        elif name in fields.identity and not part:
            identity.append(name)
        elif name == "etag" and not part:
            continue  # says which version is meant; no change
        elif name in read_only:
            fixed.append(FieldViolation(path, "OUTPUT_ONLY", "is written by the server alone"))
        elif name in fields.mutable and fields.has_part(name, path):
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


def apply(fields: Updatable, old: Content, new: Content, changes: Iterable[Change]) -> Content:
    """The old content with the new one's values in the fields that change."""
    content: Any = old
    for change in changes:
        name = fields.mutable[change.field]
        value: Any = getattr(new, name)
        if change.field == "labels" and change.part:
            rest = {key: label for key, label in content.labels.items() if key != change.part}
            value = rest | ({change.part: value[change.part]} if change.part in value else {})
        elif change.part:
            part = getattr(value, change.part)
            value = replace(getattr(content, name), **{change.part: part})
        content = replace(content, **{name: value})
    return content  # type: ignore[no-any-return]  # a copy of `old`, whose type is the caller's


def said(fields: Updatable, content: Content, nothing: Content) -> list[Change]:
    """What a content says, compared with one that says nothing."""
    return [
        Change(name)
        for name, attribute in fields.mutable.items()
        if getattr(content, attribute) != getattr(nothing, attribute)
    ]

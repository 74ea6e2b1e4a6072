"""How people name a resource: by its id, its name, or KIND/NAME."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from orca.errors import InvalidRequest, NotFound

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """What people call it."""


Resource = TypeVar("Resource", bound=Named)


@dataclass(frozen=True, slots=True)
class Noun:
    """What a resource is called.

    Attributes:
        singular: Such as `agent`.
        kind: Field that stands before the name, such as `type`.
    """

    singular: str
    kind: str

    def full_name(self, resource: Named) -> str:
        """KIND/NAME of a resource."""
        return f"{getattr(resource, self.kind)}/{resource.name}"

    def filter(self, reference: str) -> str:
        """The filter that finds a name or KIND/NAME; a name may hold slashes too."""
        kind, slash, name = reference.partition("/")
        whole = f"name = {quote(reference)}"
        if not (slash and kind and name):
            return whole
        return f"{whole} OR ({self.kind} = {quote(kind)} AND name = {quote(name)})"


async def find(
    noun: Noun,
    reference: str,
    get: Callable[[str], Awaitable[Resource]],
    search: Callable[[str], Awaitable[Sequence[Resource]]],
) -> Resource:
    """The one resource that a person means.

    Args:
        noun: What it is called.
        reference: An id, a name, or KIND/NAME.
        get: Gets one by its id.
        search: Lists some that match a filter.

    Raises:
        NotFound: If there is none (`AGENT_NOT_FOUND`, `WORKFLOW_NOT_FOUND`).
        InvalidRequest: If there are several (`AGENT_AMBIGUOUS`, `WORKFLOW_AMBIGUOUS`).
    """
    if _UUID.fullmatch(reference):
        return await get(reference)
    found = await search(noun.filter(reference))
    if not found:
        raise NotFound(
            f"No {noun.singular} is called '{reference}'.",
            reason=f"{noun.singular.upper()}_NOT_FOUND",
            metadata={noun.singular: reference},
        )
    if len(found) > 1:
        names = ", ".join(noun.full_name(each) for each in found)
        raise InvalidRequest(
            f"'{reference}' may be any of {names}: say {noun.kind.upper()}/NAME, or its id.",
            reason=f"{noun.singular.upper()}_AMBIGUOUS",
            metadata={noun.singular: reference, "candidates": names},
        )
    return found[0]


def quote(text: str) -> str:
    """The text as a string of a filter, its stars no wildcards."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return f'"{escaped}"'

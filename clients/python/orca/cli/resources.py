"""What commands on resources share: lists, and changes of several that are named."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import typer
from google.protobuf.message import Message
from rich.table import Table
from rich.text import Text

from orca.cli.failures import report
from orca.cli.output import plain
from orca.cli.session import EXIT_FAILED, Session
from orca.errors import OrcaError

Resource = TypeVar("Resource", bound=Message)


@dataclass(frozen=True, slots=True)
class Resources(Generic[Resource]):
    """One kind of resource.

    Attributes:
        singular: What one is called, such as `agent`.
        rows: The table of several.
        several: What several are called; empty: as one, with an s.
    """

    singular: str
    rows: Callable[[list[Resource]], Table]
    several: str = ""

    @property
    def plural(self) -> str:
        """What several are called; also the field that holds them in replies."""
        return self.several or f"{self.singular}s"


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Resource]):
    """What became of one resource."""

    name: str
    resource: Resource | None = None
    error: OrcaError | None = None


async def show_list(
    session: Session, pages: AsyncIterator[Any], kind: Resources[Resource], limit: int | None
) -> None:
    """Prints what the pages hold, up to a limit."""
    found: list[Resource] = []
    total, token = 0, ""
    async for page in pages:
        found += getattr(page, kind.plural)
        total, token = page.total_size, page.next_page_token
        if limit is not None and len(found) >= limit:
            break
    shown = found[:limit]
    document: dict[str, object] = {kind.plural: [plain(each) for each in shown]}
    document |= {"next_page_token": token, "total_size": total}
    session.printer.show(document, kind.rows(shown))
    if session.printer.is_table and len(shown) < total:
        session.printer.note(f"{len(shown)} of {total} {kind.plural}")


async def change_named(
    session: Session,
    kind: Resources[Resource],
    find: Callable[..., Awaitable[Any]],
    change: Callable[..., Awaitable[Resource]],
    names: Sequence[str],
    reason: str,
    done: str,
) -> None:
    """Changes what was named; what cannot be found is a failure."""

    async def one(name: str) -> Outcome[Resource]:
        try:
            found = await find(name, timeout=session.timeout)
            changed = await change(found.id, reason=reason, timeout=session.timeout)
        except OrcaError as error:
            return Outcome(name, error=error)
        return Outcome(name, changed)

    conclude(session, [await one(name) for name in dict.fromkeys(names)], kind, done)


def conclude(
    session: Session, outcomes: Sequence[Outcome[Resource]], kind: Resources[Resource], done: str
) -> None:
    """Prints what was done and what was not; ends with 1 if anything was not."""
    changed = [outcome.resource for outcome in outcomes if outcome.resource is not None]
    failed = [(each.name, each.error) for each in outcomes if each.error is not None]
    refused = [
        {kind.singular: name, "reason": error.reason, "message": error.message}
        for name, error in failed
    ]
    document = {kind.plural: [plain(each) for each in changed], "refused": refused}
    shown: list[Table | Text] = [kind.rows(changed)] if changed else []
    count = sum(outcome.error is None for outcome in outcomes)
    session.printer.show(document, *shown, Text(f"{count} {done}, {len(failed)} refused"))
    for _, error in failed:
        report(error, session.printer)
    if failed:
        raise typer.Exit(EXIT_FAILED)

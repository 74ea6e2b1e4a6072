"""`orca registry`: the server's registry file, and imports into the catalogue."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from orca.cli.documents import Document, FileRefused, Source, documents, find_files, inspect
from orca.cli.output import facts, plain, table
from orca.cli.progress import progress
from orca.cli.session import EXIT_FAILED, Session, command
from orca.errors import InvalidRequest
from orca.v1.agent_service_pb2 import ImportAgentsResponse, RefusedEntry

registry_app = typer.Typer(
    no_args_is_help=True, help="Registries of MCP servers.", rich_markup_mode=None
)

_IMPORT_TIMEOUT_SECONDS = 60.0
_SHOWN_REFUSALS = 50

_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change and change nothing.")
]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]


@registry_app.command("sync")
@command
async def sync(session: Session, dry_run: _DryRun = False, reason: _Reason = "") -> None:
    """Have the server read its MCP registry file (MCP_REGISTRY_PATH) now.

    Refused entries are listed and are no failure, as in an import; a file that is
    missing or wrong is one.

    Example: orca registry sync --dry-run
    """
    found = await session.client.registry.sync(
        validate_only=dry_run, reason=reason, timeout=session.timeout or _IMPORT_TIMEOUT_SECONDS
    )
    counts = f"{found.created} created, {found.updated} updated, {found.unchanged} unchanged"
    summary = facts(
        [
            ("file", found.path),
            ("would be" if dry_run else "done", f"{counts}, {found.retired} retired"),
        ]
    )
    refusals = [_refusal(Path(found.path), 0, entry) for entry in found.refused]
    session.printer.show(plain(found), summary, *_refusal_table(refusals))


@dataclass(slots=True)
class _Tally:
    """What an import came to.

    Attributes:
        files: Files that were read.
        refused: Entries that were not taken, each with its file.
        failed_files: Files that could not be imported at all.
    """

    files: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    failed_files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, document: Document, response: ImportAgentsResponse) -> None:
        """Counts what a document came to."""
        self.created += response.created
        self.updated += response.updated
        self.unchanged += response.unchanged
        self.refused += [
            _refusal(document.path, document.first_index, entry) for entry in response.refused
        ]

    def fail(self, path: Path, reason: str, message: str) -> None:
        """Notes a file that could not be imported at all."""
        self.failed_files.append({"file": str(path), "reason": reason, "message": message})


@registry_app.command("import")
@command
async def import_(
    session: Session,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, or folders to look through.")
    ],
    dry_run: _DryRun = False,
    reason: _Reason = "",
) -> None:
    """Import public registries into the catalogue; a second run changes nothing.

    Takes entries of the official MCP registry (pages, lists, one server.json, in
    the older and the current form) and Docker's server.yaml. Refused entries are
    listed, the others imported. Ends with 1 if a file could not be imported at all.

    Example: orca registry import seed.json docker-mcp/
    """
    tally = _Tally()
    sources = list(_inspected(paths, tally))
    if not sources and not tally.failed_files:
        session.printer.note("There are no .json, .yaml or .yml files.")
    with progress(session.printer, "importing", sum(each.entries for each in sources)) as advance:
        for source in sources:
            tally.files += 1
            for document in _documents(source, tally):
                await _send(session, document, tally, dry_run, reason)
                advance(document.entries)
    _show(session, tally, dry_run)
    if tally.failed_files:
        raise typer.Exit(EXIT_FAILED)


def _inspected(paths: Iterable[Path], tally: _Tally) -> Iterator[Source]:
    for path in find_files(list(paths)):
        try:
            yield inspect(path)
        except FileRefused as refused:
            tally.fail(path, refused.reason, refused.message)


def _documents(source: Source, tally: _Tally) -> Iterator[Document]:
    try:
        yield from documents(source)
    except FileRefused as refused:  # it was readable a moment ago
        tally.fail(source.path, refused.reason, refused.message)


async def _send(
    session: Session, document: Document, tally: _Tally, dry_run: bool, reason: str
) -> None:
    """Imports one document; one that the server cannot read is a failed file."""
    try:
        response = await session.client.registry.import_document(
            document.content,
            content_type=document.content_type,
            validate_only=dry_run,
            reason=reason,
            timeout=session.timeout or _IMPORT_TIMEOUT_SECONDS,
        )
    except InvalidRequest as error:
        tally.fail(document.path, error.reason, error.message)
    else:
        tally.add(document, response)


def _show(session: Session, tally: _Tally, dry_run: bool) -> None:
    document = {
        "created": tally.created,
        "updated": tally.updated,
        "unchanged": tally.unchanged,
        "refused": tally.refused,
        "files": tally.files,
        "failed_files": tally.failed_files,
        "validate_only": dry_run,
    }
    counts = (
        f"{tally.created} created, {tally.updated} updated, {tally.unchanged} unchanged, "
        f"{len(tally.refused)} refused"
    )
    shown: list[Table | Text] = [
        Text(f"{'dry run, nothing was written: ' if dry_run else ''}{counts}"),
        *_refusal_table(tally.refused),
    ]
    if tally.failed_files:
        rows = [(each["file"], each["reason"], each["message"]) for each in tally.failed_files]
        shown += [Text(), table(("not imported", "reason", "message"), rows)]
    session.printer.show(document, *shown)


def _refusal(path: Path, first_index: int, entry: RefusedEntry) -> dict[str, Any]:
    return {
        "file": str(path),
        "index": first_index + entry.index,
        "name": entry.name,
        "reason": entry.reason,
        "message": entry.message,
    }


def _refusal_table(refusals: list[dict[str, Any]]) -> list[Table | Text]:
    if not refusals:
        return []
    columns = ("file", "index", "name", "reason", "message")
    rows = [[each[column] for column in columns] for each in refusals[:_SHOWN_REFUSALS]]
    shown: list[Table | Text] = [Text(), table(("refused in", *columns[1:]), rows, numbers="index")]
    if len(refusals) > _SHOWN_REFUSALS:
        more = len(refusals) - _SHOWN_REFUSALS
        shown.append(Text(f"and {more} more: --output json lists them all"))
    return shown

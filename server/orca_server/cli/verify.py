"""`orca trust verify`: computes trust anew from the rows and compares, straight on the database."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from orca.cli.output import Output, Printer, table
from orca.cli.progress import progress
from orca_server.cli.settings import load_settings_or_stack
from orca_server.cli.watching import OutputForm, Watch, show
from orca_server.domain.access import DEFAULT_TENANT

if TYPE_CHECKING:
    from orca_server.runtime.verification import Verification
    from orca_server.settings import Settings


def mount(app: typer.Typer) -> None:
    """Adds the command to the client's group `trust`, which that mounts."""
    from orca.cli import trust_app

    trust_app.command("verify")(verify)


def verify(
    output: OutputForm = Output.TABLE,
    tenant: Annotated[UUID, typer.Option(help="Whose trust.")] = DEFAULT_TENANT,
    watch: Watch = None,
) -> None:
    """Check trust against the rows it was made of: records, hours, agents, fleet.

    Needs the database, no server, and may run while servers write. Ends with 0 if every number
    agrees, with 1 if one does not.

    Example: orca trust verify --output json
    """
    settings = load_settings_or_stack()
    show(partial(_show, settings, tenant), output, watch)


def _show(settings: "Settings", tenant: UUID, printer: Printer) -> bool:
    found = asyncio.run(_verify(settings, tenant, printer))
    printer.show(_document(found), _checks(found), *_differences(found), _verdict(found))
    return not found.differences


async def _verify(settings: "Settings", tenant: UUID, printer: Printer) -> "Verification":
    from orca_server.runtime import verification
    from orca_server.store import verify as store
    from orca_server.store.database import Database

    db = Database(settings.database_url.get_secret_value(), size=1, name="orca-verify")
    try:
        async with db.connection() as connection:
            total = await store.count_agents(connection, tenant)
        with progress(printer, "verifying agents", total) as advance:
            return await verification.verify(
                db,
                tenant,
                retention_days=settings.telemetry_retention_days,
                now=datetime.now(UTC),
                advance=advance,
            )
    finally:
        await db.close()


def _document(found: "Verification") -> dict[str, Any]:
    document = asdict(found) | {"agrees": not found.differences}
    document["as_of"] = _text(found.as_of)
    document["first"] = [
        {name: _text(value) for name, value in asdict(each).items()} for each in found.first
    ]
    return document


def _text(value: object) -> object:
    """Instants as RFC 3339; numbers, lists and words as they are."""
    return value.isoformat() if isinstance(value, datetime) else value


def _checks(found: "Verification") -> Table:
    expired = f"{found.hours_expired} hours without all of their records: evidence expired"
    waiting = f"{found.agents_waiting} agents wait for the next tick"
    fleet = "waits for the next tick" if found.fleet_waiting else ""
    checked = int(found.as_of is not None and not found.fleet_waiting)
    rows = (
        ("records add up to hours", found.hours - found.hours_expired, found.by_check["hours"],
         expired if found.hours_expired else ""),
        ("records add up to violations", found.violations - found.violations_expired,
         found.by_check["violations"],
         f"{found.violations_expired} of expired records" if found.violations_expired else ""),
        ("hours give agents' trust", found.agents, found.by_check["agents"],
         waiting if found.agents_waiting else ""),
        ("agents' trust gives the fleet's", checked, found.by_check["fleet"], fleet),
    )  # fmt: skip
    return table(("check", "compared", "differ", "not compared"), rows, numbers="compared differ")


def _differences(found: "Verification") -> list[Table]:
    if not found.first:
        return []
    rows = [
        (each.where, _text(each.hour), each.field, _text(each.stored), _text(each.expected))
        for each in found.first
    ]
    title = f"first {len(rows)} of {found.differences} differences"
    return [table(("where", "hour", "number", "stored", "expected"), rows, title=title)]


def _verdict(found: "Verification") -> str:
    if found.as_of is None:
        return "No tick has run yet: there is no score to verify."
    if found.differences:
        return f"{found.differences} numbers differ from what the rows give."
    return f"Trust as of {found.as_of:%Y-%m-%d %H:%M:%S} UTC agrees with the rows."

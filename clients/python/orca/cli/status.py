"""`orca status`: the server and its parts."""

from rich.table import Table
from rich.text import Text

from orca.cli.output import facts, instant, number, optional, plain, table
from orca.cli.session import Session, view
from orca.errors import Unavailable
from orca.v1.system_service_pb2 import Check, Status


@view
async def status(session: Session) -> None:
    """Show the server and each of its parts. Ends with 1 if it is not ready.

    Example: orca status --output json
    """
    found = await session.client.system.status(timeout=session.timeout)
    session.printer.show(plain(found), _summary(found), Text(), _checks(found))
    if not found.ready:
        failing = [check.name for check in found.checks if not check.ok]
        raise Unavailable(
            f"The server is not ready: {', '.join(failing) or 'it does not say why'}.",
            reason="NOT_READY_YET",
        )


def _summary(status: Status) -> Table:
    database, ingest, trust = status.database, status.ingest, status.trust
    stale = " (stale)" if trust.stale else ""
    return facts(
        [
            ("server", f"{status.version} on {status.instance}"),
            ("started", instant(status, "started_at")),
            ("ready", _mark(status.ready)),
            ("access", f"{status.access}, without a token: {status.anonymous_role or 'none'}"),
            ("database", _database(status)),
            (
                "connections",
                f"{database.connections_in_use} of {database.connections} in use"
                if optional(status, "database")
                else None,
            ),
            (
                "ingest",
                f"{number(ingest.accepted)} accepted, {number(ingest.duplicates)} duplicates, "
                f"{number(ingest.refused)} refused, {number(ingest.queued_records)} queued",
            ),
            ("trust", f"{instant(trust, 'as_of') or 'not computed yet'}{stale}"),
            ("registry", status.registry.path or None),
        ]
    )


def _database(status: Status) -> str:
    database = optional(status, "database")
    if database is None:
        return "does not answer"
    return (
        f"PostgreSQL {database.server_version}, schema {database.schema_version}, "
        f"partitions for {number(database.partition_days_ahead, 1)} days"
    )


def _checks(status: Status) -> Table:
    def row(check: Check) -> tuple[object, ...]:
        return check.name, _mark(check.ok), check.message

    return table(("check", "ok", "found"), [row(check) for check in status.checks])


def _mark(ok: bool) -> Text:
    return Text("yes", style="green") if ok else Text("no", style="bold red")

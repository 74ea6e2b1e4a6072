"""`orca violations` and `orca drift`: what was found about agents, and how it ends."""

import json
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.table import Table
from rich.text import Text

from orca.cli.output import Sheet, clean, facts, instant, number, plain, table
from orca.cli.resources import Resources, show_list
from orca.cli.session import Session, command, view
from orca.v1.drift_pb2 import DriftDetection, DriftDifference
from orca.v1.violation_pb2 import PolicyViolation

violations_app = typer.Typer(
    no_args_is_help=True,
    help="Policy violations that agents report, until they are resolved.",
    rich_markup_mode=None,
)
drift_app = typer.Typer(
    no_args_is_help=True,
    help="Agents that are not as they were accepted.",
    rich_markup_mode=None,
)

_Filter = Annotated[
    str, typer.Option("--filter", metavar="EXPR", help='Such as: name = "billing".')
]
_OrderBy = Annotated[
    str, typer.Option("--order-by", metavar="FIELD", help="Such as: last_seen_at desc.")
]
_All = Annotated[bool, typer.Option("--all", help="Also those that are resolved.")]
_Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many. Default: all.")
]
_ViolationId = Annotated[str, typer.Argument(metavar="ID", help="Id of the violation.")]
_DriftId = Annotated[str, typer.Argument(metavar="ID", help="Id of the drift.")]


@violations_app.command("list")
@view
async def list_violations(
    session: Session,
    filter: _Filter = "",
    order_by: _OrderBy = "",
    all: _All = False,
    limit: _Limit = None,
) -> None:
    """List open policy violations, by id unless told otherwise.

    Example: orca violations list --filter 'rule = "pii"' --order-by 'last_seen_at desc'
    """
    listed = session.client.violations.list(
        filter=_chosen(filter, all),
        order_by=order_by,
        page_size=min(limit or 0, 5_000),
        timeout=session.timeout,
    )
    await show_list(session, listed.pages(), _VIOLATIONS, limit)


@violations_app.command("resolve")
@command
async def resolve(
    session: Session,
    violation: _ViolationId,
    reason: Annotated[str, typer.Option("--reason", help="Why it is over; it is written down.")],
) -> None:
    """Resolve a policy violation; what is reported later opens a new one.

    Example: orca violations resolve 0198f3e0-7a52-7000-8000-5c1d2b3a4e5f --reason 'prompt mended'
    """
    done = await session.client.violations.resolve(
        violation, reason=reason, timeout=session.timeout
    )
    session.printer.show(plain(done), _violation(done))


@drift_app.command("list")
@view
async def list_drift(
    session: Session,
    filter: _Filter = "",
    order_by: _OrderBy = "",
    all: _All = False,
    limit: _Limit = None,
) -> None:
    """List open drift, by id unless told otherwise.

    Example: orca drift list --filter 'rule = "tools"' --output wide
    """
    listed = session.client.drift.list(
        filter=_chosen(filter, all),
        order_by=order_by,
        page_size=min(limit or 0, 5_000),
        timeout=session.timeout,
    )
    await show_list(session, listed.pages(), _DRIFT, limit)


@drift_app.command("show")
@view
async def show(session: Session, drift: _DriftId) -> None:
    """Show how an agent differs from what was accepted, field by field.

    Example: orca drift show 0198f3e1-7a52-7000-8000-5c1d2b3a4e5f
    """
    found = await session.client.drift.get(drift, timeout=session.timeout)
    _show(session, found)


@drift_app.command("accept")
@command
async def accept(
    session: Session,
    drift: _DriftId,
    etag: Annotated[
        str, typer.Option("--etag", help="Only if it is still what `orca drift show` printed.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for the audit log.")] = "",
) -> None:
    """Accept what was observed: it becomes what the agent is, and the drift is resolved.

    Example: orca drift accept 0198f3e1-7a52-7000-8000-5c1d2b3a4e5f --reason 'release 2 is ours'
    """
    done = await session.client.drift.accept(
        drift, etag=etag, reason=reason, timeout=session.timeout
    )
    _show(session, done)


def _chosen(filter: str, all: bool) -> str:
    """The filter, with what is open alone unless all were asked for."""
    if all:
        return filter
    return f"resolved = false AND ({filter})" if filter.strip() else "resolved = false"


def _violation_rows(violations: list[PolicyViolation]) -> Table:
    columns = ("entity", "rule", "violations", "blocked", "last seen", "state", "id")
    rows = [
        (
            each.entity,
            each.rule,
            each.violations,
            each.blocked_violations,
            instant(each, "last_seen_at"),
            each.resolution or "open",
            each.id,
            instant(each, "first_seen_at"),
            instant(each, "resolved_at"),
            each.resolved_by or None,
            each.reason or None,
            each.evidence,
        )
        for each in violations
    ]
    more = ("first seen", "resolved at", "resolved by", "reason", "evidence")
    return table(columns, rows, numbers="violations blocked", wide=more)


def _violation(found: PolicyViolation) -> Sheet:
    return facts(
        [
            ("id", found.id),
            ("entity", found.entity),
            ("rule", found.rule),
            ("violations", number(found.violations)),
            ("blocked", number(found.blocked_violations)),
            *_course(found, found.resolution, found.resolved_by, found.reason),
            ("evidence", found.evidence),
        ]
    )


def _drift_rows(drift: list[DriftDetection]) -> Table:
    columns = ("entity", "rule", "differences", "first path", "last seen", "state", "id")
    rows = [
        (
            each.entity,
            each.rule,
            each.difference_count,
            each.differences[0].path if each.differences else None,
            instant(each, "last_seen_at"),
            each.resolution or "open",
            each.id,
            instant(each, "first_seen_at"),
            each.observations,
            instant(each, "resolved_at"),
            each.resolved_by or None,
            each.reason or None,
            each.evidence,
        )
        for each in drift
    ]
    more = ("first seen", "observations", "resolved at", "resolved by", "reason", "evidence")
    return table(columns, rows, numbers="differences observations", wide=more)


def _show(session: Session, found: DriftDetection) -> None:
    about = facts(
        [
            ("id", found.id),
            ("entity", found.entity),
            ("rule", found.rule),
            ("differences", found.difference_count),
            ("observations", number(found.observations)),
            *_course(found, found.resolution, found.resolved_by, found.reason),
            ("evidence", found.evidence),
            ("etag", found.etag),
        ]
    )
    session.printer.show(plain(found), about, Text(), _differences(found))
    if session.printer.is_table and len(found.differences) < found.difference_count:
        session.printer.note(f"{len(found.differences)} of {found.difference_count} differences")


def _course(
    found: Message, resolution: str, resolved_by: str, reason: str
) -> list[tuple[str, object]]:
    """When it was seen, and how it ended."""
    return [
        ("first seen", instant(found, "first_seen_at")),
        ("last seen", instant(found, "last_seen_at")),
        ("state", resolution or "open"),
        ("resolved", instant(found, "resolved_at")),
        ("resolved by", resolved_by),
        ("reason", reason),
    ]


def _differences(found: DriftDetection) -> Sheet:
    """One row per field that differs: as it is accepted, and as it was observed."""
    rows = (
        (each.path, _side(each, "accepted", "red"), "→", _side(each, "observed", "green"))
        for each in found.differences
    )
    return table(("path", "accepted", "", "observed"), rows)


def _side(difference: DriftDifference, name: str, style: str) -> Text:
    """A value as JSON in the colour of its side; that it is not there, dimly."""
    if not difference.HasField(name):  # type: ignore[arg-type]  # one of two
        return Text("not there", style="dim")
    value = MessageToDict(getattr(difference, name))
    return Text(clean(json.dumps(value, ensure_ascii=False)), style=style)


_VIOLATIONS = Resources("violation", _violation_rows)
_DRIFT = Resources("drift", _drift_rows, "drift")

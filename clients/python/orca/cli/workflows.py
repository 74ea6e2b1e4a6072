"""`orca workflows`: the inventory of what runs by itself, and how fresh it is."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.table import Table

from orca.cli.output import facts, instant, number, optional, plain, ratio, table, word
from orca.cli.resources import Resources, change_named, show_list
from orca.cli.session import Session, command, view
from orca.v1.workflow_pb2 import Workflow

workflows_app = typer.Typer(
    no_args_is_help=True, help="Workflows, and how fresh they are.", rich_markup_mode=None
)

_Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="NAME, PROVIDER/NAME or id.")]
_Names = Annotated[list[str], typer.Argument(metavar="WORKFLOW", help="NAME, PROVIDER/NAME or id.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
_DisplayName = Annotated[str | None, typer.Option("--display-name", help="Name for people.")]
_ExternalId = Annotated[str | None, typer.Option("--external-id", help="The tool's own id of it.")]
_Url = Annotated[str | None, typer.Option("--url", help="Address at which people see it.")]
_Owner = Annotated[str | None, typer.Option("--owner", help="Team or person who answers for it.")]
_Cron = Annotated[
    str | None, typer.Option("--cron", metavar="FIELDS", help="When it runs: '0 6 * * 1-5'.")
]
_Timezone = Annotated[
    str | None, typer.Option("--timezone", metavar="ZONE", help="Of --cron. Default: UTC.")
]
_Every = Annotated[
    int | None,
    typer.Option("--every", metavar="SECONDS", help="It runs this often; excludes --cron."),
]
_Slo = Annotated[
    float | None,
    typer.Option("--freshness-slo-hours", metavar="HOURS", help="It must succeed this often."),
]
_Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")
]
_Clear = Annotated[
    list[str] | None,
    typer.Option(
        "--clear",
        metavar="FIELD",
        help="Empties a field, such as schedule or labels.team; may be repeated.",
    ),
]


@workflows_app.command("list")
@view
async def list_workflows(
    session: Session,
    filter: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help='Such as: provider = "n8n".')
    ] = "",
    order_by: Annotated[
        str, typer.Option("--order-by", metavar="FIELD", help="Such as: last_success_at.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many. Default: all.")
    ] = None,
) -> None:
    """List workflows, by id unless told otherwise.

    Example: orca workflows list --filter 'provider = "n8n" AND freshness = STALE'
    """
    pages = session.client.workflows.list(
        filter=filter,
        order_by=order_by,
        page_size=min(limit or 0, 5000),
        timeout=session.timeout,
    )
    await show_list(session, pages.pages(), _WORKFLOWS, limit)


@workflows_app.command("get")
@view
async def get(session: Session, workflow: _Name) -> None:
    """Show one workflow.

    Example: orca workflows get n8n/nightly-invoices
    """
    _show(session, await session.client.workflows.find(workflow, timeout=session.timeout))


@workflows_app.command("create")
@command
async def create(
    session: Session,
    workflow: Annotated[str, typer.Argument(metavar="PROVIDER/NAME", help="What it is called.")],
    display_name: _DisplayName = None,
    external_id: _ExternalId = None,
    url: _Url = None,
    owner: _Owner = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    every: _Every = None,
    freshness_slo_hours: _Slo = None,
    label: _Labels = None,
    reason: _Reason = "",
) -> None:
    """Create a workflow, which is expected to run from then on.

    Example: orca workflows create n8n/nightly-invoices --cron '0 6 * * *' --timezone Europe/Berlin
    """
    given = _identified(workflow)
    _say(given, display_name, external_id, url, owner, freshness_slo_hours)
    _schedule(given, cron, timezone, every)
    _label(given, label)
    made = await session.client.workflows.create(given, reason=reason, timeout=session.timeout)
    _show(session, made)


@workflows_app.command("update")
@command
async def update(
    session: Session,
    workflow: _Name,
    display_name: _DisplayName = None,
    external_id: _ExternalId = None,
    url: _Url = None,
    owner: _Owner = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    every: _Every = None,
    freshness_slo_hours: _Slo = None,
    label: _Labels = None,
    clear: _Clear = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Create PROVIDER/NAME if there is none.")
    ] = False,
    reason: _Reason = "",
) -> None:
    """Change what is said of a workflow; what no option names stays.

    Example: orca workflows update nightly-invoices --owner billing --clear schedule
    """
    given = _identified(workflow) if allow_missing else Workflow()
    mask = _say(given, display_name, external_id, url, owner, freshness_slo_hours)
    mask += [*_schedule(given, cron, timezone, every), *_label(given, label), *(clear or ())]
    if not mask and not allow_missing:
        raise typer.BadParameter("Say what to change, or --clear FIELD.")
    part, timeout = session.client.workflows, session.timeout
    if not allow_missing:
        given.id = (await part.find(workflow, timeout=timeout)).id
    made = await part.update(
        given, update_mask=mask, allow_missing=allow_missing, reason=reason, timeout=timeout
    )
    _show(session, made)


@workflows_app.command("pause")
@command
async def pause(session: Session, workflows: _Names, reason: _Reason = "") -> None:
    """Set workflows aside on purpose: their events are kept, they are not counted.

    Example: orca workflows pause nightly-invoices --reason 'month-end freeze'
    """
    await _change(session, session.client.workflows.pause, workflows, reason, "paused")


@workflows_app.command("resume")
@command
async def resume(session: Session, workflows: _Names, reason: _Reason = "") -> None:
    """Bring paused or retired workflows back, with their history.

    Example: orca workflows resume nightly-invoices
    """
    await _change(session, session.client.workflows.resume, workflows, reason, "resumed")


@workflows_app.command("retire")
@command
async def retire(session: Session, workflows: _Names, reason: _Reason = "") -> None:
    """Retire workflows: their events are refused from now on, their names stay taken.

    Example: orca workflows retire nightly-invoices --reason 'replaced by invoices-v2'
    """
    await _change(session, session.client.workflows.retire, workflows, reason, "retired")


@workflows_app.command("delete")
@command
async def delete(session: Session, workflows: _Names, reason: _Reason = "") -> None:
    """Delete workflows that never reported; retire those that did.

    Example: orca workflows delete n8n/typo --reason 'never existed'
    """
    part = session.client.workflows

    async def remove(id: str, *, reason: str, timeout: float | None) -> Workflow:
        found = await part.get(id, timeout=timeout)
        await part.delete(id, etag=found.etag, reason=reason, timeout=timeout)
        return found

    await _change(session, remove, workflows, reason, "deleted")


async def _change(
    session: Session,
    change: Callable[..., Awaitable[Workflow]],
    names: list[str],
    reason: str,
    done: str,
) -> None:
    """Changes the workflows that were named."""
    find = session.client.workflows.find
    await change_named(session, _WORKFLOWS, find, change, names, reason, done)


def _identified(full_name: str) -> Workflow:
    provider, slash, name = full_name.partition("/")
    if not (slash and provider and name):
        raise typer.BadParameter(f"'{full_name}' is not PROVIDER/NAME.", param_hint="WORKFLOW")
    return Workflow(provider=provider, name=name)


def _say(
    given: Workflow,
    display_name: str | None,
    external_id: str | None,
    url: str | None,
    owner: str | None,
    freshness_slo_hours: float | None,
) -> list[str]:
    """Puts what was given into the workflow; the names of those fields."""
    values: dict[str, str | float | None] = {
        "display_name": display_name,
        "external_id": external_id,
        "url": url,
        "owner": owner,
        "freshness_slo_hours": freshness_slo_hours,
    }
    said = {name: value for name, value in values.items() if value is not None}
    for name, value in said.items():
        setattr(given, name, value)
    return list(said)


def _schedule(
    given: Workflow, cron: str | None, timezone: str | None, every: int | None
) -> list[str]:
    """Puts when it runs into the workflow; the paths that change."""
    if every is not None:
        if cron is not None or timezone is not None:
            raise typer.BadParameter("--every goes without --cron and --timezone.")
        given.schedule.interval_seconds = every
        return ["schedule"]
    if cron is not None:
        given.schedule.cron, given.schedule.timezone = cron, timezone or ""
        return ["schedule"]
    if timezone is not None:
        given.schedule.timezone = timezone
        return ["schedule.timezone"]
    return []


def _label(given: Workflow, pairs: list[str] | None) -> list[str]:
    """Puts labels into the workflow; the paths that change."""
    paths = []
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not (key and sign):
            raise typer.BadParameter(f"'{pair}' is not KEY=VALUE.", param_hint="--label")
        given.labels[key] = value
        paths.append(f"labels.{key}")
    return paths


def _show(session: Session, workflow: Workflow) -> None:
    session.printer.show(plain(workflow), _details(workflow))


def _rows(workflows: list[Workflow]) -> Table:
    columns = (
        *("provider", "name", "state", "freshness", "last run", "outcome", "success", "runs"),
        *("owner", "id"),
    )
    rows = [
        (
            workflow.provider,
            workflow.name,
            _state(workflow),
            _freshness(workflow),
            instant(workflow, "last_run_at"),
            workflow.last_outcome or None,
            ratio(optional(workflow, "success_rate")),
            workflow.runs,
            workflow.owner or None,
            workflow.id,
            workflow.display_name or None,
            _when(workflow) or None,
            instant(workflow, "last_success_at"),
            instant(workflow, "fresh_until"),
            workflow.failures,
            workflow.durations.p95_ms if workflow.durations.runs else None,
        )
        for workflow in workflows
    ]
    more = ("display name", "schedule", "last success", "fresh until", "failures", "p95_ms")
    return table(columns, rows, numbers="success runs failures p95_ms", wide=more)


def _details(workflow: Workflow) -> Table:
    labels = workflow.labels
    return facts(
        [
            ("id", workflow.id),
            ("workflow", f"{workflow.provider}/{workflow.name}"),
            ("display name", workflow.display_name),
            ("external id", workflow.external_id),
            ("url", workflow.url),
            ("owner", workflow.owner),
            ("state", _state(workflow)),
            ("schedule", _when(workflow)),
            ("freshness SLO, hours", optional(workflow, "freshness_slo_hours")),
            ("labels", ", ".join(f"{key}={labels[key]}" for key in sorted(labels))),
            ("freshness", _freshness(workflow)),
            ("fresh until", instant(workflow, "fresh_until")),
            ("last event", instant(workflow, "last_event_at")),
            ("last run", instant(workflow, "last_run_at")),
            ("last success", instant(workflow, "last_success_at")),
            ("last outcome", workflow.last_outcome),
            ("runs in 7 days", workflow.runs),
            ("failures", workflow.failures),
            ("success rate", ratio(optional(workflow, "success_rate"))),
            ("took, ms", _took(workflow)),
            ("created", instant(workflow, "created_at")),
            ("updated", instant(workflow, "updated_at")),
        ]
    )


def _took(workflow: Workflow) -> str | None:
    took = workflow.durations
    if not took.runs:
        return None
    return f"half {number(took.p50_ms)}, 95 % {number(took.p95_ms)}, 99 % {number(took.p99_ms)}"


def _when(workflow: Workflow) -> str:
    schedule = workflow.schedule
    if schedule.HasField("interval_seconds"):
        return f"every {schedule.interval_seconds} s"
    return f"{schedule.cron} {schedule.timezone}".strip()


def _state(workflow: Workflow) -> str | None:
    return word(Workflow.State.Name, workflow.state, "STATE_")


def _freshness(workflow: Workflow) -> str | None:
    return word(Workflow.Freshness.Name, workflow.freshness, "FRESHNESS_")


_WORKFLOWS = Resources("workflow", _rows)

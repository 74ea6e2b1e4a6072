"""`orca trust`: the score, its parts, and how it came about."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orca.cli.output import facts, instant, number, optional, plain, ratio, table, word
from orca.cli.session import Session, command, view
from orca.v1 import trust_pb2

trust_app = typer.Typer(
    no_args_is_help=True, help="How far the fleet may be trusted, and why.", rich_markup_mode=None
)

_COMPONENTS = ("agent_uptime", "policy_adherence", "sync_freshness", "risk_exposure")
_BAND_STYLES = {"excellent": "green", "good": "green", "moderate": "yellow", "critical": "red"}
_Agent = Annotated[
    str | None,
    typer.Argument(
        metavar="[AGENT]", help="An agent: NAME, TYPE/NAME or id. Without it: the fleet."
    ),
]


@trust_app.command("show")
@view
async def show(
    session: Session,
    agent: _Agent = None,
    interval: Annotated[
        bool, typer.Option("--interval", help="Also compute the 95 % interval of the score.")
    ] = False,
) -> None:
    """Show the fleet's score with its parts, or explain one agent's.

    Example: orca trust show io.github.example/weather
    """
    client, timeout = session.client, session.timeout
    if agent is None:
        fleet = await client.trust.get(show_interval=interval, timeout=timeout)
        session.printer.show(plain(fleet), *_fleet(fleet))
        return
    found = await client.agents.find(agent, timeout=timeout)
    trust = await client.trust.of_agent(found.id, timeout=timeout)
    session.printer.show(plain(trust), *_explained(f"{found.type}/{found.name}", trust))


@trust_app.command("refresh")
@command
async def refresh(session: Session) -> None:
    """Compute trust anew and show it.

    Example: orca trust refresh --output json
    """
    fleet = await session.client.trust.refresh(timeout=session.timeout)
    session.printer.show(plain(fleet), *_fleet(fleet))


@trust_app.command("history")
@view
async def history(
    session: Session,
    agent: _Agent = None,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Only points at or after this time (UTC).")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many, the oldest.")
    ] = 1000,
) -> None:
    """Show how the fleet's score changed, or one agent's, oldest first.

    Example: orca trust history --since 2026-01-01
    """
    agent_id = ""
    if agent is not None:
        agent_id = (await session.client.agents.find(agent, timeout=session.timeout)).id
    start = since.replace(tzinfo=UTC) if since else None
    pages = session.client.trust.history(agent_id=agent_id, start=start, timeout=session.timeout)
    points = await pages.collect(limit)
    rows = [
        (
            instant(point, "as_of"),
            ratio(optional(point, "trust_score")),
            _band(point.band),
            _state(point.trust_state),
            point.cause or None,
        )
        for point in points
    ]
    columns = ("as of", "score", "band", "state", "cause")
    document = {"points": [plain(point) for point in points]}
    session.printer.show(document, table(columns, rows, numbers="score"))


def _fleet(trust: trust_pb2.Trust) -> list[Table | Text]:
    shown: list[Table | Text] = [_score(trust), Text(), _components(trust)]
    if trust.worst:
        rows = [
            (
                f"{agent.type}/{agent.name}",
                ratio(agent.trust_level),
                _state(agent.trust_state),
                agent.id,
            )
            for agent in trust.worst
        ]
        columns = ("lowest trust", "trust", "state", "id")
        shown += [Text(), table(columns, rows, numbers="trust")]
    return shown


def _score(trust: trust_pb2.Trust) -> Table:
    coverage, bands = trust.coverage, trust.agents_by_band
    capped = f" (capped by {', '.join(trust.capped_by)})" if trust.capped_by else ""
    interval = optional(trust, "interval")
    risk = optional(trust, "risk_avoided_usd")
    return facts(
        [
            ("score", _level(optional(trust, "trust_score"))),
            ("band", Text.assemble(_band(trust.band) or "none", capped)),
            ("interval", f"{interval.low:.4f} to {interval.high:.4f}" if interval else None),
            ("as of", f"{instant(trust, 'as_of') or '-'}{' (stale)' if trust.stale else ''}"),
            (
                "coverage",
                f"{number(coverage.agents_with_values)} of {number(coverage.agents)} agents",
            ),
            (
                "agents",
                f"{number(bands.excellent)} excellent, {number(bands.good)} good, "
                f"{number(bands.moderate)} moderate, {number(bands.critical)} critical",
            ),
            ("compliance", _percent(optional(trust, "compliance_sla_pct"))),
            ("freshness", _percent(optional(trust, "sync_freshness_pct"))),
            ("drift", _percent(optional(trust, "drift_rate_pct"))),
            ("risk avoided", f"${number(risk, 2)}" if risk is not None else None),
        ]
    )


def _components(trust: trust_pb2.Trust) -> Table:
    rows = []
    for name in _COMPONENTS:
        part: trust_pb2.TrustComponent = getattr(trust.components, name)
        contribution = ratio(optional(part, "contribution"))
        score = ratio(optional(part, "score"))
        counts = (part.measured, part.idle, part.silent, part.unmeasured)
        rows.append((name, score, ratio(part.weight), contribution, *map(number, counts)))
    columns = (
        "component", "score", "weight", "contribution", "measured", "idle", "silent", "unmeasured",
    )  # fmt: skip
    return table(columns, rows, numbers=" ".join(columns[1:]))


def _explained(name: str, trust: trust_pb2.AgentTrust) -> list[Table | Text]:
    head = facts(
        [
            ("agent", name),
            ("trust", _level(optional(trust, "trust_level"))),
            ("band", _band(trust.band)),
            ("state", _state(trust.trust_state)),
            ("why", trust.explanation),
            ("as of", f"{instant(trust, 'as_of') or '-'}{' (stale)' if trust.stale else ''}"),
            ("next deadline", instant(trust, "next_deadline_at")),
            ("window", _facts(optional(trust, "window"))),
            ("last hours", _facts(optional(trust, "recent"))),
        ]
    )
    rows = [
        (part.name, ratio(optional(part, "score")), ratio(part.weight), ratio(part.contribution))
        for part in trust.contributions
    ]
    columns = ("part", "score", "weight", "contribution")
    parts = table(columns, rows, numbers="score weight contribution")
    return [head, Text(), parts] if rows else [head]


def _facts(window: trust_pb2.TrustFacts | None) -> str | None:
    if window is None:
        return None
    latency = optional(window, "latency_ms")
    return (
        f"{instant(window, 'start_at')} to {instant(window, 'end_at')}: "
        f"{number(window.operations)} operations, {number(window.errors)} errors, "
        f"{number(window.violations)} violations, {number(window.blocked_violations)} blocked"
        + (f", {number(latency, 3)} ms" if latency is not None else "")
    )


def _level(value: float | None) -> str:
    return ratio(value) or "not measured yet"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} %"


def _band(value: int) -> Text | None:
    name = word(trust_pb2.Band.Name, value, "BAND_")
    return Text(name, style=_BAND_STYLES.get(name, "")) if name else None


def _state(value: int) -> str | None:
    return word(trust_pb2.TrustState.Name, value, "TRUST_STATE_")

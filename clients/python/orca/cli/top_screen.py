"""What `orca top` draws: one look at the fleet, as a screen of so many lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orca.cli.output import clean, instant, number, optional, ratio, table, word
from orca.v1.system_service_pb2 import Status
from orca.v1.trust_pb2 import Band, Trust, TrustState
from orca.v1.workflow_pb2 import Workflow

_COMPONENTS = ("agent_uptime", "policy_adherence", "sync_freshness", "risk_exposure")
_STYLES = {"excellent": "green", "good": "green", "moderate": "yellow", "critical": "bold red"}
_STATES = {"silent": "bold red", "idle": "dim", "failed": "bold red", "cancelled": "yellow"}
_FIXED_LINES = 14
"""Lines of a screen that are always there: head, components, headings, what stands between."""
_AT_LEAST = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What the server said at one instant.

    Attributes:
        at: Then.
        trust: Of the fleet.
        status: Of the replica that answered.
        stale: Workflows past their deadline, the longest first.
        rate: Records that came in per second since the look before; None if nobody can say.
    """

    at: datetime
    trust: Trust
    status: Status
    stale: tuple[Workflow, ...]
    rate: float | None = None

    def after(self, before: "Look | None") -> "Look":
        """This look, with the rate since that one: of one replica alone can it be told."""
        if before is None or before.status.instance != self.status.instance:
            return self
        seconds = (self.at - before.at).total_seconds()
        came = self.status.ingest.accepted - before.status.ingest.accepted
        if seconds <= 0 or came < 0:  # it has started again
            return self
        return replace(self, rate=came / seconds)


def draw(look: Look, height: int, problem: str = "") -> Group:
    """The screen.

    Args:
        look: What is drawn.
        height: Lines of the terminal.
        problem: Why the look is an old one; empty if it is not.
    """
    room = max(height - _FIXED_LINES, 2 * _AT_LEAST)
    agents = min(len(look.trust.worst), max(room - len(look.stale), room // 2))
    workflows = min(len(look.stale), room - agents)
    return Group(
        _head(look, problem),
        _ingest(look),
        Text(),
        _components(look.trust),
        Text(),
        _worst(look.trust, agents),
        Text(),
        _stale(look.stale, workflows, look.trust),
    )


def _head(look: Look, problem: str) -> Text:
    trust = look.trust
    band = word(Band.Name, trust.band, "BAND_") or "none"
    score = ratio(optional(trust, "trust_score")) or "not measured yet"
    head = Text.assemble(
        ("trust ", "bold"), (score, "bold"), "  ", (band, _STYLES.get(band, "dim")), no_wrap=True
    )
    if trust.capped_by:
        head.append(f" (capped by {', '.join(trust.capped_by)})")
    head.append(f"  as of {instant(trust, 'as_of') or '-'}{' (stale)' if trust.stale else ''}")
    if problem:
        head.append(f"  old: {clean(problem)}", style="bold red")
    return head


def _ingest(look: Look) -> Text:
    ingest, coverage = look.status.ingest, look.trust.coverage
    rate = "-" if look.rate is None else number(round(look.rate, 1), 1)
    queued = number(ingest.queued_records)
    return Text(
        f"ingest {rate} records/s, {queued} queued  "
        f"agents {number(coverage.agents_with_values)} of {number(coverage.agents)} measured  "
        f"{look.at:%H:%M:%S}Z  q ends",
        no_wrap=True,
    )


def _components(trust: Trust) -> Table:
    rows = []
    for name in _COMPONENTS:
        part = getattr(trust.components, name)
        score, adds = (ratio(optional(part, field)) for field in ("score", "contribution"))
        counts = (part.measured, part.idle, part.silent, part.unmeasured)
        rows.append((name, score, ratio(part.weight), adds, *map(number, counts)))
    columns = ("component", "score", "weight", "adds", "measured", "idle", "silent", "unmeasured")
    return table(columns, rows, numbers=" ".join(columns[1:]))


def _worst(trust: Trust, shown: int) -> Table | Text:
    if not trust.worst:
        return Text("No agent has a trust yet.")
    rows = [
        (
            _short(f"{agent.type}/{agent.name}"),
            _coloured(ratio(agent.trust_level), _style_of(agent.trust_level)),
            _coloured(word(TrustState.Name, agent.trust_state, "TRUST_STATE_"), _STATES),
        )
        for agent in trust.worst[:shown]
    ]
    return table(("lowest trust", "trust", "state"), rows, numbers="trust")


def _stale(stale: Sequence[Workflow], shown: int, trust: Trust) -> Table | Text:
    counts = trust.workflows
    if not stale:
        return Text(
            f"No workflow is stale: {number(counts.fresh)} fresh, "
            f"{number(counts.unmeasured)} unmeasured."
        )
    rows = [
        (
            _short(f"{each.provider}/{each.name}"),
            instant(each, "last_success_at"),
            _coloured(each.last_outcome, _STATES),
            _short(each.owner) or None,
        )
        for each in stale[:shown]
    ]
    heading = f"{number(max(counts.stale, float(len(stale))))} stale"
    return table((heading, "last success", "outcome", "owner"), rows)


def _style_of(trust_level: float) -> str:
    """As the band of the level."""
    return "green" if trust_level >= 0.7 else "yellow" if trust_level >= 0.5 else "bold red"


def _coloured(told: str | None, style: str | Mapping[str, str]) -> Text | None:
    if not told:
        return None
    return Text(told, style=style if isinstance(style, str) else style.get(told, ""))


def _short(name: str, longest: int = 40) -> str:
    """The name on one line, since a screen has no more room."""
    line = " ".join(name.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"

"""Charts of the executive summary as SVG: no script, no style of their own, nothing from outside.

The page that holds them colours them by class, so they follow it into the dark and onto paper.
Names come from strangers: they become text, and never an attribute.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import drawsvg

from orca.v1 import report_pb2 as pb
from orca.v1 import trust_pb2
from orca_server.domain.fleet_trust import COMPONENTS
from orca_server.services.report_sections import CONTROL, number, optional

_NARROW, _WIDE = 500, 1040
_ROW, _BAR = 44, 10
_LONGEST = 44
_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 44, 900, 14, 206, 236
_THRESHOLDS = {0.85: "excellent", 0.7: "good", 0.5: "moderate"}
_BANDS = ("excellent", "good", "moderate", "critical")
_DAY = timedelta(days=1)
_NAMESPACE = re.compile(r'\s+xmlns(:xlink)?="[^"]*"')


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its name, what it says in words, the drawing, and whether it needs the width."""

    title: str
    text: str
    svg: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, its length, that as text, its colour, and the most it could be."""

    name: str
    value: float
    told: str
    colour: str
    most: float = 0


class _Description(drawsvg.Title):  # type: ignore[misc]  # the library has no types
    """What an SVG says to those who do not see it."""

    TAG_NAME = "desc"


def charts(summary: pb.ExecutiveSummary) -> Iterator[Chart]:
    """The charts for which the summary has figures."""
    if len(summary.trust.history) > 1:
        yield _week(summary)
    if summary.trust.HasField("trust_score"):
        yield _parts(summary)
    if summary.fleet.agents:
        yield _bands(summary.fleet)
    if any(bar.value for bar in _workflow_bars(summary.freshness.workflows)):
        yield _freshness(summary.freshness)
    if summary.costs.cost_usd:
        yield _owners(summary.costs)


def _parts(summary: pb.ExecutiveSummary) -> Chart:
    components = summary.trust.components
    bars = []
    for name in COMPONENTS:
        part: trust_pb2.TrustComponent = getattr(components, name)
        if part.HasField("contribution"):
            told = f"{part.contribution:.4f} of {part.weight:.4f}"
            bars.append(Bar(name.replace("_", " "), part.contribution, told, "blue", part.weight))
        else:
            bars.append(Bar(name.replace("_", " "), 0, "not measured", "grey", part.weight))
    text = (
        f"The bars add up to the score, {summary.trust.trust_score:.4f}; "
        "what a bar lacks is what its component takes away."
    )
    return _bars("What trust is made of", text, "parts", bars)


def _bands(fleet: pb.FleetReport) -> Chart:
    colours = ("green", "blue", "orange", "red")
    bars = [
        Bar(name, count := getattr(fleet.bands, name), number(count), colour)
        for name, colour in zip(_BANDS, colours, strict=True)
    ]
    nothing = fleet.unmeasured.total
    bars.append(Bar("unmeasured", nothing, number(nothing), "grey"))
    text = f"{number(fleet.agents)} agents, {number(fleet.silent.total)} of them silent."
    return _bars("Agents by band of trust", text, "bands", bars)


def _workflow_bars(workflows: trust_pb2.WorkflowsByFreshness) -> list[Bar]:
    colours = {"fresh": "green", "stale": "red", "unmeasured": "grey", "paused": "grey"}
    return [
        Bar(name, count := getattr(workflows, name), number(count), colour)
        for name, colour in colours.items()
    ]


def _freshness(report: pb.FreshnessReport) -> Chart:
    share = optional(report, "sync_freshness_pct")
    text = "None is measured." if share is None else f"{share:.1f} % of the measured are fresh."
    return _bars("Freshness of workflows", text, "fresh", _workflow_bars(report.workflows))


def _owners(costs: pb.CostReport) -> Chart:
    bars = [
        Bar(each.owner or "no owner", each.cost_usd, f"${each.cost_usd:,.2f}", "purple")
        for each in costs.owners
    ]
    text = (
        f"${costs.cost_usd:,.2f} in the agents' windows of seven days; "
        f"{len(bars)} of {number(costs.total_owners)} owners shown."
    )
    return _bars("Cost by owner", text, "owners", bars)


def _bars(title: str, text: str, key: str, bars: Sequence[Bar]) -> Chart:
    """A row per bar: its name and its figure, and the bar below them."""
    drawing = _drawing(key, title, text, _NARROW, _ROW * len(bars))
    longest = max((bar.most or bar.value for bar in bars), default=0) or 1
    for place, bar in enumerate(bars):
        top = place * _ROW
        drawing.append(_text(bar.name, 0, top + 16))
        drawing.append(_text(bar.told, _NARROW, top + 16, "end", "text figure"))
        track = _NARROW * ((bar.most or longest) / longest)
        drawing.append(_bar(track, top + 24, "track"))
        if bar.value > 0:
            width = max(_NARROW * bar.value / longest, 2)
            drawing.append(_bar(width, top + 24, bar.colour))
    return Chart(title, text, _written(drawing))


def _bar(width: float, top: float, colour: str) -> drawsvg.Rectangle:
    return drawsvg.Rectangle(0, top, round(width, 2), _BAR, rx=min(3, width / 2), class_=colour)


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where instants and scores of a week are drawn: up to which instant, between which scores."""

    end: datetime
    least: float
    most: float

    def across(self, at: datetime) -> float:
        return round(_RIGHT - (self.end - at) / (7 * _DAY) * (_RIGHT - _LEFT), 2)

    def down(self, score: float) -> float:
        share = (score - self.least) / (self.most - self.least)
        return round(_BOTTOM - share * (_BOTTOM - _TOP), 2)


def _week(summary: pb.ExecutiveSummary) -> Chart:
    history = [(point.at.ToDatetime(UTC), point.trust_score) for point in summary.trust.history]
    scores = [score for _, score in history]
    least = max(0.0, math.floor(min(scores) * 10 - 0.5) / 10)
    most = min(1.0, math.ceil(max(scores) * 10 + 0.5) / 10)
    text = (
        f"From {scores[0]:.4f} at {history[0][0]:%Y-%m-%d %H:%M} UTC to {scores[-1]:.4f}; "
        f"lowest {min(scores):.4f}, highest {max(scores):.4f}."
        f"{' The axis begins above 0.' if least else ''}"
    )
    title = "Trust over the last week"
    drawing = _drawing("week", title, text, _WIDE, _HEIGHT)
    plane = _Plane(history[-1][0], least, most)
    _axes(drawing, plane)
    line = [each for at, score in history for each in (plane.across(at), plane.down(score))]
    drawing.append(drawsvg.Lines(line[0], _BOTTOM, *line, line[-2], _BOTTOM, class_="area"))
    drawing.append(drawsvg.Lines(*line, class_="line"))
    drawing.append(drawsvg.Circle(line[-2], line[-1], 4, class_="blue"))
    return Chart(title, text, _written(drawing), wide=True)


def _axes(drawing: drawsvg.Drawing, plane: _Plane) -> None:
    """Days, tenths, and where bands begin."""
    for tenth in range(round(plane.least * 10), round(plane.most * 10) + 1):
        height = plane.down(tenth / 10)
        drawing.append(drawsvg.Line(_LEFT, height, _RIGHT, height, class_="grid"))
        drawing.append(_text(f"{tenth / 10:.1f}", _LEFT - 8, height + 4, "end", "text soft"))
    for at in _midnights(plane.end):
        x = plane.across(at)
        drawing.append(drawsvg.Line(x, _TOP, x, _BOTTOM, class_="grid"))
        drawing.append(_text(f"{at:%b %d}", x, _BOTTOM + 20, "middle", "text soft"))
    for score, band in _THRESHOLDS.items():
        if plane.least < score < plane.most:
            height = plane.down(score)
            drawing.append(drawsvg.Line(_LEFT, height, _RIGHT, height, class_="threshold"))
            told = _text(f"{band} from {score}", _RIGHT + 12, height + 4, style="text soft")
            drawing.append(told)


def _midnights(end: datetime) -> Iterator[datetime]:
    """The midnights of the week before an instant."""
    last = end.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(7):
        yield last - days * _DAY


def _drawing(key: str, title: str, text: str, width: float, height: float) -> drawsvg.Drawing:
    drawing = drawsvg.Drawing(
        width,
        height,
        role="img",
        class_="chart",
        aria_labelledby=f"{key}-title",
        aria_describedby=f"{key}-desc",
    )
    drawing.append(drawsvg.Title(title, id=f"{key}-title"))
    drawing.append(_Description(text, id=f"{key}-desc"))
    return drawing


def _text(
    text: str, x: float, y: float, anchor: str = "start", style: str = "text"
) -> drawsvg.Text:
    """A line of text; what is too long is cut, and shown whole where a pointer rests."""
    line = CONTROL.sub(" ", text) or " "
    short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    written = drawsvg.Text(short, 13, x, y, text_anchor=anchor, class_=style)
    if short != line:
        written.append_title(line)
    return written


def _written(drawing: drawsvg.Drawing) -> str:
    written: str = drawing.as_svg(header="", skip_css=True, skip_js=True)
    return _NAMESPACE.sub("", written, count=2)  # those of the root: HTML needs none

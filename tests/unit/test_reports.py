"""What moved a score, what findings say, and how a document writes what strangers named."""

import csv
import io
import random
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from xml.etree import ElementTree

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from orca.cli import mount
from orca.v1 import report_pb2 as pb
from orca_server.domain import reports
from orca_server.domain.fleet_trust import COMPONENTS
from orca_server.domain.reports import (
    AgentFacts,
    DriftFacts,
    Kind,
    ScorePoint,
    Severity,
    ViolationFacts,
    WorkflowFacts,
)
from orca_server.services import report_documents
from orca_server.services.report_charts import charts

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGENT = AgentFacts(
    id=UUID(int=1),
    type="mcp",
    name="search",
    source="api",
    critical=False,
    heartbeat_seconds=None,
    operations=100,
    errors=6,
    trust_ppb=600_000_000,
    health_ppb=500_000_000,
    latency_us=2_000,
    last_seen_at=AT,
    drift=DriftFacts(UUID(int=3), "tools, version", 4, AT),
    violated=ViolationFacts(2, "pii", 7, 1, AT),
)
WORKFLOW = WorkflowFacts(UUID(int=2), "n8n", "nightly", 3, None, AT)
AGENT_KINDS = (
    *(Kind.SILENT, Kind.UNREACHABLE, Kind.FAILING, Kind.DEGRADED),
    *(Kind.DRIFTED, Kind.VIOLATING, Kind.UNOWNED),
)
WORKFLOW_KINDS = (Kind.FAILING, Kind.STALE, Kind.UNOWNED)

PARTS = st.dictionaries(st.sampled_from(COMPONENTS), st.integers(0, 250_000_000))


def point(parts: dict[str, int]) -> ScorePoint:
    """A score that is the sum of its parts."""
    return ScorePoint(sum(parts.values()), parts)


@given(PARTS, PARTS)
def test_what_moved_a_score_adds_up(before: dict[str, int], now: dict[str, int]) -> None:
    found = reports.compare(point(before), point(now))
    assert sum(ppb for _, ppb in found.moved_by) == found.change_ppb
    sizes = [abs(ppb) for _, ppb in found.moved_by]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 not in sizes


def test_findings_are_ordered_by_severity_then_id() -> None:
    agents = [
        replace(AGENT, id=UUID(int=number), critical=number % 2 == 0) for number in range(1, 5)
    ]
    found = [reports.diagnose_agent(kind, agent) for kind in AGENT_KINDS for agent in agents]
    ordered = reports.order(found)
    keys = [(each.severity, each.entity_id) for each in ordered]
    assert keys == sorted(keys)
    random.Random(1).shuffle(found)
    assert reports.order(found) == ordered


def test_an_agent_that_matters_is_more_severe() -> None:
    for kind in AGENT_KINDS:
        usual = reports.diagnose_agent(kind, AGENT).severity
        severe = reports.diagnose_agent(kind, replace(AGENT, critical=True)).severity
        assert severe == usual - 1
    assert reports.diagnose_agent(Kind.SILENT, AGENT).severity is Severity.HIGH


def test_figures_are_those_it_was_found_by() -> None:
    silent = reports.diagnose_agent(Kind.SILENT, replace(AGENT, heartbeat_seconds=60))
    assert silent.figures == "last report 2026-03-01 12:00:00Z; it declares a heartbeat of 60 s"
    gone = reports.diagnose_agent(Kind.UNREACHABLE, replace(AGENT, probe_state="not-mcp"))
    assert gone.figures == "newest probe 2026-03-01 12:00:00Z: not-mcp"
    failing = reports.diagnose_agent(Kind.FAILING, AGENT)
    assert failing.figures.startswith("6 of 100 operations failed, health 0.5000")
    drifted = reports.diagnose_agent(Kind.DRIFTED, AGENT)
    assert drifted.figures == (
        "4 fields of tools, version not as accepted since 2026-03-01 12:00:00Z"
    )
    assert drifted.command == f"orca drift show {UUID(int=3)}"
    violating = reports.diagnose_agent(Kind.VIOLATING, AGENT)
    assert violating.figures == (
        "7 violations and 1 blocked of pii and 1 more, the newest 2026-03-01 12:00:00Z"
    )
    assert shlex.split(violating.command)[-1] == f'entity_id = "{AGENT.id}"'
    stale = reports.diagnose_workflow(Kind.STALE, WORKFLOW)
    assert stale.figures == "last success never"


def known(words: list[str]) -> bool:
    """Whether the words begin with a command that there is."""
    app = typer.Typer()
    mount(app)
    command = typer.main.get_command(app)
    for word in words[:2]:
        command = command.commands[word]  # type: ignore[attr-defined]
    return not hasattr(command, "commands")


@pytest.mark.parametrize("name", ["search", "a b", "$(reboot)", "it's", "--help;", '"x"'])
def test_every_proposed_command_exists_and_takes_any_name(name: str) -> None:
    agent, workflow = replace(AGENT, name=name), replace(WORKFLOW, name=name)
    found = [
        *(reports.diagnose_agent(kind, agent) for kind in AGENT_KINDS),
        reports.diagnose_agent(Kind.UNOWNED, replace(agent, source="file")),
        *(reports.diagnose_workflow(kind, workflow) for kind in WORKFLOW_KINDS),
    ]
    for each in found:
        program, *words = shlex.split(each.command)
        if program == "curl":
            assert f"/agents/{agent.id}?update_mask=owner" in each.command
            continue
        assert program == "orca"
        assert known(words), each.command
        assert {"sync", "drift", "violations"} & {*words} or each.entity in words
        assert each.likely_cause
        assert each.proposed_action


def summary(name: str) -> pb.ExecutiveSummary:
    """A summary with an agent of that name, owned by that name."""
    made = pb.ExecutiveSummary()
    made.as_of.FromDatetime(AT)
    made.costs.cost_usd = 2
    made.costs.owners.add(owner=name, agents=1, cost_usd=2, evidence="/agents")
    made.fleet.silent.total = 1
    made.fleet.silent.agents.add(type="mcp", name=name, owner=name, evidence="/agents/1")
    return made


@given(st.text(max_size=20))
def test_a_name_is_one_cell_in_every_document(name: str) -> None:
    made = summary(name)
    plain, named = summary(""), report_documents.to_markdown(made)
    assert named.count("\n") == report_documents.to_markdown(plain).count("\n")
    rows = list(csv.reader(io.StringIO(report_documents.to_csv(made), newline=""), strict=True))
    assert {len(row) for row in rows} == {5}
    page = report_documents.to_html(made)
    assert page.count("<") == report_documents.to_html(plain).count("<")


@pytest.mark.parametrize(
    "name",
    [
        "</text></svg><script>alert(1)</script>",
        '" onload="alert(1)',
        "<image href='//host/x'/>",
        "&lt;b&gt;",
        "]]><!--",
        "x" * 200 + "<i>",
    ],
)
def test_a_name_is_text_in_a_chart(name: str) -> None:
    (chart,) = charts(summary(name))
    drawing = ElementTree.fromstring(chart.svg)  # noqa: S314 - our own, of known size
    allowed = {"svg", "defs", "title", "desc", "text", "rect"}
    assert {each.tag for each in drawing.iter()} == allowed
    assert name in {each.text for each in drawing.iter() if each.tag in ("text", "title")}
    assert not [key for each in drawing.iter() for key in each.attrib if key.startswith("on")]


def test_charts_say_in_words_what_they_show() -> None:
    made = summary("ops")
    made.trust.trust_score = 0.5
    made.fleet.agents = made.freshness.workflows.fresh = 3
    for hours, score in ((6, 0.0), (3, 0.72), (0, 0.5)):
        point = made.trust.history.add(trust_score=score)
        point.at.FromDatetime(AT - timedelta(hours=hours))
    found = list(charts(made))
    assert len(found) == 5
    for chart in found:
        drawing = ElementTree.fromstring(chart.svg)  # noqa: S314
        words = [drawing.findtext(tag) for tag in ("title", "desc")]
        assert words == [chart.title, chart.text]
        named = {drawing.get(f"aria-{each}") for each in ("labelledby", "describedby")}
        assert named <= {each.get("id") for each in drawing}
    assert found[0].text.startswith("From 0.0000 at 2026-03-01 06:00 UTC to 0.5000")
    assert "highest 0.7200" in found[0].text
    assert "axis" not in found[0].text
    assert report_documents.to_html(made) == report_documents.to_html(made)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1"])
def test_a_formula_stays_text(text: str) -> None:
    rows = csv.reader(io.StringIO(report_documents.to_csv(summary(text)), newline=""))
    (owner,) = [row[3] for row in rows if row[0] == "Silent agents" and row[2] == "owner"]
    assert owner[0] == "'"


def test_a_negative_number_stays_a_number() -> None:
    made = pb.ExecutiveSummary()
    made.risk.risk_avoided_usd = -12.5
    assert "risk avoided, US dollars,value" not in report_documents.to_csv(made)
    assert '"risk avoided, US dollars",value,-12.5,' in report_documents.to_csv(made)

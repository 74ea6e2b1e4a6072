"""Reports over a real channel: their figures, what moved trust, findings, plans, statements."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from orca.v1 import agent_pb2, report_pb2, telemetry_pb2, workflow_pb2
from orca.v1 import agent_service_pb2 as agents_pb
from orca.v1 import report_service_pb2 as pb
from orca.v1 import workflow_service_pb2 as workflows_pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.report_service_pb2_grpc import ReportServiceStub
from orca.v1.trust_service_pb2 import RefreshTrustRequest
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.reports import HISTORY, Thresholds
from orca_server.store import reports as store
from orca_server.store.queries import QUERIES
from tests.counting import CountingConnection
from tests.inventory import create, sql, wrong_fields
from tests.workflows import create as create_workflow
from tests.workflows import workflows_stub

__all__ = ["sql", "workflows_stub"]  # fixtures
HOUR = timedelta(hours=1)
Severity = report_pb2.Finding.Severity


@pytest.fixture
def reports_stub(channel: grpc.aio.Channel) -> ReportServiceStub:
    """ReportService."""
    return ReportServiceStub(channel)


async def observe(
    stub: AgentServiceStub, agent_id: str, ago: timedelta = HOUR, **facts: float
) -> None:
    """Records telemetry of an agent."""
    record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, **facts)  # type: ignore[arg-type]
    record.observed_at.FromDatetime(datetime.now(UTC) - ago)
    await stub.RecordTelemetry(agents_pb.RecordTelemetryRequest(records=[record]))


async def run(stub: WorkflowServiceStub, workflow_id: str, kind: str, ago: timedelta) -> None:
    """Records the end of a run."""
    event = workflow_pb2.WorkflowEvent(workflow_id=workflow_id, run_id=f"{ago}", kind=kind)
    event.occurred_at.FromDatetime(datetime.now(UTC) - ago)
    await stub.RecordEvents(workflows_pb.RecordEventsRequest(events=[event]))


@pytest.fixture
async def fleet(
    agents_stub: AgentServiceStub, workflows_stub: WorkflowServiceStub, trust_stub: TrustServiceStub
) -> dict[str, str]:
    """Agents and workflows of every kind, computed; id by name."""
    critical = agent_pb2.Agent.CRITICALITY_CRITICAL
    made = [
        await create(agents_stub, "good", owner='say "=1+1" * \\'),
        await create(agents_stub, "bad", owner="=cmd()"),
        await create(
            agents_stub, "gone", owner="ops", heartbeat_interval_seconds=60, criticality=critical
        ),
        await create(agents_stub, "new<b>|x|", owner=""),
        await create(agents_stub, "slow", owner="ops", latency_limit_ms=1),
    ]
    ids = {agent.name: agent.id for agent in made}
    await observe(
        agents_stub, ids["good"], operations=400, cost_usd=2.5, input_tokens=100, output_tokens=11
    )
    await observe(agents_stub, ids["bad"], operations=50, errors=50, violations=5, cost_usd=4)
    await observe(agents_stub, ids["gone"], operations=50, input_tokens=7)
    await observe(agents_stub, ids["slow"], operations=50, latency_ms=900)
    for name, kind in (("fine", "succeeded"), ("broken", "failed"), ("late", "succeeded")):
        hours = 0.5 if name == "late" else 24
        workflow = await create_workflow(
            workflows_stub, name, owner="ops", freshness_slo_hours=hours
        )
        ids[name] = workflow.id
        await run(workflows_stub, workflow.id, kind, HOUR)
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    return ids


async def summary_of(stub: ReportServiceStub) -> report_pb2.ExecutiveSummary:
    return await stub.GetExecutiveSummary(pb.GetExecutiveSummaryRequest())


async def export(stub: ReportServiceStub, form: str) -> str:
    body: HttpBody = await stub.ExportReport(pb.ExportReportRequest(format=form))
    return body.data.decode()


async def test_an_empty_fleet_has_a_summary(
    reports_stub: ReportServiceStub, trust_stub: TrustServiceStub
) -> None:
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    summary = await summary_of(reports_stub)
    assert summary.HasField("as_of")
    assert (summary.fleet.agents, summary.costs.total_owners) == (0, 0)
    assert not summary.trust.HasField("trust_score")
    assert not summary.risk.HasField("risk_avoided_usd")
    assert [each.period for each in summary.trust.changes] == ["day", "week"]
    assert not any(each.HasField("change_ppb") for each in summary.trust.changes)
    healing = await reports_stub.GetHealing(pb.GetHealingRequest())
    assert {each.kind: each.total for each in healing.totals} == dict.fromkeys(
        (
            *("silent", "unreachable", "failing", "stale", "degraded"),
            *("drifted", "violating", "unowned"),
        ),
        0,
    )


async def test_the_figures_of_a_summary(
    reports_stub: ReportServiceStub, fleet: dict[str, str]
) -> None:
    summary = await summary_of(reports_stub)
    told = summary.fleet
    assert (told.agents, told.measured, told.idle) == (5, 3, 0)
    assert (told.silent.total, told.unmeasured.total) == (1, 1)
    assert [each.id for each in told.silent.agents] == [fleet["gone"]]
    assert [each.id for each in told.unmeasured.agents] == [fleet["new<b>|x|"]]
    assert summary.trust.worst[0].id == fleet["bad"]
    assert (summary.compliance.operations, summary.compliance.violations) == (550, 5)
    assert summary.compliance.compliance_sla_pct == pytest.approx(100 * (1 - 5 / 550))
    costs = summary.costs
    assert (costs.cost_usd, costs.input_tokens, costs.output_tokens) == (6.5, 107, 11)
    assert [each.owner for each in costs.owners] == ["=cmd()", 'say "=1+1" * \\', "ops", ""]
    assert [(each.cost_usd, each.agents) for each in costs.owners[:3]] == [(4, 1), (2.5, 1), (0, 2)]
    assert [each.agent.id for each in costs.agents] == [fleet[n] for n in ("bad", "good", "gone")]
    assert (costs.total_owners, costs.total_agents) == (4, 3)
    fresh = summary.freshness
    assert (fresh.workflows.fresh, fresh.stale.total) == (1, 2)
    assert {each.id for each in fresh.stale.workflows} == {fleet["broken"], fleet["late"]}


async def rows_behind(
    path: str, agents_stub: AgentServiceStub, workflows_stub: WorkflowServiceStub
) -> int:
    """How many rows a path of evidence lists."""
    kind, _, condition = unquote(path).partition("?filter=")
    if kind == "/agents":
        return (
            await agents_stub.ListAgents(agents_pb.ListAgentsRequest(filter=condition))
        ).total_size
    listed = await workflows_stub.ListWorkflows(workflows_pb.ListWorkflowsRequest(filter=condition))
    return listed.total_size


async def test_every_count_has_its_rows(
    reports_stub: ReportServiceStub,
    agents_stub: AgentServiceStub,
    workflows_stub: WorkflowServiceStub,
    trust_stub: TrustServiceStub,
    fleet: dict[str, str],
) -> None:
    await workflows_stub.PauseWorkflow(workflows_pb.PauseWorkflowRequest(id=fleet["late"]))
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    summary = await summary_of(reports_stub)
    counts = [
        (summary.fleet.evidence, summary.fleet.agents),
        (summary.fleet.silent.evidence, summary.fleet.silent.total),
        (summary.fleet.unmeasured.evidence, summary.fleet.unmeasured.total),
        (summary.freshness.stale.evidence, summary.freshness.stale.total),
        *((each.evidence, each.agents) for each in summary.costs.owners),
    ]
    for path, count in counts:
        assert await rows_behind(path, agents_stub, workflows_stub) == count, path
    assert await rows_behind(summary.compliance.evidence, agents_stub, workflows_stub) == 1
    figures = [
        (row[1], row[4], float(row[3]))
        for row in csv.reader(io.StringIO(await export(reports_stub, "csv")))
        if row[0] == "Figures" and row[1].startswith(("agents", "workflows"))
    ]
    assert len(figures) == 13
    for name, path, count in figures:
        assert await rows_behind(path, agents_stub, workflows_stub) == count, name


async def test_what_moved_trust_adds_up(
    reports_stub: ReportServiceStub, fleet: dict[str, str], sql: Any
) -> None:
    parts = {
        name: {"ppb": ppb, "weight_ppb": 0, "contribution_ppb": ppb}
        for name, ppb in (
            ("agent_uptime", 300_000_000),
            ("policy_adherence", 300_000_000),
            ("sync_freshness", None),
            ("risk_exposure", 150_000_001),
        )
    }
    for ago, ppb in ((2, 750_000_001), (30, None)):
        await sql.execute(
            "INSERT INTO trust_snapshots (tenant_id, as_of, trust_ppb, band, capped_by, summary)"
            " VALUES ($1, now() - make_interval(days => $2), $3, 'good', '{}', $4)",
            DEFAULT_TENANT,
            ago,
            ppb,
            json.dumps({"components": parts}),
        )
    summary = await summary_of(reports_stub)
    day, week = summary.trust.changes
    assert day.before_ppb == 750_000_001
    assert day.change_ppb == summary.trust.trust_ppb - 750_000_001 != 0
    assert sum(part.change_ppb for part in day.moved_by) == day.change_ppb
    sizes = [abs(part.change_ppb) for part in day.moved_by]
    assert sizes == sorted(sizes, reverse=True)
    assert day.since.ToDatetime() == summary.as_of.ToDatetime() - timedelta(days=1)
    assert not week.HasField("before_ppb"), "the newest score before that is none"
    told = [(point.at.ToDatetime(), point.trust_ppb) for point in summary.trust.history]
    instant = summary.as_of.ToDatetime()
    past = [(instant - timedelta(hours=h), 750_000_001) for h in range(48, 0, -3)]
    assert told[-16:-1] == past[1:], "another tick may have reached the first of them"
    assert told[-1] == (instant, summary.trust.trust_ppb)


async def test_documents_of_one_instant_differ_in_their_creation_alone(
    reports_stub: ReportServiceStub, fleet: dict[str, str], sql: Any
) -> None:
    async with sql.transaction():  # no tick moves as_of
        await sql.fetchval(QUERIES["lock_tick"])
        for form in ("markdown", "json", "csv", "html"):
            texts, created = [], []
            for _ in range(2):
                created.append(await summary_of(reports_stub))
                texts.append(await export(reports_stub, form))
            first, second = (text.splitlines() for text in texts)
            different = [a for a, b in zip(first, second, strict=True) if a != b]
            assert len(different) == 1, form
            assert "reated" in different[0]
            summaries = [each.as_of.ToJsonString() for each in created]
            assert summaries[0] == summaries[1]


async def test_names_are_text_in_every_format(
    reports_stub: ReportServiceStub, fleet: dict[str, str]
) -> None:
    rows = list(csv.reader(io.StringIO(await export(reports_stub, "csv"))))
    owners = {row[1] for row in rows if row[0] == "Cost by owner"}
    assert "'=cmd()" in owners
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    page = await export(reports_stub, "html")
    assert page.count("<svg") == 4
    assert "mcp/new&lt;b&gt;|x|" in page
    assert "<b>" not in page
    assert not [word for word in ("http://", "https://", "<script", "src=") if word in page]
    assert "mcp/new\\<b\\>\\|x\\|" in await export(reports_stub, "markdown")
    document = json.loads(await export(reports_stub, "json"))
    assert document["costs"]["owners"][0]["owner"] == "=cmd()"
    assert document["fleet"]["agents"] == 5


async def test_a_format_that_there_is_not_is_refused(reports_stub: ReportServiceStub) -> None:
    for form, reason in (("pdf", "INVALID_VALUE"), ("", "REQUIRED"), ("HTML", "INVALID_VALUE")):
        call = reports_stub.ExportReport(pb.ExportReportRequest(format=form))
        assert await wrong_fields(call) == [("format", reason)]


async def test_findings(reports_stub: ReportServiceStub, fleet: dict[str, str]) -> None:
    healing = await reports_stub.GetHealing(pb.GetHealingRequest())
    found = {(each.kind, each.entity_id): each for each in healing.findings}
    assert set(found) == {
        ("silent", fleet["gone"]),
        ("failing", fleet["bad"]),
        ("violating", fleet["bad"]),
        ("degraded", fleet["slow"]),
        ("unowned", fleet["new<b>|x|"]),
        ("failing", fleet["broken"]),
        ("stale", fleet["late"]),
    }
    keys = [(each.severity, each.entity_id) for each in healing.findings]
    assert keys == sorted(keys)
    first = healing.findings[0]
    assert (first.kind, first.severity) == ("silent", Severity.SEVERITY_CRITICAL)
    assert "heartbeat of 60 s" in first.figures
    failing = found["failing", fleet["bad"]]
    assert "50 of 50 operations failed" in failing.figures
    assert (failing.command, failing.automatic) == ("orca agents suspend mcp/bad", True)
    assert healing.total_size == sum(each.total for each in healing.totals) == 7
    one = await reports_stub.GetHealing(pb.GetHealingRequest(page_size=1))
    assert [each.entity_id for each in one.findings] == [fleet["gone"]]
    assert one.totals == healing.totals
    negative = reports_stub.GetHealing(pb.GetHealingRequest(page_size=-1))
    assert await wrong_fields(negative) == [("page_size", "OUT_OF_RANGE")]


async def probe(stub: AgentServiceStub, agent_id: str, state: str, ago: timedelta) -> None:
    """Records what a probe found."""
    failed = state != "speaks-mcp"
    record = telemetry_pb2.TelemetryRecord(
        agent_id=agent_id, id="probe", operations=1, errors=int(failed)
    )
    record.observed_at.FromDatetime(datetime.now(UTC) - ago)
    record.attributes.update({"probe.state": state})
    await stub.RecordTelemetry(agents_pb.RecordTelemetryRequest(records=[record]))


async def test_an_agent_is_unreachable_while_its_newest_probe_found_nobody(
    reports_stub: ReportServiceStub, agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    ids = {
        name: (await create(agents_stub, name, owner="ops")).id
        for name in ("down", "strange", "back", "works", "odd")
    }
    for name, before, now in (
        ("down", "speaks-mcp", "unreachable"),
        ("strange", "unreachable", "not-mcp"),
        ("back", "unreachable", "speaks-mcp"),
        ("works", "speaks-mcp", "speaks-mcp"),
        ("odd", "speaks-mcp", "not\0known to jsonb"),
    ):
        await probe(agents_stub, ids[name], before, 2 * HOUR)
        await probe(agents_stub, ids[name], now, HOUR)
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    healing = await reports_stub.GetHealing(pb.GetHealingRequest())
    found = {each.entity_id: each for each in healing.findings if each.kind == "unreachable"}
    assert set(found) == {ids["down"], ids["strange"]}
    assert found[ids["strange"]].figures.endswith(": not-mcp")
    await observe(agents_stub, ids["down"], ago=HOUR / 2, operations=1)
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    healing = await reports_stub.GetHealing(pb.GetHealingRequest())
    still = [each.entity_id for each in healing.findings if each.kind == "unreachable"]
    assert still == [ids["strange"]]


async def statements(sql: Any) -> list[int]:
    """How many statements a summary and findings take."""
    counts = []
    async with sql.transaction(isolation="repeatable_read", readonly=True):
        for read in (
            lambda tx: store.summary_rows(tx, DEFAULT_TENANT, HISTORY, 10),
            lambda tx: store.finding_rows(tx, DEFAULT_TENANT, Thresholds(), 100),
        ):
            counting: Any = CountingConnection(sql)
            assert await read(counting) is not None
            counts.append(counting.count)
    return counts


async def test_the_number_of_statements_does_not_grow(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    few = await statements(sql)
    await asyncio.gather(*(create(agents_stub, f"a{n}", owner=f"o{n}") for n in range(60)))
    await trust_stub.RefreshTrust(RefreshTrustRequest())
    assert await statements(sql) == few == [8, 3]


async def test_no_table_is_read_once_per_row(sql: Any, server: Any) -> None:
    async with sql.transaction():
        await sql.execute(
            "INSERT INTO agents (tenant_id, id, type, name, state, source)"
            " SELECT $1, gen_random_uuid(), 'mcp', 'a' || n, 'ACTIVE', 'api'"
            " FROM generate_series(1, 5000) AS n",
            DEFAULT_TENANT,
        )
        await sql.execute("ANALYZE agents")
        parameters = {
            "list_owner_costs": (10,),
            "list_agent_costs": (10,),
            "list_quiet_agents": (10,),
            "list_stale_workflows": (10,),
            "list_open_violations": (10,),
            "list_newest_drift": (10,),
            "list_agent_findings": (100, 20, 50_000_000, 750_000_000),
            "list_workflow_findings": (100,),
        }
        for name, more in parameters.items():
            (line,) = await sql.fetchrow(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", DEFAULT_TENANT, *more
            )
            scans = [*scans_of(json.loads(line)[0]["Plan"])]
            assert all(loops <= 1 for _, loops in scans), (name, scans)


def scans_of(plan: dict[str, Any]) -> Any:
    """The sequential scans of a plan with how often each was done."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"], plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from scans_of(part)

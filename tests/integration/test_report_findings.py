"""Violations and drift in the reports, over a real channel."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from orca.v1 import agent_service_pb2 as agents_pb
from orca.v1 import drift_pb2, report_pb2, telemetry_pb2
from orca.v1 import report_service_pb2 as pb
from orca.v1 import trust_service_pb2 as trust_pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.report_service_pb2_grpc import ReportServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.reports import Thresholds
from orca_server.store.queries import QUERIES
from tests.integration.test_reports import reports_stub, scans_of
from tests.inventory import create, sql

__all__ = ["reports_stub", "sql"]  # fixtures
RULE = "=pii|<b>"


async def see(stub: AgentServiceStub, agent_id: str, minutes: int, version: str) -> None:
    """Observes the version of an agent, so many minutes ago."""
    seen = drift_pb2.AgentObservation(version=version)
    seen.observed_at.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes))
    await stub.ObserveAgent(drift_pb2.ObserveAgentRequest(id=agent_id, observation=seen))


@pytest.fixture
async def found(agents_stub: AgentServiceStub, trust_stub: TrustServiceStub) -> dict[str, str]:
    """Twelve agents that break a rule and drift, a sound one, and one that rests; id by name."""
    names = [*(f"a{number:02}" for number in range(12)), "sound", "rests"]
    ids = {name: (await create(agents_stub, name, owner="ops")).id for name in names}
    records = []
    for name in (*names[:12], "rests"):
        record = telemetry_pb2.TelemetryRecord(agent_id=ids[name], operations=100)
        record.violations, record.blocked_violations, record.rule = 2, 1, RULE
        record.observed_at.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
        records.append(record)
        await see(agents_stub, ids[name], 2, "1")
        await see(agents_stub, ids[name], 1, "2")
    await agents_stub.RecordTelemetry(agents_pb.RecordTelemetryRequest(records=records))
    await see(agents_stub, ids["sound"], 1, "1")
    await agents_stub.SuspendAgent(agents_pb.SuspendAgentRequest(id=ids["rests"]))
    await trust_stub.RefreshTrust(trust_pb.RefreshTrustRequest())
    return ids


async def summary_of(stub: ReportServiceStub) -> report_pb2.ExecutiveSummary:
    return await stub.GetExecutiveSummary(pb.GetExecutiveSummaryRequest())


async def test_the_newest_of_what_is_open_is_told_with_how_much_there_is(
    reports_stub: ReportServiceStub, trust_stub: TrustServiceStub, found: dict[str, str]
) -> None:
    summary = await summary_of(reports_stub)
    violations, drift = summary.compliance.open, summary.drift
    assert (violations.total, len(violations.violations)) == (13, 10)
    assert (drift.total, len(drift.drift)) == (13, 10)
    for told in (violations.violations, drift.drift):
        keys = [each.id for each in told]
        assert keys == sorted(keys, reverse=True)
        assert all(each.HasField("last_seen_at") for each in told)
    first = violations.violations[0]
    assert (first.rule, first.violations, first.blocked_violations) == (RULE, 2, 1)
    newest = drift.drift[0]
    assert (newest.rule, newest.difference_count, newest.first_path) == ("version", 1, "/version")
    trust = await trust_stub.GetTrust(trust_pb.GetTrustRequest())
    assert (drift.baselines, drift.drifted) == (trust.drift.baselines, trust.drift.drifted)
    assert drift.drift_rate_pct == trust.drift_rate_pct > 90
    paths = [(violations.evidence, 13), (drift.evidence, 13), (first.evidence, 1)]
    for path, count in (*paths, (newest.evidence, 1)):
        assert await rows_behind(path, trust_stub) == count, path


async def rows_behind(path: str, trust_stub: TrustServiceStub) -> int:
    """How many rows a path of evidence lists."""
    kind, _, condition = unquote(path).partition("?filter=")
    if kind == "/drift":
        return (await trust_stub.ListDrift(trust_pb.ListDriftRequest(filter=condition))).total_size
    assert kind == "/violations"
    request = trust_pb.ListViolationsRequest(filter=condition)
    return (await trust_stub.ListViolations(request)).total_size


async def test_what_is_over_is_no_longer_told(
    reports_stub: ReportServiceStub, trust_stub: TrustServiceStub, found: dict[str, str]
) -> None:
    summary = await summary_of(reports_stub)
    for violation in summary.compliance.open.violations:
        await trust_stub.ResolveViolation(
            trust_pb.ResolveViolationRequest(id=violation.id, reason="mended")
        )
    for drift in summary.drift.drift:
        await trust_stub.AcceptDrift(trust_pb.AcceptDriftRequest(id=drift.id))
    await trust_stub.RefreshTrust(trust_pb.RefreshTrustRequest())
    summary = await summary_of(reports_stub)
    assert (summary.compliance.open.total, summary.drift.total) == (3, 3)


async def test_active_agents_are_found_drifted_and_violating(
    reports_stub: ReportServiceStub, trust_stub: TrustServiceStub, found: dict[str, str]
) -> None:
    healing = await reports_stub.GetHealing(pb.GetHealingRequest())
    totals = {each.kind: each.total for each in healing.totals}
    assert (totals["drifted"], totals["violating"]) == (12, 12), "one rests"
    by_kind = {each.kind: each for each in healing.findings if each.entity_id == found["a00"]}
    drifted, violating = by_kind["drifted"], by_kind["violating"]
    assert drifted.figures.startswith("1 field of version not as accepted since ")
    assert violating.figures.startswith(f"2 violations and 1 blocked of {RULE}, the newest ")
    for each in (drifted, violating):
        assert not each.automatic
        assert each.severity == report_pb2.Finding.SEVERITY_MEDIUM
        assert await rows_behind(each.evidence, trust_stub) == 1
    assert not {"drifted", "violating"} & {
        each.kind for each in healing.findings if each.entity_id == found["sound"]
    }


async def test_a_rule_is_text_in_every_document(
    reports_stub: ReportServiceStub, found: dict[str, str]
) -> None:
    async def export(form: str) -> str:
        return (await reports_stub.ExportReport(pb.ExportReportRequest(format=form))).data.decode()

    rows = list(csv.reader(io.StringIO(await export("csv"))))
    assert {row[3] for row in rows if row[0] == "Open violations" and row[2] == "rule"} == {
        f"'{RULE}"
    }
    assert {row[3] for row in rows if row[0] == "Open drift" and row[2] == "first path"} == {
        "/version"
    }
    page = await export("html")
    assert "=pii|&lt;b&gt;" in page
    assert "Open drift (10 of 13)" in page
    assert "=pii\\|\\<b\\>" in await export("markdown")
    document = json.loads(await export("json"))
    assert document["compliance"]["open"]["total"] == 13


async def test_findings_read_what_is_open_once(
    agents_stub: AgentServiceStub, found: dict[str, str], sql: Any
) -> None:
    await asyncio.gather(*(create(agents_stub, f"more{number}") for number in range(30)))
    limits = (100, Thresholds().least_operations, Thresholds().errors_ppb, Thresholds().health_ppb)
    (line,) = await sql.fetchrow(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES['list_agent_findings']}", DEFAULT_TENANT, *limits
    )
    scans = [*scans_of(json.loads(line)[0]["Plan"])]
    assert all(loops <= 1 for _, loops in scans), scans

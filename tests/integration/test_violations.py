"""Policy violations: opened, counted and resolved, over a real channel and tick by tick."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from orca.v1 import telemetry_pb2, trust_pb2, violation_pb2
from orca.v1 import trust_service_pb2 as pb
from orca.v1.agent_service_pb2 import (
    ListTelemetryRequest,
    RecordTelemetryRequest,
    StreamTelemetryRequest,
    SuspendAgentRequest,
)
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from tests.inventory import FAILED, MISSING, UNKNOWN, create, refused, sql, wrong_fields

__all__ = ["sql"]  # a fixture
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Reporter:
    """Reports of one agent, each at its own instant."""

    def __init__(self, agents: AgentServiceStub, trust: TrustServiceStub, agent_id: str) -> None:
        self.agents, self.trust, self.agent_id = agents, trust, agent_id
        self.now = datetime.now(UTC).replace(microsecond=0)

    def record(self, ago: timedelta, **fields: Any) -> telemetry_pb2.TelemetryRecord:
        """A record of 100 operations so long ago."""
        made = telemetry_pb2.TelemetryRecord(agent_id=self.agent_id, operations=100, **fields)
        made.observed_at.FromDatetime(self.now - ago)
        return made

    async def tell(self, ago: timedelta, **fields: Any) -> trust_pb2.Trust:
        """Records it and waits for a tick."""
        record = self.record(ago, **fields)
        await self.agents.RecordTelemetry(RecordTelemetryRequest(records=[record]))
        return await self.refresh()

    async def refresh(self) -> trust_pb2.Trust:
        """The trust of now."""
        return await self.trust.RefreshTrust(pb.RefreshTrustRequest())

    async def found(self, filter: str = "") -> list[violation_pb2.PolicyViolation]:
        """The violations, by id."""
        page = await self.trust.ListViolations(pb.ListViolationsRequest(filter=filter))
        assert page.total_size == len(page.violations)
        return list(page.violations)


@pytest.fixture
async def reporter(agents_stub: AgentServiceStub, trust_stub: TrustServiceStub) -> Reporter:
    agent = await create(agents_stub, "clerk")
    return Reporter(agents_stub, trust_stub, agent.id)


def told(found: violation_pb2.PolicyViolation) -> tuple[str, float, float, str]:
    return found.rule, found.violations, found.blocked_violations, found.resolution


async def test_a_rule_has_one_open_row_with_its_count_and_span(reporter: Reporter) -> None:
    await reporter.tell(3 * HOUR, violations=2, rule="pii")
    await reporter.tell(5 * HOUR, violations=1, blocked_violations=4, rule="pii")
    await reporter.tell(2 * HOUR, violations=7)
    await reporter.tell(HOUR, blocked_violations=3, rule="egress")
    await reporter.tell(HOUR, violations=2, rule="pii", id="twice")
    await reporter.tell(HOUR, violations=2, rule="pii", id="twice")
    found = await reporter.found()
    assert sorted(map(told, found)) == [
        ("egress", 0, 3, ""),
        ("pii", 5, 4, ""),
        ("reported", 7, 0, ""),
    ]
    pii = next(one for one in found if one.rule == "pii")
    assert pii.first_seen_at.ToDatetime(UTC) == reporter.now - 5 * HOUR
    assert pii.last_seen_at.ToDatetime(UTC) == reporter.now - HOUR
    assert (pii.entity_type, pii.entity_id) == ("agent", reporter.agent_id)
    assert (pii.entity, pii.resolved) == ("mcp/clerk", False)
    assert not pii.HasField("resolved_at")
    assert [one.id for one in found] == sorted(one.id for one in found)


async def test_its_evidence_are_the_records(reporter: Reporter) -> None:
    await reporter.tell(2 * HOUR, violations=1, rule="pii")
    await reporter.tell(HOUR, violations=2, rule="pii")
    (found,) = await reporter.found()
    path, _, query = found.evidence.partition("?")
    assert path == f"/agents/{reporter.agent_id}/telemetry"
    request = ListTelemetryRequest(agent_id=reporter.agent_id)
    for name, value in (part.split("=") for part in query.split("&")):
        getattr(request, name).FromJsonString(value)
    page = await reporter.agents.ListTelemetry(request)
    assert [(one.record.violations, one.record.rule) for one in page.telemetry] == [
        (1, "pii"),
        (2, "pii"),
    ]


async def test_a_clean_period_of_work_resolves_and_silence_does_not(reporter: Reporter) -> None:
    await reporter.tell(3 * DAY, violations=1, rule="pii")
    await reporter.refresh()
    assert not (await reporter.found())[0].resolved  # it went quiet
    await reporter.tell(2 * DAY + timedelta(seconds=1))
    assert not (await reporter.found())[0].resolved
    await reporter.tell(2 * DAY)
    (found,) = await reporter.found()
    assert (found.resolved, found.resolution, found.resolved_by) == (True, "clean", "tick")
    await reporter.tell(HOUR, violations=1, rule="pii")
    assert [told(one) for one in await reporter.found()] == [
        ("pii", 1, 0, "clean"),
        ("pii", 1, 0, ""),
    ]
    await reporter.tell(4 * DAY, violations=5, rule="pii")  # late: of the time before
    assert [told(one) for one in await reporter.found()] == [
        ("pii", 6, 0, "clean"),
        ("pii", 1, 0, ""),
    ]


async def test_an_operator_resolves_with_a_reason(reporter: Reporter, sql: Any) -> None:
    before = await reporter.tell(HOUR, violations=2, rule="pii")
    (found,) = await reporter.found()
    resolve = reporter.trust.ResolveViolation
    request = pb.ResolveViolationRequest(id=found.id, reason="the prompt was mended")
    ended = await resolve(request)
    assert (ended.resolved, ended.resolution, ended.resolved_by) == (True, "operator", "anonymous")
    assert ended.reason == "the prompt was mended"
    assert await refused(resolve(request)) == (FAILED, "VIOLATION_RESOLVED")
    assert await reporter.found("resolved = false") == []
    assert (await reporter.refresh()).trust_ppb == before.trust_ppb  # the facts stay
    audit = await sql.fetchrow("SELECT actor, reason FROM audit_entries ORDER BY id DESC LIMIT 1")
    assert tuple(audit) == ("anonymous", "the prompt was mended")
    await reporter.tell(2 * HOUR, violations=1, rule="pii")  # before it was resolved
    reporter.now += timedelta(minutes=4)
    await reporter.tell(timedelta(), violations=1, rule="pii")
    assert [told(one) for one in await reporter.found()] == [
        ("pii", 3, 0, "operator"),
        ("pii", 1, 0, ""),
    ]


async def test_what_was_acknowledged_before_it_is_resolved_belongs_to_it(
    reporter: Reporter,
) -> None:
    await reporter.tell(HOUR, violations=1, rule="pii")
    (found,) = await reporter.found()
    for number in range(20):
        record = reporter.record(2 * HOUR, violations=1, rule="pii", id=str(number))
        await reporter.agents.RecordTelemetry(RecordTelemetryRequest(records=[record]))
    await reporter.trust.ResolveViolation(pb.ResolveViolationRequest(id=found.id, reason="done"))
    await reporter.refresh()
    assert [told(one) for one in await reporter.found()] == [("pii", 21, 0, "operator")]


async def test_who_resolves_what_is_wrong_is_told(trust_stub: TrustServiceStub) -> None:
    resolve = trust_stub.ResolveViolation
    assert await wrong_fields(resolve(pb.ResolveViolationRequest(id="x"))) == [
        ("id", "INVALID_FORMAT"),
        ("reason", "REQUIRED"),
    ]
    unknown = pb.ResolveViolationRequest(id=UNKNOWN, reason="why not")
    assert await refused(resolve(unknown)) == (MISSING, "VIOLATION_NOT_FOUND")


async def test_a_suspended_agents_violations_open_nothing(reporter: Reporter) -> None:
    await reporter.tell(2 * HOUR)
    await reporter.agents.SuspendAgent(SuspendAgentRequest(id=reporter.agent_id))
    await reporter.tell(HOUR, violations=1, rule="pii")
    assert await reporter.found() == []


async def test_a_rule_must_name_what_was_broken(reporter: Reporter) -> None:
    records = [
        reporter.record(HOUR, rule="pii"),
        reporter.record(HOUR, violations=1, rule="x" * 201),
        reporter.record(HOUR, violations=1, rule="a\nb"),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reporter.agents.RecordTelemetry(RecordTelemetryRequest(records=records))
    message = caught.value.details() or ""
    assert all(f"records[{index}].rule" in message for index in range(1))
    assert await reporter.found() == []


@pytest.mark.parametrize("rule", ["", "pii"])
async def test_streams_of_blocks_count_the_same(reporter: Reporter, rule: str) -> None:
    def batch(number: int) -> StreamTelemetryRequest:
        ago = [timedelta(seconds=60 * number + index / 10) for index in range(400)]
        return StreamTelemetryRequest(
            records=[
                reporter.record(
                    one,
                    violations=index % 2,
                    blocked_violations=index % 3,
                    rule=rule if index % 2 or index % 3 else "",
                )
                for index, one in enumerate(ago)
            ]
        )

    call = reporter.agents.StreamTelemetry()
    for number in (1, 2, 1):  # the third is a repetition
        await call.write(batch(number))
        await call.read()
    await call.done_writing()
    await reporter.refresh()
    blocked = sum(index % 3 for index in range(400))
    assert list(map(told, await reporter.found())) == [(rule or "reported", 400, 2 * blocked, "")]


async def test_lists_are_filtered_ordered_and_paged(reporter: Reporter) -> None:
    for hours, rule in ((1, "c"), (3, "a"), (2, "b")):
        await reporter.tell(hours * HOUR, violations=hours, rule=rule)
    request = pb.ListViolationsRequest(order_by="last_seen_at desc", page_size=2)
    page = await reporter.trust.ListViolations(request)
    assert ([one.rule for one in page.violations], page.total_size) == (["c", "b"], 3)
    request.page_token = page.next_page_token
    page = await reporter.trust.ListViolations(request)
    assert ([one.rule for one in page.violations], page.next_page_token) == (["a"], "")
    filters = {
        'rule = "a" OR violations > 2': ["a"],
        "resolved = false AND violations < 3": ["b", "c"],
        "resolved != false": [],
        'type = "mcp" AND name = "clerk" AND NOT rule = "b"': ["a", "c"],
        f'entity_id = "{reporter.agent_id}"': ["a", "b", "c"],
    }
    for text, rules in filters.items():
        assert sorted(one.rule for one in await reporter.found(text)) == rules, text
    wrong = reporter.found("resolved = maybe")
    assert await refused(wrong) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID")


async def test_ticks_and_resolving_in_a_race_lose_no_violation(reporter: Reporter) -> None:
    await reporter.tell(HOUR, violations=1, rule="pii")
    (found,) = await reporter.found()

    async def report(number: int) -> None:
        record = reporter.record(2 * HOUR, violations=1, rule="pii", id=f"race {number}")
        await reporter.agents.RecordTelemetry(RecordTelemetryRequest(records=[record]))
        await reporter.refresh()

    request = pb.ResolveViolationRequest(id=found.id, reason="done")
    resolving = reporter.trust.ResolveViolation(request)
    await asyncio.gather(*(report(number) for number in range(20)), resolving)
    await reporter.refresh()
    assert sum(one.violations for one in await reporter.found()) == 21

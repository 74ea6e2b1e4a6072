"""A small fleet to look at: agents and workflows that are made up, and a week of what they did.

Everything follows from names and hours, so a second run makes the same records, which then find
themselves. Each hour's numbers are drawn from a digest of name and hour: believable, never random.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orca_server.domain.agents import Criticality

LABEL = "sample"
"""The label that says so, with the value `true`."""
HOURS = 7 * 24
_HOUR = timedelta(hours=1)
_DAY_ENDS = 18
_DAY_BEGINS = 7
_WEEKEND = 5
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class SampleAgent:
    """An agent that is made up, and how it behaves.

    Attributes:
        kind: Its type.
        name: Its name.
        owner: The team that answers for it.
        purpose: Its description.
        hourly: Operations in a usual hour.
        errors_ppm: Errors in a million operations.
        violations_ppm: Violations in a million operations.
        rule: The policy rule that they break.
        last_violations: Violations in its last hour of work.
        reformed_hours: At the end of the week it breaks no rule for so many hours.
        latency_ms: Usual mean latency.
        limit_ms: Mean latency above which its health is lowered; None: the usual second.
        micro_usd: Cost of an operation, millionths of a dollar.
        tokens: Input tokens of an operation; 0: it uses no model.
        criticality: How much depends on it.
        around_the_clock: False: it works by day, Monday to Friday.
        outage_hours: At the end of the week it fails most operations for so many hours.
        quiet_hours: At the end of the week it says nothing for so many hours.
        heartbeat_seconds: What it promises; None: nothing.
        tools: Name and description of each tool, as they are accepted.
        seen_tools: The tools that it really offers, where that was looked at.
    """

    kind: str
    name: str
    owner: str
    purpose: str
    hourly: int
    errors_ppm: int = 3_000
    violations_ppm: int = 0
    rule: str = ""
    last_violations: int = 0
    reformed_hours: int = 0
    latency_ms: int = 300
    limit_ms: int | None = None
    micro_usd: int = 0
    tokens: int = 0
    criticality: Criticality = Criticality.NORMAL
    around_the_clock: bool = True
    outage_hours: int = 0
    quiet_hours: int = 0
    heartbeat_seconds: int | None = None
    tools: tuple[tuple[str, str], ...] = ()
    seen_tools: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What a sample agent did within an hour; the fields of a telemetry record."""

    id: str
    observed_at: datetime
    operations: int
    errors: int
    violations: int
    rule: str
    latency_ms: float
    cost_usd: float
    input_tokens: int
    output_tokens: int


AGENTS = (
    SampleAgent(
        "mcp",
        "docs-search",
        "knowledge",
        "Searches the handbook and the design documents; its tools are not those accepted.",
        hourly=220,
        errors_ppm=1_500,
        latency_ms=180,
        tools=(
            ("search", "Finds pages of the handbook."),
            ("read", "Reads a page."),
        ),
        seen_tools=(
            ("search", "Finds pages of the handbook, and remembers who asked."),
            ("read", "Reads a page."),
            ("publish", "Makes a page public."),
        ),
    ),
    SampleAgent(
        "mcp",
        "issue-tracker",
        "platform",
        "Reads and writes issues; ends its week with an upstream that fails.",
        hourly=140,
        errors_ppm=4_000,
        latency_ms=420,
        outage_hours=7,
    ),
    SampleAgent(
        "mcp",
        "warehouse-sql",
        "data",
        "Answers questions with read-only queries on the warehouse.",
        hourly=90,
        errors_ppm=9_000,
        violations_ppm=30_000,
        rule="unbounded-query",
        reformed_hours=156,
        latency_ms=1_350,
        criticality=Criticality.CRITICAL,
    ),
    SampleAgent(
        "bot",
        "support-triage",
        "support",
        "Sorts incoming tickets and drafts first answers.",
        hourly=310,
        errors_ppm=6_000,
        violations_ppm=400,
        rule="personal-data",
        latency_ms=760,
        micro_usd=2_100,
        tokens=1_400,
        criticality=Criticality.CRITICAL,
    ),
    SampleAgent(
        "bot",
        "invoice-matcher",
        "finance",
        "Matches invoices with orders and payments.",
        hourly=60,
        errors_ppm=2_000,
        latency_ms=540,
        micro_usd=900,
        tokens=800,
        criticality=Criticality.CRITICAL,
        around_the_clock=False,
    ),
    SampleAgent(
        "bot",
        "release-notes",
        "platform",
        "Writes release notes from merged changes.",
        hourly=4,
        latency_ms=4_200,
        limit_ms=10_000,
        micro_usd=18_000,
        tokens=9_500,
        criticality=Criticality.LOW,
        around_the_clock=False,
    ),
    SampleAgent(
        "assistant",
        "sales-copilot",
        "sales",
        "Prepares calls and keeps the customer records tidy.",
        hourly=75,
        errors_ppm=12_000,
        latency_ms=980,
        micro_usd=5_200,
        tokens=2_600,
        around_the_clock=False,
    ),
    SampleAgent(
        "assistant",
        "people-helpdesk",
        "people",
        "Answers questions about leave, payroll and equipment.",
        hourly=25,
        errors_ppm=5_000,
        latency_ms=690,
        micro_usd=1_700,
        tokens=1_100,
        around_the_clock=False,
    ),
    SampleAgent(
        "reviewer",
        "code-review",
        "platform",
        "Reviews changes before a person does.",
        hourly=35,
        errors_ppm=8_000,
        latency_ms=6_400,
        limit_ms=15_000,
        micro_usd=31_000,
        tokens=14_000,
        around_the_clock=False,
    ),
    SampleAgent(
        "reviewer",
        "contract-review",
        "legal",
        "Marks clauses that differ from the template; reads more than its policy allows.",
        hourly=12,
        errors_ppm=10_000,
        violations_ppm=30_000,
        rule="unlisted-document",
        last_violations=2,
        latency_ms=8_800,
        limit_ms=20_000,
        micro_usd=52_000,
        tokens=22_000,
        around_the_clock=False,
    ),
    SampleAgent(
        "pipeline",
        "lead-enrichment",
        "marketing",
        "Completes new leads from public sources; falls silent in mid-week.",
        hourly=45,
        errors_ppm=15_000,
        latency_ms=1_900,
        limit_ms=4_000,
        micro_usd=700,
        quiet_hours=72,
        heartbeat_seconds=3_600,
    ),
    SampleAgent(
        "pipeline",
        "anomaly-watch",
        "data",
        "Watches metrics and wakes the person on call.",
        hourly=120,
        errors_ppm=700,
        latency_ms=90,
        criticality=Criticality.CRITICAL,
        heartbeat_seconds=7_200,
    ),
)


def records(agent: SampleAgent, until: datetime) -> Iterator[SampleRecord]:
    """What the agent did in the week before `until`, one record for each hour of work."""
    end = until.replace(minute=0, second=0, microsecond=0)
    hours = [
        back
        for back in range(HOURS, agent.quiet_hours, -1)
        if agent.around_the_clock or _by_day(end - back * _HOUR)
    ]
    for back in hours:
        record = _record(agent, end - back * _HOUR, failing=back <= agent.outage_hours)
        if back <= agent.reformed_hours:
            record = replace(record, violations=0)
        if back == hours[-1]:
            record = replace(record, violations=record.violations + agent.last_violations)
        yield replace(record, rule=agent.rule if record.violations else "")


def _by_day(start: datetime) -> bool:
    return start.weekday() < _WEEKEND and _DAY_BEGINS <= start.hour < _DAY_ENDS


def _record(agent: SampleAgent, start: datetime, *, failing: bool) -> SampleRecord:
    draws = _draws(f"{agent.kind}/{agent.name} {start.isoformat()}")
    by_day = 1.0 if _by_day(start) else 0.3
    operations = max(1, round(agent.hourly * by_day * (0.7 + 0.6 * draws[0])))
    errors_ppm = 820_000 if failing else agent.errors_ppm
    output_tokens = round(agent.tokens * operations * (0.2 + 0.1 * draws[5]))
    return SampleRecord(
        id=f"sample-{start:%Y%m%dT%H}",
        observed_at=start + timedelta(seconds=int(draws[1] * 3_599)),
        operations=operations,
        errors=_happened(operations, errors_ppm, draws[2]),
        violations=_happened(operations, agent.violations_ppm, draws[3]),
        rule=agent.rule,
        latency_ms=round(agent.latency_ms * (0.8 + 0.4 * draws[4]), 3),
        cost_usd=operations * agent.micro_usd / _MILLION,
        input_tokens=agent.tokens * operations,
        output_tokens=output_tokens,
    )


def _happened(operations: int, ppm: int, draw: float) -> int:
    """How often something with that rate happened; the fraction that is left, by the draw."""
    whole, rest = divmod(operations * ppm, _MILLION)
    return min(operations, whole + (draw < rest / _MILLION))


def _draws(seed: str) -> list[float]:
    """Six numbers in [0, 1) that follow from the seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return [int.from_bytes(digest[4 * n : 4 * n + 4]) / 2**32 for n in range(6)]

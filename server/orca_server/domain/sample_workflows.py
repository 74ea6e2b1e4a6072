"""Workflows beside the sample fleet: made up as well, with a week of runs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

DAYS = 7
_HOUR = timedelta(hours=1)
_WEEKEND = 5


@dataclass(frozen=True, slots=True)
class SampleWorkflow:
    """A workflow that is made up, and when it runs.

    Attributes:
        provider: The tool that runs it.
        name: Its name.
        owner: The team that answers for it.
        title: Its name for people.
        cron: When it runs, UTC; `hours` and `weekdays_only` say the same.
        hours: Hours of the day at which it runs.
        minutes: Usual length of a run.
        failures: Of a hundred runs, so many fail.
        slo_hours: It must succeed at least this often.
        weekdays_only: Whether it rests on Saturday and Sunday.
        fails_since_hours: At the end of the week every run of so many hours fails.
    """

    provider: str
    name: str
    owner: str
    title: str
    cron: str
    hours: tuple[int, ...]
    minutes: int
    failures: int
    slo_hours: int
    weekdays_only: bool = False
    fails_since_hours: int = 0


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """A start or an end of a run; the fields of a workflow event."""

    id: str
    run_id: str
    kind: str
    occurred_at: datetime
    error_type: str = ""
    error_message: str = ""


EVERY_HOUR = tuple(range(24))
WORKFLOWS = (
    SampleWorkflow(
        "airflow",
        "warehouse-load",
        "data",
        "Load the warehouse",
        cron="0 2 * * *",
        hours=(2,),
        minutes=38,
        failures=4,
        slo_hours=26,
    ),
    SampleWorkflow(
        "airflow",
        "revenue-report",
        "finance",
        "Revenue report",
        cron="0 5 * * 1-5",
        hours=(5,),
        minutes=11,
        failures=0,
        slo_hours=80,
        weekdays_only=True,
    ),
    SampleWorkflow(
        "n8n",
        "ticket-sync",
        "support",
        "Tickets into the data lake",
        cron="0 * * * *",
        hours=EVERY_HOUR,
        minutes=3,
        failures=3,
        slo_hours=3,
    ),
    SampleWorkflow(
        "n8n",
        "lead-import",
        "marketing",
        "Leads from the web forms",
        cron="0 */2 * * *",
        hours=EVERY_HOUR[::2],
        minutes=6,
        failures=5,
        slo_hours=6,
        fails_since_hours=30,
    ),
    SampleWorkflow(
        "github-actions",
        "nightly-evals",
        "platform",
        "Evaluate the agents each night",
        cron="0 1 * * *",
        hours=(1,),
        minutes=45,
        failures=10,
        slo_hours=50,
    ),
    SampleWorkflow(
        "cron",
        "expire-sessions",
        "platform",
        "Remove old sessions",
        cron="0 */6 * * *",
        hours=(0, 6, 12, 18),
        minutes=1,
        failures=0,
        slo_hours=13,
    ),
)


def events(workflow: SampleWorkflow, until: datetime) -> Iterator[SampleEvent]:
    """What the workflow's runs reported in the week before `until`, oldest first."""
    end = until.replace(minute=0, second=0, microsecond=0)
    for back in range(DAYS * 24, 0, -1):
        start = end - back * _HOUR
        rests = workflow.weekdays_only and start.weekday() >= _WEEKEND
        if start.hour in workflow.hours and not rests:
            yield from _run(workflow, start, broken=back <= workflow.fails_since_hours)


def _run(workflow: SampleWorkflow, hour: datetime, *, broken: bool) -> Iterator[SampleEvent]:
    run_id = f"sample-{hour:%Y%m%dT%H}"
    digest = hashlib.sha256(f"{workflow.provider}/{workflow.name} {run_id}".encode()).digest()
    began = hour + timedelta(seconds=digest[0] % 30)
    length = timedelta(minutes=workflow.minutes) * (0.8 + 0.4 * digest[1] / 255)
    yield SampleEvent(f"{run_id}-started", run_id, "started", began)
    if broken or digest[2] % 100 < workflow.failures:
        yield SampleEvent(
            f"{run_id}-failed",
            run_id,
            "failed",
            began + length,
            "UpstreamError",
            "The other side answered 503.",
        )
        return
    yield SampleEvent(f"{run_id}-succeeded", run_id, "succeeded", began + length)

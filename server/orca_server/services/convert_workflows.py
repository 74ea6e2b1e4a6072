"""Workflows for replies, from rows; and from requests, with all that is wrong with them."""

import json
import math
import zoneinfo

from orca.v1 import workflow_pb2 as pb
from orca_server.domain.checks import Violations
from orca_server.domain.etags import etag
from orca_server.domain.workflow_checks import MAX_TIMEZONE, SLO_SECONDS, TIMEZONE
from orca_server.domain.workflows import Content, Schedule
from orca_server.services.timestamps import timestamp
from orca_server.store.database import Record

_SECONDS_PER_HOUR = 3_600
_STATES = {name.removeprefix("STATE_"): value for name, value in pb.Workflow.State.items()}
_FRESHNESSES = {
    name.removeprefix("FRESHNESS_").lower(): value for name, value in pb.Workflow.Freshness.items()
}
_INSTANTS = ("last_event_at", "last_run_at", "last_success_at", "fresh_until")


def workflow_to_proto(row: Record) -> pb.Workflow:
    """A workflow with what follows from its events, as `list_workflows` selects it."""
    workflow = pb.Workflow(
        id=str(row["id"]),
        provider=row["provider"],
        name=row["name"],
        display_name=row["display_name"],
        external_id=row["external_id"],
        url=row["url"],
        owner=row["owner"],
        state=_STATES[row["state"]],
        etag=etag(row["id"], row["revision"]),
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        freshness=pb.Workflow.FRESHNESS_UNMEASURED,
    )
    if row["schedule"] != "{}":
        workflow.schedule.CopyFrom(pb.Schedule(**json.loads(row["schedule"])))
    if row["freshness_slo_seconds"] is not None:
        workflow.freshness_slo_hours = row["freshness_slo_seconds"] / _SECONDS_PER_HOUR
    if row["labels"] != "{}":
        workflow.labels.update(json.loads(row["labels"]))
    if row["freshness"] is not None:
        _add_status(workflow, row)
    return workflow


def _add_status(workflow: pb.Workflow, row: Record) -> None:
    """What the tick wrote of it."""
    workflow.freshness = _FRESHNESSES[row["freshness"]]
    for name in _INSTANTS:
        if row[name] is not None:
            getattr(workflow, name).CopyFrom(timestamp(row[name]))
    workflow.last_outcome = row["last_outcome"] or ""
    succeeded, failed = row["succeeded"], row["failed"]
    workflow.runs = succeeded + failed + row["cancelled"]
    workflow.failures = failed
    if succeeded + failed:
        workflow.success_rate = succeeded / (succeeded + failed)
    if row["timed_runs"]:
        workflow.durations.CopyFrom(
            pb.Durations(
                p50_ms=row["p50_us"] / 1000,
                p95_ms=row["p95_us"] / 1000,
                p99_ms=row["p99_us"] / 1000,
                runs=row["timed_runs"],
            )
        )


def content_of(workflow: pb.Workflow, violations: Violations, prefix: str) -> Content:
    """What a request says of a workflow; notes what cannot even be expressed."""
    return Content(
        display_name=workflow.display_name,
        external_id=workflow.external_id,
        url=workflow.url,
        owner=workflow.owner,
        schedule=_schedule_of(workflow.schedule, violations, f"{prefix}schedule"),
        freshness_slo_seconds=_slo_of(workflow, violations, f"{prefix}freshness_slo_hours"),
        labels=dict(workflow.labels),
    )


def _schedule_of(schedule: pb.Schedule, violations: Violations, name: str) -> Schedule:
    if schedule.timezone and not _is_timezone(schedule.timezone):
        message = f"'{schedule.timezone[:MAX_TIMEZONE]}' is no time zone such as 'Europe/Berlin'"
        violations.add(f"{name}.timezone", "INVALID_VALUE", message)
    interval = schedule.interval_seconds if schedule.HasField("interval_seconds") else None
    return Schedule(schedule.cron, schedule.timezone, interval)


def _is_timezone(name: str) -> bool:
    """Whether there is such a time zone; the database of them is the machine's."""
    if len(name) > MAX_TIMEZONE or not TIMEZONE.fullmatch(name):
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a folder, or no zone's file
        return name == "UTC"
    return name != "localtime"


def _slo_of(workflow: pb.Workflow, violations: Violations, name: str) -> int | None:
    """The objective in whole seconds."""
    if not workflow.HasField("freshness_slo_hours"):
        return None
    hours, (least, most) = workflow.freshness_slo_hours, SLO_SECONDS
    in_range = 0 < hours <= most / _SECONDS_PER_HOUR  # also keeps out NaN and infinity
    seconds = math.floor(hours * _SECONDS_PER_HOUR + 0.5) if in_range else 0
    if seconds < least:
        message = f"must be from a second to {most // _SECONDS_PER_HOUR:,} hours"
        violations.add(name, "OUT_OF_RANGE", message)
        return None
    return seconds

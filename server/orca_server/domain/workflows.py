"""Workflows: what is said of one, the states it passes through, and who may say what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orca_server.domain.errors import NotAllowedNow
from orca_server.domain.update_masks import Updatable

# A workflow that was retired stays in sync_freshness for this long, so that retiring a stale one
# raises no score.
STAY = timedelta(days=7)


class WorkflowState(StrEnum):
    """Whether a workflow is expected to run."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    RETIRED = "RETIRED"


# What an adapter may say of the workflows of its tool: nothing that weighs freshness.
REPORTED_FIELDS = frozenset({"display_name", "external_id", "url", "schedule", "labels"})
# Fields that the tick reads: a change of one marks the workflow.
FRESHNESS_FIELDS = frozenset({"state", "freshness_slo_seconds"})


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a workflow should run, as declared: by cron, at an interval, or not said.

    Attributes:
        cron: Five fields of cron.
        timezone: IANA name of the time zone of `cron`.
        interval_seconds: Seconds between runs.
    """

    cron: str = ""
    timezone: str = ""
    interval_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What is said of a workflow, apart from its identity and state.

    Attributes:
        freshness_slo_seconds: It must succeed at least this often; None: as the server says.
    """

    display_name: str = ""
    external_id: str = ""
    url: str = ""
    owner: str = ""
    schedule: Schedule = field(default_factory=Schedule)
    freshness_slo_seconds: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


CONTENT_FIELDS = tuple(one.name for one in fields(Content))
UPDATABLE = Updatable(
    mutable={
        "display_name": "display_name",
        "external_id": "external_id",
        "url": "url",
        "owner": "owner",
        "schedule": "schedule",
        "freshness_slo_hours": "freshness_slo_seconds",
        "labels": "labels",
    },
    identity=("id", "provider", "name"),
    parts={"schedule": ("cron", "timezone", "interval_seconds")},
)
"""What an update of a workflow may speak of."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it is written; what follows from its events lives elsewhere.

    Attributes:
        counted_until: End of its stay in sync_freshness after it was retired; None while it is not.
        revision: Grows by one with each write.
    """

    id: UUID
    provider: str
    name: str
    state: WorkflowState = WorkflowState.ACTIVE
    content: Content = field(default_factory=Content)
    counted_until: datetime | None = None
    revision: int = 1


def pause(workflow: Workflow) -> Workflow:
    """The workflow once it is set aside on purpose; equal to itself if it already was.

    Raises:
        NotAllowedNow: If it is retired (`WORKFLOW_RETIRED`).
    """
    if workflow.state is WorkflowState.RETIRED:
        raise NotAllowedNow(
            "WORKFLOW_RETIRED",
            f"Workflow '{workflow.name}' is retired; a retired workflow cannot be paused.",
            about(workflow),
        )
    return replace(workflow, state=WorkflowState.PAUSED)


def resume(workflow: Workflow) -> Workflow:
    """The workflow once it is expected to run again; equal to itself if it already is."""
    return replace(workflow, state=WorkflowState.ACTIVE, counted_until=None)


def retire(workflow: Workflow, now: datetime) -> Workflow:
    """The workflow once it is gone; equal to itself if it already was.

    It counts for 7 days more. A paused one did not count, and is not brought back by this.
    """
    if workflow.state is WorkflowState.RETIRED:
        return workflow
    counted = workflow.state is WorkflowState.ACTIVE
    return replace(
        workflow,
        state=WorkflowState.RETIRED,
        counted_until=now + STAY if counted else now,
    )


def settled(content: Content) -> Content:
    """The content with the time zone that a cron has by default."""
    schedule = content.schedule
    if not schedule.cron or schedule.timezone:
        return content
    return replace(content, schedule=replace(schedule, timezone="UTC"))


def changes(old: Workflow, new: Workflow) -> dict[str, list[object]]:
    """What differs between two versions, for the audit log: field -> [before, after]."""
    found: dict[str, list[object]] = {}
    if old.state is not new.state:
        found["state"] = [str(old.state), str(new.state)]
    for name in CONTENT_FIELDS:
        before, after = getattr(old.content, name), getattr(new.content, name)
        if before != after:
            found[name] = [_told(before), _told(after)]
    return found


def moves_freshness(old: Workflow, new: Workflow) -> bool:
    """Whether the tick must compute the workflow anew."""
    return not FRESHNESS_FIELDS.isdisjoint(changes(old, new))


def schedule_json(schedule: Schedule) -> dict[str, object]:
    """The schedule as it is stored: only what is said."""
    found: dict[str, object] = {}
    if schedule.cron:
        found = {"cron": schedule.cron, "timezone": schedule.timezone}
    if schedule.interval_seconds is not None:
        found["interval_seconds"] = schedule.interval_seconds
    return found


def about(workflow: Workflow) -> dict[str, str]:
    """Which workflow an error is about."""
    return {
        "workflow_id": str(workflow.id),
        "provider": workflow.provider,
        "name": workflow.name,
    }


def _told(value: object) -> object:
    match value:
        case Schedule():
            return schedule_json(value)
        case Mapping():
            return dict(value)
        case _:
            return value

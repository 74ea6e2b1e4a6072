"""Requests about workflows and runs that should be accepted, made of real ids, names, etags."""

import random
from collections.abc import Callable
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from tests.fuzz import filters
from tests.fuzz.pool import FRESH, Pool
from tests.fuzz.spans import span

State = workflow_pb2.Workflow.State
NAMES = 60
MUTABLE = (
    *("display_name", "external_id", "url", "owner", "schedule", "freshness_slo_hours"),
    *("labels", "labels.team"),
)
ORDERS = ("", "id", "name", "created_at", "updated_at", "last_success_at")
CRONS = ("* * * * *", "0 6 * * 1-5", "*/15 8-18 1,15 * *", "0 0 29 feb *", "5 4 * * sun")
WORDS = ("invoices", "Nightly", "très bien", "🦑", "", "x" * 150)

Dice = random.Random
Maker = Callable[[Pool, Dice], Message]


def _content(dice: Dice) -> workflow_pb2.Workflow:
    """A workflow without identity."""
    workflow = workflow_pb2.Workflow(
        display_name=dice.choice(WORDS),
        external_id=dice.choice(WORDS),
        url=dice.choice(("", "https://n8n.example.org/workflow/1")),
        owner=dice.choice(("platform", "data", "")),
    )
    if dice.random() < 0.5:
        workflow.labels.update({"team": dice.choice(("blue", "red")), "a-b": "1", "x.y": ""})
    if dice.random() < 0.3:
        workflow.freshness_slo_hours = dice.choice((1 / 3600, 0.5, 24.0, 8784.0))
    if dice.random() < 0.4:
        workflow.schedule.cron = dice.choice(CRONS)
        workflow.schedule.timezone = dice.choice(("", "UTC", "Europe/Berlin", "Asia/Kolkata"))
    elif dice.random() < 0.5:
        workflow.schedule.interval_seconds = dice.choice((10, 3600, 31_622_400))
    return workflow


def _create(pool: Pool, dice: Dice) -> Message:
    workflow = _content(dice)
    workflow.provider = dice.choice(("n8n", "airflow", "github-actions"))
    lasting = dice.random() < 0.25
    fresh = f"{FRESH}{dice.getrandbits(40)}"
    workflow.name = f"workflow-{dice.randrange(NAMES)}" if lasting else fresh
    request_id = str(UUID(int=dice.getrandbits(128), version=4)) if dice.random() < 0.5 else ""
    return pb.CreateWorkflowRequest(
        workflow=workflow, request_id=request_id, reason=dice.choice(WORDS)
    )


def _get(pool: Pool, dice: Dice) -> Message:
    return pb.GetWorkflowRequest(id=pool.workflow(dice).id)


def _list(pool: Pool, dice: Dice) -> Message:
    following = pool.page("ListWorkflows", dice)
    if following is not None and dice.random() < 0.4:
        return following
    order = dice.choice(ORDERS)
    return pb.ListWorkflowsRequest(
        page_size=dice.choice((1, 2, 7, 20, 60)),
        filter=filters.good(dice, filters.WORKFLOWS) if dice.random() < 0.6 else "",
        order_by=order + dice.choice(("", " desc")) if order else "",
    )


def _update(pool: Pool, dice: Dice) -> Message:
    known = pool.workflow(dice, State.STATE_ACTIVE, State.STATE_PAUSED)
    request = pb.UpdateWorkflowRequest(workflow=_content(dice), reason=dice.choice(WORDS))
    if dice.random() < 0.6:
        request.workflow.id = known.id
        request.workflow.etag = known.etag if dice.random() < 0.5 else ""
    else:
        request.allow_missing = True
        request.workflow.provider = "n8n"
        request.workflow.name = f"upserted-{dice.randrange(NAMES)}"
    if dice.random() < 0.6:
        request.update_mask.paths.extend(dice.sample(MUTABLE, dice.randint(1, 3)))
    return request


def _delete(pool: Pool, dice: Dice) -> Message:
    known = pool.fresh_workflows
    fresh = known.pop(dice.randrange(len(known))) if known else ""
    return pb.DeleteWorkflowRequest(id=fresh or pool.workflow(dice).id, reason=dice.choice(WORDS))


def _transition(kind: Callable[..., Message], *states: int) -> Maker:
    def make(pool: Pool, dice: Dice) -> Message:
        workflow = pool.workflow(dice, *states)
        etag = workflow.etag if dice.random() < 0.4 else ""
        return kind(id=workflow.id, etag=etag, reason=dice.choice(WORDS))

    return make


def _get_run(pool: Pool, dice: Dice) -> Message:
    workflow_id, run_id = dice.choice(pool.runs) if pool.runs else (pool.workflow(dice).id, "1")
    return pb.GetRunRequest(workflow_id=workflow_id, run_id=run_id)


def _list_runs(pool: Pool, dice: Dice) -> Message:
    following = pool.page("ListRuns", dice)
    if following is not None and dice.random() < 0.4:
        return following
    start, end = span(dice)
    return pb.ListRunsRequest(
        workflow_id=pool.workflow(dice).id,
        page_size=dice.choice((1, 2, 20, 10**9)),
        start_time=start,
        end_time=end,
        order_by=dice.choice(("", "started_at", "started_at desc")),
    )


MAKERS: dict[str, Maker] = {
    "CreateWorkflow": _create,
    "GetWorkflow": _get,
    "ListWorkflows": _list,
    "UpdateWorkflow": _update,
    "DeleteWorkflow": _delete,
    "PauseWorkflow": _transition(pb.PauseWorkflowRequest, State.STATE_ACTIVE, State.STATE_PAUSED),
    "ResumeWorkflow": _transition(
        pb.ResumeWorkflowRequest, State.STATE_PAUSED, State.STATE_RETIRED
    ),
    "RetireWorkflow": _transition(pb.RetireWorkflowRequest, State.STATE_ACTIVE),
    "GetRun": _get_run,
    "ListRuns": _list_runs,
}

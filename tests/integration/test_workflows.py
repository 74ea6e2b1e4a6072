"""Workflows over a real channel: created, read, changed, moved between states, deleted."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from orca.v1 import trust_service_pb2, workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.store.queries import QUERIES
from tests.inventory import (
    ABORTED,
    DENIED,
    EXISTS,
    FAILED,
    INVALID,
    MISSING,
    UNKNOWN,
    bearer,
    refused,
    sql,
    wrong_fields,
)
from tests.serving import info_of
from tests.workflows import create, report, set_status, workflows_stub

__all__ = ["sql", "workflows_stub"]

Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub
FULL: dict[str, Any] = {
    "display_name": "Nightly invoices",
    "external_id": "wf-17",
    "url": "https://n8n.example.org/workflow/17",
    "owner": "billing",
    "schedule": {"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"},
    "freshness_slo_hours": 26.5,
    "labels": {"team": "a", "tier": "1"},
}
REPORTED = {
    key: value for key, value in FULL.items() if key not in ("owner", "freshness_slo_hours")
}


def full(name: str = "full") -> Workflow:
    return Workflow(provider="n8n", name=name, **FULL)


def update(workflow: Workflow, *paths: str, **fields: Any) -> pb.UpdateWorkflowRequest:
    mask = FieldMask(paths=paths) if paths else None
    return pb.UpdateWorkflowRequest(workflow=workflow, update_mask=mask, **fields)


async def audits(sql: Any) -> list[tuple[str, str, str, str]]:
    """Actor, action, name of the workflow and reason, oldest first."""
    rows = await sql.fetch(
        "SELECT actor, action, coalesce(workflows.name, '') AS name, reason FROM audit_entries"
        " LEFT JOIN workflows ON workflows.id = entity_id WHERE entity_type = 'workflow'"
        " ORDER BY audit_entries.id"
    )
    return [tuple(row) for row in rows]


async def test_a_workflow_is_kept_as_it_was_given(workflows_stub: Stub) -> None:
    given = full()
    made = await workflows_stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow=given))
    assert UUID(made.id).version == 7
    assert made.state == Workflow.STATE_ACTIVE
    assert made.created_at == made.updated_at
    for field in ("provider", "name", *FULL):
        assert getattr(made, field) == getattr(given, field), field
    assert await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id)) == made


async def test_a_bare_workflow_has_defaults(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "bare", id=UNKNOWN, state=Workflow.STATE_RETIRED, runs=7)
    assert made.id != UNKNOWN
    assert (made.state, made.runs) == (Workflow.STATE_ACTIVE, 0)
    assert made.freshness == Workflow.FRESHNESS_UNMEASURED
    for field in ("schedule", "freshness_slo_hours", "last_run_at", "success_rate", "durations"):
        assert not made.HasField(field), field


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"cron": "*/5 * * * *"}, {"cron": "*/5 * * * *", "timezone": "UTC"}),
        ({"interval_seconds": 10}, {"interval_seconds": 10}),
        ({"cron": "", "timezone": ""}, {}),
    ],
)
async def test_schedules_are_kept_with_their_time_zone(
    workflows_stub: Stub, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    made = await create(workflows_stub, "a", schedule=given)
    assert made.schedule == workflow_pb2.Schedule(**kept)
    assert made.HasField("schedule") == bool(kept)
    again = Workflow(id=made.id, schedule=workflow_pb2.Schedule(**given))
    assert await workflows_stub.UpdateWorkflow(update(again, "schedule")) == made


@pytest.mark.parametrize(
    ("hours", "kept"), [(24.0, 24.0), (1 / 3600, 1 / 3600), (8784.0, 8784.0), (0.00041, 1 / 3600)]
)
async def test_objectives_are_kept_to_the_second(
    workflows_stub: Stub, hours: float, kept: float
) -> None:
    made = await create(workflows_stub, "a", freshness_slo_hours=hours)
    assert made.freshness_slo_hours == kept


async def test_all_wrong_fields_of_a_new_workflow_are_named(workflows_stub: Stub) -> None:
    workflow = Workflow(
        provider="N 8",
        name="a b",
        owner="x" * 201,
        external_id="x" * 201,
        url="https://me:secret@example.org",
        freshness_slo_hours=float("nan"),
        labels={"a b": "c"},
    )
    workflow.schedule.cron = "61 * * * *"
    workflow.schedule.timezone = "Europe/Atlantis"
    workflow.schedule.interval_seconds = 9
    request = pb.CreateWorkflowRequest(workflow=workflow, request_id="x", reason="r" * 501)
    assert sorted(await wrong_fields(workflows_stub.CreateWorkflow(request))) == [
        ("reason", "TOO_LONG"),
        ("request_id", "INVALID_FORMAT"),
        ("workflow.external_id", "TOO_LONG"),
        ("workflow.freshness_slo_hours", "OUT_OF_RANGE"),
        ("workflow.labels.a b", "INVALID_FORMAT"),
        ("workflow.name", "INVALID_FORMAT"),
        ("workflow.owner", "TOO_LONG"),
        ("workflow.provider", "INVALID_FORMAT"),
        ("workflow.schedule", "EXCLUSIVE"),
        ("workflow.schedule.cron", "INVALID_FORMAT"),
        ("workflow.schedule.interval_seconds", "OUT_OF_RANGE"),
        ("workflow.schedule.timezone", "INVALID_VALUE"),
        ("workflow.url", "SECRET_IN_PLAIN_TEXT"),
    ]


BAD_HOURS = [0.0, -1.0, 0.0001, 8784.01, float("nan"), float("inf"), -float("inf"), 5e-324, 1e308]


@pytest.mark.parametrize("hours", BAD_HOURS)
async def test_objectives_that_are_none(workflows_stub: Stub, hours: float) -> None:
    call = create(workflows_stub, "a", freshness_slo_hours=hours)
    assert await wrong_fields(call) == [("workflow.freshness_slo_hours", "OUT_OF_RANGE")]


@pytest.mark.parametrize(
    "zone", ["America", "../etc/passwd", "/etc/localtime", "localtime", "x" * 65, "europe/", "Ünix"]
)
async def test_time_zones_that_are_none(workflows_stub: Stub, zone: str) -> None:
    call = create(workflows_stub, "a", schedule={"cron": "* * * * *", "timezone": zone})
    assert await wrong_fields(call) == [("workflow.schedule.timezone", "INVALID_VALUE")]


async def test_a_taken_name_is_refused_and_a_retired_one_named(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    assert await refused(create(workflows_stub, "a")) == (EXISTS, "WORKFLOW_EXISTS")
    await create(workflows_stub, "a", provider="airflow")
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(workflows_stub, "a")
    assert (caught.value.code(), info_of(caught.value).reason) == (EXISTS, "WORKFLOW_RETIRED")
    assert info_of(caught.value).metadata["workflow_id"] == made.id


async def test_a_retried_creation_finds_the_first_one(workflows_stub: Stub, sql: Any) -> None:
    request_id = str(uuid4())
    given = Workflow(provider="n8n", name="a")
    request = pb.CreateWorkflowRequest(workflow=given, request_id=request_id, reason="because")
    answers = await asyncio.gather(*(workflows_stub.CreateWorkflow(request) for _ in range(8)))
    assert len({answer.id for answer in answers}) == 1
    assert await audits(sql) == [("anonymous", "workflows.create", "a", "because")]
    given = Workflow(provider="n8n", name="b")
    other = pb.CreateWorkflowRequest(workflow=given, request_id=request_id)
    assert await refused(workflows_stub.CreateWorkflow(other)) == (EXISTS, "REQUEST_ID_REUSED")


async def test_one_of_many_simultaneous_creations_wins(workflows_stub: Stub) -> None:
    results = await asyncio.gather(
        *(create(workflows_stub, "a") for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Workflow) for result in results) == 1


def of_one(stub: Stub) -> list[tuple[Any, Any]]:
    """The methods on one workflow, by id."""
    return [
        (stub.GetWorkflow, pb.GetWorkflowRequest),
        (stub.DeleteWorkflow, pb.DeleteWorkflowRequest),
        (stub.PauseWorkflow, pb.PauseWorkflowRequest),
        (stub.ResumeWorkflow, pb.ResumeWorkflowRequest),
        (stub.RetireWorkflow, pb.RetireWorkflowRequest),
    ]


@pytest.mark.parametrize("given", ["", "x", "x" * 36, UNKNOWN.replace("-", "")])
async def test_ids_that_are_none(workflows_stub: Stub, given: str) -> None:
    reason = "INVALID_FORMAT" if given else "REQUIRED"
    for call, request in of_one(workflows_stub):
        assert await wrong_fields(call(request(id=given))) == [("id", reason)]


async def test_workflows_that_are_not_there(workflows_stub: Stub) -> None:
    calls = [call(request(id=UNKNOWN)) for call, request in of_one(workflows_stub)]
    named = Workflow(provider="n8n", name="nobody", owner="x")
    calls += [
        workflows_stub.UpdateWorkflow(update(Workflow(id=UNKNOWN, owner="x"))),
        workflows_stub.UpdateWorkflow(update(Workflow(id=UNKNOWN, owner="x"), allow_missing=True)),
        workflows_stub.UpdateWorkflow(update(named)),
    ]
    for call in calls:
        assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")


async def test_only_the_fields_of_the_mask_change(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "full", **FULL)
    given = Workflow(id=made.id, owner="new", external_id="9", labels={"team": "b", "new": "x"})
    got = await workflows_stub.UpdateWorkflow(update(given, "owner", "labels.team"))
    assert (got.owner, got.external_id) == ("new", "wf-17")
    assert dict(got.labels) == {"team": "b", "tier": "1"}
    assert got.etag != made.etag
    assert got.updated_at.ToDatetime() > made.updated_at.ToDatetime()
    given = Workflow(id=made.id, schedule={"timezone": "UTC"})
    got = await workflows_stub.UpdateWorkflow(update(given, "schedule.timezone"))
    assert got.schedule == workflow_pb2.Schedule(cron="0 6 * * 1-5", timezone="UTC")
    cleared = await workflows_stub.UpdateWorkflow(
        update(Workflow(id=made.id), "freshnessSloHours", "labels.tier", "schedule")
    )
    assert not cleared.HasField("freshness_slo_hours")
    assert not cleared.HasField("schedule")
    assert dict(cleared.labels) == {"team": "b"}
    assert cleared.display_name == "Nightly invoices"


async def test_without_a_mask_the_populated_fields_change(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "full", **FULL)
    given = Workflow(provider="n8n", name="full", owner="new", state=Workflow.STATE_RETIRED)
    got = await workflows_stub.UpdateWorkflow(update(given))
    assert (got.id, got.owner, got.external_id) == (made.id, "new", "wf-17")
    assert got.state == Workflow.STATE_ACTIVE


async def test_a_star_replaces_everything(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "full", **FULL)
    got = await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, owner="new"), "*"))
    bare = await create(workflows_stub, "bare", owner="new")
    for field in ("id", "name", "created_at", "updated_at", "etag"):
        got.ClearField(field)
        bare.ClearField(field)
    assert got == bare


async def test_an_update_that_changes_nothing_writes_nothing(
    workflows_stub: Stub, sql: Any
) -> None:
    made = await create(workflows_stub, "full", **FULL)
    assert await workflows_stub.UpdateWorkflow(update(full())) == made
    assert len(await audits(sql)) == 1


async def test_an_update_is_audited_with_each_field(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a", owner="x")
    changed = Workflow(id=made.id, owner="y", schedule={"interval_seconds": 60})
    await workflows_stub.UpdateWorkflow(update(changed, reason="moved"))
    row = await sql.fetchrow("SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1")
    told = (row["action"], row["reason"], row["entity_type"], str(row["entity_id"]))
    assert told == ("workflows.update", "moved", "workflow", made.id)
    assert json.loads(row["details"]) == {
        "owner": ["x", "y"],
        "schedule": [{}, {"interval_seconds": 60}],
    }


async def test_only_what_weighs_freshness_marks_the_workflow(
    workflows_stub: Stub, sql: Any
) -> None:
    async with sql.transaction():
        await sql.fetchval(QUERIES["lock_tick"])  # what is marked stays to be seen
        made = await create(workflows_stub, "a")
        marks = "SELECT count(*) FROM workflow_inbox WHERE workflow_id = $1 AND key IS NULL"

        async def marked() -> int:
            found: int = await sql.fetchval(marks, made.id)
            return found

        before = await marked()
        assert before >= 1
        for fields in (
            {"owner": "x"},
            {"labels": {"a": "b"}},
            {"schedule": {"interval_seconds": 60}},
        ):
            await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, **fields)))
        assert await marked() == before
        await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, freshness_slo_hours=2.0)))
        await workflows_stub.PauseWorkflow(pb.PauseWorkflowRequest(id=made.id))
        await workflows_stub.PauseWorkflow(pb.PauseWorkflowRequest(id=made.id))
        await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id))
        await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
        assert await marked() == before + 4


async def test_each_write_stands_in_the_log_of_changes(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, owner="x")))
    await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, owner="x")))
    await workflows_stub.PauseWorkflow(pb.PauseWorkflowRequest(id=made.id))
    await workflows_stub.DeleteWorkflow(pb.DeleteWorkflowRequest(id=made.id))
    rows = await sql.fetch(
        "SELECT kind FROM (SELECT 0 AS waits, position AS id, entity_type, entity_id, kind"
        " FROM changes UNION ALL SELECT 1, id, entity_type, entity_id, kind FROM change_outbox)"
        " AS told WHERE entity_type = 'workflow' AND entity_id = $1 ORDER BY waits, id",
        made.id,
    )
    assert [row["kind"] for row in rows] == ["created", "updated", "updated", "deleted"]


@pytest.mark.parametrize(
    ("paths", "fields", "reason"),
    [
        (["foo"], {}, "FIELD_INVALID"),
        (["schedule.foo"], {}, "FIELD_INVALID"),
        (["state"], {}, "FIELD_IMMUTABLE"),
        (["last_run_at"], {}, "FIELD_IMMUTABLE"),
        ([], {"name": "other"}, "FIELD_IMMUTABLE"),
        (["provider"], {"provider": "airflow"}, "FIELD_IMMUTABLE"),
        (["name"], {}, "FIELD_IMMUTABLE"),
        (["owner"], {"owner": "x" * 201}, "FIELD_INVALID"),
        (["schedule.interval_seconds"], {"schedule": {"interval_seconds": 60}}, "FIELD_INVALID"),
        (["schedule.cron"], {}, "FIELD_INVALID"),
        (["freshness_slo_hours"], {"freshness_slo_hours": 0.0}, "FIELD_INVALID"),
    ],
)
async def test_updates_that_are_refused(
    workflows_stub: Stub, paths: list[str], fields: dict[str, Any], reason: str
) -> None:
    made = await create(workflows_stub, "a", schedule={"cron": "0 * * * *", "timezone": "UTC"})
    call = workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, **fields), *paths))
    assert await refused(call) == (INVALID, reason)
    assert await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id)) == made


async def test_the_same_identity_in_a_mask_is_no_change(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    given = Workflow(id=made.id, provider="n8n", name="a", owner="x", etag=made.etag)
    paths = ("id", "provider", "name", "owner", "etag")
    assert (await workflows_stub.UpdateWorkflow(update(given, *paths))).owner == "x"


async def test_a_lost_update_is_refused(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    await workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, owner="x", etag=made.etag)))
    stale = Workflow(id=made.id, owner="y", etag=made.etag)
    calls = [workflows_stub.UpdateWorkflow(update(stale))]
    calls += [call(req(id=made.id, etag=made.etag)) for call, req in of_one(workflows_stub)[1:]]
    for call in calls:
        assert await refused(call) == (ABORTED, "ETAG_MISMATCH")


async def test_a_missing_workflow_has_no_etag_and_is_named_as_it_was_asked_for(
    workflows_stub: Stub,
) -> None:
    given = Workflow(provider="n8n", name="gone", owner="x", etag="0123456789abcdef")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows_stub.UpdateWorkflow(update(given, allow_missing=True))
    assert (caught.value.code(), info_of(caught.value).reason) == (ABORTED, "ETAG_MISMATCH")
    assert "There is no workflow 'n8n/gone'" in str(caught.value.details())
    assert dict(info_of(caught.value).metadata) == {"workflow": "n8n/gone"}


async def test_a_missing_workflow_is_created_when_that_is_allowed(
    workflows_stub: Stub, sql: Any
) -> None:
    request = update(full("new"), "owner", allow_missing=True, reason="told by n8n")
    made = await workflows_stub.UpdateWorkflow(request)
    assert (made.display_name, made.schedule.timezone) == ("Nightly invoices", "Europe/Berlin")
    assert await workflows_stub.UpdateWorkflow(request) == made
    assert await audits(sql) == [("anonymous", "workflows.create", "new", "told by n8n")]


async def test_simultaneous_upserts_make_one_workflow(workflows_stub: Stub) -> None:
    requests = [
        update(Workflow(provider="n8n", name="new", owner=f"o{n}"), allow_missing=True)
        for n in range(8)
    ]
    made = await asyncio.gather(*map(workflows_stub.UpdateWorkflow, requests))
    assert len({workflow.id for workflow in made}) == 1


async def test_a_retired_workflow_is_not_updated(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    call = workflows_stub.UpdateWorkflow(update(Workflow(id=made.id, owner="x")))
    assert await refused(call) == (EXISTS, "WORKFLOW_RETIRED")


async def test_states_and_the_end_of_a_stay(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")

    async def stay() -> timedelta | None:
        row = await sql.fetchrow("SELECT counted_until - updated_at AS stay FROM workflows")
        found: timedelta | None = row["stay"]
        return found

    request = pb.PauseWorkflowRequest(id=made.id, reason="holidays")
    paused = await workflows_stub.PauseWorkflow(request)
    assert (paused.state, await stay()) == (Workflow.STATE_PAUSED, None)
    assert await workflows_stub.PauseWorkflow(request) == paused
    resumed = await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id))
    assert (resumed.state, await stay()) == (Workflow.STATE_ACTIVE, None)
    assert await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id)) == resumed
    retired = await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    assert (retired.state, await stay()) == (Workflow.STATE_RETIRED, timedelta(days=7))
    assert await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id)) == retired
    call = workflows_stub.PauseWorkflow(request)
    assert await refused(call) == (FAILED, "WORKFLOW_RETIRED")
    back = await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id))
    assert (back.state, await stay()) == (Workflow.STATE_ACTIVE, None)
    assert [entry[1] for entry in await audits(sql)] == [
        *("workflows.create", "workflows.pause", "workflows.resume", "workflows.retire"),
        "workflows.resume",
    ]
    assert (await audits(sql))[1][3] == "holidays"


async def test_what_the_tick_wrote_is_shown(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    at = datetime(2022, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    await set_status(
        sql,
        made.id,
        first_event_at=at - timedelta(days=1),
        last_event_at=at,
        last_run_at=at - timedelta(minutes=3),
        last_end_at=at,
        last_outcome="cancelled",
        last_success_at=at - timedelta(hours=1),
        succeeded=6,
        failed=2,
        cancelled=1,
        p50_us=1_500,
        p95_us=2_000_000,
        p99_us=3_000_000,
        timed_runs=8,
        freshness="fresh",
        next_deadline_at=at + timedelta(hours=23),
    )
    got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
    assert got.freshness == Workflow.FRESHNESS_FRESH
    assert got.last_event_at.ToJsonString() == "2022-06-01T12:00:00.250Z"
    assert got.last_run_at.ToJsonString() == "2022-06-01T11:57:00.250Z"
    assert got.last_success_at.ToJsonString() == "2022-06-01T11:00:00.250Z"
    assert got.fresh_until.ToJsonString() == "2022-06-02T11:00:00.250Z"
    assert (got.last_outcome, got.runs, got.failures, got.success_rate) == ("cancelled", 9, 2, 0.75)
    assert got.durations == workflow_pb2.Durations(p50_ms=1.5, p95_ms=2000, p99_ms=3000, runs=8)
    assert (got.updated_at, got.etag) == (made.updated_at, made.etag)


async def test_only_what_is_fresh_says_until_when(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    at = datetime(2026, 6, 1, tzinfo=UTC)
    for freshness in ("stale", "unmeasured"):
        await set_status(sql, made.id, first_event_at=at, freshness=freshness, next_deadline_at=at)
        got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
        assert not got.HasField("fresh_until")
        assert not got.HasField("success_rate")
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    stay_ends = await sql.fetchval("SELECT counted_until FROM workflows")
    await set_status(sql, made.id, first_event_at=at, freshness="fresh", next_deadline_at=stay_ends)
    got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
    assert not got.HasField("fresh_until")  # that is the end of its stay


async def refresh(stub: TrustServiceStub) -> None:
    """Ticks once."""
    await stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())


async def test_a_workflow_that_never_reported_is_deleted(
    workflows_stub: Stub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    await refresh(trust_stub)
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 1
    request = pb.DeleteWorkflowRequest(id=made.id, reason="wrong one")
    await workflows_stub.DeleteWorkflow(request)
    call = workflows_stub.DeleteWorkflow(request)
    assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")
    assert (await audits(sql))[-1] == ("anonymous", "workflows.delete", "", "wrong one")
    await refresh(trust_stub)
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 0
    assert (await create(workflows_stub, "a")).id != made.id


@pytest.mark.parametrize("kind", ["started", "succeeded", "heartbeat"])
async def test_a_workflow_that_reported_stays(
    workflows_stub: Stub, trust_stub: TrustServiceStub, sql: Any, kind: str
) -> None:
    made = await create(workflows_stub, "a")
    await report(workflows_stub, made.id, kind)
    request = pb.DeleteWorkflowRequest(id=made.id)
    history = (FAILED, "WORKFLOW_HAS_HISTORY")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history
    # Also once its events are gone: the runs, and what is known of them, remain.
    await refresh(trust_stub)
    await sql.execute("DELETE FROM workflow_events")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history
    await sql.execute("DELETE FROM workflow_runs")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history


async def test_a_deletion_waits_for_events_that_are_being_stored(
    workflows_stub: Stub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    async with sql.transaction():
        await sql.execute(
            "INSERT INTO workflow_events (tenant_id, workflow_id, key, run_id, attempt, kind,"
            " occurred_at) SELECT tenant_id, id, id, '1', 1, 'started', now() FROM workflows"
        )
        request = pb.DeleteWorkflowRequest(id=made.id)
        deletion = asyncio.create_task(refused(workflows_stub.DeleteWorkflow(request)))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
    assert await deletion == (FAILED, "WORKFLOW_HAS_HISTORY")


async def test_a_deletion_gives_up_where_events_never_pause(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    request = pb.DeleteWorkflowRequest(id=made.id)
    async with sql.transaction():
        await sql.execute("LOCK TABLE workflow_events IN ROW EXCLUSIVE MODE")
        outcome = await refused(workflows_stub.DeleteWorkflow(request))
    assert outcome == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    await workflows_stub.DeleteWorkflow(request)


async def test_a_tick_under_way_leaves_nothing_of_a_deleted_workflow(
    workflows_stub: Stub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    async with sql.transaction():
        await sql.fetchval(QUERIES["lock_tick"])  # as a tick that has read the workflow
        request = pb.DeleteWorkflowRequest(id=made.id)
        deletion = asyncio.ensure_future(workflows_stub.DeleteWorkflow(request))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
        await set_status(sql, made.id)
    await deletion
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 0


async def test_no_event_is_left_without_its_workflow_when_deleting_under_load(
    workflows_stub: Stub, sql: Any
) -> None:
    for n in range(10):
        made = await create(workflows_stub, f"a{n}")
        await asyncio.gather(
            workflows_stub.DeleteWorkflow(pb.DeleteWorkflowRequest(id=made.id)),
            report(workflows_stub, made.id),
            return_exceptions=True,
        )
    orphans = await sql.fetchval(
        "SELECT count(*) FROM workflow_events LEFT JOIN workflows ON workflows.id = workflow_id"
        " WHERE workflows.id IS NULL"
    )
    assert orphans == 0


async def test_adapters_say_what_a_tool_says_of_its_workflows(
    workflows_stub: Stub, sql: Any
) -> None:
    said = Workflow(provider="n8n", name="a", **REPORTED)
    request = pb.CreateWorkflowRequest(workflow=said)
    made = await workflows_stub.CreateWorkflow(request, metadata=bearer("adapter"))
    said.external_id = "wf-18"
    got = await workflows_stub.UpdateWorkflow(update(said), metadata=bearer("adapter"))
    assert (got.id, got.external_id, got.labels) == (made.id, "wf-18", said.labels)
    upsert = update(Workflow(provider="n8n", name="b", **REPORTED), allow_missing=True)
    await workflows_stub.UpdateWorkflow(upsert, metadata=bearer("adapter"))
    assert [entry[:3] for entry in await audits(sql)] == [
        ("the-adapter", "workflows.create", "a"),
        ("the-adapter", "workflows.update", "a"),
        ("the-adapter", "workflows.create", "b"),
    ]


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"owner": "x"}, []),
        ({"freshness_slo_hours": 1.0}, []),
        ({}, ["owner"]),
        ({"url": "https://example.org"}, ["*"]),
    ],
)
async def test_adapters_may_not_change_what_weighs_freshness(
    workflows_stub: Stub, fields: dict[str, Any], paths: list[str]
) -> None:
    await create(workflows_stub, "a")
    denied = (DENIED, "FIELD_NOT_ALLOWED")
    for name in ("a", "missing"):
        workflow = Workflow(provider="n8n", name=name, **fields)
        call = workflows_stub.UpdateWorkflow(
            update(workflow, *paths, allow_missing=True), metadata=bearer("adapter")
        )
        assert await refused(call) == denied
    if not paths:
        request = pb.CreateWorkflowRequest(workflow=workflow)
        call = workflows_stub.CreateWorkflow(request, metadata=bearer("adapter"))
        assert await refused(call) == denied


async def test_a_mask_does_not_smuggle_fields_into_a_new_workflow(workflows_stub: Stub) -> None:
    workflow = Workflow(provider="n8n", name="new", url="https://example.org", owner="x")
    call = workflows_stub.UpdateWorkflow(
        update(workflow, "url", allow_missing=True), metadata=bearer("adapter")
    )
    assert await refused(call) == (DENIED, "FIELD_NOT_ALLOWED")


async def test_a_token_that_is_bound_to_agents_speaks_for_no_workflow(
    workflows_stub: Stub,
) -> None:
    token, workflow = bearer("adapter", agents=["mcp/x"]), Workflow(provider="n8n", name="a")
    await create(workflows_stub, "a")
    for call in (
        workflows_stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow=workflow), metadata=token),
        workflows_stub.UpdateWorkflow(update(workflow, allow_missing=True), metadata=token),
    ):
        assert await refused(call) == (DENIED, "AGENT_NOT_ALLOWED")


async def test_one_tenant_does_not_see_or_touch_another(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    token = bearer("operator", tenant=str(uuid4()))
    calls = [call(req(id=made.id), metadata=token) for call, req in of_one(workflows_stub)]
    changed = Workflow(id=made.id, owner="x")
    calls.append(workflows_stub.UpdateWorkflow(update(changed), metadata=token))
    for call in calls:
        assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")
    listed = await workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(), metadata=token)
    assert listed.total_size == 0
    request = pb.CreateWorkflowRequest(workflow=Workflow(provider="n8n", name="a"))
    theirs = await workflows_stub.CreateWorkflow(request, metadata=token)
    assert theirs.id != made.id

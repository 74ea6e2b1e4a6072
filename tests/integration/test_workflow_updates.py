"""Workflows are changed over a real channel: by mask, as a whole, made where they are missing."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.store.queries import QUERIES
from tests.inventory import (
    ABORTED,
    EXISTS,
    INVALID,
    refused,
    sql,
)
from tests.serving import info_of
from tests.workflows import (
    FULL,
    audits,
    create,
    full,
    of_one,
    update,
    workflows_stub,
)

__all__ = ["sql", "workflows_stub"]
Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub


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

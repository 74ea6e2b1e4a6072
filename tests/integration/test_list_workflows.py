"""Lists of workflows over a real channel: filters, orders, pages, plans, and the guide's jq."""

import asyncio
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.filtering import parse
from orca_server.services import page_token
from orca_server.store.filter_sql import Query, fetch_page, page_of, total_of
from orca_server.store.listings import WORKFLOWS
from orca_server.store.queries import QUERIES
from orca_server.store.totals import Totals
from tests.contract import stages
from tests.counting import CountingConnection
from tests.fuzz.http import Answer, Connection
from tests.inventory import INVALID, UNKNOWN, refused, sql, wrong_fields
from tests.servers import PostgresServer
from tests.serving import info_of
from tests.workflows import create, set_status, workflows_stub

__all__ = ["sql", "workflows_stub"]

Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub
OLD = datetime(2022, 6, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# name -> provider, state, what is said, what the tick wrote (None: nothing yet)
FLEET: dict[str, tuple[str, str, dict[str, Any], dict[str, Any] | None]] = {
    "alpha": (
        *("n8n", "ACTIVE", {"labels": {"team": "a"}, "owner": "Ops", "external_id": "wf-1"}),
        {
            "freshness": "fresh",
            "last_outcome": "succeeded",
            "last_event_at": NEW,
            "last_run_at": NEW - timedelta(minutes=5),
            "last_success_at": NEW,
            "first_event_at": OLD,
        },
    ),
    "beta": (
        *("n8n", "PAUSED", {"labels": {"team": "b"}, "display_name": "The beta, 100%"}),
        {
            "freshness": "stale",
            "last_outcome": "failed",
            "last_event_at": OLD,
            "last_run_at": OLD,
            "last_success_at": OLD,
            "first_event_at": OLD,
        },
    ),
    "gamma": (
        *("airflow", "ACTIVE", {}),
        {
            "freshness": "unmeasured",
            "last_event_at": NEW,
            "last_run_at": NEW,
            "first_event_at": NEW,
        },
    ),
    "delta": ("airflow", "RETIRED", {"labels": {"team": "a"}}, None),
}


@pytest.fixture
async def fleet(workflows_stub: Stub, sql: Any) -> dict[str, str]:
    """Four workflows in every state, as the tick might have left them; id by name."""
    return await make_fleet(workflows_stub, sql)


async def make_fleet(stub: Stub, sql: Any) -> dict[str, str]:
    """Makes them; no tick computes them in between, since nothing marks them any more."""
    ids = {}
    async with sql.transaction():
        await sql.fetchval(QUERIES["lock_tick"])
        for name, (provider, state, said, status) in FLEET.items():
            ids[name] = (await create(stub, name, provider, **said)).id
            await sql.execute(
                "UPDATE workflows SET state = $2, counted_until ="
                " CASE WHEN $2 = 'RETIRED' THEN now() END WHERE id = $1::text::uuid",
                ids[name],
                state,
            )
            if status is not None:
                await set_status(sql, ids[name], **status)
        await sql.execute("DELETE FROM workflow_inbox")
    return ids


async def names(stub: Stub, **query: Any) -> list[str]:
    """Names in the order of a list, read in pages of two."""
    found: list[str] = []
    request = pb.ListWorkflowsRequest(**{"page_size": 2, **query})
    while True:
        page = await stub.ListWorkflows(request)
        assert len(page.workflows) <= request.page_size
        found += [workflow.name for workflow in page.workflows]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            assert page.total_size == len(found)
            return found


async def test_a_list_shows_what_get_shows(workflows_stub: Stub, fleet: dict[str, str]) -> None:
    page = await workflows_stub.ListWorkflows(pb.ListWorkflowsRequest())
    assert [workflow.name for workflow in page.workflows] == list(FLEET)
    for workflow in page.workflows:
        assert await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=workflow.id)) == workflow


FILTERS = [
    ("provider = n8n", ["alpha", "beta"]),
    ("provider != n8n", ["gamma", "delta"]),
    ('name = "*a*m*"', ["gamma"]),
    ('display_name:"BETA, 100%"', ["beta"]),
    ("external_id = wf-1", ["alpha"]),
    ("external_id:*", ["alpha"]),
    ("owner = Ops", ["alpha"]),
    ("NOT owner:*", ["beta", "gamma", "delta"]),
    ("state = ACTIVE", ["alpha", "gamma"]),
    ("state = STATE_PAUSED OR state = retired", ["beta", "delta"]),
    ("labels.team = a", ["alpha", "delta"]),
    ("NOT labels:team", ["gamma"]),
    ("freshness = FRESH", ["alpha"]),
    ("freshness = FRESHNESS_STALE", ["beta"]),
    ("freshness = UNMEASURED", ["gamma", "delta"]),
    ("freshness != STALE AND state = ACTIVE", ["alpha", "gamma"]),
    ("freshness != UNMEASURED", ["alpha", "beta"]),
    ("freshness:*", list(FLEET)),
    ("last_outcome = failed", ["beta"]),
    ("last_outcome != failed", ["alpha", "gamma", "delta"]),
    ("NOT last_outcome:*", ["gamma", "delta"]),
    ("last_run_at < 2023-01-01", ["beta"]),
    ("NOT last_run_at >= 2023-01-01", ["beta", "delta"]),
    ("last_event_at >= 2026-03-01T12:00:00Z", ["alpha", "gamma"]),
    ("last_success_at:*", ["alpha", "beta"]),
    ("last_success_at = 2026-03-01T13:00:00+01:00", ["alpha"]),
    ("created_at > 2026-01-01 AND updated_at:*", list(FLEET)),
    ('provider = "n8n" AND freshness = STALE', ["beta"]),
]


async def test_filters(workflows_stub: Stub, fleet: dict[str, str]) -> None:
    found = {text: await names(workflows_stub, filter=text) for text, _ in FILTERS}
    assert found == dict(FILTERS)
    assert await names(workflows_stub, filter=f"id = {fleet['beta']}") == ["beta"]


async def test_a_filter_and_its_opposite_part_the_fleet(
    workflows_stub: Stub, fleet: dict[str, str]
) -> None:
    for text, chosen in FILTERS:
        others = await names(workflows_stub, filter=f"NOT ({text})")
        assert sorted(chosen + others) == sorted(FLEET), text


ORDERS = [
    ("", ["alpha", "beta", "gamma", "delta"]),
    ("id", ["alpha", "beta", "gamma", "delta"]),
    ("id desc", ["delta", "gamma", "beta", "alpha"]),
    ("name", ["alpha", "beta", "delta", "gamma"]),
    ("name  asc", ["alpha", "beta", "delta", "gamma"]),
    ("name desc", ["gamma", "delta", "beta", "alpha"]),
    ("created_at", ["alpha", "beta", "gamma", "delta"]),
    ("created_at desc", ["delta", "gamma", "beta", "alpha"]),
    # Those that never succeeded come last both ways.
    ("last_success_at", ["beta", "alpha", "gamma", "delta"]),
    ("last_success_at desc", ["alpha", "beta", "delta", "gamma"]),
]


@pytest.mark.parametrize("page_size", [1, 2, 4])
async def test_orders(workflows_stub: Stub, fleet: dict[str, str], page_size: int) -> None:
    found = {
        order: await names(workflows_stub, order_by=order, page_size=page_size)
        for order, _ in ORDERS
    }
    assert found == dict(ORDERS)


async def test_updated_workflows_come_last_by_update(
    workflows_stub: Stub, fleet: dict[str, str]
) -> None:
    changed = Workflow(id=fleet["alpha"], owner="new")
    await workflows_stub.UpdateWorkflow(pb.UpdateWorkflowRequest(workflow=changed))
    assert (await names(workflows_stub, order_by="updated_at"))[-1] == "alpha"
    assert (await names(workflows_stub, order_by="updated_at desc"))[0] == "alpha"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"filter": "type = mcp"}, "FILTER_INVALID"),
        ({"filter": "n8n"}, "FILTER_INVALID"),
        ({"filter": "freshness = old"}, "FILTER_INVALID"),
        ({"order_by": "trust_level"}, "ORDER_BY_INVALID"),
        ({"order_by": "name, id"}, "ORDER_BY_INVALID"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_lists_that_are_refused(
    workflows_stub: Stub, query: dict[str, Any], reason: str
) -> None:
    call = workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(**query))
    assert await refused(call) == (INVALID, reason)


async def test_a_negative_page_is_refused_and_a_large_one_is_cut(
    workflows_stub: Stub, fleet: dict[str, str]
) -> None:
    call = workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=-1))
    assert await wrong_fields(call) == [("page_size", "OUT_OF_RANGE")]
    assert len(await names(workflows_stub, page_size=2**31 - 1)) == 4


async def test_a_token_belongs_to_its_filter_and_order(
    workflows_stub: Stub, fleet: dict[str, str]
) -> None:
    first = await workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=1))
    for change in ({"filter": "provider = n8n"}, {"order_by": "name"}):
        request = pb.ListWorkflowsRequest(page_token=first.next_page_token, **change)
        call = workflows_stub.ListWorkflows(request)
        assert await refused(call) == (INVALID, "PAGE_TOKEN_MISMATCH")


async def test_forged_keys_are_refused_or_harmless(workflows_stub: Stub) -> None:
    for name, order in WORKFLOWS.orders.items():
        for key in ("", "x", "\0", "9" * 30, "infinity"):
            parts = [key, UNKNOWN][-order.parts :] if order.column else [key]
            token = page_token.issue(f"workflows.id||{name}|", parts)
            request = pb.ListWorkflowsRequest(order_by=name, page_token=token)
            outcome = "PAGE_TOKEN_INVALID"
            try:
                assert list((await workflows_stub.ListWorkflows(request)).workflows) == []
            except grpc.aio.AioRpcError as error:
                outcome = info_of(error).reason
            assert outcome == "PAGE_TOKEN_INVALID", (name, key)


async def test_rows_that_come_while_paging_are_neither_lost_nor_repeated(
    workflows_stub: Stub,
) -> None:
    for n in range(6):
        await create(workflows_stub, f"a{n}")
    first = await workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=3))
    await create(workflows_stub, "later")
    request = pb.ListWorkflowsRequest(page_size=10, page_token=first.next_page_token)
    second = await workflows_stub.ListWorkflows(request)
    listed = [workflow.name for workflow in (*first.workflows, *second.workflows)]
    assert listed == [*(f"a{n}" for n in range(6)), "later"]


async def test_a_page_takes_three_statements_whatever_its_size(
    workflows_stub: Stub, sql: Any
) -> None:
    made = (create(workflows_stub, f"a{n}", labels={"a": "b"}) for n in range(100))
    await asyncio.gather(*made)
    counts = []
    for limit in (1, 100):
        counting: Any = CountingConnection(sql)
        condition = parse("labels.a = b AND NOT freshness = STALE", WORKFLOWS.fields)
        query, order = Query(DEFAULT_TENANT, condition), WORKFLOWS.orders["last_success_at"]
        rows, total = await fetch_page(counting, WORKFLOWS, query, order, (), limit, Totals())
        assert (len(rows), total) == (limit, 100)
        counts.append(counting.count)
    assert counts == [3, 3]


async def large_inventory(sql: Any) -> None:
    """20,000 workflows of one tenant among 20,000 of others, all computed."""
    await sql.execute(
        "INSERT INTO workflows (tenant_id, id, provider, name, state)"
        " SELECT CASE WHEN n % 2 = 0 THEN $1::uuid ELSE $2::uuid END, gen_random_uuid(), 'n8n',"
        " 'w' || n, 'ACTIVE' FROM generate_series(1, 40000) AS n",
        DEFAULT_TENANT,
        UUID(int=7),
    )
    await sql.execute(
        "INSERT INTO workflow_status (tenant_id, workflow_id, last_success_at, succeeded, failed,"
        " cancelled, timed_runs, freshness, counted, as_of)"
        " SELECT tenant_id, id, now(), 1, 0, 0, 0,"
        " CASE WHEN right(name, 2) = '00' THEN 'stale' ELSE 'fresh' END, 'counted', now()"
        " FROM workflows"
    )
    await sql.execute("VACUUM ANALYZE workflows")
    await sql.execute("VACUUM ANALYZE workflow_status")


async def plan_of(sql: Any, text: str, parameters: list[object]) -> str:
    """The plan of a statement."""
    (line,) = await sql.fetchrow(f"EXPLAIN (FORMAT JSON) {text}", *parameters)
    return json.dumps(json.loads(line))


async def test_pages_of_a_large_inventory_use_an_index(sql: Any, server: Any) -> None:
    await large_inventory(sql)
    middle = str(UUID(int=2**127))
    for order, after, text, index in (
        ("id", (), "", "workflows_pkey"),
        ("id", (middle,), "", "workflows_pkey"),
        ("id desc", (middle,), "state = ACTIVE", "workflows_pkey"),
        ("name", ("w5", middle), "", "workflows_tenant_id_name_id_idx"),
        ("updated_at desc", (), "", "workflows_tenant_id_updated_at_id_idx"),
        ("id", (), f"id = {middle}", "workflows_pkey"),
        ("id", (), "freshness = FRESH", "workflows_pkey"),
        ("id", (middle,), "freshness = STALE", "workflow_status_freshness_idx"),
        ("id", (), 'provider = "n8n" AND freshness = STALE', "workflow_status_freshness_idx"),
    ):
        query = Query(DEFAULT_TENANT, parse(text, WORKFLOWS.fields))
        page = page_of(WORKFLOWS, query, WORKFLOWS.orders[order], after, 51)
        plan = await plan_of(sql, page.text, page.parameters)
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan


async def test_totals_of_a_large_inventory_read_an_index_alone(sql: Any, server: Any) -> None:
    await large_inventory(sql)
    count = total_of(WORKFLOWS, Query(DEFAULT_TENANT))
    plan = await plan_of(sql, count.text, count.parameters)
    assert "Index Only Scan" in plan, plan
    assert "workflow_status" not in plan
    assert await sql.fetchval(count.text, *count.parameters) == 20_000


GUIDE = '.workflows[] | select(.last_run_at < "2023-01-01") | .name'


async def old_fleet(url: str, target: str) -> None:
    """The fleet of these tests, in the database of a server that runs elsewhere."""
    connection = await asyncpg.connect(url)
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            await make_fleet(WorkflowServiceStub(channel), connection)
    finally:
        await connection.close()


async def get_over_rest(port: int, path: str) -> Answer:
    """What the gateway answers."""
    connection = Connection(port)
    try:
        return await connection.ask(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    finally:
        await connection.close()


def test_the_guide_finds_what_has_not_run_for_years(
    postgres: PostgresServer, template: str, tmp_path: Path
) -> None:
    with postgres.database(template) as url, stages.stage(url, tmp_path) as stage:
        asyncio.run(old_fleet(url, stage.target))
        for path in ("/workflows", "/v1/workflows"):
            answer = asyncio.run(get_over_rest(stage.rest_port, path))
            assert answer.status == 200, answer
            body = json.loads(answer.body)
            assert (body["total_size"], body["next_page_token"]) == (4, "")
            by_name = {workflow["name"]: workflow for workflow in body["workflows"]}
            assert by_name["alpha"]["runs"] == 0  # a number, printed though it is zero
            assert by_name["beta"]["last_run_at"] == "2022-06-01T12:00:00Z"
            assert "last_run_at" not in by_name["delta"]
            assert selected(answer.body, by_name) == ["beta", "delta"]


def selected(body: bytes, by_name: dict[str, Any]) -> list[str]:
    """What the guide's command prints; jq sorts null before every text."""
    jq = shutil.which("jq")
    if jq is None:
        return [name for name, one in by_name.items() if one.get("last_run_at", "") < "2023-01-01"]
    run = subprocess.run([jq, "-r", GUIDE], input=body, capture_output=True, check=True)
    return run.stdout.decode().split()

"""Pages of ListAgents: tokens, sizes, statements and plans."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.app import Addresses
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.filtering import parse
from orca_server.services import page_token
from orca_server.store.filter_sql import Query, fetch_page, page_of, total_of
from orca_server.store.listings import AGENTS, WITHOUT_CATALOG
from orca_server.store.totals import Totals
from tests.counting import CountingConnection
from tests.integration.agent_lists import fleet, names
from tests.inventory import INVALID, UNKNOWN, create, refused, sql, wrong_fields
from tests.serving import info_of

__all__ = ["fleet", "sql"]


async def test_a_negative_page_is_refused_and_a_large_one_is_cut(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    call = agents_stub.ListAgents(pb.ListAgentsRequest(page_size=-1))
    assert await wrong_fields(call) == [("page_size", "OUT_OF_RANGE")]
    assert len(await names(agents_stub, page_size=2**31 - 1)) == 4


async def test_a_token_belongs_to_its_filter_and_order(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    first = await agents_stub.ListAgents(pb.ListAgentsRequest(page_size=1))
    for change in ({"filter": "type = mcp"}, {"order_by": "name"}, {"show_catalog": True}):
        request = pb.ListAgentsRequest(page_token=first.next_page_token, **change)
        call = agents_stub.ListAgents(request)
        assert await refused(call) == (INVALID, "PAGE_TOKEN_MISMATCH")


FORGED = ["", "x", "\0", "\ud800", "9" * 30, "infinity"]


async def test_forged_keys_are_refused_or_harmless(agents_stub: AgentServiceStub) -> None:
    for order in AGENTS.orders:
        for key in FORGED:
            parts = [key] if order.startswith("id") else [key, UNKNOWN]
            token = page_token.issue(f"agents.id||{order}|{WITHOUT_CATALOG}", parts)
            request = pb.ListAgentsRequest(order_by=order, page_token=token)
            outcome = "PAGE_TOKEN_INVALID"
            try:
                assert list((await agents_stub.ListAgents(request)).agents) == []
            except grpc.aio.AioRpcError as error:
                outcome = info_of(error).reason
            assert outcome == "PAGE_TOKEN_INVALID", (order, key)


@pytest.fixture
async def wide_stub(server: Addresses) -> AsyncIterator[AgentServiceStub]:
    """AgentService, by a channel that takes replies of the size that our own client takes."""
    options = [("grpc.max_receive_message_length", 16 * 2**20)]
    async with grpc.aio.insecure_channel(server.grpc, options=options) as opened:
        yield AgentServiceStub(opened)


async def test_agents_that_are_too_large_together_come_on_more_pages(
    wide_stub: AgentServiceStub,
) -> None:
    agents_stub, description, made = wide_stub, "x" * 4000, []
    for n in range(40):
        agent = agent_pb2.Agent(type="mcp", name=f"a{n}")
        agent.tools.extend(
            agent_pb2.AgentTool(name=f"t{m}", description=description) for m in range(62)
        )
        made.append((await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=agent))).id)
    page = await agents_stub.ListAgents(pb.ListAgentsRequest())
    assert 20 < len(page.agents) < 40
    assert page.total_size == 40
    assert len(await names(agents_stub, page_size=5000)) == 40
    call = agents_stub.BatchGetAgents(pb.BatchGetAgentsRequest(ids=made))
    assert await wrong_fields(call) == [("ids", "TOO_MANY")]


async def test_rows_that_come_while_paging_are_neither_lost_nor_repeated(
    agents_stub: AgentServiceStub,
) -> None:
    for n in range(6):
        await create(agents_stub, f"a{n}")
    first = await agents_stub.ListAgents(pb.ListAgentsRequest(page_size=3))
    await create(agents_stub, "later")
    request = pb.ListAgentsRequest(page_size=10, page_token=first.next_page_token)
    second = await agents_stub.ListAgents(request)
    listed = [agent.name for agent in (*first.agents, *second.agents)]
    assert listed == [*(f"a{n}" for n in range(6)), "later"]


async def test_a_page_takes_three_statements_whatever_its_size(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    await asyncio.gather(*(create(agents_stub, f"a{n}", labels={"a": "b"}) for n in range(100)))
    counts = []
    for limit in (1, 100):
        counting: Any = CountingConnection(sql)
        condition = parse("labels.a = b AND NOT trust_level < 1")
        query = Query(DEFAULT_TENANT, condition, WITHOUT_CATALOG)
        order = AGENTS.orders["name"]
        rows, total = await fetch_page(counting, AGENTS, query, order, (), limit, Totals())
        assert (len(rows), total) == (limit, 100)
        counts.append(counting.count)
    assert counts == [3, 3]


async def plan_of(sql: Any, **query: Any) -> str:
    """The plan of a page, with an order of its own or by id."""
    order = query.pop("order", "id")
    after = query.pop("after", ())
    restriction = "" if query.pop("catalog", False) else WITHOUT_CATALOG
    asked = Query(DEFAULT_TENANT, parse(query.pop("filter", "")), restriction)
    page = page_of(AGENTS, asked, AGENTS.orders[order], after, 51)
    (line,) = await sql.fetchrow(f"EXPLAIN (FORMAT JSON) {page.text}", *page.parameters)
    return json.dumps(json.loads(line))


async def test_pages_of_a_large_inventory_use_an_index(sql: Any, server: Any) -> None:
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, state, source)"
        " SELECT $1, gen_random_uuid(), 'mcp', 'a' || n,"
        " CASE WHEN n % 10 = 0 THEN 'ACTIVE' ELSE 'CATALOG' END, 'import'"
        " FROM generate_series(1, 20000) AS n",
        DEFAULT_TENANT,
    )
    await sql.execute("ANALYZE agents")
    middle = str(UUID(int=2**127))
    for query, index in (
        ({}, "agents_fleet_idx"),
        ({"after": [middle]}, "agents_fleet_idx"),
        ({"after": [middle], "catalog": True}, "agents_pkey"),
        ({"order": "name", "after": ["a5", middle]}, "agents_tenant_id_name_id_idx"),
        ({"order": "updated_at desc", "catalog": True}, "agents_tenant_id_updated_at_id_idx"),
        ({"filter": f"id = {middle}"}, "agents_"),
    ):
        plan = await plan_of(sql, **query)
        assert index in plan, plan
        assert '"Sort"' not in plan or "Incremental Sort" in plan, plan
        assert '"Seq Scan", "Parent Relationship": "Outer", "Parallel' not in plan
    count = total_of(AGENTS, Query(DEFAULT_TENANT, None, WITHOUT_CATALOG))
    (line,) = await sql.fetchrow(f"EXPLAIN (FORMAT JSON) {count.text}", *count.parameters)
    assert "agent_trust" not in json.dumps(json.loads(line))


FIELDS = st.sampled_from(
    ["type = mcp", "name:a", "trust_level < 0.5", "labels.team = a", "capabilities:sql",
     "health = CRITICAL", "last_seen_at > 2026-01-01", "operations >= 10", "owner:*"]
)  # fmt: skip
TREES = st.recursive(
    FIELDS,
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) AND ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) OR ({two[1]})"),
    ),
    max_leaves=8,
)


async def test_a_filter_and_its_opposite_part_the_fleet(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    texts: list[str] = []

    @given(TREES)
    @settings(max_examples=60, database=None)
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    assert len(texts) >= 50
    for text in texts:
        chosen = await names(agents_stub, filter=text, page_size=10)
        others = await names(agents_stub, filter=f"NOT ({text})", page_size=10)
        assert sorted(chosen + others) == ["alpha", "beta", "delta", "gamma"], text

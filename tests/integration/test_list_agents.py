"""Lists over a real channel: every page, every filter, every order, and how many statements."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca.v1 import agent_pb2, trust_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.app import Addresses
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.filtering import parse
from orca_server.services import page_token
from orca_server.store.filter_sql import Query, fetch_page, page_of, total_of
from orca_server.store.listings import AGENTS, WITHOUT_CATALOG
from orca_server.store.queries import QUERIES
from orca_server.store.totals import Totals
from tests.counting import CountingConnection
from tests.inventory import INVALID, UNKNOWN, create, refused, sql, wrong_fields
from tests.serving import info_of

__all__ = ["sql"]

# name, state, ppb (None: unmeasured), operations, labels, capabilities
FLEET = [
    ("alpha", "ACTIVE", 900_000_000, 10, {"team": "a", "tier": "1"}, ["code search", "sql"]),
    ("beta", "ACTIVE", 750_000_000, 20, {"team": "b"}, ["sql"]),
    ("gamma", "SUSPENDED", 400_000_000, 0, {}, []),
    ("delta", "RETIRED", None, 0, {"team": "a_b"}, ["50%"]),
    ("omega", "CATALOG", None, 0, {"team": "a"}, ["sql"]),
]


@pytest.fixture
async def fleet(agents_stub: AgentServiceStub, sql: Any) -> dict[str, str]:
    """Five agents in every state, as the tick might have left them; name by id."""
    names = {}
    async with sql.transaction():  # no tick computes them in between, and nothing marks them after
        await sql.fetchval(QUERIES["lock_tick"])
        for name, state, ppb, operations, labels, capabilities in FLEET:
            made = await create(
                agents_stub,
                name,
                type="mcp" if name != "beta" else "bot",
                description=f"The {name} agent, 100% \\o/ of_it",
                owner="Ops" if ppb else "",
                labels=labels,
                capabilities=capabilities,
                criticality=agent_pb2.Agent.CRITICALITY_CRITICAL if name == "alpha" else 0,
            )
            names[made.id] = name
            gone = state in ("SUSPENDED", "RETIRED")
            await sql.execute(
                "UPDATE agents SET state = $2, left_at = CASE WHEN $3 THEN now() END,"
                " counted_until = CASE WHEN $3 THEN now() END WHERE id = $1::text::uuid",
                made.id,
                state,
                gone,
            )
            await _trust(sql, made.id, ppb, operations)
        await sql.execute("DELETE FROM trust_inbox")
    return names


async def _trust(sql: Any, agent_id: str, ppb: int | None, operations: int) -> None:
    await sql.execute(
        """
        INSERT INTO agent_trust (
            tenant_id, agent_id, state, level_ppb, counted_level_ppb, health_ppb, operations,
            errors, violations, blocked_violations, latency_us, latency_operations, cost_nano_usd,
            input_tokens, output_tokens, recent_operations, recent_errors, last_seen_at,
            in_fleet, criticality, cause, as_of)
        VALUES ($1, $2::text::uuid, CASE WHEN $3::int IS NULL THEN 'unmeasured' ELSE 'measured' END,
            $3, $3, $3, $4, 1, 2, 0, 0, 0, 1500000000, 3, 4, 0, 0,
            CASE WHEN $3 IS NOT NULL THEN timestamptz '2026-01-31T12:00:00Z' END,
            true, 'normal', 'facts', now())
        ON CONFLICT (tenant_id, agent_id) DO UPDATE SET
            state = excluded.state, level_ppb = excluded.level_ppb,
            counted_level_ppb = excluded.counted_level_ppb, health_ppb = excluded.health_ppb,
            operations = excluded.operations, errors = excluded.errors,
            violations = excluded.violations, cost_nano_usd = excluded.cost_nano_usd,
            input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
            last_seen_at = excluded.last_seen_at
        """,
        DEFAULT_TENANT,
        agent_id,
        ppb,
        operations,
    )


async def names(stub: AgentServiceStub, **query: Any) -> list[str]:
    """Names in the order of a list, read in pages of two."""
    found: list[str] = []
    request = pb.ListAgentsRequest(**{"page_size": 2, **query})
    while True:
        page = await stub.ListAgents(request)
        assert len(page.agents) <= request.page_size
        found += [agent.name for agent in page.agents]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            assert page.total_size == len(found)
            return found


async def test_what_the_tick_wrote_is_shown(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    page = await agents_stub.ListAgents(pb.ListAgentsRequest(show_catalog=True))
    by_name = {agent.name: agent for agent in page.agents}
    beta = by_name["beta"]
    assert (beta.trust_ppb, beta.trust_level, beta.health_score) == (750_000_000, 0.75, 0.75)
    assert beta.trust_state == trust_pb2.TRUST_STATE_MEASURED
    assert (beta.operations, beta.errors, beta.violations) == (20, 1, 2)
    assert (beta.cost_usd, beta.input_tokens, beta.output_tokens) == (1.5, 3, 4)
    assert beta.last_seen_at.ToJsonString() == "2026-01-31T12:00:00Z"
    healths = {name: agent.health for name, agent in by_name.items()}
    assert healths == {
        "alpha": agent_pb2.Agent.HEALTH_HEALTHY,
        "beta": agent_pb2.Agent.HEALTH_HEALTHY,
        "gamma": agent_pb2.Agent.HEALTH_CRITICAL,
        "delta": agent_pb2.Agent.HEALTH_UNSPECIFIED,
        "omega": agent_pb2.Agent.HEALTH_UNSPECIFIED,
    }
    for agent in page.agents:
        assert await agents_stub.GetAgent(pb.GetAgentRequest(id=agent.id)) == agent


async def test_the_catalogue_is_listed_only_when_asked_for(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    assert await names(agents_stub) == ["alpha", "beta", "gamma", "delta"]
    assert await names(agents_stub, show_catalog=True) == list(fleet.values())
    assert await names(agents_stub, filter="state = CATALOG") == []
    assert await names(agents_stub, filter="state = CATALOG", show_catalog=True) == ["omega"]


FILTERS = [
    ("type = bot", ["beta"]),
    ("type != bot", ["alpha", "gamma", "delta"]),
    ('name = "*a*m*"', ["gamma"]),
    ('name = "AL*"', []),
    ('name:"AL"', ["alpha"]),
    ('description:"100%"', ["alpha", "beta", "gamma", "delta"]),
    (r'description:"\\o/ of_it"', ["alpha", "beta", "gamma", "delta"]),
    ('description:"ofxit"', []),
    ("owner:*", ["alpha", "beta", "gamma"]),
    ('owner = ""', ["delta"]),
    ("state = ACTIVE", ["alpha", "beta"]),
    ("state = STATE_ACTIVE OR state = RETIRED", ["alpha", "beta", "delta"]),
    ("criticality = CRITICAL", ["alpha"]),
    ("labels:team", ["alpha", "beta", "delta"]),
    ("NOT labels:team", ["gamma"]),
    ("labels.team = a", ["alpha"]),
    ("labels.team != a", ["beta", "gamma", "delta"]),
    ('labels.team = "a*"', ["alpha", "delta"]),
    ('labels.team:"_"', ["delta"]),
    ('capabilities:"sql"', ["alpha", "beta"]),
    ('capabilities:"code*"', ["alpha"]),
    ('capabilities:"50%"', ["delta"]),
    ("capabilities:*", ["alpha", "beta", "delta"]),
    # Without a value, only != and NOT are fulfilled.
    ("trust_level < 0.75", ["gamma"]),
    ("trust_level <= 0.75", ["beta", "gamma"]),
    ("trust_level = 0.75", ["beta"]),
    ("trust_level != 0.75", ["alpha", "gamma", "delta"]),
    ("trust_level >= 0.750000001", ["alpha"]),
    ("NOT trust_level >= 0.75", ["gamma", "delta"]),
    ("NOT (trust_level >= 0.75 AND type = mcp)", ["beta", "gamma", "delta"]),
    ("NOT (NOT trust_level < 0.75)", ["gamma"]),
    ("trust_level:*", ["alpha", "beta", "gamma"]),
    ("NOT trust_level:*", ["delta"]),
    ("trust_state = UNMEASURED", ["delta"]),
    ('trust_state != "unmeasured"', ["alpha", "beta", "gamma"]),
    ("health = CRITICAL", ["gamma"]),
    ("health_score > 0.8", ["alpha"]),
    ("NOT health:*", ["delta"]),
    ("operations > 5 AND operations < 1e18", ["alpha", "beta"]),
    ("errors = 1 violations = 2".replace(" v", " AND v"), ["alpha", "beta", "gamma", "delta"]),
    ("last_seen_at = 2026-01-31T13:00:00+01:00", ["alpha", "beta", "gamma"]),
    ("last_seen_at > 2026-01-31T12:00:00Z", []),
    ("created_at > 2026-01-01 AND updated_at:*", ["alpha", "beta", "gamma", "delta"]),
    ("created_at > 9999-12-31T23:59:59.999999Z", []),
    ('source = "api" AND version = ""', ["alpha", "beta", "gamma", "delta"]),
    ('display_name = "" AND id != 00000000-0000-0000-0000-000000000000',
     ["alpha", "beta", "gamma", "delta"]),
]  # fmt: skip


async def test_filters(agents_stub: AgentServiceStub, fleet: dict[str, str]) -> None:
    found = {text: await names(agents_stub, filter=text) for text, _ in FILTERS}
    assert found == dict(FILTERS)


async def test_an_agent_is_found_by_its_id(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    for agent_id, name in list(fleet.items())[:2]:
        assert await names(agents_stub, filter=f"id = {agent_id}") == [name]


ORDERS = [
    ("", ["alpha", "beta", "gamma", "delta"]),
    ("id", ["alpha", "beta", "gamma", "delta"]),
    ("id desc", ["delta", "gamma", "beta", "alpha"]),
    ("name", ["alpha", "beta", "delta", "gamma"]),
    ("name  asc", ["alpha", "beta", "delta", "gamma"]),
    ("name desc", ["gamma", "delta", "beta", "alpha"]),
    ("created_at", ["alpha", "beta", "gamma", "delta"]),
    ("created_at desc", ["delta", "gamma", "beta", "alpha"]),
    ("trust_level", ["gamma", "beta", "alpha", "delta"]),
    ("trust_level desc", ["alpha", "beta", "gamma", "delta"]),
]


@pytest.mark.parametrize("page_size", [1, 2, 4])
async def test_orders(agents_stub: AgentServiceStub, fleet: dict[str, str], page_size: int) -> None:
    found = {
        order: await names(agents_stub, order_by=order, page_size=page_size) for order, _ in ORDERS
    }
    assert found == dict(ORDERS)


async def test_updated_agents_come_last_by_update(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    first = next(iter(fleet))
    agent = agent_pb2.Agent(id=first, owner="new")
    await agents_stub.UpdateAgent(pb.UpdateAgentRequest(agent=agent))
    assert (await names(agents_stub, order_by="updated_at"))[-1] == "alpha"
    assert (await names(agents_stub, order_by="updated_at desc"))[0] == "alpha"


async def test_equal_keys_are_paged_by_id(agents_stub: AgentServiceStub) -> None:
    made = [await create(agents_stub, f"a{n}") for n in range(7)]
    for order in ("trust_level", "trust_level desc", "id desc"):
        listed = await names(agents_stub, order_by=order, page_size=3)
        assert sorted(listed) == sorted(agent.name for agent in made)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"filter": "tpye = mcp"}, "FILTER_INVALID"),
        ({"filter": "mcp"}, "FILTER_INVALID"),
        ({"order_by": "foo"}, "ORDER_BY_INVALID"),
        ({"order_by": "name, id"}, "ORDER_BY_INVALID"),
        ({"order_by": "name descending"}, "ORDER_BY_INVALID"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_lists_that_are_refused(
    agents_stub: AgentServiceStub, query: dict[str, Any], reason: str
) -> None:
    assert await refused(agents_stub.ListAgents(pb.ListAgentsRequest(**query))) == (INVALID, reason)


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

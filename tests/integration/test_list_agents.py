"""ListAgents: filters, orders, what is shown."""

from typing import Any

import pytest

from orca.v1 import agent_pb2, trust_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.integration.agent_lists import fleet, names
from tests.inventory import INVALID, create, refused, sql

__all__ = ["fleet", "sql"]


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

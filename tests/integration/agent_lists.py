"""What tests of ListAgents have in common."""

from typing import Any

import pytest

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.store.queries import QUERIES
from tests.inventory import create, sql

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
            await set_trust(sql, made.id, ppb, operations)
        await sql.execute("DELETE FROM trust_inbox")
    return names


async def set_trust(sql: Any, agent_id: str, ppb: int | None, operations: int) -> None:
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

"""The sample fleet: made through the API, the same in a second run, and gone without a trace."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.telemetry_pb2 import AgentRef, TelemetryRecord
from orca.v1.workflow_pb2 import Workflow
from orca_server.app import Addresses
from orca_server.domain import sample_fleet, sample_workflows
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.runtime import verification
from orca_server.store.database import Database

ORCA = Path(sys.executable).with_name("orca")


def run(server: Addresses, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`orca db seed`, against the server and its database."""
    return subprocess.run(
        [ORCA, "db", "seed", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "ORCA_ADDRESS": server.grpc,
            "DATABASE_URL": url,
            "ORCA_ANONYMOUS_ROLE": "viewer",
            "ORCA_ENV_FILE": os.devnull,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def seeded(server: Addresses, url: str, *arguments: str) -> Any:
    """What it prints as JSON, when it must succeed."""

    done = await asyncio.to_thread(run, server, url, *arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def rows(database: Any) -> dict[str, int]:
    """Rows of each table that holds something of agents or workflows; no partitions."""
    tables = await database.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
        " AND relname ~ '^(agent|telemetry|trust_inbox|workflow|policy|violation|drift)'"
    )
    return {
        row["relname"]: await database.fetchval(f"SELECT count(*) FROM {row['relname']}")
        for row in tables
    }


async def test_a_second_run_changes_nothing_and_removal_leaves_nothing(
    server: Addresses, database_url: str, database: Any
) -> None:
    async with orca.connect(server.grpc) as client:
        await client.trust.refresh()
        before = await rows(database)
        first = await seeded(server, database_url)
        assert (first["created"], first["present"], first["left_alone"]) == (18, 0, [])
        assert first["records"]["accepted"] > 1_000
        assert first["events"]["accepted"] > 500
        assert first["records"]["refused"] == first["events"]["refused"] == 0
        fleet = await client.agents.list(filter='labels.sample = "true"').collect()
        assert {agent.name for agent in fleet} == {each.name for each in sample_fleet.AGENTS}
        counts = (await client.trust.get()).components.agent_uptime
        assert counts.measured + counts.idle == 11  # idle on Sundays
        assert counts.silent == 1
        rules = {
            resolved: {each.rule async for each in client.violations.list(filter=chosen)}
            for resolved, chosen in ((False, "resolved = false"), (True, "resolved = true"))
        }
        assert "unlisted-document" in rules[False]
        assert "unbounded-query" in rules[True] - rules[False]
        (drift,) = await client.drift.list().collect()
        assert (drift.entity, drift.rule, drift.resolved) == ("mcp/docs-search", "tools", False)
        assert [each.path for each in drift.differences] == [
            "/tools/publish",
            "/tools/search/description",
        ]
        flows = await client.workflows.list(filter='labels.sample = "true"').collect()
        stale = {each.name for each in flows if each.freshness == Workflow.FRESHNESS_STALE}
        assert "lead-import" in stale
        assert len(stale) < len(flows) == len(sample_workflows.WORKFLOWS)

        second = await seeded(server, database_url)
        assert (second["created"], second["present"]) == (0, 18)
        for sent in ("records", "events"):
            stored = first[sent]["accepted"]
            assert second[sent] == {"accepted": 0, "duplicates": stored, "refused": 0}
        assert [each.id async for each in client.drift.list()] == [drift.id]
        again = await client.agents.list(filter='labels.sample = "true"').collect()
        assert [each.etag for each in again] == [each.etag for each in fleet]

        removed = await seeded(server, database_url, "--remove")
        assert removed["agents"] == 12
        assert removed["records"] == first["records"]["accepted"]
        assert (removed["workflows"], removed["events"]) == (6, first["events"]["accepted"])
        await client.trust.refresh()
        assert await rows(database) == before
        assert not (await client.trust.get()).HasField("trust_score")
    entries = await database.fetchval(
        "SELECT count(*) FROM audit_entries WHERE action = 'seed.remove' AND reason <> ''"
    )
    assert entries == 18
    db = Database(database_url, size=1)
    found = await verification.verify(db, DEFAULT_TENANT, retention_days=90, now=datetime.now(UTC))
    await db.close()
    assert found.differences == 0


async def test_what_is_not_of_the_sample_is_left_alone(
    server: Addresses, database_url: str
) -> None:
    mine = sample_fleet.AGENTS[0]
    async with orca.connect(server.grpc) as client:
        namesake = await client.agents.create(Agent(type=mine.kind, name=mine.name))
        labelled = await client.agents.create(
            Agent(type="bot", name="ours", labels={"sample": "true"})
        )
        record = TelemetryRecord(agent=AgentRef(type="bot", name="ours"), id="one", operations=5)
        record.observed_at.GetCurrentTime()
        await client.telemetry.record([record])

        made = await seeded(server, database_url)
        assert made["left_alone"] == [f"{mine.kind}/{mine.name}"]
        assert made["created"] == 17
        assert (await client.agents.get(namesake.id)).etag == namesake.etag

        removed = await seeded(server, database_url, "--remove")
        assert removed["agents"] == 11
        assert (await client.agents.get(namesake.id)).etag == namesake.etag
        assert (await client.agents.get(labelled.id)).operations == 5
        assert await client.telemetry.list(labelled.id).count() == 1


async def test_a_retired_one_is_left_alone(server: Addresses, database_url: str) -> None:
    await seeded(server, database_url)
    async with orca.connect(server.grpc) as client:
        retired = await client.agents.find("bot/support-triage")
        await client.agents.retire(retired.id)
        again = await seeded(server, database_url)
        assert again["left_alone"] == ["bot/support-triage"]
        assert again["records"]["accepted"] == 0


async def test_removal_needs_no_server(server: Addresses, database_url: str) -> None:
    await seeded(server, database_url)
    done = await asyncio.to_thread(run, Addresses("127.0.0.1:1", ""), database_url, "--remove")
    assert done.returncode == 0, done.stderr
    assert "12 removed" in done.stdout
    assert "the next tick computes it" in done.stdout


def test_without_a_server_it_says_what_to_do() -> None:
    nowhere = Addresses("127.0.0.1:1", "")
    done = run(nowhere, "postgresql://orca:x@127.0.0.1:1/orcamesh")
    assert done.returncode == 1
    assert "orca up" in done.stderr
    removed = run(nowhere, "postgresql://orca:x@127.0.0.1:1/orcamesh", "--remove")
    assert removed.returncode == 1
    assert "connection refused" in removed.stderr
    assert "DATABASE_UNAVAILABLE" in removed.stderr

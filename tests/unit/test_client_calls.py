"""Retries, deadlines, tokens and pages, against a real server."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

import orca
from orca.v1 import (
    agent_pb2,
    agent_service_pb2,
    system_service_pb2,
    trust_service_pb2,
    workflow_service_pb2,
)
from tests.unit.client_server import Refusal, Script, scripted_server

BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "INGEST_QUEUE_FULL", retry_after_seconds=0.1)
DOWN = Refusal(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


@pytest.mark.parametrize("passing", [BUSY, DOWN], ids=["busy", "down"])
async def test_an_idempotent_call_is_repeated(passing: Refusal) -> None:
    stored = agent_service_pb2.RecordTelemetryResponse(accepted=1)
    script = Script(answers={"RecordTelemetry": [passing, passing, stored]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        assert (await client.telemetry.record([])).accepted == 1
    assert len(script.seen) == 3


async def test_events_are_repeated_as_records_are() -> None:
    stored = workflow_service_pb2.RecordEventsResponse(accepted=1)
    script = Script(answers={"RecordEvents": [DOWN, stored]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        assert (await client.events.record([])).accepted == 1
    assert len(script.seen) == 2


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("DeleteAgent", lambda client: client.agents.delete("x")),
        ("DeleteWorkflow", lambda client: client.workflows.delete("x")),
        ("GetHealth", lambda client: client.system.health()),
    ],
    ids=["delete agent", "delete workflow", "health"],
)
async def test_a_call_whose_answer_stands_is_made_once(method: str, call: object) -> None:
    script = Script(answers={method: [DOWN]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        with pytest.raises(orca.Unavailable):
            await call(client)
    assert len(script.seen) == 1


async def test_a_refusal_is_not_repeated() -> None:
    script = Script(answers={"GetAgent": [Refusal(grpc.StatusCode.NOT_FOUND)]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        with pytest.raises(orca.NotFound):
            await client.agents.get("x")
    assert len(script.seen) == 1


async def test_the_deadline_includes_retries() -> None:
    script = Script(answers={"GetAgent": [DOWN]})
    async with scripted_server(script) as address, orca.connect(address, timeout=0.05) as client:
        with pytest.raises(orca.Temporary):
            await client.agents.get("x")
    assert len(script.seen) < 5


async def test_creating_makes_up_a_request_id_so_that_it_may_be_repeated() -> None:
    script = Script(answers={"CreateAgent": [DOWN, agent_pb2.Agent(id="a")]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        await client.agents.create(agent_pb2.Agent(type="mcp", name="x"))
    ids = [request.request_id for _, request in script.seen]
    assert len(ids) == 2
    assert ids[0] == ids[1] != ""


def _page(names: list[str], token: str) -> agent_service_pb2.ListAgentsResponse:
    agents = [agent_pb2.Agent(name=name) for name in names]
    return agent_service_pb2.ListAgentsResponse(agents=agents, next_page_token=token, total_size=3)


async def test_pages_are_read_as_one_list() -> None:
    script = Script(answers={"ListAgents": [_page(["a", "b"], "t1"), _page(["c"], "")]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        agents = client.agents.list(filter="f", show_catalog=True, page_size=2)
        assert [agent.name async for agent in agents] == ["a", "b", "c"]
    first, second = (request for _, request in script.seen)
    assert (first.page_token, first.filter, first.page_size) == ("", "f", 2)
    assert (second.page_token, second.filter, second.show_catalog) == ("t1", "f", True)


async def test_collecting_stops_at_its_limit_and_counting_reads_one_page() -> None:
    script = Script(answers={"ListAgents": [_page(["a", "b"], "t1")]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        assert len(await client.agents.list().collect(limit=3)) == 3
        assert await client.agents.list().count() == 3
    assert len(script.seen) == 3


async def test_an_instant_without_a_zone_is_refused() -> None:
    async with scripted_server(Script()) as address, orca.connect(address) as client:
        with pytest.raises(ValueError, match="time zone"):
            await client.trust.history(start=datetime(2026, 1, 1)).collect()  # noqa: DTZ001


async def test_instants_are_sent_as_they_are() -> None:
    script = Script(answers={"GetTrustHistory": [trust_service_pb2.GetTrustHistoryResponse()]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        await client.trust.history(start=datetime(2026, 1, 1, tzinfo=UTC)).collect()
    assert script.seen[0][1].start_time.ToJsonString() == "2026-01-01T00:00:00Z"


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    script = Script(answers={"GetStatus": [system_service_pb2.Status()]})
    async with (
        scripted_server(script) as address,
        orca.connect(address, token_file=path) as client,
    ):
        await client.system.status()
        replacement = tmp_path / "next"
        replacement.write_text("second\n")
        replacement.replace(path)
        await client.system.status()
    sent = [metadata["authorization"] for metadata in script.metadata]
    assert sent == ["Bearer first", "Bearer second"]


async def test_without_a_token_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_TOKEN", "from-environment")
    script = Script(answers={"GetStatus": [system_service_pb2.Status()]})
    async with scripted_server(script) as address:
        async with orca.connect(address, token="") as client:
            await client.system.status()
        async with orca.connect(address) as client:
            await client.system.status()
    assert "authorization" not in script.metadata[0]
    assert script.metadata[1]["authorization"] == "Bearer from-environment"


def _agents(*names: str) -> agent_service_pb2.ListAgentsResponse:
    found = [agent_pb2.Agent(type="mcp", name=name, id=name) for name in names]
    return agent_service_pb2.ListAgentsResponse(agents=found, total_size=len(found))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("git", 'name = "git"'),
        ("mcp/git", 'name = "mcp/git" OR (type = "mcp" AND name = "git")'),
        ('a"b\\', 'name = "a\\"b\\\\"'),
    ],
    ids=["name", "type and name", "quoted"],
)
async def test_a_reference_becomes_a_filter(reference: str, expected: str) -> None:
    script = Script(answers={"ListAgents": [_agents("found")]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        assert (await client.agents.find(reference)).id == "found"
    assert script.seen[0][1].filter == expected
    assert script.seen[0][1].show_catalog


async def test_an_id_is_looked_up_as_one() -> None:
    id = "01890a5d-ac96-774b-bcce-b302099a8057"
    script = Script(answers={"GetAgent": [agent_pb2.Agent(id=id)]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        assert (await client.agents.find(id)).id == id


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [((), orca.NotFound, "AGENT_NOT_FOUND"), (("a", "b"), orca.InvalidRequest, "AGENT_AMBIGUOUS")],
    ids=["none", "several"],
)
async def test_a_reference_must_mean_one_agent(
    found: tuple[str, ...], kind: type[orca.OrcaError], reason: str
) -> None:
    script = Script(answers={"ListAgents": [_agents(*found)]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        with pytest.raises(kind) as caught:
            await client.agents.find("a")
    assert caught.value.reason == reason

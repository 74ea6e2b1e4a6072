"""The client's part for workflows against a real server, with and without async."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import orca
from orca.v1.workflow_pb2 import Workflow
from orca_server.app import Addresses


@pytest.fixture
async def client(server: Addresses) -> AsyncIterator[orca.Client]:
    """A client of a real server."""
    async with orca.connect(server.grpc, token="") as opened:
        yield opened


async def test_a_workflow_lives_its_life(client: orca.Client) -> None:
    given = Workflow(provider="n8n", name="life", labels={"team": "x"})
    created = await client.workflows.create(given, reason="a test")
    assert created.state == Workflow.STATE_ACTIVE
    assert await client.workflows.get(created.id) == created
    described = Workflow(id=created.id, owner="new", etag=created.etag)
    updated = await client.workflows.update(described, update_mask=["owner"])
    assert (updated.owner, updated.labels) == ("new", {"team": "x"})
    with pytest.raises(orca.Changed) as caught:
        await client.workflows.pause(created.id, etag=created.etag)
    assert caught.value.reason == "ETAG_MISMATCH"
    assert (await client.workflows.pause(created.id)).state == Workflow.STATE_PAUSED
    assert (await client.workflows.resume(created.id)).state == Workflow.STATE_ACTIVE
    assert (await client.workflows.retire(created.id)).state == Workflow.STATE_RETIRED
    await client.workflows.delete(created.id)
    with pytest.raises(orca.NotFound) as missing:
        await client.workflows.get(created.id)
    assert missing.value.reason == "WORKFLOW_NOT_FOUND"


async def test_a_workflow_is_created_where_it_is_missing(client: orca.Client) -> None:
    workflow = Workflow(provider="n8n", name="upsert", external_id="7")
    with pytest.raises(orca.NotFound):
        await client.workflows.update(workflow)
    first = await client.workflows.update(workflow, allow_missing=True)
    assert await client.workflows.update(workflow, allow_missing=True) == first


async def test_pages_are_one_list(client: orca.Client) -> None:
    for number in range(7):
        await client.workflows.create(Workflow(provider="n8n", name=f"n{number}"))
    pages = client.workflows.list(order_by="name desc", page_size=3)
    names = [workflow.name async for workflow in pages]
    assert names == [f"n{number}" for number in range(6, -1, -1)]
    assert [len(page.workflows) async for page in pages.pages()] == [3, 3, 1]
    assert await client.workflows.list(filter="name = n1 OR name = n2").count() == 2


@pytest.mark.parametrize("name", ["plain", "owner/repo/ci.yml", "a*b", 'q"uo\\te', "%_", "é"])
async def test_any_name_is_found_as_it_is_written(client: orca.Client, name: str) -> None:
    wanted = await client.workflows.create(Workflow(provider="n8n", name=name))
    await client.workflows.create(Workflow(provider="n8n", name="aXb"))
    for reference in (name, f"n8n/{name}", wanted.id):
        assert (await client.workflows.find(reference)).id == wanted.id


async def test_a_name_of_two_providers_is_ambiguous_and_none_is_missing(
    client: orca.Client,
) -> None:
    for provider in ("n8n", "airflow"):
        await client.workflows.create(Workflow(provider=provider, name="twin"))
    with pytest.raises(orca.InvalidRequest) as caught:
        await client.workflows.find("twin")
    assert caught.value.reason == "WORKFLOW_AMBIGUOUS"
    assert "airflow/twin" in caught.value.metadata["candidates"]
    assert (await client.workflows.find("airflow/twin")).provider == "airflow"
    with pytest.raises(orca.NotFound) as missing:
        await client.workflows.find("nobody")
    assert missing.value.reason == "WORKFLOW_NOT_FOUND"


async def test_the_same_without_async(server: Addresses) -> None:
    def work() -> list[str]:
        with orca.connect_sync(server.grpc, token="") as client:
            for name in ("a", "b"):
                client.workflows.create(Workflow(provider="n8n", name=name))
            return [workflow.name for workflow in client.workflows.list(page_size=1)]

    assert await asyncio.to_thread(work) == ["a", "b"]

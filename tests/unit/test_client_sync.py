"""The client without async is the async one, on a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

import orca
from orca.v1 import agent_pb2, agent_service_pb2
from orca.v1.telemetry_pb2 import TelemetryRecord
from tests.unit.client_server import Refusal, Script, scripted_server


@contextmanager
def _server(script: Script) -> Iterator[str]:
    """A scripted server on a loop in another thread, since the test itself blocks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = scripted_server(script)
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_calls_lists_streams_and_errors_work_without_async() -> None:
    page = agent_service_pb2.ListAgentsResponse(agents=[agent_pb2.Agent(name="a")], total_size=1)
    script = Script(
        answers={"ListAgents": [page], "GetAgent": [Refusal(grpc.StatusCode.NOT_FOUND, "GONE")]}
    )
    with _server(script) as address, orca.connect_sync(address, token="") as client:
        assert [agent.name for agent in client.agents.list()] == ["a"]
        assert client.agents.list().count() == 1
        assert client.agents.find("a").name == "a"
        assert [len(found.agents) for found in client.agents.list().pages()] == [1]
        receipts = client.telemetry.stream([[TelemetryRecord()], [TelemetryRecord()]])
        assert [receipt.batch_id for receipt in receipts] == ["0", "1"]
        with pytest.raises(orca.NotFound) as caught:
            client.agents.get("x")
        assert caught.value.reason == "GONE"
    assert "orca-client" not in {thread.name for thread in threading.enumerate()}


def test_a_client_that_cannot_be_made_leaves_no_thread() -> None:
    with pytest.raises(orca.ConfigurationError):
        orca.connect_sync("ftp://nowhere")
    assert "orca-client" not in {thread.name for thread in threading.enumerate()}


def test_its_parts_show_the_same_methods() -> None:
    with orca.connect_sync("localhost:1") as client:
        assert {"get", "list", "enrol", "update"} <= set(dir(client.agents))
        assert client.agents.get.__doc__ == "One agent, by id."
        with pytest.raises(AttributeError):
            client.agents.missing  # noqa: B018

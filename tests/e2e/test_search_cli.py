"""`orca search` as a shell runs it, against a real server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import orca
from orca.v1.agent_pb2 import Agent
from tests.servers import PostgresServer
from tests.serving import server_process

ORCA = str(Path(sys.executable).with_name("orca"))


@pytest.fixture(scope="module")
def address(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a server that knows two agents and finds them."""
    with postgres.database(template) as url, server_process(url) as server:
        target = server.start().grpc
        while _orca("status", address=target).returncode != 0:
            time.sleep(0.05)
        with orca.connect_sync(target, token="") as client:
            client.agents.create(Agent(type="mcp", name="tracker", description="GitHub issues."))
            client.agents.create(
                Agent(type="bot", name="weather", description="Forecasts\nof rain.")
            )
            while len(client.agents.search("github issues")) < 2:
                time.sleep(0.05)
        yield target


def _orca(*arguments: str, address: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address}
    return subprocess.run(
        [ORCA, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_people_read_what_was_found_and_why(address: str) -> None:
    found = _orca("search", "read issues from github", address=address)
    assert found.returncode == 0, found.stderr
    head, first, *_ = found.stdout.splitlines()
    assert head.split() == ["AGENT", "STATE", "SCORE", "WHY", "DESCRIPTION"]
    assert first.split()[:3] == ["mcp/tracker", "active", "1.0000"]
    assert "description: issues github" in first


def test_words_need_no_quotes_and_programs_read_json(address: str) -> None:
    found = _orca("search", "rain", "tomorrow", "--limit", "1", "-o", "json", address=address)
    (hit,) = json.loads(found.stdout)["hits"]
    assert hit["agent"]["name"] == "weather"
    assert hit["matches"] == [{"field": "description", "words": ["rain"], "tools": []}]


def test_nothing_found_is_said(address: str) -> None:
    found = _orca("search", "rain", "--filter", "type = nothing", address=address)
    assert found.returncode == 0
    assert "No agent was found." in found.stderr


def test_a_wrong_filter_is_a_failure_with_its_reason(address: str) -> None:
    found = _orca("search", "rain", "--filter", "x", address=address)
    assert found.returncode == 1
    assert "[FILTER_INVALID]" in found.stderr

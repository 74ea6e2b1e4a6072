"""What tests that type `orca` have in common: a server, commands, and what is stored."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import PostgresServer
from tests.serving import server_process

ORCA = str(Path(sys.executable).with_name("orca"))
SHARED = Path(os.environ.get("ORCA_SHARED", Path(__file__).parents[3] / "shared")) / "data"
whole_sets = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the whole data sets are not at {SHARED}: set ORCA_SHARED"
)


@pytest.fixture(scope="module")
def address(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a real server, shared by this module's tests."""
    with postgres.database(template) as url, server_process(url) as server:
        target = server.start().grpc
        while run_orca("status", address=target).returncode != 0:
            time.sleep(0.05)
        yield target


def run_orca(
    *arguments: object, address: str, stdin: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """A command of orca's, run to its end; `more` are environment variables."""
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address, **more}
    return subprocess.run(
        [ORCA, *map(str, arguments)],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def printed(*arguments: object, address: str, **more: Any) -> str:
    """What a command prints that must succeed."""
    result = run_orca(*arguments, address=address, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def parsed(*arguments: object, address: str, **more: Any) -> Any:
    """The same as JSON."""
    return json.loads(printed(*arguments, "--output", "json", address=address, **more))


def create_agent(address: str, name: str, **record: object) -> str:
    """An agent of the fleet, made as the probe makes one; returns its id."""
    import orca
    from orca.v1.agent_pb2 import Agent

    with orca.connect_sync(address, token="") as client:
        created = client.agents.update(Agent(type="mcp", name=name), allow_missing=True)
        return str(created.id)

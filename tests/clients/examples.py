"""The example of each client, beside one `orca up`.

`make test-typescript` and `make test-go` build them and run theirs. The file is not called test_…,
so that `make test` leaves it out: that needs neither Node nor Go.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import orca
from tests.clients.flaky import flaky
from tests.e2e.test_up import Up, running

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "typescript": ("node", str(ROOT / "clients/typescript/dist/examples/fleet.js")),
    "go": (str(ROOT / "build/go-example"),),
}
ANOTHER_MACHINE = "192.0.2.1:50051"  # reserved for documents

Command = tuple[str, ...]


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    """`orca up` on free ports."""
    with running((sys.executable, "-m", "orca_server")) as up:
        up.start()
        up.environment["ORCA_ADDRESS"] = f"127.0.0.1:{up.environment['ORCA_GRPC_PORT']}"
        yield up


@pytest.fixture(params=EXAMPLES.values(), ids=EXAMPLES)
def command(request: pytest.FixtureRequest) -> Command:
    """What runs the example."""
    found: Command = request.param
    return found


def run(stack: Up, command: Command, **settings: str) -> subprocess.CompletedProcess[str]:
    """The example, to its end."""
    return subprocess.run(
        command,
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def holds(stack: Up, command: Command, **settings: str) -> None:
    """Runs it, and holds what it printed to what the server says."""
    with orca.connect_sync(stack.environment["ORCA_ADDRESS"]) as client:
        before = sum(agent.operations for agent in client.agents.list())
        done = run(stack, command, **settings)
        assert done.returncode == 0, done.stderr
        trust = client.trust.get()
        agents = client.agents.list().collect()
    parts = trust.components
    assert sum(agent.operations for agent in agents) == before + 200
    assert done.stdout.splitlines() == [
        *(f"agent {agent.type}/{agent.name}" for agent in agents),
        "first: accepted 1, duplicates 0",
        "again: accepted 0, duplicates 1",
        f"trust {trust.trust_ppb}",
        f"component agentUptime: {parts.agent_uptime.contribution_ppb}",
        f"component policyAdherence: {parts.policy_adherence.contribution_ppb}",
        "component syncFreshness: not measured",
        f"component riskExposure: {parts.risk_exposure.contribution_ppb}",
    ]
    assert trust.trust_ppb > 900_000_000


def test_it_lists_reports_once_and_explains(stack: Up, command: Command) -> None:
    holds(stack, command)


def test_what_is_lost_on_the_way_is_sent_again(stack: Up, command: Command) -> None:
    with flaky(stack.environment["ORCA_ADDRESS"]) as (address, lost):
        holds(stack, command, ORCA_ADDRESS=address)
    names = {method.rpartition("/")[2] for method in lost}
    assert names == {"UpdateAgent", "ListAgents", "RecordTelemetry", "RefreshTrust"}


def test_a_token_is_sent_and_a_refusal_told_with_its_reason(stack: Up, command: Command) -> None:
    refused = run(stack, command, ORCA_TOKEN="nonsense")
    assert refused.returncode == 1
    assert "TOKEN_INVALID" in refused.stderr
    viewer = stack.run("tokens", "create", "--role", "viewer", "--ttl", "1h").stdout.split()[-1]
    refused = run(stack, command, ORCA_TOKEN=viewer)
    assert refused.returncode == 1
    assert "SCOPE_MISSING" in refused.stderr


def test_a_token_does_not_leave_the_machine_unencrypted(stack: Up, command: Command) -> None:
    refused = run(stack, command, ORCA_TOKEN="secret", ORCA_ADDRESS=ANOTHER_MACHINE)
    assert refused.returncode == 1
    assert f"unencrypted to {ANOTHER_MACHINE}" in refused.stderr
    assert "secret" not in refused.stderr

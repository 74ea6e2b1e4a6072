"""`orca violations` and `orca drift`, as a shell sees them."""

import json
import time
from datetime import UTC, datetime, timedelta

import orca
from orca.times import timestamp
from orca.v1.agent_pb2 import Agent
from orca.v1.drift_pb2 import AgentObservation
from tests.e2e.commands import address, parsed, printed, run_orca
from tests.e2e.test_cli_views import _on_terminal

__all__ = ["address"]


def _drifted(address: str, name: str) -> str:
    """The id of the drift of an agent that told one version, and then another."""
    with orca.connect_sync(address, token="") as client:
        agent = client.agents.create(Agent(type="mcp", name=name))
        for ago, version in ((2, "1.0"), (1, "2.0")):
            at = timestamp(datetime.now(UTC) - timedelta(minutes=ago))
            seen = AgentObservation(observed_at=at, version=version)
            drift = client.agents.observe(agent.id, seen).drift
    return drift[0].id


def test_violations_are_listed_until_they_are_resolved(address: str) -> None:
    with orca.connect_sync(address, token="") as client:
        client.agents.create(Agent(type="mcp", name="leaky"))
    command = ("telemetry", "send", "--agent", "leaky", "--violations", "2", "--rule", "pii")
    printed(*command, address=address)
    ours = ("violations", "list", "--filter", 'name = "leaky" OR name = "nobody"')
    while not (found := parsed(*ours, address=address)["violations"]):  # the next tick
        time.sleep(0.05)
    (violation,) = found
    assert (violation["rule"], violation["violations"]) == ("pii", 2)
    resolve = ("violations", "resolve", violation["id"])
    assert run_orca(*resolve, address=address).returncode == 2, "a reason is needed"
    assert "prompt mended" in printed(*resolve, "--reason", "prompt mended", address=address)
    assert parsed(*ours, address=address)["violations"] == []
    (violation,) = parsed(*ours, "--all", address=address)["violations"]
    assert violation["resolution"] == "operator"
    again = run_orca(*resolve, "--reason", "again", address=address)
    assert again.returncode == 1
    assert "[VIOLATION_RESOLVED]" in again.stderr
    assert "orca violations list --all" in again.stderr


def test_drift_is_shown_field_by_field_and_accepted(address: str) -> None:
    drift = _drifted(address, "clock")
    listed = printed("drift", "list", "--filter", 'name = "clock"', address=address)
    assert "FIRST PATH" in listed
    assert "/version" in listed
    shown = printed("drift", "show", drift, address=address)
    assert '/version  "1.0"     →  "2.0"' in shown
    assert "\x1b" not in shown
    coloured = _on_terminal("drift", "show", drift, address=address)
    assert '\x1b[31m"1.0"' in coloured
    assert '\x1b[32m"2.0' in coloured
    (difference,) = parsed("drift", "show", drift, address=address)["differences"]
    assert (difference["path"], difference["accepted"]) == ("/version", "1.0")
    stale = run_orca("drift", "accept", drift, "--etag", "0123456789abcdef", address=address)
    assert (stale.returncode, "[ETAG_MISMATCH]" in stale.stderr) == (1, True)
    etag = parsed("drift", "show", drift, address=address)["etag"]
    accepted = parsed("drift", "accept", drift, "--etag", etag, "--reason", "ours", address=address)
    assert (accepted["resolution"], accepted["reason"]) == ("accepted", "ours")
    assert parsed("agents", "get", "clock", address=address)["version"].startswith("2.0")
    assert "accepted" in printed("drift", "list", "--all", "-o", "csv", address=address)
    again = run_orca("drift", "accept", drift, address=address)
    assert (again.returncode, "[DRIFT_RESOLVED]" in again.stderr) == (1, True)


def test_a_drift_that_is_not_there_is_said_so(address: str) -> None:
    missing = run_orca("drift", "show", "0198f3e1-7a52-7000-8000-000000000000", address=address)
    assert (missing.returncode, "[DRIFT_NOT_FOUND]" in missing.stderr) == (1, True)
    wrong = run_orca("drift", "show", "clock", address=address)
    assert wrong.returncode == 1
    assert json.loads(printed("drift", "list", "--limit", "1", "-o", "json", address=address))

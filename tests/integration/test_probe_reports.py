"""What a probe of the fleet reports to a real server."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

import orca
from orca.v1.agent_pb2 import Agent, AgentEndpoint
from orca.v1.telemetry_pb2 import TelemetryRecord
from orca_adapters.probe import Report, probe_all
from orca_adapters.probe_config import ProbeConfig, Target, load_config
from orca_adapters.probe_limits import Limits
from orca_adapters.probe_mcp import Finding, State
from orca_server.app import Addresses
from tests.integration.probes import BROKEN, GOOD, IMPATIENT, TOOLS, answering, good_url
from tests.servers import free_port

__all__ = ["good_url"]


# With a real server of ours: what is reported.


@pytest.fixture
async def client(server: Addresses) -> AsyncIterator[orca.Client]:
    """A client of a real server."""
    async with orca.connect(server.grpc, token="") as opened:
        yield opened


async def _only_record(client: orca.Client, name: str) -> TelemetryRecord:
    agent = await client.agents.find(name)
    (stored,) = await client.telemetry.list(agent.id).collect()
    return stored.record


async def test_what_is_found_becomes_telemetry_and_tools(
    client: orca.Client, good_url: str
) -> None:
    with answering(401) as closed, answering(200) as other:
        targets = (
            Target(agent="mcp/good", command=sys.executable, args=(GOOD,)),
            Target(agent="mcp/good-http", url=good_url),
            Target(agent="mcp/closed", url=closed),
            Target(agent="mcp/other", url=other),
            Target(agent="mcp/gone", url=f"http://127.0.0.1:{free_port()}/mcp"),
        )
        reports = await probe_all(client, ProbeConfig(agents=targets))
    assert [each.problem for each in reports] == [None] * 5
    for name in ("mcp/good", "mcp/good-http"):
        agent = await client.agents.find(name)
        assert [tool.name for tool in agent.tools] == TOOLS
        assert agent.tools[0].input_schema["required"] == ["city"]
        assert agent.version == "1.2.3"
        record = await _only_record(client, name)
        assert (record.operations, record.errors) == (1, 0)
        assert record.latency_ms > 0
        assert record.attributes["probe.state"] == "speaks-mcp"
    closed_record = await _only_record(client, "mcp/closed")
    assert (closed_record.operations, closed_record.errors) == (0, 0)
    assert closed_record.attributes["probe.state"] == "auth-required"
    assert closed_record.attributes["probe.http_status"] == 401
    for name, state in (("mcp/other", "not-mcp"), ("mcp/gone", "unreachable")):
        record = await _only_record(client, name)
        assert (record.operations, record.errors) == (1, 1)
        assert record.attributes["probe.state"] == state
        assert not record.HasField("latency_ms")


async def _create(client: orca.Client, name: str, endpoint: AgentEndpoint) -> Agent:
    return await client.agents.create(Agent(type="mcp", name=name, endpoint=endpoint))


def _by_name(reports: list[Report]) -> dict[str, Finding]:
    assert [each.problem for each in reports if each.problem is not None] == []
    return {each.name: each.finding for each in reports}


async def test_what_differs_from_what_was_accepted_is_drift(client: orca.Client) -> None:
    agent = await client.agents.create(Agent(type="mcp", name="good", version="1.0.0"))
    target = Target(agent=agent.id, command=sys.executable, args=(GOOD,))
    config = ProbeConfig(agents=(target,))
    for _ in range(2):
        (report,) = await probe_all(client, config)
        assert report.drift == ("version",)
    (drift,) = await client.drift.list(filter="resolved = false").collect()
    assert [(one.path, one.accepted, one.observed) for one in drift.differences] == [
        ("/version", Value(string_value="1.0.0"), Value(string_value="1.2.3"))
    ]
    await client.drift.accept(drift.id, etag=drift.etag)
    (report,) = await probe_all(client, config)
    assert report.drift == ()


async def test_commands_of_the_fleet_are_started_only_if_listed(
    client: orca.Client, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    good = AgentEndpoint(command=sys.executable, args=[GOOD])
    listed = await _create(client, "listed", good)
    evil = AgentEndpoint(command=sys.executable, args=["-c", f"open({str(mark)!r}, 'w')"])
    unlisted = await _create(client, "unlisted", evil)
    await _create(client, "bare", AgentEndpoint())
    config = ProbeConfig(filter='type = "mcp"', allow_commands=(f"{sys.executable} {GOOD}",))
    found = _by_name(await probe_all(client, config))
    assert found["mcp/listed"].state is State.SPEAKS_MCP
    assert found["mcp/unlisted"].state is State.NOT_TRIED
    assert "allow_commands" in found["mcp/unlisted"].message
    assert found["mcp/bare"].state is State.NOT_TRIED
    assert not mark.exists()
    assert len(await client.telemetry.list(listed.id).collect()) == 1
    assert await client.telemetry.list(unlisted.id).collect() == []


async def test_suspended_agents_of_the_fleet_are_left_alone(client: orca.Client) -> None:
    agent = await _create(client, "asleep", AgentEndpoint(url="http://127.0.0.1:1/mcp"))
    await client.agents.suspend(agent.id)
    assert await probe_all(client, ProbeConfig(filter='type = "mcp"')) == []


async def test_references_of_the_fleet_are_resolved_only_if_allowed(
    client: orca.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEATHER_KEY", "s3cret")
    script = "import os, sys; sys.stderr.write('key ' + os.environ['KEY'])"
    endpoint = AgentEndpoint(
        command=sys.executable, args=["-c", script], env={"KEY": "${WEATHER_KEY}"}
    )
    agent = await _create(client, "weather", endpoint)
    allowed: dict[str, Any] = {"filter": 'type = "mcp"', "allow_commands": (sys.executable,)}
    found = _by_name(await probe_all(client, ProbeConfig(**allowed)))
    assert found["mcp/weather"].state is State.NOT_TRIED
    assert await client.telemetry.list(agent.id).collect() == []
    allowed["allow_variables"] = ("WEATHER_KEY",)
    found = _by_name(await probe_all(client, ProbeConfig(**allowed)))
    assert found["mcp/weather"].state is State.UNREACHABLE
    assert "key ${WEATHER_KEY}" in found["mcp/weather"].message
    record = await _only_record(client, "mcp/weather")
    assert "s3cret" not in str(record)
    assert (await client.agents.get(agent.id)).endpoint.env == {"KEY": "${WEATHER_KEY}"}


async def test_a_command_sees_only_the_environment_that_is_listed(
    client: orca.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "x")
    monkeypatch.setenv("LISTED", "y")
    file = tmp_path / "environment"
    script = f"import os; open({str(file)!r}, 'w').write(' '.join(os.environ))"
    target = Target(
        agent="mcp/nosy", command=sys.executable, args=("-c", script), env={"OWN": "${LISTED}"}
    )
    await probe_all(client, ProbeConfig(agents=(target,), environment=("LISTED",)))
    seen = set(file.read_text().split()) - {"LC_CTYPE"}  # Python sets that one itself
    assert seen == {"PATH", "LISTED", "OWN"}


async def test_what_cannot_be_tried_is_unmeasured(client: orca.Client) -> None:
    targets = (
        Target(agent="mcp/missing", command="no-such-program-of-orca"),
        Target(agent="mcp/unset", url="http://127.0.0.1:1/${ORCA_TEST_UNSET}"),
    )
    found = _by_name(await probe_all(client, ProbeConfig(agents=targets)))
    assert {each.state for each in found.values()} == {State.NOT_TRIED}
    with pytest.raises(orca.NotFound):
        await client.agents.find("mcp/missing")


async def test_an_agent_that_the_server_does_not_know_is_a_problem(client: orca.Client) -> None:
    (report,) = await probe_all(client, ProbeConfig(agents=(Target(agent="mcp/unknown"),)))
    assert report.finding.state is State.NOT_TRIED
    assert report.problem is not None
    assert report.problem.reason == "AGENT_NOT_FOUND"


async def test_one_that_hangs_does_not_keep_the_others(client: orca.Client) -> None:
    targets = (
        Target(agent="mcp/hang", command=sys.executable, args=(BROKEN, "hang")),
        Target(agent="mcp/good", command=sys.executable, args=(GOOD,)),
    )
    config = ProbeConfig(agents=targets, timeout_seconds=IMPATIENT + 2, concurrency=1)
    found = _by_name(await probe_all(client, config))
    assert found["mcp/hang"].state is State.UNREACHABLE
    assert found["mcp/good"].state is State.SPEAKS_MCP


CONFIG = """
timeout_seconds: 5
limits: {memory_mb: 256}
environment: [HOME]
agents:
  - agent: mcp/weather
    command: python3
    args: [weather.py]
"""


def test_a_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text(CONFIG)
    config = load_config(path, {"allow_commands": ("npx -y server",)})
    assert config.agents[0].args == ("weather.py",)
    assert config.limits.limits() == Limits(memory_mb=256)
    assert config.folder == tmp_path
    assert config.allows(("npx", "-y", "server", "more"))
    assert not config.allows(("npx", "-y"))
    assert not config.allows(("npx", "-y", "server2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agents: [{agent: a, comand: b}]", "agents.0.comand"),
        ("agents: [{agent: a, url: u, command: b}]", "not both"),
        ("agents: [{agent: a, args: [x]}]", "need a command"),
        ("timeout_seconds: 0\nfilter: x", "timeout_seconds"),
        ("{}", "name agents, or give a filter"),
        ("[1]", "no map"),
        ("a: [", "probe.yaml"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text(text)
    with pytest.raises(orca.ConfigurationError) as caught:
        load_config(path, {})
    assert words in str(caught.value)
    assert caught.value.reason == "PROBE_CONFIG_INVALID"

"""The probe against real MCP servers, good and broken, and a real ORCA server."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from google.protobuf.struct_pb2 import Value

import orca
from orca.v1.agent_pb2 import Agent, AgentEndpoint
from orca.v1.telemetry_pb2 import TelemetryRecord
from orca_adapters.probe import Report, probe_all
from orca_adapters.probe_config import ProbeConfig, Target, load_config
from orca_adapters.probe_limits import Limits
from orca_adapters.probe_mcp import Finding, State, probe_http, probe_stdio
from orca_adapters.probe_stdio import Start
from orca_server.app import Addresses
from tests.servers import free_port

SERVERS = Path(__file__).parents[1] / "mcp_servers"
GOOD, BROKEN = str(SERVERS / "good.py"), str(SERVERS / "broken.py")
TOOLS = ["forecast", "environment"]
PATIENT, IMPATIENT = 30.0, 3.0

pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")


def _start(*command: str, environment: dict[str, str] | None = None, **limits: int) -> Start:
    variables = {"PATH": os.environ["PATH"], **(environment or {})}
    return Start((sys.executable, *command), variables, SERVERS, Limits(**limits))


async def _broken(mode: str, *more: str, seconds: float = PATIENT, **limits: int) -> Finding:
    return await probe_stdio(_start(BROKEN, mode, *more, **limits), seconds)


@contextmanager
def _http(status: int, body: bytes = b"no", kind: str = "text/html") -> Iterator[str]:
    """The URL of an HTTP server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST  # noqa: N815 - so http.server wants it

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mcp"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def good_url() -> Iterator[str]:
    """The URL of a good MCP server of streamable HTTP."""
    port = free_port()
    process = subprocess.Popen([sys.executable, GOOD, str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        while True:
            assert process.poll() is None
            try:
                httpx2.get(url)
                break
            except httpx2.ConnectError:
                continue
        yield url
    finally:
        process.terminate()
        process.wait()


async def test_a_good_server_on_stdio_speaks_mcp() -> None:
    found = await probe_stdio(_start(GOOD), PATIENT)
    assert (found.state, found.failed, found.message) == (State.SPEAKS_MCP, False, "")
    assert (found.server_name, found.version) == ("weather", "1.2.3")
    assert [tool.name for tool in found.tools or ()] == TOOLS
    assert found.latency_ms is not None
    assert found.initialize_ms is not None
    assert 0 < found.initialize_ms <= found.latency_ms
    assert found.protocol


async def test_a_good_server_on_http_speaks_mcp(good_url: str) -> None:
    found = await probe_http(good_url, {}, PATIENT)
    assert (found.state, found.version) == (State.SPEAKS_MCP, "1.2.3")
    assert [tool.name for tool in found.tools or ()] == TOOLS


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [
        ("exits", State.UNREACHABLE, "ended with code 3 without an answer; it said: no config"),
        ("other_protocol", State.NOT_MCP, "not MCP"),
    ],
)
async def test_a_server_that_is_broken_at_once(mode: str, state: State, words: str) -> None:
    found = await _broken(mode)
    assert found.state is state
    assert words in found.message
    assert found.tools is None
    assert found.latency_ms is None


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [
        ("hang", State.UNREACHABLE, "no answer in 3 s"),
        ("garbage", State.NOT_MCP, "it answers, but not MCP"),
        ("endless", State.NOT_MCP, "it answers, but not MCP"),
    ],
)
async def test_a_server_that_must_be_given_up(mode: str, state: State, words: str) -> None:
    found = await _broken(mode, seconds=IMPATIENT)
    assert found.state is state
    assert words in found.message


async def test_a_server_that_cannot_list_its_tools_speaks_mcp_and_fails() -> None:
    found = await _broken("tools_fail")
    assert (found.state, found.failed, found.version) == (State.SPEAKS_MCP, True, "0.1")
    assert found.tools is None
    assert found.latency_ms is None


async def test_memory_is_limited() -> None:
    found = await _broken("hog", memory_mb=256)
    assert found.state is State.UNREACHABLE
    assert "MemoryError" in found.message


async def test_cpu_time_is_limited() -> None:
    found = await _broken("spin", cpu_seconds=1)
    assert found.state is State.UNREACHABLE
    assert "SIGXCPU" in found.message


def _is_gone(pid: int) -> bool:
    """Whether a process ended; one that waits to be reaped has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _until(is_so: Callable[[], bool]) -> None:
    """Waits for what the kernel or another process does; the test's own limit ends it."""
    while not is_so():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("mode", ["family", "stubborn"])
async def test_nobody_of_its_process_group_is_left(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    found = await _broken(mode, str(file), seconds=IMPATIENT)
    assert found.state is State.UNREACHABLE
    pid = int(file.read_text())
    await _until(lambda: _is_gone(pid))


async def test_a_probe_that_is_cancelled_leaves_nobody(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task = asyncio.create_task(_broken("stubborn", str(file)))
    await _until(lambda: _content(file) != "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: _is_gone(int(file.read_text())))


async def test_a_started_command_dies_with_the_probe(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = (
        "import asyncio, sys; from pathlib import Path; "
        "from orca_adapters.probe_mcp import probe_stdio; "
        "from orca_adapters.probe_limits import Limits; "
        "from orca_adapters.probe_stdio import Start; "
        f"start = Start((sys.executable, {BROKEN!r}, 'stubborn', {str(file)!r}), {{}}, Path('/'), "
        "Limits()); asyncio.run(probe_stdio(start, 60))"
    )
    probe = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    await _until(lambda: _content(file) != "" or probe.returncode is not None)
    probe.kill()
    assert await probe.wait() == -signal.SIGKILL
    await _until(lambda: _is_gone(int(file.read_text())))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (401, State.AUTH_REQUIRED),
        (403, State.AUTH_REQUIRED),
        (405, State.METHOD_NOT_ALLOWED),
        (429, State.RATE_LIMITED),
        (200, State.NOT_MCP),
        (404, State.NOT_MCP),
        (500, State.NOT_MCP),
        (503, State.UNREACHABLE),
    ],
)
async def test_what_an_http_status_means(status: int, state: State) -> None:
    with _http(status) as url:
        found = await probe_http(url, {}, PATIENT)
    assert found.state is state
    assert found.http_status == status
    assert found.tools is None


async def test_json_that_is_no_json_rpc_is_no_mcp() -> None:
    with _http(200, b'{"hello": "world"}', "application/json") as url:
        found = await probe_http(url, {}, PATIENT)
    assert found.state is State.NOT_MCP


async def test_nobody_listening_is_unreachable() -> None:
    found = await probe_http(f"http://127.0.0.1:{free_port()}/mcp", {}, PATIENT)
    assert found.state is State.UNREACHABLE
    assert found.http_status is None


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
    with _http(401) as closed, _http(200) as other:
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

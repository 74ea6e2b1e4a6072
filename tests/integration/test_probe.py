"""The probe against real MCP servers, good and broken: what is found, and that nobody is left."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orca_adapters.probe_limits import Limits
from orca_adapters.probe_mcp import Finding, State, probe_http, probe_stdio
from orca_adapters.probe_stdio import Start
from tests.integration.probes import (
    BROKEN,
    GOOD,
    IMPATIENT,
    PATIENT,
    SERVERS,
    TOOLS,
    answering,
    good_url,
)
from tests.servers import free_port

__all__ = ["good_url"]
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")


def _start(*command: str, environment: dict[str, str] | None = None, **limits: int) -> Start:
    variables = {"PATH": os.environ["PATH"], **(environment or {})}
    return Start((sys.executable, *command), variables, SERVERS, Limits(**limits))


async def _broken(mode: str, *more: str, seconds: float = PATIENT, **limits: int) -> Finding:
    return await probe_stdio(_start(BROKEN, mode, *more, **limits), seconds)


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
    with answering(status) as url:
        found = await probe_http(url, {}, PATIENT)
    assert found.state is state
    assert found.http_status == status
    assert found.tools is None


async def test_json_that_is_no_json_rpc_is_no_mcp() -> None:
    with answering(200, b'{"hello": "world"}', "application/json") as url:
        found = await probe_http(url, {}, PATIENT)
    assert found.state is State.NOT_MCP


async def test_nobody_listening_is_unreachable() -> None:
    found = await probe_http(f"http://127.0.0.1:{free_port()}/mcp", {}, PATIENT)
    assert found.state is State.UNREACHABLE
    assert found.http_status is None

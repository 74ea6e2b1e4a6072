"""`orca up`: PostgreSQL, server and gateway on this machine, until Ctrl-C."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import typer

from orca_server.cli.local_failures import told_plainly

if TYPE_CHECKING:
    from orca_server.local.datadir import DataFolder
    from orca_server.local.settings import StackSettings


def mount(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("up")(up)


def up() -> None:
    """Run the whole thing on this machine: PostgreSQL, server, gateway. Ctrl-C stops it.

    Settings: ORCA_REST_PORT (3000), ORCA_GRPC_PORT (50051), ORCA_DB_PORT (54329), ORCA_DATA_DIR,
    ORCA_DB_DIR, ORCA_ALLOWED_HOSTS, and all those of `orca serve`.

    Example: orca up
    """
    from orca_server.local import settings as local
    from orca_server.local.datadir import DataFolder

    with told_plainly():
        settings = local.load(for_server=True)
        data = DataFolder(settings.data_folder)
        data.create()
        with data.locked():
            killed = asyncio.run(_run(settings, data))
    if killed:
        sys.exit(130)


class _Signals:
    """The first signal asks to stop, the second not to wait."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._came)

    def _came(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _run(settings: "StackSettings", data: "DataFolder") -> bool:
    """Runs the stack until a signal; whether a second one killed it."""
    from orca_server.local.stack import Stack

    signals = _Signals()
    stack = Stack(settings, data, _say)
    try:
        try:
            if await _unless(signals.first, stack.start()):
                _say(welcome(settings, data))
                await signals.first.wait()
            _say("Stopping: calls in flight are finished first; Ctrl-C again kills.")
        finally:
            signals.first.set()
            finished = await _unless(signals.second, stack.stop())
    finally:
        stack.kill()  # nothing is left, whatever happened above
    _say("Stopped." if finished else "Killed.")
    return not finished


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before the event, which cancels it."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False
    task.result()
    return True


def welcome(settings: "StackSettings", data: "DataFolder") -> str:
    """What a person needs to know once it runs."""
    role = settings.given.get("ORCA_ANONYMOUS_ROLE", "operator")
    access = (
        "by token alone (`orca tokens create`)"
        if role == "none"
        else f"open to this machine alone; a call without a token acts as {role}"
    )
    return "\n".join(
        (
            "ORCA AgentMesh is up.",
            f"  REST and gRPC  http://127.0.0.1:{settings.rest_port}",
            f"  gRPC           127.0.0.1:{settings.grpc_port}",
            f'  PostgreSQL     127.0.0.1:{settings.database_port}  (eval "$(orca env)"; orca psql)',
            f"  Data           {data.path}",
            f"  Logs           {data.logs}",
            f"  Access         {access}",
            "Ctrl-C stops it; the data stay.",
        )
    )


def _say(text: str) -> None:
    print(text, flush=True)

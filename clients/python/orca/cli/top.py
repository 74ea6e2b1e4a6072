"""`orca top`: the fleet on one live screen."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live

from orca.cli.session import Session, command
from orca.cli.top_screen import Look, draw
from orca.client import Client
from orca.errors import ConfigurationError, Temporary

_WORKFLOWS = 100


@command
async def top(
    session: Session,
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.1, max=3_600, help="Time between looks."),
    ] = 2.0,
) -> None:
    """Show the fleet on one live screen; q or Ctrl-C ends it.

    Trust with its components, the agents with the lowest trust, workflows that are stale, and
    how fast records come in. It reads what every viewer may read, and changes nothing.

    Example: orca top --every 5
    """
    out = session.printer.out
    if os.name != "posix" or not (out.is_terminal and sys.stdin.isatty()):
        raise ConfigurationError(
            "orca top draws on a POSIX terminal, and this is none: use `orca trust show`, "
            "`orca workflows list` and `orca status`, each with --watch SECONDS.",
            reason="TERMINAL_NEEDED",
        )
    ended = asyncio.Event()
    with _keys(ended), Live(console=out, screen=True, auto_refresh=False) as live:
        drawing = asyncio.create_task(_draw(session, live, every))
        ending = asyncio.create_task(ended.wait())
        await asyncio.wait((drawing, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        drawing.cancel()
        await asyncio.wait((drawing, ending))
    if not drawing.cancelled():
        drawing.result()


async def _draw(session: Session, live: Live, every: float) -> None:
    """Draws until it is cancelled; a server that is away for a while is waited for."""
    look, problem = await _look(session.client, session.timeout), ""
    while True:
        live.update(draw(look, session.printer.out.height, problem), refresh=True)
        await asyncio.sleep(every)
        try:
            look, problem = await _look(session.client, session.timeout, look), ""
        except Temporary as error:
            problem = error.message


async def _look(client: Client, timeout: float | None, before: Look | None = None) -> Look:
    trust, status = await asyncio.gather(
        client.trust.get(timeout=timeout), client.system.status(timeout=timeout)
    )
    stale = await client.workflows.list(
        filter="freshness = STALE",
        order_by="last_success_at",
        page_size=_WORKFLOWS,
        timeout=timeout,
    ).collect(_WORKFLOWS)
    return Look(datetime.now(UTC), trust, status, tuple(stale)).after(before)


@contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Has q and Ctrl-C set the event; the terminal is left as it was."""
    import termios  # only POSIX has it, and the other commands need none
    import tty

    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    kept = termios.tcgetattr(descriptor)

    def pressed() -> None:
        keys = os.read(descriptor, 64)
        if not keys or b"q" in keys.lower():  # nothing: the terminal is gone
            ended.set()

    tty.setcbreak(descriptor, termios.TCSANOW)
    loop.add_reader(descriptor, pressed)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSANOW, kept)

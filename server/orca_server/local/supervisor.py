"""Keeps programs running: starts them, starts them again when they die, and says so."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from orca_server.local import program as programs
from orca_server.local.errors import LocalError
from orca_server.local.program import Program

POLL_SECONDS = 0.05
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""After so long a life the next death counts as the first."""
TRANSIENT_DELAY_SECONDS = 0.3


def _nothing() -> None:
    pass


def _never(_said: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Service:
    """A program, and how to know that it works."""

    program: Program
    ready: Callable[[int], bool]
    """Given its process id: whether it does its work by now. Quick."""
    start_seconds: float = 60.0
    """How long its first start may take."""
    before_start: Callable[[], None] = _nothing
    transient: Callable[[str], bool] = _never
    """Given its last words: whether it only has to be started again."""


class Supervised:
    """One service that runs until stop() or kill()."""

    def __init__(
        self,
        service: Service,
        say: Callable[[str], None],
        spawned: Callable[[], None] = _nothing,
    ) -> None:
        """Nothing runs before start(); spawned is told of each new process."""
        self.service = service
        self._say = say
        self._spawned = spawned
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._offset = 0

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts it and returns when it is ready; from then on it is kept alive.

        Raises:
            LocalError: If it ends or takes too long, with its last words.
        """
        program, deadline = self.service.program, time.monotonic() + self.service.start_seconds
        while not await self._starts(deadline):
            said = programs.tail(program.log, self._offset)
            late = time.monotonic() > deadline
            if late or not self.service.transient(said):
                how = f"is not ready after {self.service.start_seconds:.0f} s" if late else "ended"
                raise LocalError(f"{program.name} {how}; {program.log} ends with:\n{said}")
            await asyncio.sleep(TRANSIENT_DELAY_SECONDS)
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {program.name}")

    async def stop(self) -> None:
        """Asks it to end, waits, and kills it if that takes longer than it may."""
        await self._let_die()
        process, program = self._process, self.service.program
        if process is None or process.poll() is not None:
            return
        process.send_signal(program.stop_signal)
        try:
            await asyncio.wait_for(self._end(), program.stop_seconds)
        except TimeoutError:
            self._say(f"{program.name} does not end, so it is killed.")
            self.kill()

    def kill(self) -> None:
        """Ends it at once, and waits for that."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def _let_die(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._offset = programs.size(self.service.program.log)
        self.service.before_start()
        self._process = programs.spawn(self.service.program)
        self._spawned()
        return self._process

    async def _starts(self, deadline: float) -> bool:
        process = self._spawn()
        while process.poll() is None and time.monotonic() < deadline:
            if self.service.ready(process.pid):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _keep(self) -> None:
        """Waits for its end, and starts it again, ever later the sooner it dies."""
        program, delay = self.service.program, FIRST_DELAY_SECONDS
        started = time.monotonic()
        while True:
            status = await self._end()
            if self.service.transient(programs.tail(program.log, self._offset)):
                await asyncio.sleep(TRANSIENT_DELAY_SECONDS)
            else:
                lived = time.monotonic() - started
                delay = FIRST_DELAY_SECONDS if lived > STABLE_SECONDS else delay
                self._say(
                    f"{program.name} {_ended(status)}; it is started again in {delay:g} s "
                    f"(output: {program.log})"
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY_SECONDS)
            started = time.monotonic()
            try:
                if await self._starts(started + self.service.start_seconds):
                    self._say(f"{program.name} is back")
            except OSError as error:  # a full disk, say: tried again like a death
                self._say(f"{program.name} cannot be started: {error}")

    async def _end(self) -> int:
        process = self._process
        while process is not None:
            status = process.poll()
            if status is not None:
                return status
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError("kept before it was started")


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"

"""A program that runs as our own child: how it is started, asked to end, and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orca_server.local import launch

POLL_SECONDS = 0.02
INTERPRETERS_OWN = {
    name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ
}
"""Without these a Python that was moved may not start, nor then what it launches."""


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system user that a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it likes to be stopped."""

    name: str
    argv: tuple[str, ...]
    log: Path
    """Both outputs are appended here."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, apart from what our interpreter needs itself."""
    folder: Path = Path("/")
    account: Account | None = None
    """None: the user that we are."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0
    """How long a stop may take before the program is killed."""


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Starts the program in a session of its own; it gets its stop signal should we die.

    Call it from the main thread: the kernel ties the child to the thread that made it. A session
    of its own keeps the terminal's Ctrl-C away, so that we alone decide who stops when.

    Raises:
        OSError: If the log cannot be written.
    """
    account = program.account
    user = (account.uid, account.gid) if account else (-1, -1)
    launcher = [sys.executable, "-I", "-S", launch.__file__]
    environment = {**INTERPRETERS_OWN, **program.environment}
    numbers = (os.getpid(), int(program.stop_signal), *user)
    with program.log.open("ab") as log:
        return subprocess.Popen(
            [*launcher, *(str(number) for number in numbers), *program.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=program.folder,
            start_new_session=True,
        )


def stop(program: Program, process: subprocess.Popen[bytes]) -> int:
    """Asks the program to end, kills it if it does not in time, and returns its exit status."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        return process.wait(timeout=program.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def tail(log: Path, offset: int = 0, lines: int = 5) -> str:
    """The last lines that were written to the log after offset bytes."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-lines:])


def size(log: Path) -> int:
    """How many bytes the log has, 0 if there is none."""
    return log.stat().st_size if log.exists() else 0


def pause() -> None:
    """Waits a moment between two looks at a process."""
    time.sleep(POLL_SECONDS)

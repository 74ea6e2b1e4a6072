"""A terminal of a test's own, from the standard library: keys go in, what is drawn comes out."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Terminal:
    """A command on a pseudo-terminal of 40 lines and 120 columns."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        """Starts the command."""
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.modes = termios.tcgetattr(self._theirs)
        self.seen = ""
        self.process = subprocess.Popen(
            [*command],
            env={**environment, "TERM": "xterm-256color"},
            cwd=folder,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def read_until(self, text: str, times: int = 1) -> None:
        """Reads until that was drawn so often; fails if it ends or says nothing for 30 s."""
        while self.seen.count(text) < times:
            ended = self.process.poll() is not None  # what it said last may still be there
            assert select.select([self._ours], [], [], 0 if ended else 30)[0], self.seen
            self.seen += os.read(self._ours, 65_536).decode(errors="replace")

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """The exit status; reads on, or what is drawn last would find no room."""
        while self.process.poll() is None:
            if select.select([self._ours], [], [], 0.05)[0]:
                self.seen += os.read(self._ours, 65_536).decode(errors="replace")
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal has the modes that it had at the start."""
        return termios.tcgetattr(self._theirs) == self.modes

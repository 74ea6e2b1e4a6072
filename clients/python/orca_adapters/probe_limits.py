"""Runs a command under resource limits: `python -m orca_adapters.probe_limits LIMITS COMMAND…`.

The probe starts foreign programs through this small one, which sets the limits on itself and
then becomes the program. Nothing of ours stays in the process, and no thread of the probe is
forked. LIMITS is JSON, see `Limits`.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

EXIT_CANNOT_START = 127

_SET_PDEATHSIG = 1
_SET_NO_NEW_PRIVS = 38
_MEBIBYTE = 1024 * 1024
# Runtimes reserve far more address space than they use (V8 several GiB), so memory is limited
# by what is writable, and the address space only against madness.
_ADDRESS_SPACE_FACTOR = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """What a started command may use.

    Attributes:
        memory_mb: Writable memory of each process, MiB.
        cpu_seconds: CPU time of each process.
        open_files: Open files of each process.
        processes: Processes and threads beside those that the user has already. The kernel
            does not hold root to it.
        file_mb: Largest file that it may write, MiB.
    """

    memory_mb: int = 1024
    cpu_seconds: int = 30
    open_files: int = 512
    processes: int = 128
    file_mb: int = 256

    def to_json(self) -> str:
        """As the command line takes it."""
        return json.dumps(asdict(self))

    def apply(self) -> None:
        """Limits this process and all that it becomes or starts."""
        memory = self.memory_mb * _MEBIBYTE
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_DATA, memory)
        _lower(resource.RLIMIT_AS, memory * _ADDRESS_SPACE_FACTOR)
        _lower(resource.RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds + 1)
        _lower(resource.RLIMIT_NOFILE, self.open_files)
        _lower(resource.RLIMIT_FSIZE, self.file_mb * _MEBIBYTE)
        _lower(resource.RLIMIT_NPROC, self.processes + _tasks_of(os.getuid()))


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Sets a limit, soft and hard, unless a harder one is in force."""
    wanted = soft if hard is None else hard
    in_force = resource.getrlimit(kind)[1]
    if in_force != resource.RLIM_INFINITY:
        wanted = min(wanted, in_force)
    resource.setrlimit(kind, (min(soft, wanted), wanted))


def _tasks_of(uid: int) -> int:
    """Processes and threads of a user, for that is what the kernel counts; 0 if unknown."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid:
                count += len(os.listdir(folder / "task"))
        except OSError:  # it has ended meanwhile
            continue
    return count


def _die_with_parent() -> None:
    """Linux: no new privileges, and killed when the probe is."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main(arguments: list[str]) -> int:
    """Becomes the command; returns only if it cannot be started."""
    limits, command = Limits(**json.loads(arguments[0])), arguments[1:]
    _die_with_parent()
    limits.apply()
    try:
        os.execvp(command[0], command)  # noqa: S606 - the operator listed this command
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return EXIT_CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

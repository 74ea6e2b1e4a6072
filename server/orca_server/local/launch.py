"""Becomes another program: drops rights, ties its life to its parent, then execs.

Run as a script by `program.spawn`, alone (`python -I -S launch.py …`), so that it starts in
milliseconds and nothing of ours is imported between fork and exec: a `preexec_fn` may deadlock in a
process with threads. It is still the owner of the interpreter when it starts, so that the program
may run as a user who cannot read it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, death_signal: int) -> None:
    """Has the kernel send death_signal when the parent dies (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call
        os.kill(os.getpid(), death_signal)


def become(uid: int, gid: int) -> None:
    """Takes on the user for good, real and effective, with no other groups."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Arguments: parent's pid, death signal, uid and gid (-1: stay), then the program's own."""
    parent_pid, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        become(uid, gid)
    # The kernel forgets the death signal when the user changes: hence after it.
    end_with_parent(parent_pid, death_signal)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        os.execv(program[0], program)  # noqa: S606  # no shell is wanted
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])

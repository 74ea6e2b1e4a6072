"""Checks of this machine: ports, disk, the registry file, and the log of the stack's server."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orca_server.doctor.findings import Finding, fail, ok, skipped, warn
from orca_server.doctor.situation import Situation
from orca_server.domain import registry_file
from orca_server.domain.errors import NotAllowedNow
from orca_server.local import ports

MIB = 2**20
LEAST_FREE_BYTES = 256 * MIB
"""With less left PostgreSQL soon stops taking writes."""
SCARCE_BYTES = 2048 * MIB
TAIL_BYTES = MIB
"""So much of a log's end is read."""
_PROGRAMS = {
    "ORCA_REST_PORT": "gateway",
    "ORCA_GRPC_PORT": "gateway",
    "ORCA_DB_PORT": "PostgreSQL",
}
_ERRORS = frozenset({"error", "critical"})


def check_ports(seen: Situation) -> Finding:
    """Whether the stack's ports are its own, or free."""
    told, busy = [], []
    for setting, port in seen.ports.items():
        listening = ports.answers(port)
        holder = ports.listener(port) if listening else None
        if not listening:
            told.append(f"{port} is free")
        elif holder is not None and _is_ours(seen, setting, holder[0]):
            told.append(f"{port} has our {_PROGRAMS[setting]}")
        else:
            who = f"{holder[1]} (pid {holder[0]})" if holder else "a process of another user"
            told.append(f"{port} has {who}")
            busy.append(setting)
    found = ", ".join(told)
    if not busy:
        return ok("ports", found)
    return warn(
        "ports",
        found,
        "another program is there, so `orca up` cannot start beside it",
        f"stop that program, or choose another port: {busy[0]}=PORT orca up",
    )


def _is_ours(seen: Situation, setting: str, pid: int) -> bool:
    """Whether the process is the stack's, or one that it started."""
    own = seen.state.get(f"pid {_PROGRAMS[setting]}")
    try:
        family = {pid, *(each.pid for each in psutil.Process(pid).parents())}
    except psutil.Error:
        return False
    return own in family


def check_disk(seen: Situation) -> Finding:
    """Whether the folder of the stack's data has room."""
    if seen.data is None:
        return skipped("disk", "the data folder is not known")
    folders = {_existing(seen.data.path), _existing((seen.data.path / "postgres").resolve())}
    found, least = [], None
    for folder in sorted(folders):
        free = shutil.disk_usage(folder).free
        found.append(f"{folder}: {free // MIB:,} MiB free")
        least = free if least is None else min(least, free)
    return judge_disk("; ".join(found), least or 0)


def judge_disk(found: str, free: int) -> Finding:
    """What so many free bytes mean."""
    cause = "telemetry, logs and dumps grow; other programs may share the disk"
    mend = "df -h, then remove what is not needed; ORCA_TELEMETRY_RETENTION_DAYS keeps less"
    if free < LEAST_FREE_BYTES:
        return fail("disk", found, cause, mend)
    return warn("disk", found, cause, mend) if free < SCARCE_BYTES else ok("disk", found)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def check_registry(seen: Situation) -> Finding:
    """Whether the MCP registry file can be read and means something."""
    path = seen.registry
    if path is None:
        return skipped("registry_file", "MCP_REGISTRY_PATH is not set: the fleet has no file")
    try:
        servers = registry_file.parse(path.read_bytes(), str(path))
    except OSError as error:
        return fail(
            "registry_file",
            f"{path} cannot be read: {error.strerror}",
            "it was moved, or the server's user may not read it",
            f"put it back, or: chmod a+r {path}",
        )
    except NotAllowedNow as error:
        faults = "; ".join(f"{each.field}: {each.message}" for each in error.violations)
        return fail(
            "registry_file",
            f"{path}: {faults}",
            "an edit went wrong; the server keeps to what the file said before",
            "correct those lines, then: orca registry sync",
        )
    return ok("registry_file", f"{path} names {len(servers)} servers")


def check_logs(seen: Situation) -> Finding:
    """Errors that the stack's server logged since it began to serve."""
    log = seen.data.logs / "server.log" if seen.data else None
    if log is None or not log.is_file():
        return skipped("logs", "no log is kept here: `orca serve` logs to its standard output")
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        found = read_log(file.read().decode(errors="replace"))
    if not found.errors:
        return ok("logs", f"{log}: no error since the server began")
    return warn(
        "logs",
        f"{log}: {found.errors} errors since the server began; the last: {found.last}",
        "the server says why itself",
        f"tail -n 50 {log}",
    )


@dataclass(frozen=True, slots=True)
class LogEnd:
    """What the end of a log says: how many errors since the last start, and the newest."""

    errors: int
    last: str


def read_log(text: str) -> LogEnd:
    """Reads lines of JSON; other lines are a crash's last words."""
    errors: list[str] = []
    for line in text.splitlines()[-20_000:]:
        told = _parsed(line)
        if told is None:
            if line.startswith("orca: "):
                errors.append(line)
            continue
        if told.get("event") == "serving":
            errors.clear()
        elif told.get("level") in _ERRORS:
            errors.append(_one_line(told))
    return LogEnd(len(errors), errors[-1] if errors else "")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _one_line(told: dict[str, Any]) -> str:
    cause = told.get("cause") or str(told.get("exception", "")).strip().rpartition("\n")[2]
    return " ".join(filter(None, (str(told.get("event", "")), str(cause)[:200])))


def check_memory(pid: int | None) -> Finding:
    """Whether the server needs more memory than the guide allows.

    Args:
        pid: Its process; None if it does not run on this machine.
    """
    if pid is None:
        return skipped("memory", "the server's process is not on this machine, or does not run")
    try:
        used = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return skipped("memory", f"the server's process {pid} cannot be looked at")
    return judge_memory(used, f"the server (pid {pid}) uses {used // MIB:,} MiB")


def judge_memory(used: int, found: str) -> Finding:
    """What so many bytes mean; the guide's limit is 1 GB."""
    if used <= 1024 * MIB:
        return ok("memory", found)
    return warn(
        "memory",
        found,
        "a queue of records, very large pages, or a leak in a process that runs for long",
        "lower ORCA_INGEST_QUEUE_BYTES and PGMAXCONNECTIONS, and restart the server",
    )

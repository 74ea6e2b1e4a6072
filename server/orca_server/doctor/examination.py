"""The whole examination: everything is asked at once, each under a deadline, then judged."""

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal

from orca_server.doctor import configuration, database, fleet, machine, server
from orca_server.doctor.findings import Finding, ok, skipped, warn
from orca_server.doctor.situation import Situation
from orca_server.settings import Settings

THREAD_SECONDS = 10.0
"""For files and ports: a file system over a network may hang."""
_DEFAULTS = (90, 8, Decimal(5))
"""Days of retention, connections and drift threshold where the settings cannot be read."""
_LOCAL = {
    "ports": machine.check_ports,
    "disk": machine.check_disk,
    "registry_file": machine.check_registry,
    "logs": machine.check_logs,
}


async def examine(seen: Situation) -> list[Finding]:
    """All findings, in the order in which people should read them."""
    (view, rest, answer), local = await asyncio.gather(
        asyncio.gather(
            database.ask(seen.database_url), server.ask_rest(seen), server.ask_server(seen)
        ),
        asyncio.gather(*(_in_time(name, look, seen) for name, look in _LOCAL.items())),
    )
    start = _start(seen)
    settings = seen.settings
    retention_days, pool, drift_threshold_pct = (
        (settings.telemetry_retention_days, settings.max_connections, settings.drift_threshold_pct)
        if settings
        else _DEFAULTS
    )
    last_error = answer.status.trust.last_error if answer.status else None
    role = answer.status.anonymous_role if answer.status else None
    ports, disk, registry, logs = local
    return [
        *configuration.check(seen, role),
        *(ports, disk, registry),
        *database.check(view, retention_days=retention_days, pool=pool, start=start),
        server.check_gateway(rest, answer, start),
        server.check_server(answer, start),
        server.check_ingest(answer, view.backlog),
        *fleet.check(view, last_error, start, drift_threshold_pct),
        *(logs, check_limits(settings), machine.check_memory(answer.pid)),
    ]


def _start(seen: Situation) -> str:
    """What starts database and server here."""
    if seen.is_stack or not seen.database_url:
        return "orca up"
    return "start PostgreSQL where DATABASE_URL says, then: orca serve"


def check_limits(settings: Settings | None) -> Finding:
    """Whether the settings bound what a server may hold in memory below the guide's 1 GB."""
    if settings is None:
        return skipped("limits", "the settings cannot be read")
    mib = settings.ingest_queue_bytes // machine.MIB
    found = f"pages of 5,000 rows and 16 MiB at most; up to {mib} MiB of records may wait"
    if mib <= 512:
        return ok("limits", found)
    cause = "ORCA_INGEST_QUEUE_BYTES is large: a slow database fills the memory"
    return warn("limits", found, cause, "ORCA_INGEST_QUEUE_BYTES=67108864 (64 MiB)")


async def _in_time(name: str, look: Callable[[Situation], Finding], seen: Situation) -> Finding:
    """What a look at this machine finds; in a thread of its own, which nobody has to wait for."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Finding] = loop.create_future()

    def run() -> None:
        try:
            found = look(seen)
        except OSError as error:
            found = skipped(name, f"cannot be looked at: {error}")
        loop.call_soon_threadsafe(_give, result, found)

    threading.Thread(target=run, name=f"doctor-{name}", daemon=True).start()
    try:
        async with asyncio.timeout(THREAD_SECONDS):
            return await result
    except TimeoutError:
        return skipped(name, f"no answer within {THREAD_SECONDS:g} s")


def _give(result: "asyncio.Future[Finding]", found: Finding) -> None:
    if not result.done():
        result.set_result(found)

"""What readiness asks of the parts."""

from orca_server.runtime.readiness import Check
from orca_server.services.context import ServerContext

STUCK_SECONDS = 30.0
"""A record without an answer for so long means that the queue does not move."""


def add_probes(context: ServerContext) -> None:
    """What readiness asks: the database, whether the queue moves, and how trust is doing."""

    async def ingest() -> tuple[Check]:
        both = (context.ingest, context.event_ingest)
        waited = max(each.oldest_wait_seconds() for each in both)
        stuck = waited > STUCK_SECONDS
        found = f"{sum(each.queued_records for each in both)} records wait"
        if stuck:
            found += f", and the oldest has no answer for {waited:.0f} s: is the database slow?"
        return (Check("ingest", not stuck, found),)

    async def trust() -> tuple[Check]:
        error = context.tick.state.last_error
        return (Check("trust", not error, error or "computed by ticks", vital=False),)

    async def registry_file() -> tuple[Check, ...]:
        state = context.registry.state
        found = state.message or f"{state.servers} servers from {state.path}"
        check = Check("registry_file", state.ok, found, vital=False)
        return (check,) if state.path else ()

    context.readiness.add("database", context.database_probe)
    context.readiness.add("ingest", ingest)
    context.readiness.add("trust", trust)
    context.readiness.add("registry_file", registry_file)

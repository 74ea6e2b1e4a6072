"""Can this server do its work? Asked of each part, and why not."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orca_server import observability
from orca_server.domain.errors import Unavailable
from orca_server.runtime import partitions
from orca_server.runtime.preparation import Preparation
from orca_server.store import migrate, system
from orca_server.store.database import Database

FRESH_SECONDS = 1.0
"""A report is given again for so long when all is well."""
FRESH_SECONDS_FAILING = 0.2
"""And for so long when it is not, since that should pass."""
PROBE_SECONDS = 2.0
"""Deadline of one probe."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        message: What was found and, when not ok, the cause and what to do.
        vital: Whether the server cannot do its work while this is not ok.
    """

    name: str
    ok: bool
    message: str
    vital: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What all probes found."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether the server can do its work."""
        return all(check.ok or not check.vital for check in self.checks)

    @property
    def failing(self) -> tuple[Check, ...]:
        """The vital checks that are not ok."""
        return tuple(check for check in self.checks if check.vital and not check.ok)


Probe = Callable[[], Awaitable[Sequence[Check]]]


class Readiness:
    """Asks all probes, at most once a second however many callers there are."""

    def __init__(self) -> None:
        """Has no probes yet."""
        self._probes: list[tuple[str, Probe]] = []
        self._lock = asyncio.Lock()
        self._asked_at = -FRESH_SECONDS
        self._report = Report(())

    def add(self, name: str, probe: Probe) -> None:
        """Adds a probe; name is the check's when the probe itself fails."""
        self._probes.append((name, probe))

    async def report(self) -> Report:
        """What the probes found, at most FRESH_SECONDS ago."""
        async with self._lock:
            fresh = FRESH_SECONDS if self._report.ready else FRESH_SECONDS_FAILING
            if time.monotonic() - self._asked_at >= fresh:
                answers = await asyncio.gather(*(_ask(*probe) for probe in self._probes))
                self._report = Report(tuple(check for found in answers for check in found))
                self._asked_at = time.monotonic()
                observability.READY.set(self._report.ready)
            return self._report


async def _ask(name: str, probe: Probe) -> Sequence[Check]:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await probe()
    except TimeoutError:
        return (Check(name, False, f"no answer within {PROBE_SECONDS:g} s"),)
    except Unavailable as error:
        return (Check(name, False, error.message),)


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What DatabaseProbe saw last."""

    server_version: str
    schema_version: int
    partition_days_ahead: float


class DatabaseProbe:
    """Looks at the database, its schema and its partitions."""

    def __init__(self, db: Database, preparation: Preparation, now: Callable[[], datetime]) -> None:
        """Has seen nothing yet."""
        self._db = db
        self._preparation = preparation
        self._now = now
        self.state: DatabaseState | None = None
        """None while the database does not answer."""

    async def __call__(self) -> Sequence[Check]:
        """The checks `database`, `schema` and `partitions`."""
        self.state, state = None, None
        needed = migrate.needed_version()
        async with self._db.connection(PROBE_SECONDS) as connection:
            schema = await system.read_schema(connection)
            ahead = 0.0
            if schema.version >= needed:
                found = await system.list_partitions(connection)
                ahead = partitions.days_ahead(self._now(), system.attached_days(found))
        self.state = state = DatabaseState(schema.server_version, schema.version, ahead)
        observability.PARTITION_DAYS.set(ahead)
        observability.CONNECTIONS_IN_USE.set(self._db.usage.in_use)
        return self._checks(state, needed)

    def _checks(self, state: DatabaseState, needed: int) -> Sequence[Check]:
        cause = self._preparation.problem
        schema_ok = state.schema_version >= needed
        ahead_ok = state.partition_days_ahead >= partitions.LEAST_DAYS_AHEAD
        schema = f"version {state.schema_version}, needs {needed} or more"
        ahead = f"partitions lie ahead for {state.partition_days_ahead:.1f} days"
        return (
            Check("database", True, f"PostgreSQL {state.server_version}"),
            Check(
                "schema", schema_ok, schema if schema_ok else f"{schema}: {cause or 'migrating'}"
            ),
            Check(
                "partitions",
                ahead_ok,
                ahead if ahead_ok else f"{ahead}: {cause or 'in the making'}",
            ),
        )

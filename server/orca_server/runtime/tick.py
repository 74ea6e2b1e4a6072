"""The trust tick: one at a time, in the database's own order and by its clock.

A tick takes the inboxes, computes the agents and workflows that changed and those whose deadline
passed, and writes one score per tenant, in one transaction under an advisory lock. Everything
that shows trust reads what it wrote, so all of it agrees.
"""

import asyncio
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from asyncpg import Connection, Record
from prometheus_client import Counter, Histogram

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Unavailable
from orca_server.domain.fleet_trust import (
    FleetSums,
    FleetTrust,
    TrustSettings,
    WorkflowSums,
    score_fleet,
)
from orca_server.store import drift, runs, violations
from orca_server.store import trust as store
from orca_server.store.database import Database
from orca_server.store.trust import TrustHead, TrustRow

PAUSE_PER_DURATION = 20  # the tick takes at most about a twentieth of the time
RECORD_EVERY = timedelta(minutes=1)
REFRESH_SECONDS = 20.0
CLEAN_SECONDS = 86_400

log = structlog.get_logger(__name__)

TICKS = Counter("orca_trust_ticks", "Trust ticks by outcome.", ["outcome"])
DURATION = Histogram("orca_trust_tick_seconds", "Seconds per trust tick.")
COMPUTED = Counter("orca_trust_agents_computed", "Agents whose trust was computed anew.")
COMPUTED_WORKFLOWS = Counter(
    "orca_trust_workflows_computed", "Workflows whose status was computed anew."
)


@dataclass(slots=True)
class TickState:
    """How the tick of this process is doing.

    Attributes:
        duration_seconds: Time that the last one took.
        interval_seconds: Time between ticks now.
        last_error: Why the last try failed; empty if it did not.
        repairs: Times that windows had to be summed anew because their sums cannot be.
    """

    duration_seconds: float = 0.0
    interval_seconds: float = 1.0
    last_error: str = ""
    repairs: int = 0


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a tick computed, before the fleet's score.

    Attributes:
        as_of: For which instant.
        agents: How many agents.
        workflows: How many workflows.
        changed: Whether the fleet's score must follow.
    """

    as_of: datetime
    agents: int
    workflows: int
    changed: bool


class Tick:
    """Computes trust, every second or on demand."""

    def __init__(
        self,
        db: Database,
        settings: TrustSettings,
        *,
        seconds: float = 1.0,
        clean_seconds: int = CLEAN_SECONDS,
    ) -> None:
        """Starts nothing yet; `run` does.

        Args:
            db: The primary.
            settings: What an operator chose about the score.
            seconds: Shortest time between ticks.
            clean_seconds: A violation is resolved once its agent has worked for so long without
                another one of the rule.
        """
        self._db = db
        self._settings = settings
        self._clean_seconds = clean_seconds
        self._seconds = seconds
        self._refreshing = asyncio.Lock()
        self._refreshed: tuple[float, datetime] | None = None  # start and result of the last
        self.state = TickState(interval_seconds=seconds)

    async def run(self) -> None:
        """Ticks until it is cancelled; a database that is away is waited for."""
        while True:
            try:
                ticked = await self.tick(wait=False)
                TICKS.labels("done" if ticked else "elsewhere").inc()
            except Unavailable as error:
                TICKS.labels("failed").inc()
                if self.state.last_error != error.message:
                    log.warning("the trust tick failed", cause=error.message)
                self.state.last_error = error.message
            await asyncio.sleep(self.state.interval_seconds)

    async def refresh(self) -> datetime:
        """Computes trust for an instant not before this call, and gives that instant.

        Calls that arrive while one computes share the next computation.

        Raises:
            Unavailable: If another computation did not end in time (`TRUST_TICK_BUSY`), or
                the database does not answer.
        """
        arrived = time.monotonic()
        try:
            async with asyncio.timeout(REFRESH_SECONDS), self._refreshing:
                if self._refreshed is None or self._refreshed[0] < arrived:
                    started = time.monotonic()
                    as_of = await self.tick(wait=True)
                    if as_of is None:
                        raise AssertionError("a tick that waits for the lock always runs")
                    self._refreshed = (started, as_of)
                return self._refreshed[1]
        except TimeoutError:
            raise Unavailable(
                "TRUST_TICK_BUSY",
                "Another computation of trust did not end in time; nothing was computed.",
                retry_after_seconds=5.0,
            ) from None

    async def tick(self, *, wait: bool, as_of: datetime | None = None) -> datetime | None:
        """One tick; gives its instant, or None if another process holds the lock.

        Args:
            wait: Wait for the lock.
            as_of: The instant; by default the database's clock once the lock is held.
        """
        try:
            return await self._tick(wait=wait, as_of=as_of, anew=False)
        except (asyncpg.CheckViolationError, asyncpg.DataError) as error:
            # Sums that no hours can have: somebody changed rows by hand. The hours are the facts.
            log.error("sums of windows do not follow from the hours", cause=str(error))
            self.state.repairs += 1
            return await self._tick(wait=wait, as_of=as_of, anew=True)

    async def _tick(self, *, wait: bool, as_of: datetime | None, anew: bool) -> datetime | None:
        async with self._db.transaction() as tx:
            if not await store.lock_tick(tx, wait=wait):
                return None
            started = time.monotonic()
            heads = await store.read_heads(tx)
            if anew or any(self._settings_changed(head) for head in heads.values()):
                log.warning("computing everything anew", settings_changed=not anew)
                await store.mark_all(tx)
                await runs.mark_all(tx)
            done = await self._compute(tx, as_of)
            elapsed = time.monotonic() - started
            self._pace(elapsed)
            unrecorded = any(_unrecorded(head, done.as_of) for head in heads.values())
            if done.changed or unrecorded or DEFAULT_TENANT not in heads:
                rows = await self._score(tx, heads, done.as_of)
                await store.write(tx, rows, done.as_of, self.state.interval_seconds, elapsed)
            else:
                await store.touch(tx, done.as_of, self.state.interval_seconds, elapsed)
        self._pace(time.monotonic() - started)
        self.state.last_error = ""
        DURATION.observe(self.state.duration_seconds)
        COMPUTED.inc(done.agents)
        COMPUTED_WORKFLOWS.inc(done.workflows)
        return done.as_of

    async def _compute(self, tx: Connection, as_of: datetime | None) -> "_Computed":
        """Takes the inboxes, and computes what they and deadlines that passed ask for."""
        dirty = await store.merge_inbox(tx)
        told = await runs.merge_inbox(tx)
        # Only now: what the inboxes told had happened by then, also who left in that moment.
        as_of = as_of or await store.read_clock(tx)
        await store.enrol_reporting(tx, dirty)
        agents = await store.compute_agents(tx, dirty, as_of, self._settings.baseline_ppb)
        slo = self._settings.freshness_slo_seconds
        workflows = await runs.compute_workflows(tx, told, as_of, slo)
        await violations.merge(tx, dirty, as_of, self._clean_seconds)
        drifted = await drift.merge(tx)
        # A deleted agent is dirty and computed by nobody; the fleet's sums change all the same.
        changed = bool(agents or dirty or workflows or drifted)
        return _Computed(as_of, agents, workflows, changed)

    def _pace(self, duration: float) -> None:
        self.state.duration_seconds = duration
        self.state.interval_seconds = max(self._seconds, PAUSE_PER_DURATION * duration)

    def _settings_changed(self, head: TrustHead) -> bool:
        stored: object = json.loads(head.summary)["settings"]
        return stored != asdict(self._settings)

    async def _score(
        self, tx: Connection, heads: dict[UUID, TrustHead], as_of: datetime
    ) -> list[TrustRow]:
        fleets = await store.sum_fleets(tx)
        workflows = await runs.sum_workflows(tx)
        tenants = {DEFAULT_TENANT, *heads, *fleets, *workflows}
        worst = await store.list_worst(tx, tenants)
        rows = []
        for tenant in sorted(tenants):
            sums = replace(
                fleets.get(tenant, FleetSums()), workflows=workflows.get(tenant, WorkflowSums())
            )
            trust = score_fleet(sums, self._settings)
            summary = _summary(trust, sums, worst[tenant], self._settings)
            rows.append(_row(tenant, trust, summary, heads.get(tenant), as_of))
        return rows


def _rested(head: TrustHead | None, as_of: datetime) -> bool:
    """Whether a minute has passed since the newest history row."""
    return head is None or head.recorded_at is None or as_of - head.recorded_at >= RECORD_EVERY


def _unrecorded(head: TrustHead, as_of: datetime) -> bool:
    """Whether digits that came too soon after a history row are due for one now."""
    return head.digest != head.recorded_digest and _rested(head, as_of)


def _row(
    tenant: UUID, trust: FleetTrust, summary: str, head: TrustHead | None, as_of: datetime
) -> TrustRow:
    band = "unmeasured" if trust.band is None else trust.band.value
    digest = hashlib.sha256(f"{band}{trust.capped_by}{summary}".encode()).hexdigest()[:16]
    record = (head is None or head.recorded_digest != digest) and _rested(head, as_of)
    return TrustRow(tenant, trust.trust_ppb, band, trust.capped_by, summary, digest, record)


def _summary(
    trust: FleetTrust, sums: FleetSums, worst: list[Record], settings: TrustSettings
) -> str:
    return json.dumps(
        {
            "components": {name: asdict(part) for name, part in trust.components.items()},
            "compliance_ppb": trust.compliance_ppb,
            "risk_avoided_nano_usd": trust.risk_avoided_nano_usd,
            "agents": sums.agents,
            "measured": sums.measured,
            "idle": sums.idle,
            "silent": sums.silent,
            "workflows": asdict(sums.workflows),
            "drift_ppb": trust.drift_ppb,
            "drift": {"baselines": sums.baselines, "drifted": sums.drifted},
            "bands": {band.value: count for band, count in sums.bands.items()},
            "cost_nano_usd": sums.cost_nano_usd,
            "input_tokens": sums.input_tokens,
            "output_tokens": sums.output_tokens,
            "worst": [
                {
                    "id": str(row["agent_id"]),
                    "type": row["type"],
                    "name": row["name"],
                    "state": row["state"],
                    "ppb": row["counted_level_ppb"],
                }
                for row in worst
            ],
            "settings": asdict(settings),
        },
        sort_keys=True,
    )

"""TrustService: what the tick wrote, and a tick on demand."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from asyncpg import Record
from grpc.aio import ServicerContext

from orca.v1 import trust_pb2 as pb
from orca.v1 import trust_service_pb2 as service_pb
from orca_server.domain.fleet_trust import CRITICALITY_WEIGHTS, TrustSettings
from orca_server.domain.trust_interval import DAYS, RESAMPLES, WindowDays, bootstrap
from orca_server.runtime.tick import Tick
from orca_server.services import page_token
from orca_server.services.authentication import current_caller
from orca_server.services.convert_trust import (
    agent_trust_to_proto,
    point_to_proto,
    trust_to_proto,
)
from orca_server.services.requests import (
    EARLIEST,
    LATEST,
    read_id,
    read_page_size,
    read_time,
)
from orca_server.store import trust as store
from orca_server.store.agents import agent_missing
from orca_server.store.database import Database

DEFAULT_POINTS, MOST_POINTS = 1_000, 5_000

Context = ServicerContext[Any, Any]


class TrustServicer:
    """Answers TrustService."""

    def __init__(self, db: Database, tick: Tick, settings: TrustSettings) -> None:
        """Keeps what it needs."""
        self._db = db
        self._tick = tick
        self._settings = settings

    async def GetTrust(self, request: service_pb.GetTrustRequest, context: Context) -> pb.Trust:
        """The fleet's trust as the last tick computed it."""
        tenant_id = current_caller().tenant_id
        async with self._db.connection() as connection:
            row = await store.get(connection, tenant_id)
            days = []
            if row is not None and request.show_interval:
                days = await store.window_days(connection, tenant_id)
        if row is None:
            return pb.Trust()
        trust = trust_to_proto(row)
        if days:
            # Arrays of up to 100,000 agents: not on the event loop.
            ends = await asyncio.to_thread(self._interval, days, trust.trust_score)
            if ends is not None:
                trust.interval.CopyFrom(
                    pb.TrustInterval(low=ends[0], high=ends[1], resamples=RESAMPLES)
                )
        return trust

    def _interval(self, days: list[Record], score: float) -> tuple[float, float] | None:
        return bootstrap(_window_days(days), self._settings, score)

    async def RefreshTrust(
        self, request: service_pb.RefreshTrustRequest, context: Context
    ) -> pb.Trust:
        """Trust for an instant that is not before the call."""
        await self._tick.refresh()
        return await self.GetTrust(service_pb.GetTrustRequest(), context)

    async def GetAgentTrust(
        self, request: service_pb.GetAgentTrustRequest, context: Context
    ) -> pb.AgentTrust:
        """One agent's trust, explained."""
        agent_id = read_id("agent_id", request.agent_id)
        async with self._db.connection() as connection:
            row = await store.get_agent(connection, current_caller().tenant_id, agent_id)
        if row is None:
            raise agent_missing(agent_id)
        return agent_trust_to_proto(agent_id, row)

    async def GetTrustHistory(
        self, request: service_pb.GetTrustHistoryRequest, context: Context
    ) -> service_pb.GetTrustHistoryResponse:
        """How trust changed over time."""
        tenant_id = current_caller().tenant_id
        limit = read_page_size(request.page_size, default=DEFAULT_POINTS, most=MOST_POINTS)
        start = read_time(
            "start_time", request.start_time, given=request.HasField("start_time"), default=EARLIEST
        )
        end = read_time(
            "end_time", request.end_time, given=request.HasField("end_time"), default=LATEST
        )
        agent_id = read_id("agent_id", request.agent_id) if request.agent_id else None
        query = f"trust history|{agent_id}|{start.isoformat()}|{end.isoformat()}"
        after = _after(query, request.page_token)
        async with self._db.connection() as connection:
            if agent_id is not None and not await store.agent_exists(
                connection, tenant_id, agent_id
            ):
                raise agent_missing(agent_id)
            rows = await store.list_history(
                connection, tenant_id, agent_id, after=after, start=start, end=end, limit=limit + 1
            )
            total = await store.count_history(connection, tenant_id, agent_id, start, end)
        page = rows[:limit]
        more = len(rows) > limit
        return service_pb.GetTrustHistoryResponse(
            points=[point_to_proto(row, of_agent=agent_id is not None) for row in page],
            next_page_token=page_token.issue(query, [page[-1]["as_of"].isoformat()])
            if more
            else "",
            total_size=total,
        )


def _after(query: str, token: str) -> datetime:
    key = page_token.redeem(query, token, parts=1)
    if key is None:
        return datetime.min.replace(tzinfo=UTC)
    try:
        at = datetime.fromisoformat(key[0])
    except ValueError as error:
        raise page_token.invalid() from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _window_days(rows: list[Record]) -> WindowDays:
    """One row per agent and day as arrays."""
    agents: dict[UUID, int] = {}
    for row in rows:
        agents.setdefault(row["agent_id"], len(agents))
    days = WindowDays(
        operations=np.zeros((len(agents), DAYS)),
        errors=np.zeros((len(agents), DAYS)),
        violation_tenths=np.zeros((len(agents), DAYS)),
        recent_operations=np.zeros(len(agents)),
        recent_errors=np.zeros(len(agents)),
        weights=np.ones(len(agents)),
        silent=np.zeros(len(agents), dtype=np.bool_),
    )
    for row in rows:
        agent, day = agents[row["agent_id"]], row["day"]
        days.operations[agent, day] = row["operations"]
        days.errors[agent, day] = row["errors"]
        days.violation_tenths[agent, day] = row["violation_tenths"]
        days.recent_operations[agent] = row["recent_operations"]
        days.recent_errors[agent] = row["recent_errors"]
        days.weights[agent] = CRITICALITY_WEIGHTS[row["criticality"]]
        days.silent[agent] = row["state"] == "silent"
    return days

"""Pages of ListAgents: against the same statements by asyncpg alone, and of a large fleet against
a small one.

The filter asks for a third of the fleet by a label, for which there is no index. Pages lie one
after the other, as a reader who goes through the list asks for them.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from bench.child import Child, running_child
from bench.fleet import compute, connection_to, fill_agents, fill_embeddings
from bench.goals import Result
from bench.measures.pairs import interleave
from bench.measures.search import until_searchable
from bench.measures.unary import rate_of
from bench.scale import Scale
from bench.sql import QUERIES
from bench.stage import Server, Stage
from orca.v1 import agent_service_pb2 as service_pb
from orca_server.domain.access import DEFAULT_TENANT

LIST = "/orca.v1.AgentService/ListAgents"
FILTER = 'labels.region = "eu"'
PAGE = 50
CALLERS = 8
"""As many as a server has connections by default; asyncpg gets the same."""
WALKED = 100
"""Pages that are asked for in turn."""


@dataclass(frozen=True, slots=True)
class _Fleet:
    """A server on a fleet; the requests for its pages, and the keys after which they begin."""

    server: Server
    url: str
    requests: list[str]
    keys: list[str]


@dataclass(frozen=True, slots=True)
class _Scene:
    """Two fleets, asyncpg on the large one, and a caller."""

    large: _Fleet
    small: _Fleet
    select: Child
    caller: Child

    async def ask(self, fleet: _Fleet, calls: int, callers: int) -> dict[str, float]:
        """Pages in turn, so many at a time."""
        await self.caller.ask("prepare", requests=fleet.requests, count=calls)
        answer: dict[str, float] = await self.caller.ask(
            "unary",
            target=fleet.server.target,
            method=LIST,
            in_flight=callers,
            token=fleet.server.token,
        )
        return answer

    async def by_asyncpg(self, calls: int) -> float:
        """Pages a second without the product."""
        await self.select.ask(
            "prepare", filter=FILTER, size=PAGE, after=self.large.keys, count=calls
        )
        rate: float = await self.select.ask("select")
        return rate


@contextlib.asynccontextmanager
async def _fleet(stage: Stage, agents: int) -> AsyncIterator[_Fleet]:
    async with stage.database() as url:
        await fill_agents(url, agents)
        await fill_embeddings(url)
        async with connection_to(url) as connection:
            await connection.execute(QUERIES["mark_agents"], DEFAULT_TENANT)
        await compute(url)
        async with connection_to(url) as connection:
            await connection.execute("VACUUM ANALYZE agents, agent_trust, trust_inbox")
        async with stage.server(url) as server:
            await until_searchable(server)
            requests, keys = await _walk(server)
            yield _Fleet(server, url, requests, keys)


async def _walk(server: Server) -> tuple[list[str], list[str]]:
    """Requests for the first pages, and the last id before each."""
    request = service_pb.ListAgentsRequest(page_size=PAGE, filter=FILTER)
    requests, keys, last = list[str](), list[str](), ""
    async with grpc.aio.insecure_channel(server.target) as channel:
        call = channel.unary_unary(
            LIST,
            request_serializer=service_pb.ListAgentsRequest.SerializeToString,
            response_deserializer=service_pb.ListAgentsResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {server.token}"),)
        while len(requests) < WALKED:
            answer = await call(request, metadata=metadata, wait_for_ready=True)
            if len(answer.agents) < PAGE:  # the last one would be cheaper
                break
            requests.append(request.SerializeToString().hex())
            keys.append(last)
            request.page_token, last = answer.next_page_token, answer.agents[-1].id
    return requests, keys


@contextlib.asynccontextmanager
async def _scene(stage: Stage, scale: Scale) -> AsyncIterator[_Scene]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        large = await enter(_fleet(stage, scale.agents))
        small = await enter(_fleet(stage, scale.small_fleet))
        yield _Scene(
            large=large,
            small=small,
            select=await enter(running_child("select", large.url, str(CALLERS))),
            caller=await enter(running_child("caller")),
        )


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The two goals of lists."""
    async with _scene(stage, scale) as scene:
        for fleet in (scene.large, scene.small):
            await scene.ask(fleet, scale.single_calls, CALLERS)
        await scene.by_asyncpg(scale.single_calls)
        stage.settle()
        return [await _against_select(scene, scale), await _flat(scene, scale)]


async def _against_select(scene: _Scene, scale: Scale) -> Result:
    async def ours() -> float:
        return rate_of(await scene.ask(scene.large, scale.pages, CALLERS))

    pair = await interleave(scale.rounds, ours, lambda: scene.by_asyncpg(scale.pages))
    return Result(
        "list_page_vs_select", pair.ratio, f"{pair.ours:,.0f} / {pair.ceiling:,.0f} pages/s"
    )


async def _flat(scene: _Scene, scale: Scale) -> Result:
    async def p50(fleet: _Fleet) -> float:
        return (await scene.ask(fleet, scale.single_calls, 1))["p50"]

    pair = await interleave(scale.rounds, lambda: p50(scene.large), lambda: p50(scene.small))
    return Result(
        "list_page_flat", pair.ratio, f"{pair.ours * 1e6:,.0f} / {pair.ceiling * 1e6:,.0f} µs"
    )

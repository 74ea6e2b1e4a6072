"""GetAgent against a bare echo, and the same over REST through Envoy against gRPC without it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import echo
from bench.child import Child, running_child
from bench.fleet import compute, fill_agents, report
from bench.gateway import running_gateway
from bench.goals import Result
from bench.measures.pairs import interleave
from bench.measures.unary import rate_of
from bench.scale import Scale
from bench.stage import Server, Stage
from orca.v1 import agent_service_pb2 as service_pb

GET = "/orca.v1.AgentService/GetAgent"
IN_FLIGHT = 100
CONNECTIONS = 32
"""Of REST and of gRPC, one request at a time on each."""
WARM_CALLS = 500


@dataclass(frozen=True, slots=True)
class _Scene:
    """A server on a fleet that has trust, an echo, and callers of both kinds."""

    server: Server
    echo: str
    rest_port: int
    caller: Child
    rest_caller: Child
    agents: list[str]

    async def prepare(self, calls: int) -> None:
        """Makes the requests: each agent in turn, as gRPC bytes and as paths."""
        requests = [service_pb.GetAgentRequest(id=agent) for agent in self.agents]
        encoded = [request.SerializeToString().hex() for request in requests]
        await self.caller.ask("prepare", requests=encoded, count=calls)
        paths = [f"/agents/{agent}" for agent in self.agents]
        await self.rest_caller.ask("prepare", paths=paths, count=calls, token=self.server.token)

    async def get(self, in_flight: int, connections: int) -> float:
        """GetAgent calls a second, straight to the server."""
        return await self._call(self.server.target, GET, in_flight, connections, self.server.token)

    async def echo_back(self) -> float:
        """Echoes a second of the same bytes."""
        return await self._call(self.echo, echo.METHOD, IN_FLIGHT, 1, "")

    async def rest(self) -> float:
        """REST requests a second through Envoy."""
        answer = await self.rest_caller.ask("get", port=self.rest_port, connections=CONNECTIONS)
        return rate_of(answer)

    async def _call(
        self, target: str, method: str, in_flight: int, connections: int, token: str
    ) -> float:
        answer = await self.caller.ask(
            "unary",
            target=target,
            method=method,
            in_flight=in_flight,
            connections=connections,
            token=token,
        )
        return rate_of(answer)


@contextlib.asynccontextmanager
async def _scene(stage: Stage, scale: Scale) -> AsyncIterator[_Scene]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = await enter(stage.database())
        agents = await fill_agents(url, scale.reporting_agents)
        await report(url, agents)
        await compute(url)
        echoing = await enter(running_child("echo"))
        server = await enter(stage.server(url))
        yield _Scene(
            server=server,
            echo=await echoing.ask("address"),
            rest_port=await enter(running_gateway(stage.folder, server)),
            caller=await enter(running_child("caller")),
            rest_caller=await enter(running_child("rest_caller")),
            agents=agents,
        )


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The two goals of reading one agent."""
    async with _scene(stage, scale) as scene:
        await scene.prepare(min(WARM_CALLS, scale.unary_calls))
        await scene.get(IN_FLIGHT, 1)
        await scene.get(CONNECTIONS, CONNECTIONS)
        await scene.echo_back()
        await scene.rest()
        await scene.prepare(scale.unary_calls)
        return [await _against_echo(scene, scale), await _rest_against_grpc(scene, scale)]


async def _against_echo(scene: _Scene, scale: Scale) -> Result:
    async def ours() -> float:
        return await scene.get(IN_FLIGHT, 1)

    pair = await interleave(scale.rounds, ours, scene.echo_back)
    return Result(
        "get_agent_vs_echo", pair.ratio, f"{pair.ours:,.0f} / {pair.ceiling:,.0f} calls/s"
    )


async def _rest_against_grpc(scene: _Scene, scale: Scale) -> Result:
    async def ceiling() -> float:
        return await scene.get(CONNECTIONS, CONNECTIONS)

    pair = await interleave(scale.rounds, scene.rest, ceiling)
    return Result("rest_vs_grpc", pair.ratio, f"{pair.ours:,.0f} / {pair.ceiling:,.0f} calls/s")

"""The real gateway in front of a server."""

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator
from pathlib import Path

from bench.stage import Server, free_port
from orca_server.local import envoy
from orca_server.local import program as programs

START_SECONDS = 30.0
AGREEING = 8
"""Requests in a row that must find the server: Envoy's threads learn of it one by one."""


@contextlib.asynccontextmanager
async def running_gateway(folder: Path, server: Server) -> AsyncIterator[int]:
    """The port of REST; gone afterwards."""
    settings = envoy.GatewaySettings(
        rest_port=free_port(),
        grpc_port=free_port(),
        upstream_port=int(server.target.rpartition(":")[2]),
    )
    gateway = envoy.prepare(settings, folder / "gateway", folder, folder / "gateway.log")
    process = programs.spawn(gateway.program)
    try:
        await _until_it_serves(settings.rest_port)
        yield settings.rest_port
    finally:
        programs.stop(gateway.program, process)


async def _until_it_serves(port: int) -> None:
    agreeing = 0
    async with asyncio.timeout(START_SECONDS):
        while agreeing < AGREEING:
            serves = await asyncio.to_thread(_serves, port)
            agreeing = agreeing + 1 if serves else 0
            await asyncio.sleep(0 if serves else 0.05)


def _serves(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

"""A loader at work on a server that can be killed, and when it has the fleet to work on."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from orca.v1 import system_service_pb2, system_service_pb2_grpc

HOUR = 3600
PATIENCE_SECONDS = 60


@contextmanager
def loading(target: str, ledger_end: int, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """A loader of its own process; at the end it waits for all its answers."""
    newest_hour = int(time.time()) // HOUR * HOUR - HOUR
    loader = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.loader", target, str(seed), str(newest_hour)],
        stdin=subprocess.PIPE,
        stdout=ledger_end,
    )
    assert loader.stdin is not None
    try:
        yield loader
        loader.stdin.close()
        assert loader.wait(timeout=PATIENCE_SECONDS) == 0
    finally:
        loader.stdin.close()
        if loader.poll() is None:
            loader.kill()
            loader.wait()


def wait_until_ready(target: str) -> None:
    """Returns once the server can do its work; the test's limit ends it."""
    with grpc.insecure_channel(target) as channel:
        health = system_service_pb2_grpc.SystemServiceStub(channel)
        while not is_ready(health):
            time.sleep(0.02)


def is_ready(health: "system_service_pb2_grpc.SystemServiceStub") -> bool:
    """Whether the server says so."""
    try:
        health.GetHealth(system_service_pb2.GetHealthRequest(), wait_for_ready=True)
    except grpc.RpcError:
        return False
    return True

"""Health and status over a real channel."""

import grpc
import pytest

from orca.v1 import system_service_pb2 as pb
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from tests.serving import (
    info_of,
    reason_of,
    running_server,
    settings_for,
)


async def test_a_ready_server_says_what_it_looked_at(system_stub: SystemServiceStub) -> None:
    health = await system_stub.GetHealth(pb.GetHealthRequest())
    assert health.status == "SERVING"
    assert all(check.ok for check in health.checks)
    names = {check.name for check in health.checks}
    assert {"database", "schema", "partitions", "ingest"} <= names

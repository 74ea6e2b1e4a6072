"""Client of ORCA AgentMesh.

    import orca

    async with orca.connect("localhost:50051") as client:
        async for agent in client.agents.list(filter='type = "mcp"'):
            print(agent.name, agent.trust_level)

Messages are those of `orca.v1`. Without async: `orca.connect_sync`.
"""

from orca.client import Client, connect
from orca.errors import (
    AccessError,
    AlreadyExists,
    Cancelled,
    Changed,
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    FieldViolation,
    InvalidRequest,
    NotAllowedNow,
    NotFound,
    OrcaError,
    OutOfRange,
    Overloaded,
    PermissionDenied,
    ServerError,
    Temporary,
    Unauthenticated,
    Unavailable,
)
from orca.paging import Pages
from orca.stream import StreamSettings, batched
from orca.sync import SyncClient, connect_sync

__all__ = [
    "AccessError",
    "AlreadyExists",
    "Cancelled",
    "Changed",
    "Client",
    "ConfigurationError",
    "Conflict",
    "DeadlineExceeded",
    "FieldViolation",
    "InvalidRequest",
    "NotAllowedNow",
    "NotFound",
    "OrcaError",
    "OutOfRange",
    "Overloaded",
    "Pages",
    "PermissionDenied",
    "ServerError",
    "StreamSettings",
    "SyncClient",
    "Temporary",
    "Unauthenticated",
    "Unavailable",
    "batched",
    "connect",
    "connect_sync",
]

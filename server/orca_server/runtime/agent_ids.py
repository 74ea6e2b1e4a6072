"""Ids of new agents: the only place that asks the clock and chance for one."""

import os
import time
from uuid import UUID

from orca_server.domain.ids import RANDOM_BYTES, uuid7


def new_agent_id() -> UUID:
    """An id for an agent that is made now."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))

"""Ids of new resources: the only place that asks the clock and chance for one."""

import os
import threading
import time
from uuid import UUID

from orca_server.domain.ids import RANDOM_BYTES, uuid7

_lock = threading.Lock()
_last: UUID | None = None


def new_id() -> UUID:
    """An id for a resource that is made now, greater than all that this process made before.

    So agents that one file or document brings are listed in its order.
    """
    global _last
    with _lock:
        _last = uuid7(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES), _last)
        return _last

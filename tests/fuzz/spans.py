"""Stretches of time."""

import random
import time

from google.protobuf.timestamp_pb2 import Timestamp

DAY = 86_400


def span(dice: random.Random) -> tuple[Timestamp | None, Timestamp | None]:
    """Start and end of a stretch of time, either of which may be open."""
    start, end = Timestamp(), Timestamp()
    start.FromSeconds(int(time.time()) - dice.randrange(90) * DAY)
    end.FromSeconds(start.seconds + dice.choice((-DAY, 0, 1, 30 * DAY)))
    return start if dice.random() < 0.5 else None, end if dice.random() < 0.5 else None

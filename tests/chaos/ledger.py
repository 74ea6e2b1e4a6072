"""What a loader sent and what was acknowledged, kept by a process that nobody kills.

`python -m tests.chaos.ledger FILE` appends what comes on its standard input and syncs it. Each
line is a JSON object: `at` (monotonic nanoseconds, one clock for all processes of the machine),
`event` and, for batches, `batch`:

    sent          for the first time; `good` and `bad` are the ids of its records
    resent        as it was, because it has no answer, or to see that it is counted once
    acknowledged  by a receipt or an answer, with `accepted`, `duplicates`, `refused`
    refused       a unary request whose records were refused as a whole
    broke         a call or stream ended with `code` and `reason`
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.batches import Batch

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.005

Event = dict[str, Any]


@dataclass
class Ledger:
    """The reading side."""

    path: Path
    events: list[Event] = field(default_factory=list)
    _offset: int = 0

    def read(self) -> list[Event]:
        """All events so far; a line that is being written is left for later."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        self.events.extend(json.loads(line) for line in complete.splitlines())
        return self.events

    def wait_until(self, holds: Callable[[list[Event]], bool], what: str) -> None:
        """Returns once it holds for the events."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(self.read()):
            assert time.monotonic() < deadline, f"not in time: {what}"
            time.sleep(POLL_SECONDS)

    def of(self, *names: str) -> list[Event]:
        """The events of these names."""
        return [event for event in self.events if event["event"] in names]


def unanswered_at(events: list[Event], instant: int) -> set[str]:
    """Batches that were sent before the instant, and whose first answer came later, if ever."""
    waiting = set()
    for event in events:
        if event["at"] > instant:
            break
        match event["event"]:
            case "sent":
                waiting.add(event["batch"])
            case "acknowledged" | "refused":
                waiting.discard(event["batch"])
    return waiting


def taken_between(events: list[Event], start: int, end: int) -> set[str]:
    """Batches that were sent, and acknowledged too, within a stretch of time."""
    sent, acknowledged = set(), set()
    for event in reversed(events):  # the newest are few
        if event["at"] <= start:
            break
        if event["at"] < end:
            if event["event"] == "sent":
                sent.add(event["batch"])
            elif event["event"] == "acknowledged":
                acknowledged.add(event["batch"])
    return sent & acknowledged


def entries(batch: Batch) -> list[Event]:
    """Lines for a batch that was sent and acknowledged by other means than the loader's."""
    sent = {"event": "sent", "batch": batch.name, "good": batch.good, "bad": batch.bad}
    return [sent, {"event": "acknowledged", "batch": batch.name}]


@contextmanager
def keeping(path: Path) -> Iterator[tuple[Ledger, int]]:
    """A ledger kept by a process of its own, and the file descriptor that writes to it."""
    path.touch()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.ledger", str(path)], stdin=subprocess.PIPE
    )
    assert keeper.stdin is not None
    try:
        yield Ledger(path), keeper.stdin.fileno()
    finally:
        keeper.stdin.close()
        assert keeper.wait(timeout=PATIENCE_SECONDS) == 0


def keep(path: Path) -> None:
    """Appends and syncs what comes, until nobody writes any more."""
    with path.open("ab", buffering=0) as file:
        while data := os.read(sys.stdin.fileno(), 1 << 20):
            file.write(data)
            os.fsync(file.fileno())


if __name__ == "__main__":
    keep(Path(sys.argv[1]))

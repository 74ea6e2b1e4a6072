"""Kill -9 of everything, in mid-stream: nothing acknowledged is lost or counted twice."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.ledger import Event, Ledger, keeping, taken_between, unanswered_at
from tests.chaos.load import loading
from tests.servers import PostgresServer
from tests.serving import ServerProcess

SEED = 20_260_131
VICTIMS = ("server",) * 15 + ("postmaster",) * 5 + ("backend",) * 2
MOST_TAKEN = 60
"""Kills come after 1 to so many batches since the last restart."""
BUSIEST_BACKEND = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'orca-server'"
    " ORDER BY query LIKE '%INSERT INTO telemetry%' DESC, query_start DESC LIMIT 1"
)


def kill(victim: str, server: ServerProcess, postgres: PostgresServer) -> tuple[int, int]:
    """Kills it, and gives the instants before and after."""
    pid = int(postgres.sql(BUSIEST_BACKEND)) if victim == "backend" else 0
    before = time.monotonic_ns()
    match victim:
        case "server":
            server.kill()
        case "postmaster":
            postgres.kill()
        case _:
            os.kill(pid, signal.SIGKILL)  # the postmaster then ends all others and recovers
    return before, time.monotonic_ns()


def kill_in_mid_stream(
    victim: str,
    after_batches: int,
    since: int,
    ledger: Ledger,
    server: ServerProcess,
    postgres: PostgresServer,
) -> int:
    """Kills once so many batches were taken and one is unanswered; gives the instant of restart.

    Both are looked at before, and proved afterwards by the ledger, which knows both instants.
    """

    def is_the_moment(events: list[Event]) -> bool:
        now = time.monotonic_ns()
        taken = taken_between(events, since, now)
        return len(taken) >= after_batches and bool(unanswered_at(events, now))

    ledger.wait_until(is_the_moment, f"{after_batches} batches taken, to kill {victim}")
    before, after = kill(victim, server, postgres)
    match victim:
        case "server":
            server.start()
        case "postmaster":
            postgres.start()
    ledger.read()
    assert server.process is not None
    assert server.process.poll() is None, server.other
    assert taken_between(ledger.events, since, before), "nothing was acknowledged before"
    assert unanswered_at(ledger.events, after), "nothing was unanswered at the kill"
    return time.monotonic_ns()


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_or_counted_twice(
    durable_postgres: PostgresServer, server: ServerProcess, target: str, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    victims = dice.sample(VICTIMS, len(VICTIMS))
    with keeping(tmp_path / "ledger") as (ledger, end):
        with loading(target, end, SEED):
            since = 0
            for victim in victims:
                taken = dice.randint(1, MOST_TAKEN)
                since = kill_in_mid_stream(victim, taken, since, ledger, server, durable_postgres)
            ledger.wait_until(
                lambda events: bool(taken_between(events, since, time.monotonic_ns())),
                "a batch taken after the last kill",
            )
        events = ledger.read()
    broken = Counter((event["code"], event["reason"]) for event in ledger.of("broke"))
    assert {code for code, _ in broken} <= {"UNAVAILABLE", "WRITE_FAILED"}, broken
    assert [line for line in server.lines if "exception" in line] == []
    assert not any("Traceback" in line for line in server.other), server.other
    evidence.check_acknowledgements(events)
    rows = await evidence.check_rows(durable_postgres.url(), events)
    hours = await evidence.check_sums(durable_postgres.url())
    await evidence.check_trust(target, server, durable_postgres.url())
    print(
        f"{len(victims)} kills, {rows} records and events, {hours} hours of agents,"
        f" streams broke: {dict(broken)}"
    )

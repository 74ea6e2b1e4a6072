"""What the database holds after chaos, held against the ledger."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import asyncpg
import grpc

from orca.v1 import trust_service_pb2 as pb
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from tests import recount_differences
from tests.chaos.ledger import Event
from tests.serving import ServerProcess

ROWS = """
SELECT attributes::jsonb ->> 'ledger' AS id, count(*) AS copies
FROM (SELECT attributes FROM telemetry UNION ALL SELECT attributes FROM workflow_events) AS stored
GROUP BY 1
"""
MEASURES = (
    "operations, errors, violations, blocked_violations, latency_us, latency_operations,"
    " cost_nano_usd, input_tokens, output_tokens"
)
SUMMED = ", ".join(f"sum({name.strip()}) AS {name.strip()}" for name in MEASURES.split(","))
NEWEST = "last_operation_at, last_counted_at, last_seen_at"
LATEST = ", ".join(f"max({name.strip()}) AS {name.strip()}" for name in NEWEST.split(","))
KEPT = f"""
SELECT agent_id, hour, {SUMMED}, {LATEST}
FROM (
    SELECT agent_id, hour, {MEASURES}, {NEWEST} FROM agent_hours
    UNION ALL
    SELECT agent_id, hour, {MEASURES}, {NEWEST} FROM trust_inbox WHERE hour IS NOT NULL
) AS kept
GROUP BY agent_id, hour
"""
FACTS = """
SELECT
    agent_id,
    date_trunc('hour', observed_at, 'UTC') AS hour,
    coalesce(sum(operations) FILTER (WHERE counted), 0) AS operations,
    coalesce(sum(errors) FILTER (WHERE counted), 0) AS errors,
    coalesce(sum(violations) FILTER (WHERE counted), 0) AS violations,
    coalesce(sum(blocked_violations) FILTER (WHERE counted), 0) AS blocked_violations,
    coalesce(sum(latency_us * operations) FILTER (WHERE counted), 0) AS latency_us,
    coalesce(sum(operations) FILTER (WHERE counted AND latency_us IS NOT NULL), 0)
        AS latency_operations,
    coalesce(sum(cost_nano_usd) FILTER (WHERE counted), 0) AS cost_nano_usd,
    coalesce(sum(input_tokens) FILTER (WHERE counted), 0) AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE counted), 0) AS output_tokens,
    max(observed_at) FILTER (WHERE counted AND operations > 0) AS last_operation_at,
    max(observed_at) FILTER (WHERE counted) AS last_counted_at,
    max(observed_at) AS last_seen_at
FROM telemetry
GROUP BY 1, 2
"""
VIOLATIONS_KEPT = """
SELECT agent_id, rule, sum(violations) AS violations, sum(blocked_violations) AS blocked_violations
FROM (
    SELECT entity_id AS agent_id, rule, violations, blocked_violations FROM policy_violations
    UNION ALL
    SELECT agent_id, rule, violations, blocked_violations FROM violation_inbox
) AS kept
GROUP BY agent_id, rule
"""
VIOLATIONS_TOLD = """
SELECT
    agent_id,
    coalesce(rule, 'reported') AS rule,
    sum(violations) AS violations,
    sum(coalesce(blocked_violations, 0)) AS blocked_violations
FROM telemetry
WHERE counted AND (violations > 0 OR blocked_violations > 0)
GROUP BY 1, 2
"""
DIFFERENCE = "(TABLE kept EXCEPT TABLE facts) UNION ALL (TABLE facts EXCEPT TABLE kept)"


async def check_rows(url: str, events: Iterable[Event]) -> int:
    """Every good record of an answered batch is there once, and nothing else; gives their number.

    All batches must have their answer.
    """
    due = expected_records(events)
    assert due, "nothing was sent, so nothing was tried"
    connection = await asyncpg.connect(url)
    try:
        copies = {row["id"]: row["copies"] for row in await connection.fetch(ROWS)}
    finally:
        await connection.close()
    lost = due - copies.keys()
    invented = copies.keys() - due
    twice = {name: number for name, number in copies.items() if number != 1}
    wrong = (sorted(lost)[:9], sorted(invented)[:9], twice)
    assert wrong == ([], [], {}), wrong
    return len(due)


async def check_trust(target: str, server: ServerProcess, url: str) -> None:
    """The last tick's digits equal an independent recomputation from the rows; ends the server."""
    async with grpc.aio.insecure_channel(target) as channel:
        trust = TrustServiceStub(channel)
        answer = await trust.RefreshTrust(pb.RefreshTrustRequest())
    assert answer.HasField("trust_ppb")
    assert await asyncio.to_thread(server.terminate) == 0
    connection = await asyncpg.connect(url)
    try:
        for inbox in ("trust_inbox", "workflow_inbox", "violation_inbox"):
            assert await connection.fetchval(f"SELECT count(*) FROM {inbox}") == 0
        different = await recount_differences.differences(connection)
    finally:
        await connection.close()
    assert different == [], different


async def check_sums(url: str) -> int:
    """agent_hours and violations, with their inboxes, equal the rows; the number of hours."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            hours = await _compare(connection, KEPT, FACTS)
            assert await _compare(connection, VIOLATIONS_KEPT, VIOLATIONS_TOLD)
    finally:
        await connection.close()
    return hours


async def _compare(connection: asyncpg.Connection, kept: str, facts: str) -> int:
    """What is kept equals what the rows say; gives the number of facts."""
    difference = f"WITH kept AS ({kept}), facts AS ({facts}) {DIFFERENCE}"
    different = await connection.fetch(difference)
    assert different == [], [dict(row) for row in different[:4]]
    count: int = await connection.fetchval(f"SELECT count(*) FROM ({facts}) AS facts")
    return count


def expected_records(events: Iterable[Event]) -> set[str]:
    """Ids of the records that must be stored: those of answered batches that were not refused."""
    good: dict[str, list[str]] = {}
    answered: set[str] = set()
    refused: set[str] = set()
    for event in events:
        match event["event"]:
            case "sent":
                good[event["batch"]] = event["good"]
            case "acknowledged":
                answered.add(event["batch"])
            case "refused":
                refused.add(event["batch"])
    assert answered | refused == good.keys(), "some batch was never answered"
    assert not answered & refused, "a batch was taken once and refused once"
    return {record for batch in answered for record in good[batch]}


def check_acknowledgements(events: Iterable[Event]) -> None:
    """No record was acknowledged as new twice, over all answers to its batch."""
    good = {e["batch"]: len(e["good"]) for e in events if e["event"] == "sent"}
    new: Counter[str] = Counter()
    for event in events:
        if event["event"] == "acknowledged":
            new[event["batch"]] += event["accepted"]
    twice = {batch: number for batch, number in new.items() if number > good[batch]}
    assert twice == {}, twice

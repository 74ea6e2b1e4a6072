"""What the database holds of trust against `tests.recount`: every digit in which they differ."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from tests import recount_workflows
from tests.recount import Chosen, judge, score


async def differences(connection: Any, chosen: Chosen | None = None) -> list[str]:
    """Each digit that the database holds otherwise, for the instant of its last tick.

    Nothing may be waiting in the inbox of the tick: records are read, not what ticks made of them.
    """
    chosen = chosen or Chosen()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        agents = await connection.fetch("SELECT * FROM agents")
        telemetry = await connection.fetch("SELECT * FROM telemetry")
        held = await connection.fetch("SELECT * FROM agent_trust")
        scores = await connection.fetch("SELECT * FROM trust_current")
        workflows = await recount_workflows.read(connection)
    records: dict[tuple[UUID, UUID], list[Any]] = {}
    for one in telemetry:
        records.setdefault((one["tenant_id"], one["agent_id"]), []).append(one)
    as_of = {one["tenant_id"]: one["as_of"] for one in scores}
    fleets: dict[UUID, dict[UUID, dict[str, Any]]] = {tenant: {} for tenant in as_of}
    fresh, found = recount_workflows.recount(workflows, as_of, chosen.slo_hours)
    for one in agents:
        if one["state"] == "CATALOG":
            if (one["tenant_id"], one["id"]) in records:
                found.append(f"agent {one['id']}: reported, and is not part of the fleet")
            continue
        tenant, key = one["tenant_id"], (one["tenant_id"], one["id"])
        digits = judge(one, records.get(key, []), as_of[tenant], chosen.baseline)
        fleets[tenant][one["id"]] = digits
    found += _compare_agents(fleets, held)
    for row in scores:
        counts = fresh.get(row["tenant_id"], (0, 0))
        found += _compare_fleet(score(fleets[row["tenant_id"]], chosen, *counts), row)
    return found


def _compare_agents(fleets: Mapping[UUID, Mapping[UUID, Any]], held: Iterable[Any]) -> list[str]:
    rows = {(row["tenant_id"], row["agent_id"]): row for row in held}
    expected = {
        (tenant, key): one for tenant, fleet in fleets.items() for key, one in fleet.items()
    }
    found = [f"agent {key[1]}: in one place only" for key in rows.keys() ^ expected.keys()]
    for key in rows.keys() & expected.keys():
        found += [
            f"agent {key[1]}: {name} is {rows[key][name]}, not {value}"
            for name, value in expected[key].items()
            if rows[key][name] != value
        ]
    return sorted(found)


def _compare_fleet(digits: dict[str, Any], row: Any) -> list[str]:
    summary = json.loads(row["summary"])
    stored = {name: summary[name] for name in digits if name in summary}
    stored |= {"trust_ppb": row["trust_ppb"], "band": row["band"]}
    stored["capped_by"] = list(row["capped_by"])
    stored["worst"] = [(one["ppb"], one["id"], one["state"]) for one in summary["worst"]]
    stored["bands"] = {name: summary["bands"].get(name, 0) for name in digits["bands"]}
    return [
        f"fleet: {name} is {stored[name]}, not {value}"
        for name, value in digits.items()
        if stored[name] != value
    ]

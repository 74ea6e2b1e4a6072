"""The lists that can be filtered and ordered: which field is which expression."""

from collections.abc import Mapping

from orca_server.domain.filter_fields import (
    AGENT_FIELDS,
    DRIFT_FIELDS,
    VIOLATION_FIELDS,
    WORKFLOW_FIELDS,
    Field,
)
from orca_server.store.filter_sql import Listing, Order
from orca_server.store.queries import QUERIES

HEALTHY_PPB = 750_000_000
DEGRADED_PPB = 500_000_000

_PPB = "agent_trust.{} / 1e9::numeric"
_AGENT_COLUMNS = {
    "id": "agents.id",
    "type": "agents.type",
    "name": "agents.name",
    "display_name": "agents.display_name",
    "description": "agents.description",
    "state": "agents.state",
    "source": "agents.source",
    "owner": "agents.owner",
    "version": "agents.version",
    "criticality": "agents.criticality",
    "labels": "agents.labels",
    "capabilities": "agents.capabilities",
    "trust_level": _PPB.format("counted_level_ppb"),
    "trust_state": "agent_trust.state",
    "health": (
        f"CASE WHEN agent_trust.health_ppb >= {HEALTHY_PPB} THEN 'HEALTHY'"
        f" WHEN agent_trust.health_ppb >= {DEGRADED_PPB} THEN 'DEGRADED'"
        " WHEN agent_trust.health_ppb IS NOT NULL THEN 'CRITICAL' END"
    ),
    "health_score": _PPB.format("health_ppb"),
    "last_seen_at": "agent_trust.last_seen_at",
    "operations": "coalesce(agent_trust.operations, 0)",
    "errors": "coalesce(agent_trust.errors, 0)",
    "violations": "coalesce(agent_trust.violations, 0)",
    "created_at": "agents.created_at",
    "updated_at": "agents.updated_at",
}
_WORKFLOW_COLUMNS = {
    "id": "workflows.id",
    "provider": "workflows.provider",
    "name": "workflows.name",
    "display_name": "workflows.display_name",
    "external_id": "workflows.external_id",
    "state": "workflows.state",
    "owner": "workflows.owner",
    "labels": "workflows.labels",
    "freshness": "workflow_status.freshness",
    "last_event_at": "workflow_status.last_event_at",
    "last_run_at": "workflow_status.last_run_at",
    "last_success_at": "workflow_status.last_success_at",
    "last_outcome": "workflow_status.last_outcome",
    "created_at": "workflows.created_at",
    "updated_at": "workflows.updated_at",
}


def _both_ways(table: str, **columns: str) -> dict[str, Order]:
    """By id, and by columns that are never NULL, each also reversed."""
    orders = {"id": Order(), "id desc": Order(descending=True)}
    for name, cast in columns.items():
        column = f"{table}.{name}"
        orders[name] = Order(column, cast, row=name)
        orders[f"{name} desc"] = Order(column, cast, descending=True, row=name)
    return orders


def _with_missing(
    name: str, column: str, cast: str, row: str, lowest: str, highest: str
) -> dict[str, Order]:
    """By a column that may be NULL, both ways; rows without a value come last in either."""
    ascending = f"coalesce({column}, '{highest}'::{cast})"
    descending = f"coalesce({column}, '{lowest}'::{cast})"
    return {
        name: Order(ascending, cast, row=row, missing=highest),
        f"{name} desc": Order(descending, cast, descending=True, row=row, missing=lowest),
    }


_TIMES = {"created_at": "timestamptz", "updated_at": "timestamptz"}

AGENTS = Listing(
    head=QUERIES["list_agents"].rstrip(";"),
    count=QUERIES["count_agents"].rstrip(";"),
    id="agents.id",
    fields=AGENT_FIELDS,
    columns=_AGENT_COLUMNS,
    # Unmeasured agents come last both ways, so the least trusted ones come first in one of them.
    orders=_both_ways("agents", name="text", **_TIMES)
    | _with_missing(
        "trust_level", "agent_trust.counted_level_ppb", "integer", "trust_ppb", "-1", "2000000000"
    ),
    lower=frozenset({"criticality", "trust_state"}),
    missing={"trust_state": "unmeasured"},
)
WITHOUT_CATALOG = "agents.state <> 'CATALOG'"

WORKFLOWS = Listing(
    head=QUERIES["list_workflows"].rstrip(";"),
    count=QUERIES["count_workflows"].rstrip(";"),
    id="workflows.id",
    fields=WORKFLOW_FIELDS,
    columns=_WORKFLOW_COLUMNS,
    orders=_both_ways("workflows", name="text", **_TIMES)
    | _with_missing(
        "last_success_at",
        "workflow_status.last_success_at",
        "timestamptz",
        "last_success_at",
        "-infinity",
        "infinity",
    ),
    lower=frozenset({"freshness", "last_outcome"}),
    missing={"freshness": "unmeasured"},
)


def _findings(table: str, name: str, fields: Mapping[str, Field]) -> Listing:
    """A list of what is found about agents."""
    columns = {field: f"{table}.{field}" for field in fields}
    times = {"created_at": "timestamptz", "last_seen_at": "timestamptz"}
    return Listing(
        head=QUERIES[f"list_{name}"].rstrip(";"),
        count=QUERIES[f"count_{name}"].rstrip(";"),
        id=f"{table}.id",
        fields=fields,
        columns=columns | {"type": "agents.type", "name": "agents.name"},
        orders=_both_ways(table, **times),
    )


VIOLATIONS = _findings("policy_violations", "violations", VIOLATION_FIELDS)
DRIFT = _findings("drift_detections", "drift", DRIFT_FIELDS)

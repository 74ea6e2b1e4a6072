"""Lists as SQL: filter tree, order and keyset -> a statement and its parameters.

The only place that composes SQL text. Every name in it comes from the tables below, every value
is a parameter. A condition may be NULL where its field has no value; that counts as false, and so
NOT is written `IS NOT TRUE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import assert_never
from uuid import UUID

from orca_server.domain.filtering import And, Comparison, Node, Not, Or, Pattern, Value
from orca_server.store.queries import QUERIES

HEALTHY_PPB = 750_000_000
DEGRADED_PPB = 500_000_000

_PPB = "agent_trust.{} / 1e9::numeric"
COLUMNS = {
    "id": "agents.id",
    "type": "agents.type",
    "name": "agents.name",
    "display_name": "agents.display_name",
    "description": "agents.description",
    "state": "agents.state",
    "source": "agents.source",
    "owner": "agents.owner",
    "version": "agents.version",
    "criticality": "upper(agents.criticality)",
    "labels": "agents.labels",
    "capabilities": "agents.capabilities",
    "trust_level": _PPB.format("counted_level_ppb"),
    "trust_state": "upper(coalesce(agent_trust.state, 'unmeasured'))",
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

_CASTS: dict[type, str] = {
    Decimal: "numeric",
    datetime: "timestamptz",
    UUID: "uuid",
    str: "text",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is ordered by, id last.

    Attributes:
        column: Expression that is never NULL; empty: id alone.
        cast: SQL type of the key's parameter, which arrives as text.
    """

    column: str
    cast: str
    descending: bool = False


# Unmeasured agents come last both ways, so the least trusted ones come first in one of them.
ORDERS = {
    "id": Order("", ""),
    "id desc": Order("", "", descending=True),
    "name": Order("agents.name", "text"),
    "name desc": Order("agents.name", "text", descending=True),
    "created_at": Order("agents.created_at", "timestamptz"),
    "created_at desc": Order("agents.created_at", "timestamptz", descending=True),
    "updated_at": Order("agents.updated_at", "timestamptz"),
    "updated_at desc": Order("agents.updated_at", "timestamptz", descending=True),
    "trust_level": Order("coalesce(agent_trust.counted_level_ppb, 2000000000)", "integer"),
    "trust_level desc": Order(
        "coalesce(agent_trust.counted_level_ppb, -1)", "integer", descending=True
    ),
}


@dataclass(slots=True)
class Statement:
    """SQL in the making, with its parameters."""

    text: str
    parameters: list[object] = field(default_factory=list)

    def bind(self, value: object) -> str:
        """The placeholder of a new parameter."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def add(self, text: str) -> None:
        """Appends text."""
        self.text += text


_HEAD = QUERIES["list_agents"].rstrip(";")
_COUNT = QUERIES["count_agents"].rstrip(";")
ONE_AGENT = f"{_HEAD}\n    AND agents.id = $2"
SOME_AGENTS = f"{_HEAD}\n    AND agents.id = ANY($2::uuid[])"


def agents_page(
    tenant_id: UUID,
    condition: Node | None,
    order: Order,
    after: Sequence[str],
    *,
    catalog: bool,
    limit: int,
) -> Statement:
    """One page of agents that begins after a key.

    Args:
        tenant_id: Whose agents.
        condition: The filter.
        order: One of ORDERS.
        after: Key of the last row of the page before: the order's column, if any, and id.
        catalog: Whether catalogue entries are listed too.
        limit: Rows at most.
    """
    statement = _matching(_HEAD, tenant_id, condition, catalog=catalog)
    direction = " DESC" if order.descending else ""
    sign = "<" if order.descending else ">"
    if after:
        keys = [f"{statement.bind(after[-1])}::text::uuid"]
        if order.column:
            keys.insert(0, f"{statement.bind(after[0])}::text::{order.cast}")
        columns = f"({order.column}, agents.id)" if order.column else "(agents.id)"
        statement.add(f"\n    AND {columns} {sign} ({', '.join(keys)})")
    by = f"{order.column}{direction}, " if order.column else ""
    statement.add(f"\nORDER BY {by}agents.id{direction}\nLIMIT {statement.bind(limit)}")
    return statement


def agents_total(tenant_id: UUID, condition: Node | None, *, catalog: bool) -> Statement:
    """How many agents a list has on all pages."""
    return _matching(_COUNT, tenant_id, condition, catalog=catalog)


def _matching(head: str, tenant_id: UUID, condition: Node | None, *, catalog: bool) -> Statement:
    statement = Statement(head, [tenant_id])
    if not catalog:
        statement.add("\n    AND agents.state <> 'CATALOG'")
    if condition is not None:
        statement.add(f"\n    AND ({_sql(condition, statement)})")
    return statement


def _sql(node: Node, statement: Statement) -> str:
    match node:
        case And(children):
            return " AND ".join(f"({_sql(child, statement)})" for child in children)
        case Or(children):
            return " OR ".join(f"({_sql(child, statement)})" for child in children)
        case Not(child):
            return f"({_sql(child, statement)}) IS NOT TRUE"
        case Comparison():
            return _comparison(node, statement)
        case _:
            assert_never(node)


def _comparison(one: Comparison, statement: Statement) -> str:
    if one.operator == "!=":
        same = Comparison(one.field, one.key, "=", one.value)
        return f"({_comparison(same, statement)}) IS NOT TRUE"
    column = COLUMNS[one.field]
    if one.field == "capabilities":
        return _in_list(column, one.value, statement)
    if one.field == "labels":
        if one.value is None:
            return f"{column} ? {statement.bind(one.key)}::text"
        column = f"({column} ->> {statement.bind(one.key)}::text)"
    if one.value is None:
        return f"{column} <> ''" if _is_text(one.field) else f"{column} IS NOT NULL"
    if isinstance(one.value, Pattern):
        return _matches(column, one.value, statement, contains=one.operator == ":")
    return f"{column} {one.operator} {statement.bind(one.value)}::{_CASTS[type(one.value)]}"


def _is_text(name: str) -> bool:
    return name in {"type", "name", "display_name", "description", "source", "owner", "version"}


def _in_list(column: str, value: Value | None, statement: Statement) -> str:
    if not isinstance(value, Pattern):
        return f"cardinality({column}) > 0"
    if len(value.parts) == 1:
        return f"{statement.bind(value.parts[0])} = ANY ({column})"
    match = _matches("entry", value, statement, contains=False)
    return f"EXISTS (SELECT FROM unnest({column}) AS entry WHERE {match})"


def _matches(column: str, pattern: Pattern, statement: Statement, *, contains: bool) -> str:
    if contains:
        return f"{column} ILIKE {statement.bind('%' + _like(pattern) + '%')}"
    if len(pattern.parts) == 1:
        return f"{column} = {statement.bind(pattern.parts[0])}"
    return f"{column} LIKE {statement.bind(_like(pattern))}"


def _like(pattern: Pattern) -> str:
    """The pattern in LIKE's language, with its own characters escaped."""
    escaped = (
        part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in pattern.parts
    )
    return "%".join(escaped)

"""Lists as SQL: filter tree, order and keyset -> a statement and its parameters.

The only place that composes SQL text. Every name in it comes from the tables of listings.py,
every value is a parameter. A condition may be NULL where its field has no value; that counts as
false, and so NOT is written `IS NOT TRUE`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import assert_never
from uuid import UUID

import asyncpg

from orca_server.domain.errors import InvalidRequest
from orca_server.domain.filter_fields import Field, Kind
from orca_server.domain.filtering import And, Comparison, Node, Not, Or, Pattern, Value
from orca_server.store.database import Connection, Record
from orca_server.store.totals import Totals

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
        row: Name of the value in a row of the list.
        missing: What the expression is, as text, where the row has no value.
    """

    column: str = ""
    cast: str = ""
    descending: bool = False
    row: str = ""
    missing: str = ""

    @property
    def parts(self) -> int:
        """Of how many parts the key of a row consists."""
        return 2 if self.column else 1

    def key(self, row: Record) -> list[str]:
        """The place of a row in this order."""
        last = str(row["id"])
        if not self.column:
            return [last]
        value = row[self.row]
        if value is None:
            return [self.missing, last]
        return [value.isoformat() if isinstance(value, datetime) else str(value), last]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of a resource.

    Attributes:
        head: Statement that selects the rows of tenant $1, up to the condition on the tenant.
        count: The same, counting.
        id: Column of the id.
        fields: What a filter may ask about.
        columns: Field -> the expression that holds it.
        orders: Name of an order -> what it is.
        lower: Choices whose column holds them in lower case.
        missing: Choice -> what it is where its column is NULL.
    """

    head: str
    count: str
    id: str
    fields: Mapping[str, Field]
    columns: Mapping[str, str]
    orders: Mapping[str, Order]
    lower: frozenset[str] = frozenset()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def one(self) -> str:
        """The statement for one row by its id, $2."""
        return f"{self.head}\n    AND {self.id} = $2"

    @property
    def some(self) -> str:
        """The statement for rows by their ids, $2."""
        return f"{self.head}\n    AND {self.id} = ANY($2::uuid[])"


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a list are asked for.

    Attributes:
        tenant_id: Whose rows.
        condition: The filter.
        restriction: One more condition that holds for all of the list, as SQL without values.
    """

    tenant_id: UUID
    condition: Node | None = None
    restriction: str = ""


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


async def fetch_page(
    db: Connection,
    listing: Listing,
    query: Query,
    order: Order,
    after: Sequence[str],
    limit: int,
    totals: Totals | None = None,
) -> tuple[list[Record], int]:
    """One page of a list, and how many rows it has on all pages, which `totals` may know.

    Without `totals` it is counted each time: what is listed is not in the log of changes.

    Raises:
        InvalidRequest: If `after` is no key of this order (`PAGE_TOKEN_INVALID`).
    """
    page, count = page_of(listing, query, order, after, limit), total_of(listing, query)
    try:
        rows = await db.fetch(page.text, *page.parameters)
    except asyncpg.DataError as error:
        if not after:
            raise
        raise InvalidRequest(
            "PAGE_TOKEN_INVALID", "page_token is not from this server; start over without it."
        ) from error
    if totals is None:
        return rows, await db.fetchval(count.text, *count.parameters)
    ticks = _reads_ticks(listing, query.condition)
    total = await totals.of(db, query.tenant_id, count.text, count.parameters, ticks=ticks)
    return rows, total


def _reads_ticks(listing: Listing, condition: Node | None) -> bool:
    """Whether a condition reads what the tick writes: all that is not in the table of the id."""
    match condition:
        case None:
            return False
        case And(children) | Or(children):
            return any(_reads_ticks(listing, child) for child in children)
        case Not(child):
            return _reads_ticks(listing, child)
        case Comparison():
            table, _, _ = listing.id.partition(".")
            return not listing.columns[condition.field].startswith(f"{table}.")
        case _:
            assert_never(condition)


def page_of(
    listing: Listing, query: Query, order: Order, after: Sequence[str], limit: int
) -> Statement:
    """One page of a list that begins after a key.

    Args:
        listing: Of which resource.
        query: Which rows.
        order: One of the listing's orders.
        after: Key of the last row of the page before: the order's column, if any, and id.
        limit: Rows at most.
    """
    statement = _matching(listing.head, listing, query)
    direction = " DESC" if order.descending else ""
    sign = "<" if order.descending else ">"
    if after:
        keys = [f"{statement.bind(after[-1])}::text::uuid"]
        if order.column:
            keys.insert(0, f"{statement.bind(after[0])}::text::{order.cast}")
        columns = f"({order.column}, {listing.id})" if order.column else f"({listing.id})"
        statement.add(f"\n    AND {columns} {sign} ({', '.join(keys)})")
    by = f"{order.column}{direction}, " if order.column else ""
    statement.add(f"\nORDER BY {by}{listing.id}{direction}\nLIMIT {statement.bind(limit)}")
    return statement


def total_of(listing: Listing, query: Query) -> Statement:
    """How many rows a list has on all pages."""
    return _matching(listing.count, listing, query)


def _matching(head: str, listing: Listing, query: Query) -> Statement:
    statement = Statement(head, [query.tenant_id])
    if query.restriction:
        statement.add(f"\n    AND {query.restriction}")
    if query.condition is not None:
        statement.add(f"\n    AND ({_sql(query.condition, listing, statement)})")
    return statement


def _sql(node: Node, listing: Listing, statement: Statement) -> str:
    match node:
        case And(children):
            return " AND ".join(f"({_sql(child, listing, statement)})" for child in children)
        case Or(children):
            return " OR ".join(f"({_sql(child, listing, statement)})" for child in children)
        case Not(child):
            return f"({_sql(child, listing, statement)}) IS NOT TRUE"
        case Comparison():
            return _comparison(node, listing, statement)
        case _:
            assert_never(node)


def _comparison(one: Comparison, listing: Listing, statement: Statement) -> str:
    if one.operator == "!=":
        same = Comparison(one.field, one.key, "=", one.value)
        return f"({_comparison(same, listing, statement)}) IS NOT TRUE"
    column, kind = listing.columns[one.field], listing.fields[one.field].kind
    if kind is Kind.CHOICE:
        return _choice(one, listing, statement)
    if kind is Kind.FLAG:
        return column if one.value == "true" else f"NOT {column}"
    if kind is Kind.LIST:
        return _in_list(column, one.value, statement)
    if kind is Kind.LABELS:
        if one.value is None:
            return f"{column} ? {statement.bind(one.key)}::text"
        column = f"({column} ->> {statement.bind(one.key)}::text)"
    if one.value is None:
        return f"{column} <> ''" if kind is Kind.TEXT else f"{column} IS NOT NULL"
    if isinstance(one.value, Pattern):
        return _matches(column, one.value, statement, contains=one.operator == ":")
    return f"{column} {one.operator} {statement.bind(one.value)}::{_CASTS[type(one.value)]}"


def _choice(one: Comparison, listing: Listing, statement: Statement) -> str:
    """A bare comparison where that is enough, so that an index and statistics serve it."""
    column, missing = listing.columns[one.field], listing.missing.get(one.field)
    if one.value is None:
        return "true" if missing else f"{column} IS NOT NULL"
    value = str(one.value).lower() if one.field in listing.lower else str(one.value)
    if value == missing:
        column = f"coalesce({column}, '{missing}')"
    return f"{column} = {statement.bind(value)}::text"


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

"""Pages of rows by key: ListTelemetry and ListEvents."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic
from uuid import UUID

from asyncpg import Record

from orca_server.domain.errors import FieldViolation, InvalidRequest
from orca_server.domain.telemetry import first_key
from orca_server.services import page_token
from orca_server.services.authentication import current_caller
from orca_server.services.pages import Page, Resource, fitting
from orca_server.services.record_fields import parse_id
from orca_server.services.requests import EARLIEST, LATEST, read_id, read_page_size, read_time
from orca_server.store.batches import LAST_KEY, Table, count_by_key, list_by_key
from orca_server.store.database import Connection, Database

DEFAULT_PAGE, MOST_PAGE = 1_000, 5_000


@dataclass(frozen=True, slots=True)
class List(Generic[Resource]):
    """One method that lists rows by key.

    Attributes:
        table: Where they are.
        whose: Field with the id of the agent or workflow that they are about.
        time: What they are ordered by.
        require: Raises NotFound if there is no such agent or workflow.
        convert: Makes what is listed of such an id and a row.
    """

    table: Table
    whose: str
    time: str
    require: Callable[[Connection, UUID, UUID], Awaitable[None]]
    convert: Callable[[UUID, Record], Resource]


async def read_page(db: Database, what: List[Resource], request: Any) -> Page[Resource]:
    """The page that a request asks for, from the rows of the caller's tenant.

    It is shorter than asked for if the rows are large.

    Args:
        db: For reads.
        what: The method.
        request: Has page_size, page_token, start_time, end_time and order_by.

    Raises:
        InvalidRequest: If a field of the request is wrong.
        NotFound: If there is no such agent or workflow.
    """
    whose = read_id(what.whose, getattr(request, what.whose))
    limit = read_page_size(request.page_size, default=DEFAULT_PAGE, most=MOST_PAGE)
    newest_first = _newest_first(request.order_by, what.time)
    first, end = _key_range(request)
    query = f"{what.table}|{whose}|{first}|{end}|{newest_first}"
    page_first, page_end = _rest(query, request.page_token, first, end, newest_first=newest_first)
    tenant_id = current_caller().tenant_id
    async with db.connection() as connection:
        await what.require(connection, tenant_id, whose)
        rows = await list_by_key(
            connection,
            what.table,
            tenant_id,
            whose,
            first=page_first,
            end=page_end,
            newest_first=newest_first,
            limit=limit + 1,
        )
        total = await count_by_key(connection, what.table, tenant_id, whose, first, end)
    page = await fitting(rows[:limit], lambda row: what.convert(whose, row))
    more = len(rows) > len(page)
    token = page_token.issue(query, [str(rows[len(page) - 1]["key"])]) if more else ""
    return Page(page, token, total)


def _rest(
    query: str, token: str, first: UUID, end: UUID, *, newest_first: bool
) -> tuple[UUID, UUID]:
    """The range of keys that the pages before have left."""
    last = page_token.redeem(query, token, parts=1)
    if last is None:
        return first, end
    key = parse_id(last[0])
    if key is None:
        raise page_token.invalid()
    after = UUID(int=min(key.int + 1, LAST_KEY.int))
    return (first, key) if newest_first else (after, end)


def _newest_first(order_by: str, time: str) -> bool:
    words = order_by.split()
    if words in ([], [time], [time, "asc"]):
        return False
    if words == [time, "desc"]:
        return True
    raise InvalidRequest(
        "ORDER_BY_INVALID",
        f"order_by may be '{time}' or '{time} desc'.",
        violations=[FieldViolation("order_by", "UNKNOWN_FIELD", f"only {time} is known")],
    )


def _key_range(request: Any) -> tuple[UUID, UUID]:
    """The range of keys of the span of time that is asked for."""
    start = read_time(
        "start_time", request.start_time, given=request.HasField("start_time"), default=EARLIEST
    )
    end = read_time(
        "end_time", request.end_time, given=request.HasField("end_time"), default=LATEST
    )
    microsecond = timedelta(microseconds=1)
    return first_key((start - EARLIEST) // microsecond), first_key((end - EARLIEST) // microsecond)

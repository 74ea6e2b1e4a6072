"""Pages of a list: what is asked for, what fits into a reply, and the token of the next one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from orca_server.domain import filtering
from orca_server.services import page_token
from orca_server.services.authentication import current_caller
from orca_server.services.requests import read_order, read_page_size
from orca_server.store.database import Database, Record
from orca_server.store.filter_sql import Listing, Query, fetch_page
from orca_server.store.totals import Totals

MOST_ROWS = 5000
# A reply must stay below the 16 MiB of a message, also when it is written as JSON.
MOST_REPLY_BYTES = 6 * 2**20
# Resources that are converted before others get the event loop.
CHUNK = 200

Resource = TypeVar("Resource", bound=Message)


class ListRequest(Protocol):
    """What the requests for lists of resources have in common."""

    page_size: int
    page_token: str
    filter: str
    order_by: str


@dataclass(frozen=True, slots=True)
class Page(Generic[Resource]):
    """Part of a list.

    Attributes:
        resources: In the order of the list.
        next_token: Of the page that follows; empty on the last.
        total: How many there are on all pages.
    """

    resources: Sequence[Resource]
    next_token: str
    total: int


async def read_page(
    db: Database,
    listing: Listing,
    request: ListRequest,
    convert: Callable[[Record], Resource],
    totals: Totals | None = None,
    *,
    restriction: str = "",
    default: int = MOST_ROWS,
) -> Page[Resource]:
    """A page of the caller's resources; fewer than asked for if they are large.

    Args:
        db: Where they are.
        listing: Which list.
        request: What is asked for.
        convert: Makes the resource of a row.
        totals: Of the server's lists that the log of changes tells of; None: of no such one.
        restriction: As `Query` has it.
        default: Rows of a page where the request does not say how many.

    Raises:
        InvalidRequest: If anything that is asked for is wrong.
    """
    limit = read_page_size(request.page_size, default=default, most=MOST_ROWS)
    condition = filtering.parse(request.filter, listing.fields)
    name = read_order(request.order_by, listing.orders)
    order = listing.orders[name]
    told = f"{listing.id}|{request.filter}|{name}|{restriction}"
    after = page_token.redeem(told, request.page_token, parts=order.parts) or ()
    query = Query(current_caller().tenant_id, condition, restriction)
    async with db.connection() as connection:
        found = await fetch_page(connection, listing, query, order, after, limit + 1, totals)
    rows, total = found
    page = await fitting(rows[:limit], convert)
    more = len(rows) > len(page)
    token = page_token.issue(told, order.key(rows[len(page) - 1])) if more else ""
    return Page(page, token, total)


async def fitting(rows: Sequence[Record], convert: Callable[[Record], Resource]) -> list[Resource]:
    """The first resources that fit into a reply together, at least one."""
    page: list[Resource] = []
    size = 0
    for index, row in enumerate(rows):
        resource = convert(row)
        size += resource.ByteSize()
        if page and size > MOST_REPLY_BYTES:
            break
        page.append(resource)
        if index % CHUNK == CHUNK - 1:
            await asyncio.sleep(0)
    return page

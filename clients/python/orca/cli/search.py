"""`orca search`: find agents by what they do."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from orca.cli.output import plain, ratio, table, word
from orca.cli.session import Session, view
from orca.v1.agent_pb2 import Agent
from orca.v1.search_pb2 import SearchHit, SearchMatch

_LONGEST_DESCRIPTION = 100


@view
async def search(
    session: Session,
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="What to look for.")],
    filter: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help='Only these, such as: type = "mcp".')
    ] = "",
    fleet: Annotated[
        bool, typer.Option("--fleet", help="Leave out what is only in the catalogue.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="At most so many.")] = 10,
) -> None:
    """Find agents by what they do: by their words and by their meaning.

    Example: orca search "read issues from github"
    """
    hits = await session.client.agents.search(
        " ".join(query),
        filter=filter,
        show_catalog=not fleet,
        page_size=limit,
        timeout=session.timeout,
    )
    session.printer.show({"hits": [plain(hit) for hit in hits]}, _rows(hits))
    if session.printer.is_table and not hits:
        session.printer.note("No agent was found.")


def _rows(hits: Sequence[SearchHit]) -> Table:
    rows = (
        (
            f"{hit.agent.type}/{hit.agent.name}",
            word(Agent.State.Name, hit.agent.state, "STATE_"),
            ratio(hit.score),
            _why(hit),
            _first_line(hit.agent.description),
            hit.agent.owner or None,
            hit.agent.id,
        )
        for hit in hits
    )
    columns = ("agent", "state", "score", "why", "description")
    return table(columns, rows, numbers="score", wide=("owner", "id"))


def _why(hit: SearchHit) -> str:
    """Where the words of the query are; else that only the meaning is alike."""
    return "; ".join(_where(match) for match in hit.matches) or "similar in meaning"


def _where(match: SearchMatch) -> str:
    tools = f" {', '.join(match.tools[:2])}" if match.tools else ""
    return f"{match.field}{tools}: {' '.join(match.words)}"


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    if len(line) <= _LONGEST_DESCRIPTION:
        return line
    return f"{line[: _LONGEST_DESCRIPTION - 1]}…"

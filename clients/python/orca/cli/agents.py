"""`orca agents`: look at the fleet and move agents in and out of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orca.agents import NOUN
from orca.cli.output import facts, instant, optional, plain, ratio, table, word
from orca.cli.progress import progress
from orca.cli.resources import Outcome, Resources, change_named, conclude, show_list
from orca.cli.session import EXIT_FAILED, Session, command, view
from orca.errors import OrcaError
from orca.v1 import trust_pb2
from orca.v1.agent_pb2 import Agent

agents_app = typer.Typer(
    no_args_is_help=True, help="Agents of the fleet, and the catalogue.", rich_markup_mode=None
)

_ASK_ABOVE = 20
_AT_A_TIME = 8
_NUMBERS = "operations errors violations cost_usd"

_Names = Annotated[list[str], typer.Argument(metavar="AGENT", help="NAME, TYPE/NAME or id.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
Change = Callable[..., Awaitable[Agent]]


@agents_app.command("list")
@view
async def list_agents(
    session: Session,
    filter: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help='Such as: type = "mcp".')
    ] = "",
    order_by: Annotated[
        str, typer.Option("--order-by", metavar="FIELD", help="Such as: trust_level desc.")
    ] = "",
    catalog: Annotated[
        bool, typer.Option("--catalog", help="Also list what is only in the catalogue.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many. Default: all.")
    ] = None,
) -> None:
    """List agents, by id unless told otherwise.

    Example: orca agents list --filter 'type = "mcp" AND trust_level < 0.75'
    """
    pages = session.client.agents.list(
        filter=filter,
        order_by=order_by,
        show_catalog=catalog,
        page_size=min(limit or 0, 5000),
        timeout=session.timeout,
    )
    await show_list(session, pages.pages(), _AGENTS, limit)


@agents_app.command("get")
@view
async def get(
    session: Session,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="NAME, TYPE/NAME or id.")],
) -> None:
    """Show one agent.

    Example: orca agents get mcp/io.github.example/weather
    """
    found = await session.client.agents.find(agent, timeout=session.timeout)
    session.printer.show(plain(found), _details(found), *_tools(found))


@agents_app.command("suspend")
@command
async def suspend(session: Session, agents: _Names, reason: _Reason = "") -> None:
    """Set agents aside: their telemetry is kept and counts in no score.

    Example: orca agents suspend weather --reason 'moves to another host'
    """
    await _change(session, session.client.agents.suspend, agents, reason, "suspended")


@agents_app.command("resume")
@command
async def resume(session: Session, agents: _Names, reason: _Reason = "") -> None:
    """Bring suspended or retired agents back into the fleet, with their history.

    Example: orca agents resume weather
    """
    await _change(session, session.client.agents.resume, agents, reason, "resumed")


@agents_app.command("retire")
@command
async def retire(session: Session, agents: _Names, reason: _Reason = "") -> None:
    """Retire agents: their telemetry is refused from now on, their names stay taken.

    Example: orca agents retire weather --reason 'replaced by forecast'
    """
    await _change(session, session.client.agents.retire, agents, reason, "retired")


@agents_app.command("enrol")
@command
async def enrol(
    session: Session,
    agents: Annotated[
        list[str] | None, typer.Argument(metavar="AGENT", help="NAME, TYPE/NAME or id.")
    ] = None,
    filter: Annotated[
        str,
        typer.Option("--filter", metavar="EXPR", help="Enrol all entries that match."),
    ] = "",
    reason: _Reason = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before enrolling many.")
    ] = False,
) -> None:
    """Make catalogue entries part of the fleet, by name or all that match a filter.

    Example: orca agents enrol --filter 'labels.category = "devops"'
    """
    if bool(agents) == bool(filter):
        raise typer.BadParameter("Name agents, or give --filter EXPR: one of the two.")
    change = session.client.agents.enrol
    if agents:
        await _change(session, change, agents, reason, "enrolled")
        return
    found = await _catalogue(session, filter)
    if not yes and not _agreed(session, found):
        session.printer.note("Nothing was enrolled.")
        raise typer.Exit(EXIT_FAILED)
    await _change_all(session, change, found, reason, "enrolled")


async def _catalogue(session: Session, filter: str) -> list[Agent]:
    """The entries that match and are only in the catalogue."""
    pages = session.client.agents.list(filter=filter, show_catalog=True, timeout=session.timeout)
    return [agent async for agent in pages if agent.state == Agent.STATE_CATALOG]


def _agreed(session: Session, found: list[Agent]) -> bool:
    """Whether to go on: asked on a terminal, if there are many."""
    terminal = session.printer.err.is_terminal and typer.get_text_stream("stdin").isatty()
    if len(found) <= _ASK_ABOVE or not terminal:
        return True
    return typer.confirm(f"Enrol {len(found)} agents?", err=True)


async def _change(
    session: Session, change: Change, names: list[str], reason: str, done: str
) -> None:
    """Changes the agents that were named."""
    find = session.client.agents.find
    await change_named(session, _AGENTS, find, change, names, reason, done)


async def _change_all(
    session: Session, change: Change, agents: list[Agent], reason: str, done: str
) -> None:
    """Changes many agents, some at a time, with a progress bar."""
    room = asyncio.Semaphore(_AT_A_TIME)

    async def one(agent: Agent) -> Outcome[Agent]:
        async with room:
            try:
                changed = await change(agent.id, reason=reason, timeout=session.timeout)
            except OrcaError as error:
                return Outcome(NOUN.full_name(agent), error=error)
            advance(1)
            return Outcome(agent.name, changed)

    with progress(session.printer, "enrolling", len(agents)) as advance:
        outcomes = await asyncio.gather(*(one(agent) for agent in agents))
    conclude(session, outcomes, _AGENTS, done)


def _rows(agents: list[Agent]) -> Table:
    columns = ("type", "name", "state", "trust", "measured", "health", "last seen", "id")
    rows = [
        (
            agent.type,
            agent.name,
            _state(agent),
            ratio(optional(agent, "trust_level")),
            _trust_state(agent),
            _health(agent),
            instant(agent, "last_seen_at"),
            agent.id,
            agent.owner or None,
            agent.source or None,
            agent.version or None,
            word(Agent.Criticality.Name, agent.criticality, "CRITICALITY_"),
            agent.operations,
            agent.errors,
            agent.violations,
            agent.cost_usd,
        )
        for agent in agents
    ]
    more = ("owner", "source", "version", "criticality", *_NUMBERS.split())
    return table(columns, rows, numbers=f"trust {_NUMBERS}", wide=more)


def _details(agent: Agent) -> Table:
    endpoint = agent.endpoint
    started = " ".join([endpoint.command, *endpoint.args])
    return facts(
        [
            ("id", agent.id),
            ("agent", f"{agent.type}/{agent.name}"),
            ("display name", agent.display_name),
            ("description", agent.description),
            ("state", _state(agent)),
            ("source", agent.source),
            ("owner", agent.owner),
            ("version", agent.version),
            ("endpoint", endpoint.url or started),
            ("labels", ", ".join(f"{key}={agent.labels[key]}" for key in sorted(agent.labels))),
            ("criticality", word(Agent.Criticality.Name, agent.criticality, "CRITICALITY_")),
            ("trust", ratio(optional(agent, "trust_level"))),
            ("measured", _trust_state(agent)),
            ("health", _health(agent)),
            ("last seen", instant(agent, "last_seen_at")),
            ("operations", agent.operations),
            ("errors", agent.errors),
            ("violations", agent.violations),
            ("created", instant(agent, "created_at")),
            ("updated", instant(agent, "updated_at")),
        ]
    )


def _tools(agent: Agent) -> list[Table | Text]:
    if not agent.tools:
        return []
    rows = [(tool.name, tool.description.partition("\n")[0]) for tool in agent.tools]
    return [Text(), table(("tool", "description"), rows)]


def _state(agent: Agent) -> str | None:
    return word(Agent.State.Name, agent.state, "STATE_")


def _health(agent: Agent) -> str | None:
    return word(Agent.Health.Name, agent.health, "HEALTH_")


def _trust_state(agent: Agent) -> str | None:
    return word(trust_pb2.TrustState.Name, agent.trust_state, "TRUST_STATE_")


_AGENTS = Resources("agent", _rows)

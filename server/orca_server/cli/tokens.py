"""`orca tokens`: hands out, lists and revokes tokens, straight on the database."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar
from uuid import UUID

import typer

from orca.cli.output import Output, Printer, table
from orca_server.cli.settings import load_settings_or_stack
from orca_server.cli.watching import OutputForm, Watch, show
from orca_server.domain.access import DEFAULT_TENANT, ROLES
from orca_server.domain.errors import Unavailable

if TYPE_CHECKING:
    from orca_server.services.authentication import IssuedToken
    from orca_server.settings import Settings
    from orca_server.store.database import Connection
    from orca_server.store.tokens import Token

LONGEST = timedelta(days=3650)
COLUMNS = ("id", "subject", "role", "agents", "expires_at", "state")

_TTL = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_Found = TypeVar("_Found")


def mount(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Tokens: who may call.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_tokens)
    group.command("revoke")(revoke)
    app.add_typer(group, name="tokens")


def _ttl(text: str) -> timedelta:
    match = _TTL.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter("needs a number and s, m, h or d, such as 30d")
    lifetime = timedelta(**{_UNITS[match[2]]: int(match[1][:9])})
    if lifetime > LONGEST:
        raise typer.BadParameter(f"may be {LONGEST.days} days at most")
    return lifetime


def _role(text: str) -> str:
    if text not in ROLES:
        raise typer.BadParameter(f"is one of {', '.join(ROLES)}")
    return text


def _agents(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        kind, slash, rest = name.partition("/")
        if not (kind and slash and rest) and not _is_uuid(name):
            raise typer.BadParameter(f"{name!r} is neither TYPE/NAME nor an id")
    return names


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _token_id(text: str) -> UUID:
    if not _is_uuid(text):
        raise typer.BadParameter(f"{text!r} is no id of a token; see: orca tokens list")
    return UUID(text)


def create(
    role: Annotated[str, typer.Option(callback=_role, help=f"One of {', '.join(ROLES)}.")],
    ttl: Annotated[
        timedelta,
        typer.Option(parser=_ttl, metavar="TIME", help="How long it is valid, such as 12h or 30d."),
    ],
    agent: Annotated[
        list[str] | None,
        typer.Option(
            callback=_agents,
            metavar="AGENT",
            help="With the role adapter: id or type/name of an agent it may report for; "
            "repeatable. [all]",
        ),
    ] = None,
    subject: Annotated[str, typer.Option(help="Whose it is, for the audit log.")] = "",
) -> None:
    """Create a token and print it: it is not stored and cannot be shown again.

    Example: orca tokens create --role viewer --ttl 30d --subject dashboards
    """
    if agent and role != "adapter":
        raise typer.BadParameter(
            "bounds the role adapter alone; others act on every agent", param_hint="'--agent'"
        )
    settings = load_settings_or_stack()
    issued = _signed(settings, role, ttl, subject or role, agent or [])
    _on_database(settings, partial(_remember, issued=issued))
    typer.echo(
        f"id {issued.token_id}, valid until {issued.expires_at:%Y-%m-%d %H:%M} UTC", err=True
    )
    typer.echo(issued.token)


def _signed(
    settings: "Settings", role: str, lifetime: timedelta, subject: str, agents: list[str]
) -> "IssuedToken":
    from orca_server.services.authentication import issue

    if not settings.jwt_secrets:
        _fail("JWT_SECRET is not set: nothing could sign the token")
    return issue(
        settings.jwt_secrets[-1].get_secret_value(),
        role=role,
        lifetime=lifetime,
        now=datetime.now(UTC),
        subject=subject,
        agents=tuple(each.lower() if _is_uuid(each) else each for each in agents),
    )


async def _remember(connection: "Connection", *, issued: "IssuedToken") -> None:
    from orca_server.store import tokens as store

    await store.insert_token(
        connection,
        DEFAULT_TENANT,
        issued.token_id,
        subject=issued.subject,
        role=issued.role,
        agents=issued.agents,
        expires_at=issued.expires_at,
    )


def list_tokens(output: OutputForm = Output.TABLE, watch: Watch = None) -> None:
    """List the tokens, newest first; the tokens themselves are not kept.

    Example: orca tokens list --output csv
    """
    settings = load_settings_or_stack()
    show(partial(_show_tokens, settings), output, watch)


def _show_tokens(settings: "Settings", printer: Printer) -> bool:
    from orca_server.store import tokens as store

    found = asyncio.run(_connected(settings, lambda c: store.list_tokens(c, DEFAULT_TENANT)))
    rows = [
        (
            str(each.id),
            each.subject,
            each.role,
            each.agents,
            f"{each.expires_at:%FT%TZ}",
            _state(each),
        )
        for each in found
    ]
    document = {"tokens": [dict(zip(COLUMNS, row, strict=True)) for row in rows]}
    people = [(*row[:3], ", ".join(row[3]) or "all", *row[4:]) for row in rows]
    printer.show(document, table(COLUMNS, people))
    return True


def revoke(
    token_id: Annotated[UUID, typer.Argument(metavar="ID", parser=_token_id)],
) -> None:
    """Revoke a token; servers refuse it within 5 seconds.

    Example: orca tokens revoke 01980f3e-7a52-7000-8000-5c1d2b3a4e5f
    """
    from orca_server.store import tokens as store

    found = _on_database(
        load_settings_or_stack(), lambda c: store.revoke_token(c, DEFAULT_TENANT, token_id)
    )
    if found is None:
        _fail(f"no token has the id {token_id}; see: orca tokens list")
    typer.echo(f"revoked {found.id} ({found.subject})")


def _state(token: "Token") -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at <= datetime.now(UTC) else "valid"


async def _connected(
    settings: "Settings", work: Callable[["Connection"], Awaitable[_Found]]
) -> _Found:
    from orca_server.store.database import Database

    db = Database(settings.database_url.get_secret_value(), size=1, name="orca-tokens")
    try:
        async with db.connection() as connection:
            return await work(connection)
    finally:
        await db.close()


def _on_database(settings: "Settings", work: Callable[["Connection"], Awaitable[_Found]]) -> _Found:
    try:
        return asyncio.run(_connected(settings, work))
    except Unavailable as error:
        _fail(error.message)


def _fail(message: str) -> NoReturn:
    typer.echo(f"orca: {message}", err=True)
    sys.exit(1)

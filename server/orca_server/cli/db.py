"""`orca db`: the schema, and a sample to look at."""

import asyncio
import sys
from typing import NoReturn

import typer

from orca_server.cli.seed import seed
from orca_server.cli.settings import load_settings_or_stack
from orca_server.domain.errors import Unavailable


def mount(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="The database: its schema, a sample fleet.", no_args_is_help=True)
    group.command("migrate")(migrate)
    group.command("status")(status)
    group.command("seed")(seed)
    app.add_typer(group, name="db")


def migrate() -> None:
    """Apply the migrations that are missing; repeatable, also by several at once.

    Example: orca db migrate
    """
    from orca_server.store import migrate as runner

    url = load_settings_or_stack().database_url.get_secret_value()
    try:
        applied = asyncio.run(runner.migrate(url))
    except (runner.MigrationError, Unavailable) as error:
        _fail(error)
    typer.echo("\n".join(f"applied {label}" for label in applied) or "nothing to apply")


def status() -> None:
    """Say which migrations are applied, and which are missing (then the exit code is 1).

    Example: orca db status
    """
    from orca_server.store import migrate as runner

    url = load_settings_or_stack().database_url.get_secret_value()
    try:
        found = asyncio.run(runner.migration_status(url))
    except (runner.MigrationError, Unavailable) as error:
        _fail(error)
    for label in found.applied:
        typer.echo(f"applied {label}")
    for label in found.pending:
        typer.echo(f"missing {label}")
    typer.echo(f"version {found.version}, this release needs {found.needed} or more")
    if found.pending:
        sys.exit(1)


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"orca: {error}", err=True)
    sys.exit(1)

"""`orca psql` and `orca pg_dump`: PostgreSQL's own programs on the local database."""

import os
from typing import Annotated

import typer

from orca_server.cli.local_failures import told_plainly

# All that follows is the program's, its --help too.
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
Arguments = Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...")]


def mount(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("psql", context_settings=PASSED_ON)(psql)
    app.command("pg_dump", context_settings=PASSED_ON)(pg_dump)


def psql(arguments: Arguments = None) -> None:
    """Open the local database with psql; arguments are psql's.

    Example: orca psql -c 'SELECT count(*) FROM agents'
    """
    _become("psql", arguments or [])


def pg_dump(arguments: Arguments = None) -> None:
    """Dump the local database; arguments are pg_dump's.

    Example: orca pg_dump --schema-only > schema.sql
    """
    _become("pg_dump", arguments or [])


def _become(program: str, arguments: list[str]) -> None:
    from orca_server.local import connection

    with told_plainly():
        found = connection.find()
        path = found.programs / program
        # By environment, so that every argument of the user's outranks it.
        os.execve(path, [program, *arguments], {**os.environ, **found.variables})  # noqa: S606

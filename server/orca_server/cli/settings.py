"""Settings for a command, or every fault of them on standard error."""

import os
import sys
from typing import TYPE_CHECKING

import typer

from orca_server.cli.local_failures import told_plainly

if TYPE_CHECKING:
    from orca_server.settings import Settings


def load_settings() -> "Settings":
    """The settings; ends the command with 1 when they cannot be used."""
    from orca_server import settings

    try:
        return settings.load()
    except settings.BadSettings as error:
        typer.echo("orca: these settings cannot be used:", err=True)
        for line in str(error).splitlines():
            typer.echo(f"  {line}", err=True)
        sys.exit(1)


def load_settings_or_stack() -> "Settings":
    """The settings and, where they name no other database, those of the stack of `orca up`.

    So `orca tokens create` signs with the key of the server that runs here, though `orca env`
    does not print that key.
    """
    from orca_server.local import connection

    with told_plainly():
        os.environ.update(connection.missing_settings())
    return load_settings()

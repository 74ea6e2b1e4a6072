"""Settings for a command, or every fault of them on standard error."""

import sys

import typer

from orca_server import settings
from orca_server.settings import Settings


def load_settings() -> Settings:
    """The settings; ends the command with 1 when they cannot be used."""
    try:
        return settings.load()
    except settings.BadSettings as error:
        typer.echo("orca: these settings cannot be used:", err=True)
        for line in str(error).splitlines():
            typer.echo(f"  {line}", err=True)
        sys.exit(1)

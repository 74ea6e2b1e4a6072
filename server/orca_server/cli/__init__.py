"""The command `orca`: the server's commands, and the client's mounted beside them.

Each module of this folder that has commands has `mount(app)`; it imports what they need only when
they run, so that `orca agents list` does not load a server.
"""

import importlib
import importlib.util
from typing import Annotated

import typer

COMMANDS = ("up", "serve", "env", "psql", "db", "doctor", "tokens", "verify")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from orca_server import __version__

        typer.echo(f"orca {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Control plane for fleets of AI agents, MCP servers and automation workflows."""


def _build() -> typer.Typer:
    app = typer.Typer(
        name="orca",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    modules = [f"orca_server.cli.{name}" for name in COMMANDS]
    for name in (*modules, "orca.cli", "orca_adapters.cli"):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).mount(app)
    return app


app = _build()


def main() -> None:
    """Runs the command."""
    app()

"""The command `orca`: the server's commands, and the client's mounted beside them.

Each module of this folder that has commands has `mount(app)`; it imports what they need only when
they run, so that `orca agents list` does not load a server. Where only the client's dependencies
are installed, the server's commands say what is missing.
"""

import importlib
import importlib.util
from typing import Annotated

import typer

DISTRIBUTION = "orca-agentmesh"
COMMANDS = ("up", "serve", "env", "psql", "db", "doctor", "tokens", "verify")


_EXTRAS = {
    **dict.fromkeys(("db", "doctor", "serve", "tokens"), "server"),
    **dict.fromkeys(("env", "pg_dump", "psql", "up"), "server,local"),
}
"""What must be installed for a command of the server's: `local` is what `orca up` starts."""


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
    if importlib.util.find_spec("asyncpg") is not None:
        for name in COMMANDS:
            importlib.import_module(f"orca_server.cli.{name}").mount(app)
    else:
        for name, extras in _EXTRAS.items():
            _mount_missing(app, name, extras)
    for name in ("orca.cli", "orca_adapters.cli"):
        importlib.import_module(name).mount(app)
    return app


def _mount_missing(app: typer.Typer, name: str, extras: str) -> None:
    def tell() -> None:
        """Says what to install."""
        typer.echo(
            f"orca: {name} needs the server, and only the client is installed: "
            f"pip install '{DISTRIBUTION}[{extras}]'",
            err=True,
        )
        raise typer.Exit(1)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, hidden=True, context_settings=anything)(tell)


app = _build()


def main() -> None:
    """Runs the command."""
    app()

"""The command `orca`: the server's commands, and the client's mounted beside them.

Each module of this folder has `register(app)`; it imports what its commands need only when they
run, so that `orca agents list` does not load a server.
"""

import typer

from orca.cli import mount
from orca_server.cli import db, serve, tokens

app = typer.Typer(
    name="orca",
    help="Control plane for fleets of AI agents, MCP servers and automation workflows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (serve, db, tokens):
    module.register(app)
mount(app)


def main() -> None:
    """Runs the command."""
    app()

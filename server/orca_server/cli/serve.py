"""`orca serve`: one server process, until SIGTERM or SIGINT."""

import asyncio
import gc
import signal
import sys

import typer

from orca_server.cli.settings import load_settings


def mount(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve() -> None:
    """Serve gRPC and metrics; settings come from the environment and .env.

    Example: orca serve
    """
    settings = load_settings()

    import structlog
    import uvloop

    from orca_server import app, observability

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await app.serve(settings, stop, lambda addresses: _spare_collector())

    observability.set_up_logging(settings.log_level)
    try:
        uvloop.run(run())
    except app.CannotStart as error:
        typer.echo(f"orca: {error}", err=True)
        sys.exit(1)
    except ExceptionGroup as group:  # of a job that died
        structlog.get_logger(__name__).error(
            "stopped_by_a_fault", faults=[repr(each) for each in group.exceptions]
        )
        sys.exit(1)


def _spare_collector() -> None:
    """Lets the cycle collector pass over what lives as long as the server, and come less often.

    A call makes some hundred objects and no cycles that last; with the default of 700 objects
    the collector took a tenth of the time of a busy server.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

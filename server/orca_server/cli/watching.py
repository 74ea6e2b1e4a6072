"""--watch for commands that read without a server."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from orca.cli.output import Output, Printer
from orca.cli.session import silence_stdout
from orca_server.domain.errors import Unavailable

OutputForm = Annotated[Output, typer.Option("--output", "-o", help="Form of the result.")]
Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        min=0.1,
        max=86_400,
        help="Look again every so many seconds, until Ctrl-C.",
    ),
]


def show(look: Callable[[Printer], bool], output: Output, watch: float | None) -> None:
    """Looks, prints, and ends the command with 1 if what was seen is not good.

    With `watch` it looks again and again, waits for a database that is away, and ends with 0 after
    Ctrl-C, for that is how it is meant to end.

    Args:
        look: Prints what it sees; whether that is good.
        output: Form of the result.
        watch: Seconds between two looks; None: one look.
    """
    printer = Printer(output)
    try:
        if watch is not None:
            _repeat(look, printer, watch)
        elif not look(printer):
            sys.exit(1)
        sys.stdout.flush()
    except Unavailable as error:
        printer.note(f"orca: {error.message}")
        sys.exit(1)
    except BrokenPipeError:
        silence_stdout()  # whoever read has read enough
    except KeyboardInterrupt:
        if watch is None:
            raise


def _repeat(look: Callable[[Printer], bool], printer: Printer, seconds: float) -> None:
    turn = 1
    while True:
        try:
            look(replace(printer, turn=turn))
            turn += 1
        except Unavailable as error:
            printer.note(f"orca: {error.message}")
        sys.stdout.flush()
        time.sleep(seconds)

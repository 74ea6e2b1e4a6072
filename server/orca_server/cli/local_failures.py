"""Failures of the local stack, told in plain words."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from orca_server.local.errors import LocalError


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Ends the command with 1 and the reason on standard error."""
    try:
        yield
    except LocalError as error:
        _end(str(error))
    except PermissionError as error:
        _end(
            f"{error.filename}: permission denied. It belongs to another user, such as root: "
            f"give the folder back with chown, or set ORCA_DATA_DIR to one of yours."
        )


def _end(message: str) -> None:
    for line in message.splitlines():  # some are what another of our commands said
        typer.echo(f"orca: {line.removeprefix('orca: ')}", err=True)
    sys.exit(1)

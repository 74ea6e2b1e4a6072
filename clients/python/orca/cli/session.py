"""What all commands share: connection options, output, and how they end."""

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from orca.cli.failures import report
from orca.cli.output import Output, Printer
from orca.client import DEFAULT_TIMEOUT_SECONDS, Client, connect
from orca.errors import OrcaError, Temporary

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

# Somebody waits at the terminal: a second, then say that nobody answers.
_ATTEMPTS = 3
_PANEL = "Connection"
_Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Server, or https://HOST. Default: $ORCA_ADDRESS, else localhost:50051.",
        rich_help_panel=_PANEL,
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with the token. Default: $ORCA_TOKEN, else the file $ORCA_TOKEN_FILE.",
        rich_help_panel=_PANEL,
    ),
]
_Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help="Seconds until a call is given up. Default: 10, for imports 60.",
        rich_help_panel=_PANEL,
    ),
]
_CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        help="Certificates to trust instead of the public ones, PEM.",
        rich_help_panel=_PANEL,
    ),
]
_Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Let the token travel unencrypted to another machine.",
        rich_help_panel=_PANEL,
    ),
]
_OutputForm = Annotated[
    Output, typer.Option("--output", "-o", help="Form of the result.", rich_help_panel=_PANEL)
]
_Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        min=0.1,
        max=86_400,
        help="Look again every so many seconds, until Ctrl-C.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command.

    Attributes:
        client: Connected with the options that were given.
        printer: Prints in the form that was asked for.
        timeout: What --timeout said; None: the client's defaults.
    """

    client: Client
    printer: Printer
    timeout: float | None


@dataclass(frozen=True, slots=True)
class _Options:
    """The options that each command takes beside its own."""

    address: str | None = None
    token_file: Path | None = None
    timeout: float | None = None
    ca_file: Path | None = None
    insecure: bool = False
    output: Output = Output.TABLE
    watch: float | None = None

    def connect(self) -> Client:
        return connect(
            self.address,
            token_file=self.token_file,
            ca_file=self.ca_file,
            insecure=self.insecure,
            timeout=self.timeout or DEFAULT_TIMEOUT_SECONDS,
            max_attempts=_ATTEMPTS,
        )


_ANNOTATIONS: dict[str, Any] = {
    "output": _OutputForm,
    "address": _Address,
    "token_file": _TokenFile,
    "timeout": _Timeout,
    "ca_file": _CaFile,
    "insecure": _Insecure,
}


def command(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Makes a command of an async function whose first parameter is the Session.

    The command takes the function's other parameters and the connection's options. It ends
    with 0 when it did what was asked, 1 when that was refused or failed, 130 after Ctrl-C.
    """
    return _command(function, _ANNOTATIONS)


def view(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Makes a command that only reads: as `command` does, and --watch repeats it.

    With --watch it ends with 0 after Ctrl-C, for that is how it is meant to end.
    """
    return _command(function, {**_ANNOTATIONS, "watch": _Watch})


def _command(
    function: Callable[..., Awaitable[None]], annotations: Mapping[str, Any]
) -> Callable[..., None]:
    own = inspect.signature(function, eval_str=True).parameters
    parameters = [each for name, each in own.items() if name != "session"]
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(_Options(), name),
            annotation=annotation,
        )
        for name, annotation in annotations.items()
    ]

    def run(**arguments: Any) -> None:
        options = _Options(**{name: arguments.pop(name) for name in annotations})
        _run(lambda session: function(session, **arguments), options)

    run.__name__ = getattr(function, "__name__", "run")
    run.__doc__ = function.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    return run


def _run(work: Callable[[Session], Awaitable[None]], options: _Options) -> None:
    """Does the work and turns every foreseen end into an exit code."""
    printer = Printer(options.output)
    try:
        asyncio.run(_connected(work, options, printer))
        sys.stdout.flush()
    except OrcaError as error:
        report(error, printer, options.address or "")
        raise typer.Exit(EXIT_FAILED) from error
    except BrokenPipeError:
        silence_stdout()
        raise typer.Exit(0) from None  # whoever read has read enough
    except KeyboardInterrupt:
        if options.watch is not None:
            raise typer.Exit(0) from None
        printer.note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None


async def _connected(
    work: Callable[[Session], Awaitable[None]], options: _Options, printer: Printer
) -> None:
    async with options.connect() as client:
        session = Session(client, printer, options.timeout)
        if options.watch is None:
            await work(session)
        else:
            await _repeat(work, session, options.watch)


async def _repeat(
    work: Callable[[Session], Awaitable[None]], session: Session, seconds: float
) -> None:
    """Does the work again and again; a server that is away for a while is waited for."""
    turn = 1
    while True:
        now = replace(session, printer=replace(session.printer, turn=turn))
        try:
            await work(now)
            turn += 1
        except Temporary as error:
            report(error, session.printer)
        sys.stdout.flush()
        await asyncio.sleep(seconds)


def silence_stdout() -> None:
    """Keeps the interpreter from complaining about the closed pipe when it ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)

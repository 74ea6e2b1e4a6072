"""A progress bar on standard error, only where somebody sees it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from orca.cli.output import Printer


@contextmanager
def progress(printer: Printer, doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that moves the bar on by so many; the bar goes when it is done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=printer.err,
        transient=True,
        disable=not printer.err.is_terminal,
    )
    with bar:
        task = bar.add_task(doing, total=total)
        yield lambda count: bar.advance(task, count)

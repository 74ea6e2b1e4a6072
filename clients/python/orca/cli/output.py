"""What commands print: tables for people, JSON, YAML and CSV for programs."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from orca.cli import spreadsheet

_UNLIMITED_WIDTH = 10_000
_EXACT_DOUBLE = 2**53
# What a terminal would obey: names and descriptions come from strangers.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output(StrEnum):
    """Form of what is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


class Sheet(Table):
    """A table that keeps its cells, so that it can be printed wide and as CSV too.

    Attributes:
        headings: Of all columns, also of those that only the wide table shows.
        values: The cells under them, row by row.
        wide: The table with all columns.
    """

    def __init__(
        self, headings: Sequence[str], values: Sequence[Sequence[object]], **look: Any
    ) -> None:
        """Without columns and rows; `table` and `facts` add them."""
        super().__init__(box=None, pad_edge=False, **look)
        self.headings = headings
        self.values = values
        self.wide: Table = self


class _Console(Console):
    """A console that lets its caller see a closed pipe."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(error: bool) -> Console:
    stream = sys.stderr if error else sys.stdout
    terminal = stream.isatty()  # colours are for terminals alone, whatever the environment says
    width = None if terminal else _UNLIMITED_WIDTH
    return _Console(
        stderr=error, width=width, highlight=False, soft_wrap=False, force_terminal=terminal
    )


@dataclass(frozen=True, slots=True)
class Printer:
    """Prints in one form.

    Attributes:
        form: Which.
        out: Console on standard output, for results.
        err: Console on standard error, for everything else.
        turn: 1 for the first result of a command that repeats, 2 for the second; 0: it does not.
    """

    form: Output
    out: Console = field(default_factory=lambda: _console(error=False))
    err: Console = field(default_factory=lambda: _console(error=True))
    turn: int = 0

    @property
    def is_table(self) -> bool:
        """Whether people read it."""
        return self.form in (Output.TABLE, Output.WIDE)

    def document(self, document: Mapping[str, Any]) -> None:
        """Prints it as JSON or YAML."""
        if self.form is Output.YAML:
            text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)
            sys.stdout.write(text)
        else:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def show(self, document: Mapping[str, Any], *people: RenderableType) -> None:
        """Prints the document, or for people what stands beside it; as CSV its first table."""
        self._separate()
        if self.form is Output.CSV:
            self._rows(next((each for each in people if isinstance(each, Sheet)), None), document)
        elif not self.is_table:
            self.document(document)
        else:
            for renderable in people:
                if self.form is Output.WIDE and isinstance(renderable, Sheet):
                    renderable = renderable.wide
                self._print(renderable)

    def _separate(self) -> None:
        """Sets this result apart from the one before it."""
        if self.is_table and self.turn and self.out.is_terminal:
            self.out.clear()
        elif self.turn > 1 and self.form is Output.YAML:
            sys.stdout.write("---\n")
        elif self.turn > 1 and self.is_table:
            sys.stdout.write("\n")

    def _rows(self, sheet: Sheet | None, document: Mapping[str, Any]) -> None:
        if sheet is None:
            sheet = facts((name, each) for name, each in document.items() if _is_scalar(each))
        cells = [[_bare(value) for value in row] for row in sheet.values]
        headings = [name.replace(" ", "_") for name in sheet.headings]
        sys.stdout.write(spreadsheet.text(cells if self.turn > 1 else [headings, *cells]))

    def _print(self, renderable: RenderableType) -> None:
        """Prints it; in a file or a pipe without the blanks that pad a table."""
        if self.out.is_terminal:
            self.out.print(renderable)
            return
        with self.out.capture() as capture:
            self.out.print(renderable)
        lines = capture.get().splitlines()
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))

    def note(self, text: str) -> None:
        """Tells people something on standard error."""
        self.err.print(Text(clean(text)))


def plain(message: Message) -> dict[str, Any]:
    """The message as REST prints it: proto names, and zeros and empty lists shown."""
    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {key: _whole(value) for key, value in found.items()}


def _whole(value: Any) -> Any:
    """Numbers without a fraction as REST prints them: 5, not 5.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_DOUBLE:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return value


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    numbers: str = "",
    wide: Sequence[str] = (),
) -> Sheet:
    """A table of cells.

    Args:
        columns: Headings.
        rows: Cells, shown as text; first those of `columns`, then those of `wide`.
        title: Above it.
        numbers: Headings, separated by spaces, of columns that are aligned to the right.
        wide: Headings of more columns, which only `--output wide` and `csv` show.
    """
    headings, values = (*columns, *wide), [tuple(row) for row in rows]

    def filled(shown: Sequence[str]) -> Sheet:
        made = Sheet(headings, values, title=title or None, title_justify="left")
        for column in shown:
            justify: JustifyMethod = "right" if column in numbers.split() else "left"
            made.add_column(column.upper(), justify=justify, overflow="fold")
        for row in values:
            made.add_row(*(cell(each) for each in row[: len(shown)]))
        return made

    made = filled(columns)
    made.wide = filled(headings) if wide else made
    return made


def facts(pairs: Iterable[tuple[str, object]]) -> Sheet:
    """Names and their values, below each other; pairs without a value are left out."""
    values = [pair for pair in pairs if pair[1] not in (None, "")]
    grid = Sheet(("field", "value"), values, padding=(0, 2), collapse_padding=True)
    grid.show_header = False
    for name, value in values:
        grid.add_row(Text(name, style="bold"), cell(value))
    return grid


def cell(value: object) -> RenderableType:
    """One value, as text that does nothing to a terminal."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, Text | Table):
        return value
    if isinstance(value, float):
        return Text(number(value))
    return Text(clean(str(value)))


def _bare(value: object) -> object:
    """A cell as CSV takes it: numbers as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(value.plain if isinstance(value, Text) else str(value))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def clean(text: str) -> str:
    """The text without control characters."""
    return _CONTROL.sub("�", text)


def number(value: float, digits: int = 4) -> str:
    """The number, without zeros at its end."""
    if value.is_integer():
        return f"{value:,.0f}"
    return f"{value:,.{digits}f}"


def ratio(value: float | None) -> str | None:
    """A score or a share of one, with four digits; None if there is none."""
    return None if value is None else f"{value:.4f}"


def optional(message: Message, name: str) -> Any:
    """The field's value; None if it is absent."""
    return getattr(message, name) if message.HasField(name) else None


def instant(message: Message, name: str) -> str | None:
    """The time stamp in the field, to the second; None if it is absent."""
    value: Timestamp | None = optional(message, name)
    if value is None:
        return None
    return value.ToDatetime().replace(microsecond=0).isoformat(sep=" ") + "Z"


def word(name_of: Callable[[Any], str], value: int, prefix: str) -> str | None:
    """An enum's value as people say it: `active` for STATE_ACTIVE; None if unspecified."""
    if not value:
        return None
    try:
        name = name_of(value)
    except ValueError:  # of a newer server
        return str(value)
    return name.removeprefix(prefix).lower().replace("_", "-")

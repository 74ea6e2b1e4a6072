"""CSV as RFC 4180 has it, which a spreadsheet takes for text and for nothing that it computes."""

import csv
import io
from collections.abc import Iterable, Sequence

# What makes a formula of a cell; the wide forms too, which some locales read as the narrow ones.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")


def text(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV: None is empty, a number is a number, a formula is text."""
    written = io.StringIO()
    csv.writer(written).writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    return harmless(str(value))


def harmless(value: str) -> str:
    """The text, behind a quote if a spreadsheet would take it for a formula."""
    if value.startswith(_FORMULA) or value.lstrip().startswith(_FORMULA):
        return f"'{value}"
    return value

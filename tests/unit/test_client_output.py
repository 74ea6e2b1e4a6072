"""Forms of output: wide tables, and CSV that a spreadsheet takes for text."""

import csv
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from orca.cli import spreadsheet
from orca.cli.output import Output, Printer, Sheet, facts, table

SHEET = table(
    ("name", "last seen", "trust"),
    [("a,b", None, "0.5000", 1234.5, "=1+1"), ("c", Text("now"), "0.2500", -2.0, '"x"')],
    numbers="trust",
    wide=("cost_usd", "owner"),
)


def printed(form: Output, *people: Sheet | Text, turn: int = 0, **document: object) -> str:
    with redirect_stdout(io.StringIO()) as out:
        replace(Printer(form), turn=turn).show(document, *people)
    return out.getvalue()


def test_the_narrow_table_leaves_out_what_the_wide_one_shows() -> None:
    narrow, wide = printed(Output.TABLE, SHEET), printed(Output.WIDE, SHEET)
    assert narrow.splitlines() == [
        "NAME  LAST SEEN   TRUST",
        "a,b   -          0.5000",
        "c     now        0.2500",
    ]
    assert wide.splitlines() == [
        "NAME  LAST SEEN   TRUST  COST_USD    OWNER",
        "a,b   -          0.5000  1,234.5000  =1+1",
        'c     now        0.2500  -2          "x"',
    ]


def test_csv_has_all_columns_bare_numbers_and_no_formulas() -> None:
    assert printed(Output.CSV, SHEET) == (
        "name,last_seen,trust,cost_usd,owner\r\n"
        '"a,b",,0.5000,1234.5,\'=1+1\r\n'
        'c,now,0.2500,-2,"""x"""\r\n'
    )


def test_csv_of_one_thing_is_fields_and_values() -> None:
    sheet = facts([("name", "weather"), ("owner", None), ("errors", 3.0)])
    assert printed(Output.CSV, sheet) == "field,value\r\nname,weather\r\nerrors,3\r\n"
    assert printed(Output.TABLE, sheet).splitlines() == ["name    weather", "errors  3"]


def test_csv_of_what_has_no_table_is_the_documents_fields() -> None:
    text = printed(Output.CSV, Text("2 accepted"), accepted=2, duplicates=0, errors=[{"row": 1}])
    assert text == "field,value\r\naccepted,2\r\nduplicates,0\r\n"


def test_csv_that_is_repeated_has_one_heading() -> None:
    first, second = (printed(Output.CSV, SHEET, turn=turn) for turn in (1, 2))
    assert first == printed(Output.CSV, SHEET)
    assert first.endswith(second)
    assert second.startswith('"a,b"')


def test_repeated_documents_can_be_told_apart() -> None:
    assert printed(Output.YAML, turn=1, a=1) + printed(Output.YAML, turn=2, a=2) == (
        "a: 1\n---\na: 2\n"
    )
    assert printed(Output.TABLE, SHEET, turn=2) == "\n" + printed(Output.TABLE, SHEET)


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1", "＝1", "=cmd|'/c calc'!A0"],
)
def test_what_a_spreadsheet_would_compute_becomes_text(formula: str) -> None:
    assert spreadsheet.harmless(formula) == f"'{formula}"


@pytest.mark.parametrize("text", ["", "a=1", "n8n/x", "2026-01-31 06:00:00Z", "'quoted'", "a-b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert spreadsheet.harmless(text) == text


@given(st.lists(st.lists(st.text(), min_size=1, max_size=4), max_size=4))
def test_a_reader_of_csv_finds_the_same_cells(rows: Sequence[Sequence[str]]) -> None:
    written = spreadsheet.text(rows)
    read = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert read == [[spreadsheet.harmless(cell) for cell in row] for row in rows]

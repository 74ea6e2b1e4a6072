"""The executive summary as a document: markdown, JSON, CSV, HTML.

Names come from strangers: in each format they are text and nothing else.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from orca.v1 import report_pb2 as pb
from orca_server.services.report_sections import (
    CONTROL,
    TITLE,
    Cell,
    head,
    instant,
    sections,
    text_of,
)

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A format: how it is called on the web and on a disk, and how it is written."""

    content_type: str
    extension: str
    write: Callable[[pb.ExecutiveSummary], str]


def file_name(summary: pb.ExecutiveSummary, document: Document) -> str:
    """The name of the file: by the instant for which its figures hold."""
    if not summary.HasField("as_of"):
        return f"executive_summary.{document.extension}"
    return f"executive_summary_{summary.as_of.ToDatetime():%Y%m%dT%H%M%SZ}.{document.extension}"


def to_markdown(summary: pb.ExecutiveSummary) -> str:
    """Tables in the dialect of GitHub."""
    lines = [f"# {TITLE}", "", head(summary)]
    for section in sections(summary):
        lines += ["", f"## {section.title}", ""]
        if not section.rows:
            lines.append("None.")
            continue
        lines.append(f"| {' | '.join((*section.columns, 'rows'))} |")
        lines.append("|---" * (len(section.columns) + 1) + "|")
        for row in section.rows:
            cells = [_MARKDOWN.sub(r"\\\1", text_of(cell)) for cell in row.cells]
            lines.append(f"| {' | '.join((*cells, f'`{row.evidence}`'))} |")
    return "\n".join(lines) + "\n"


def to_json(summary: pb.ExecutiveSummary) -> str:
    """The message as REST prints it."""
    found = MessageToDict(
        summary, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(_whole(found), indent=2, ensure_ascii=False) + "\n"


def _whole(value: Any) -> Any:
    """Numbers without a fraction as REST prints them: 5, not 5.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value


def to_csv(summary: pb.ExecutiveSummary) -> str:
    """One row per figure; texts that a spreadsheet would compute begin with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("section", "item", "figure", "value", "rows"))
    about = ("as_of", "created_at")
    writer.writerows(("Report", TITLE, name, instant(summary, name) or "", "") for name in about)
    for section in sections(summary):
        title = section.title.partition(" (")[0]
        for row in section.rows:
            item, *cells = (_csv(cell) for cell in row.cells)
            for figure, cell in zip(section.columns[1:], cells, strict=True):
                writer.writerow((title, item, figure, cell, row.evidence))
    return stream.getvalue()


def _csv(cell: Cell) -> str | float:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return int(cell) if float(cell).is_integer() else cell
    text = CONTROL.sub(" ", cell)
    return f"'{text}" if cell.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def to_html(summary: pb.ExecutiveSummary) -> str:
    """One file that loads nothing and runs nothing."""
    from orca_server.services.report_page import page  # what draws is loaded when it is needed

    return page(summary)


FORMATS: Mapping[str, Document] = {
    "markdown": Document("text/markdown; charset=utf-8", "md", to_markdown),
    "json": Document("application/json", "json", to_json),
    "csv": Document("text/csv; charset=utf-8", "csv", to_csv),
    "html": Document("text/html; charset=utf-8", "html", to_html),
}

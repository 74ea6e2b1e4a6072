"""Files of public registries, cut into documents that the server takes.

A JSON file may be large: it is read twice as a stream, once to see that it is whole and
what form it has, once to take its entries out. YAML files are small and go as they are.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ijson

MAX_ENTRIES = 200
"""Entries of one document: few enough for the progress bar to move."""
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Half of what the server takes."""
SUFFIXES = (".json", ".yaml", ".yml")

_JSON = "application/json"
_YAML = "application/yaml"


class FileRefused(Exception):
    """A file that cannot be imported at all."""

    def __init__(self, path: Path, reason: str, message: str) -> None:
        """Says which, with a stable reason and one for people."""
        super().__init__(message)
        self.path = path
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Document:
    """What is sent in one call.

    Attributes:
        path: The file it comes from.
        content: JSON or YAML.
        content_type: Its media type.
        first_index: Position of its first entry in the file.
        entries: How many it holds.
    """

    path: Path
    content: bytes
    content_type: str
    first_index: int
    entries: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was looked at.

    Attributes:
        path: The file.
        prefix: Where ijson finds its entries; None: the file is one document.
        entries: How many it holds; a YAML file counts as one.
    """

    path: Path
    prefix: str | None
    entries: int


def find_files(paths: list[Path]) -> Iterator[Path]:
    """The files that are named, and those in folders that are, in order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for each in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
            if each.suffix.lower() in SUFFIXES and each.is_file() and not hidden:
                yield each


def inspect(path: Path) -> Source:
    """What the file holds.

    Raises:
        FileRefused: If it cannot be read, or is no whole JSON.
    """
    try:
        if path.suffix.lower() != ".json":
            _refuse_large(path)
            return Source(path, None, 1)
        with path.open("rb") as file:
            return _inspect_json(path, file)
    except OSError as error:
        cause = error.strerror or str(error)
        raise FileRefused(path, "FILE_UNREADABLE", f"It cannot be read: {cause}.") from error
    except (ijson.JSONError, UnicodeDecodeError, ValueError) as error:
        raise FileRefused(path, "DOCUMENT_INVALID", f"It is not whole JSON: {error}") from error


def documents(source: Source) -> Iterator[Document]:
    """The documents that the file is sent as.

    Raises:
        FileRefused: If it cannot be read any more, or an entry alone is too large.
    """
    try:
        if source.prefix is None:
            kind = _JSON if source.path.suffix.lower() == ".json" else _YAML
            yield Document(source.path, source.path.read_bytes(), kind, 0, source.entries)
            return
        with source.path.open("rb") as file:
            yield from _cut(source.path, ijson.items(file, source.prefix, use_float=True))
    except OSError as error:
        cause = error.strerror or str(error)
        raise FileRefused(source.path, "FILE_UNREADABLE", f"It cannot be read: {cause}.") from error


def _inspect_json(path: Path, file: BinaryIO) -> Source:
    """Reads all of it, so that a broken file is refused before anything of it is sent."""
    prefix: str | None = None
    entries = 0
    for where, event, _ in ijson.parse(file, use_float=True):
        if event == "start_array" and where in ("", "servers") and prefix is None:
            prefix = f"{where}.item" if where else "item"
        if where == prefix and event in _ENTRY_EVENTS:
            entries += 1
    if prefix is None:
        _refuse_large(path)
        return Source(path, None, 1)
    return Source(path, prefix, entries)


# What an entry begins with; whatever it is, the server judges it.
_ENTRY_EVENTS = frozenset({"start_map", "start_array", "string", "number", "boolean", "null"})


def _cut(path: Path, entries: Iterator[Any]) -> Iterator[Document]:
    """Lists of at most MAX_ENTRIES entries and MAX_DOCUMENT_BYTES bytes."""
    parts: list[bytes] = []
    size, first = 0, 0
    for entry in entries:
        part = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        if parts and (len(parts) == MAX_ENTRIES or size + len(part) > MAX_DOCUMENT_BYTES):
            yield _list_of(path, parts, first)
            first += len(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _list_of(path, parts, first)


def _list_of(path: Path, parts: list[bytes], first: int) -> Document:
    return Document(path, b"[" + b",".join(parts) + b"]", _JSON, first, len(parts))


def _refuse_large(path: Path) -> None:
    size = path.stat().st_size
    if size > 2 * MAX_DOCUMENT_BYTES:
        raise FileRefused(path, "DOCUMENT_TOO_LARGE", f"It has {size:,} bytes and no list to cut.")

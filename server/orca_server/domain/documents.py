"""Foreign documents, JSON or YAML: bytes -> plain values, whatever was sent.

YAML is read event by event, without recursion, so that depth, size and aliases are bounded before
anything grows. Duplicate keys are refused, and where each value stood is remembered on request.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

MAX_DEPTH = 50
MAX_NODES = 400_000
LARGEST_INTEGER = 2**63

Path = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
# A time stays the text that was written, and `=` is no operator here.
_TEXTS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_COLLECTIONS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_JSON_TYPE = re.compile(r"(?i)\b(?:application|text)/(?:[\w.-]+\+)?json\b")
_YAML_TYPE = re.compile(r"(?i)\b(?:application|text)/(?:[\w.-]+\+)?(?:x-)?yaml\b")

try:  # the same parser in C, ten times as fast
    from yaml import CSafeLoader as _Loader
except ImportError:
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class Unreadable(Exception):
    """A document cannot be read.

    Attributes:
        message: What is wrong.
        line: Where, from 1; 0: unknown.
        path: Key under which it stands.
    """

    def __init__(self, message: str, line: int = 0, path: Path = ()) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.path = path


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values, and the line on which each of them stands (YAML only)."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)


def read(content: bytes, content_type: str = "") -> Any:
    """The values of a JSON or YAML document; the content type decides, else a guess.

    Raises:
        Unreadable: If it is neither.
    """
    text = decode(content)
    if _JSON_TYPE.search(content_type):
        return read_json(text)
    if not _YAML_TYPE.search(content_type) and text.lstrip()[:1] in ("{", "["):
        return read_json(text)
    return read_yaml(text).value


def decode(content: bytes) -> str:
    """The text of a document in UTF-8.

    Raises:
        Unreadable: If it is in another encoding.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unreadable(f"it is not in UTF-8 (byte {error.start})", line) from None


def read_json(text: str) -> Any:
    """The values of a JSON text.

    Raises:
        Unreadable: If it is none, or nested too deeply.
    """
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"it is no JSON: {error.msg} (column {error.colno})", error.lineno
        ) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise Unreadable(f"it is no JSON: {error}") from None


def read_yaml(text: str) -> Document:
    """The values of one YAML document, and their lines.

    Raises:
        Unreadable: If it is none, has duplicate keys, or is too deep or too large.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise Unreadable(f"it is no YAML: {error}".replace("\n", " ")) from None
    try:
        return _Reader(loader).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(
            f"it is no YAML: {error.problem or error.context}", mark.line + 1 if mark else 0
        ) from None
    except yaml.YAMLError as error:
        raise Unreadable(f"it is no YAML: {error}".replace("\n", " ")) from None
    finally:
        loader.dispose()


def dotted(path: Path) -> str:
    """A path as people write it: `servers.github.args[0]`."""
    parts = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return "".join(parts).lstrip(".")


def _is_sane(value: object) -> bool:
    """Whether a number fits where numbers are kept."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= LARGEST_INTEGER


def _integer(text: str) -> int:
    value = int(text)
    if not _is_sane(value):
        raise ValueError("a number is out of range")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not _is_sane(value):
        raise ValueError("a number is out of range")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


@dataclass(slots=True)
class _Open:
    """A list or map that is being read."""

    value: Any
    path: Path
    anchor: str | None
    started_at: int  # nodes read before it
    key: str | int = 0
    has_key: bool = False


class _Reader:
    """Turns YAML events into values."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[Path, int] = {}
        self._nodes = 0
        self._value: Any = None
        self._documents = 0

    def read(self) -> Document:
        for event in self._events():
            line = event.start_mark.line + 1 if event.start_mark else 0
            match event:
                case yaml.DocumentStartEvent():
                    self._documents += 1
                    if self._documents > 1:
                        raise Unreadable("it holds more than one document", line)
                case yaml.ScalarEvent():
                    self._scalar(event, line)
                case yaml.AliasEvent():
                    self._alias(event.anchor, line)
                case yaml.CollectionStartEvent():
                    self._begin(event, line)
                case yaml.CollectionEndEvent():
                    self._end(line)
                case _:
                    pass
        return Document(self._value, self._lines)

    def _events(self) -> Iterator[Any]:
        while self._loader.check_event():
            yield self._loader.get_event()

    def _scalar(self, event: Any, line: int) -> None:
        top = self._open[-1] if self._open else None
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if top is not None and isinstance(top.value, dict) and not top.has_key:
            self._key(top, event.value, tag, line)
            return
        self._put(self._plain(event, tag, line), event.anchor, 1, line)

    def _plain(self, event: Any, tag: str, line: int) -> Any:
        """A scalar as JSON knows it."""
        if tag in _TEXTS:
            return event.value
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            value = self._loader.construct_object(node)
        except (ValueError, LookupError) as error:  # such as !!int x, !!bool 7
            raise Unreadable(f"it is no value of its type: {error}", line, self._place()) from None
        if not isinstance(value, str | int | float | None) or not _is_sane(value):
            raise Unreadable("it is no text, number, truth value or null", line, self._place())
        return value

    def _key(self, top: _Open, text: str, tag: str, line: int) -> None:
        if tag == _MERGE:
            raise Unreadable("'<<' is not supported; write the keys out", line, top.path)
        if text in top.value:
            raise Unreadable(f"key '{text[:100]}' stands there twice", line, (*top.path, text))
        top.key, top.has_key = text, True
        self._lines[(*top.path, text)] = line
        self._count(1, line)

    def _alias(self, anchor: str | None, line: int) -> None:
        if anchor is None or anchor not in self._anchors:
            raise Unreadable(f"'*{anchor}' points to nothing", line, self._place())
        value, size = self._anchors[anchor]
        self._put(value, None, size, line)

    def _begin(self, event: Any, line: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise Unreadable(f"it is nested deeper than {MAX_DEPTH} levels", line, self._place())
        if self._open and isinstance(self._open[-1].value, dict) and not self._open[-1].has_key:
            raise Unreadable("a key must be a text", line, self._place())
        if event.tag not in _COLLECTIONS:
            raise Unreadable(f"tag '{event.tag}' is not supported", line, self._place())
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        place = self._place()
        self._lines.setdefault(place, line)
        self._open.append(_Open(value, place, event.anchor, self._nodes))

    def _end(self, line: int) -> None:
        done = self._open.pop()
        self._put(done.value, done.anchor, 1, line, self._nodes - done.started_at + 1)

    def _put(
        self, value: Any, anchor: str | None, cost: int, line: int, size: int | None = None
    ) -> None:
        self._count(cost, line)
        if anchor:
            self._anchors[anchor] = (value, size or cost)
        if not self._open:
            self._value = value
            return
        top = self._open[-1]
        self._lines.setdefault(self._place(), line)
        if isinstance(top.value, dict):
            if not top.has_key:
                raise Unreadable("a key must be a text", line, top.path)
            top.value[top.key], top.has_key = value, False
        else:
            top.value.append(value)

    def _place(self) -> Path:
        """Path of the value that comes next."""
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.value, dict):
            return (*top.path, top.key) if top.has_key else top.path
        return (*top.path, len(top.value))

    def _count(self, cost: int, line: int) -> None:
        self._nodes += cost
        if self._nodes > MAX_NODES:
            raise Unreadable(f"it has more than {MAX_NODES:,} values", line, self._place())

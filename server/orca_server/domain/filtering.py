"""Filters of lists: AIP-160 text -> a typed tree.

The language, as far as we take it:

* `AND`, `OR`, `NOT`, `-` and parentheses. As AIP-160 says, OR binds tighter than AND.
* `=`, `!=` on every field; `<`, `<=`, `>`, `>=` on numbers and times.
* `:` asks whether a field has something: `labels:team` (a label of that key),
  `labels.team:"pay"` and `description:"sql"` (contains, ignoring case),
  `capabilities:"search"` (one entry is that), `last_seen_at:*` (there is a value).
* `*` in a text stands for anything: `name = "io.github.*"`; `\\*` is the star itself.
* A field without a value fulfils no comparison but `!=`, and NOT turns around what is left:
  `trust_level < 0.75` leaves out unmeasured agents, `NOT trust_level >= 0.75` does not.

Bare words are refused: they would be a search, which is another method.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken

from orca_server.domain.errors import FieldViolation, InvalidRequest
from orca_server.domain.filter_fields import AGENT_FIELDS, Field, Kind

MAX_LENGTH = 4000
MAX_DEPTH = 50
MAX_COMPARISONS = 100
REMEMBERED = 256
"""Filters that need not be read again."""
_LARGEST = Decimal(10) ** 18


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with wildcards: the literal parts between its stars; one part: no star."""

    parts: tuple[str, ...]


Value = Pattern | Decimal | datetime | UUID | str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition. `key` is a label's key; `value` None asks whether there is any."""

    field: str
    key: str
    operator: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    child: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """All of the conditions."""

    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the conditions."""

    children: tuple["Node", ...]


Node = Comparison | Not | And | Or

_OPERATORS = {
    Kind.TEXT: ("=", "!=", ":"),
    Kind.CHOICE: ("=", "!=", ":"),
    Kind.FLAG: ("=", "!="),
    Kind.ID: ("=", "!="),
    Kind.NUMBER: ("=", "!=", "<", "<=", ">", ">=", ":"),
    Kind.TIME: ("=", "!=", "<", "<=", ">", ">=", ":"),
    Kind.LABELS: ("=", "!=", ":"),
    Kind.LIST: (":",),
}

# Terminals of a field and of a value differ; the contextual lexer knows which may come.
_GRAMMAR = r"""
start: expression
expression: factor (_AND factor)*
factor: term (_OR term)*
term: _NOT simple -> negation
    | _MINUS simple -> negation
    | simple
?simple: FIELD COMPARATOR value -> comparison
    | FIELD -> bare
    | STRING -> bare
    | "(" expression ")" -> group
?value: WORD | TIME | STRING
_AND.3: /AND(?![A-Za-z0-9_.:-])/
_OR.3: /OR(?![A-Za-z0-9_.:-])/
_NOT.3: /NOT(?![A-Za-z0-9_.:-])/
_MINUS: "-"
COMPARATOR: "<=" | ">=" | "!=" | "=" | "<" | ">" | ":"
FIELD: /[A-Za-z_][A-Za-z0-9_]*(\.([A-Za-z0-9._-]+|"(\\.|[^"\\])*"))?/
TIME.2: /[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+Zz-]+/
WORD: /[^\s()"'<>=!:,]+/
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
%ignore /[ \t\r\n]+/
"""

_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?"
)
_LABEL_KEY = re.compile(r"[A-Za-z0-9._-]{1,63}")
_ESCAPE_OR_STAR = re.compile(r"\\(.)|\*", re.DOTALL)


def parse(text: str, known: Mapping[str, Field] = AGENT_FIELDS) -> Node | None:
    """The tree of a filter; None for an empty one.

    Raises:
        InvalidRequest: `FILTER_INVALID`, with what is wrong and where.
    """
    if not text.strip():
        return None
    if len(text) > MAX_LENGTH:
        raise _invalid(f"it has {len(text)} characters, at most {MAX_LENGTH} are allowed", 0)
    if "\0" in text:
        raise _invalid("it contains a NUL character", text.index("\0"))
    deep = _read(text)
    if deep.comparisons > MAX_COMPARISONS:
        raise _invalid(f"it has more than {MAX_COMPARISONS} comparisons", 0)
    return _typed(deep.node, known)


@lru_cache(maxsize=REMEMBERED)
def _read(text: str) -> "_Deep":
    """The tree without types of values; readers of a list send one filter page by page."""
    try:
        deep = _PARSER.parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    assert isinstance(deep, _Deep)  # noqa: S101 - narrows what lark types as a tree
    return deep


@dataclass(frozen=True, slots=True)
class _Raw:
    """A comparison as it was written."""

    field: Token
    operator: str
    value: Token


@dataclass(frozen=True, slots=True)
class _Deep:
    """A part of the tree, and how deep and large it is."""

    node: "Node | _Raw"
    depth: int = 0
    comparisons: int = 1


class _Builder(Transformer[Token, _Deep]):
    """Builds the tree while lark parses, so that no recursion grows with the text."""

    def start(self, children: list[_Deep]) -> _Deep:
        return children[0]

    def expression(self, children: list[_Deep]) -> _Deep:
        return _joined(And, children)

    def factor(self, children: list[_Deep]) -> _Deep:
        return _joined(Or, children)

    def term(self, children: list[_Deep]) -> _Deep:
        return children[0]

    def group(self, children: list[_Deep]) -> _Deep:
        return _deeper(children[0], children[0].node)

    def negation(self, children: list[_Deep]) -> _Deep:
        return _deeper(children[0], Not(children[0].node))  # type: ignore[arg-type]  # raw yet

    def comparison(self, children: list[Token]) -> _Deep:
        field, operator, value = children
        return _Deep(_Raw(field, str(operator), value))

    def bare(self, children: list[Token]) -> _Deep:
        word = children[0]
        raise _invalid(
            f"{str(word)[:100]!r} alone is no condition; write FIELD = VALUE",
            word.start_pos or 0,
        )


_PARSER = Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=_Builder())


def _joined(kind: type[And] | type[Or], children: list[_Deep]) -> _Deep:
    if len(children) == 1:
        return children[0]
    return _Deep(
        kind(tuple(child.node for child in children)),  # type: ignore[misc]  # raw yet
        max(child.depth for child in children),
        sum(child.comparisons for child in children),
    )


def _deeper(child: _Deep, node: "Node | _Raw") -> _Deep:
    if child.depth >= MAX_DEPTH:
        raise _invalid(f"it is nested deeper than {MAX_DEPTH} levels", 0)
    return _Deep(node, child.depth + 1, child.comparisons)


def _typed(node: "Node | _Raw", known: Mapping[str, Field]) -> Node:
    match node:
        case _Raw():
            return _comparison(node, known)
        case Not():
            return Not(_typed(node.child, known))
        case And() | Or():
            return type(node)(tuple(_typed(child, known) for child in node.children))
        case _:
            return node


def _comparison(raw: _Raw, known: Mapping[str, Field]) -> Comparison:
    name, _, key = str(raw.field).partition(".")
    about = known.get(name)
    if about is None or (key and about.kind is not Kind.LABELS):
        raise _invalid(
            f"unknown field '{raw.field[:100]}'; known are {', '.join(known)}",
            raw.field.start_pos or 0,
            {"field": str(raw.field)[:100]},
        )
    if raw.operator not in _OPERATORS[about.kind]:
        raise _invalid(
            f"'{raw.operator}' does not fit '{name}'; use {' '.join(_OPERATORS[about.kind])}",
            raw.field.start_pos or 0,
        )
    if about.kind is Kind.LABELS:
        return _label_comparison(raw, key)
    if raw.operator == ":" and str(raw.value) == "*":
        return Comparison(name, "", ":", None)
    value = _value(about, raw.value)
    exact = about.kind in (Kind.CHOICE, Kind.NUMBER, Kind.TIME)
    return Comparison(name, "", "=" if raw.operator == ":" and exact else raw.operator, value)


def _label_comparison(raw: _Raw, key: str) -> Comparison:
    key = _literal(key) if key.startswith('"') else key
    if not key:
        if raw.operator != ":":
            raise _invalid("name a label, such as labels.team", raw.field.start_pos or 0)
        key = _literal(raw.value)
        raw = _Raw(raw.field, ":", Token("WORD", "*"))
    if not _LABEL_KEY.fullmatch(key):
        raise _invalid(f"{key[:100]!r} is no key of a label", raw.field.start_pos or 0)
    if raw.operator == ":" and str(raw.value) == "*":
        return Comparison("labels", key, ":", None)
    return Comparison("labels", key, raw.operator, _pattern(raw.value))


def _value(about: Field, token: Token) -> Value:
    match about.kind:
        case Kind.TEXT | Kind.LIST:
            return _pattern(token)
        case Kind.CHOICE:
            return _choice(about, token)
        case Kind.FLAG:
            return _flag(token)
        case Kind.NUMBER:
            return _number(token)
        case Kind.TIME:
            return _time(token)
        case _:
            return _id(token)


def _choice(about: Field, token: Token) -> str:
    wanted = _literal(token).upper().removeprefix(about.prefix)
    if wanted not in about.choices:
        raise _invalid(
            f"{_literal(token)[:100]!r} is none of {', '.join(about.choices)}",
            token.start_pos or 0,
        )
    return wanted


def _flag(token: Token) -> str:
    text = _literal(token).lower()
    if text not in ("true", "false"):
        raise _invalid(f"{text[:100]!r} is neither true nor false", token.start_pos or 0)
    return text


def _number(token: Token) -> Decimal:
    text = _literal(token)
    if not _NUMBER.fullmatch(text):
        raise _invalid(f"{text[:100]!r} is no number", token.start_pos or 0)
    number = Decimal(text)
    if abs(number) > _LARGEST or (number and abs(number) < 1 / _LARGEST):
        raise _invalid(f"{text[:100]!r} is out of range", token.start_pos or 0)
    return number


def _time(token: Token) -> datetime:
    text = _literal(token)
    if _TIME.fullmatch(text):
        try:
            time = datetime.fromisoformat(text)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # answered below, like any other text
    raise _invalid(
        f"{text[:100]!r} is no time; write it like 2026-01-31T12:00:00Z", token.start_pos or 0
    )


def _id(token: Token) -> UUID:
    try:
        return UUID(_literal(token))
    except ValueError:
        raise _invalid(f"{_literal(token)[:100]!r} is no id", token.start_pos or 0) from None


def _pattern(token: Token) -> Pattern:
    """The value with its wildcards; escapes are known only within quotes."""
    text = str(token)
    if token.type != "STRING":
        return Pattern(tuple(text.split("*")))
    parts, last = [""], 0
    body = text[1:-1]
    for found in _ESCAPE_OR_STAR.finditer(body):
        parts[-1] += body[last : found.start()]
        last = found.end()
        if found[0] == "*":
            parts.append("")
        else:
            parts[-1] += found[1]
    parts[-1] += body[last:]
    return Pattern(tuple(parts))


def _literal(value: str) -> str:
    """The text of a value in which a star is a star."""
    if value[:1] in ('"', "'"):
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return str(value)


def _unexpected(text: str, error: UnexpectedInput) -> InvalidRequest:
    position = error.pos_in_stream
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if at_end or position is None or not 0 <= position < len(text):
        return _invalid("it ends too early", len(text))
    return _invalid(f"{text[position : position + 20]!r} is not expected there", position)


def _invalid(message: str, position: int, about: Mapping[str, str] | None = None) -> InvalidRequest:
    return InvalidRequest(
        "FILTER_INVALID",
        f"filter: {message} (position {position}).",
        {"position": str(position), **(about or {})},
        violations=(
            FieldViolation("filter", "FILTER_INVALID", f"{message} (position {position})"),
        ),
    )

"""Searching: which texts of an agent count, what a word is, and how two rankings become one.

No list of synonyms and nothing that was learned from queries: meaning comes from a general model,
the weight of a word from how many agents use it.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar
from uuid import UUID

Key = tuple[UUID, UUID]
"""Tenant and agent."""
Item = TypeVar("Item", bound=Hashable)

RANK_CONSTANT = 60
"""Of reciprocal rank fusion: how little the very first ranks stand out.

Source: Cormack, Clarke, Buettcher (2009), Reciprocal Rank Fusion outperforms Condorcet and
individual Rank Learning Methods, doi:10.1145/1571941.1572114.
"""
SHORTEST_MISTYPED = 4
"""Shorter words have too many neighbours."""
LONGEST_TEXT = 20_000
"""Characters of an agent's texts that are looked at."""
NAME_WEIGHT = 3
"""A name is short and chosen with care: it counts as if it were said so often."""
DESCRIPTION_WEIGHT = 2

# The words that hold an English sentence together, and those of a polite request.
_STOP = """
    a about all also am an and any are as at be been but by can could did do does each for from
    had has have he help her here him his how i if in into is it its just let like me more most my
    need no not of on or other our out please she should show so some such tell than that the
    their them then there these they this those to too us use used using very want was we were
    what when where which while who why will with would you your
"""
STOP_WORDS = frozenset(_STOP.split())

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CAMEL_WORD = re.compile(
    r"(?<![^\W_])[^\W_]*(?:[a-z0-9][A-Z]|[A-Z][A-Z][a-z])[^\W_]*"  # whole words alone
)
# Scripts that write no spaces between words: each sign is taken for a word.
_SIGNS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")
_WORD = re.compile(r"[^\W_]+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Document:
    """What of an agent can be found.

    Attributes:
        key: Tenant and agent.
        revision: Of the agent that these texts are of.
        embedded: Whether its stored vector is of these texts.
        in_catalog: Whether it is only in the catalogue.
        names: Name, and name for people.
        description: What it does.
        capabilities: What it says it can do.
        tools: Name and description of each.
    """

    key: Key
    revision: int
    embedded: bool
    in_catalog: bool
    names: tuple[str, ...]
    description: str
    capabilities: tuple[str, ...]
    tools: tuple[tuple[str, str], ...]


def separated(text: str) -> str:
    """The text with white space between the words of `snake_case`, `camelCase` and signs.

    A word with a capital in front, such as GitHub, is kept beside its parts: it may be a name.
    """
    return _SIGNS.sub(r" \1 ", _CAMEL_WORD.sub(_with_parts, text)).replace("_", " ")


def _with_parts(match: re.Match[str]) -> str:
    word = match[0]
    parts = _CAMEL.sub(" ", word)
    return f"{word} {parts}" if word[0].isupper() else parts


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without those that only hold it together."""
    found = [word.lower() for word in _WORD.findall(separated(text))]
    return [word for word in found if word not in STOP_WORDS] or found


def passages(document: Document) -> Iterator[str]:
    """What the index of words reads of an agent; names twice, since they weigh more."""
    for name in document.names:
        yield from (separated(name),) * 2
    yield separated(document.description)
    yield from map(separated, document.capabilities)
    for name, description in document.tools:
        yield from (separated(name),) * 2
        yield separated(description)


def joined_names(document: Document) -> set[str]:
    """Neighbouring words of names as one word each: `deep-wiki` is also `deepwiki`."""
    names = (*document.names, *(name for name, _ in document.tools))
    return {pair for name in names for pair in joined_pairs(words_of(name))}


def joined_pairs(words: Sequence[str]) -> list[str]:
    """Each two neighbouring words as one."""
    return [first + second for first, second in pairwise(words)]


def gist(document: Document) -> str:
    """The text whose meaning stands for an agent.

    Of tools only the names: their descriptions are long and speak of parameters, which drowns
    what the agent is for in the mean over all words.
    """
    names = words_of(" ".join(document.names))
    described = words_of(document.description)
    rest = words_of(" ".join((*document.capabilities, *(name for name, _ in document.tools))))
    words = (*names * NAME_WEIGHT, *described * DESCRIPTION_WEIGHT, *rest)
    return " ".join(words)[:LONGEST_TEXT]


def mistyped(word: str) -> Iterator[str]:
    """Every word that is one slip away: a letter left out, doubled, wrong, or two swapped."""
    if len(word) < SHORTEST_MISTYPED:
        return
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]


def fuse(rankings: Iterable[Sequence[Item]]) -> Mapping[Item, float]:
    """Several rankings as one: a score per item, best first, 1 for the first of all of them.

    Only ranks count, since the scores of different rankings have no common measure.
    """
    lists = list(rankings)
    scores: dict[Item, float] = {}
    for ranking in lists:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + (RANK_CONSTANT + 1) / (RANK_CONSTANT + rank)
    best_first = sorted(scores.items(), key=lambda pair: -pair[1])
    return {item: score / len(lists) for item, score in best_first}

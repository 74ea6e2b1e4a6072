"""The index of words: BM25 in memory, by tantivy.

Everything here computes and blocks: call it from a thread. One thread writes at a time; any
number may search meanwhile, in what was committed last.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg.pgproto import pgproto
from tantivy import Document as Entry
from tantivy import (
    Filter,
    Index,
    Occur,
    Query,
    SchemaBuilder,
    Searcher,
    TextAnalyzer,
    TextAnalyzerBuilder,
    Tokenizer,
)

from orca_server.domain.search import (
    Document,
    Key,
    joined_names,
    joined_pairs,
    mistyped,
    passages,
    words_of,
)

WRITER_BYTES = 15_000_000
"""The least that the library takes."""
MOST_WORDS = 64
"""Of a query; more say nothing new."""
MOST_CORRECTIONS = 3
CORRECTED_WEIGHT = 0.5
"""What was not written counts less than what was."""
UNKNOWN_SHARE = 0.5
"""A word that no agent uses is taken for half as rare as one that a single agent uses."""

_BODY, _JOINED = "body", "joined"


def _analyzer() -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for one in (Filter.lowercase(), Filter.ascii_fold(), Filter.stemmer("english")):
        builder = builder.filter(one)
    return builder.build()


ANALYZER = _analyzer()


@dataclass(frozen=True, slots=True)
class QueryWord:
    """One word of a query.

    Attributes:
        text: As the query has it, in lower case.
        terms: What the index knows it as; several if it seems mistyped, none if it is unknown.
        field: Of the index, where they are looked for.
        weight: 1 if it is known as it is written, less if not.
        rarity: Inverse document frequency: how much it tells.
    """

    text: str
    terms: tuple[str, ...]
    field: str
    weight: float
    rarity: float


class WordIndex:
    """Which agents use which words."""

    def __init__(self) -> None:
        """Empty."""
        schema = SchemaBuilder()
        schema.add_text_field("key", stored=True, tokenizer_name="raw", index_option="basic")
        schema.add_text_field("tenant", tokenizer_name="raw", index_option="basic")
        schema.add_boolean_field("in_catalog", indexed=True)
        schema.add_text_field(_BODY, tokenizer_name="words", index_option="freq")
        schema.add_text_field(_JOINED, tokenizer_name="words", index_option="freq")
        self._schema = schema.build()
        self._index = Index(self._schema)
        self._index.register_tokenizer("words", ANALYZER)
        self._writer = self._index.writer(WRITER_BYTES, 1)

    @property
    def size(self) -> int:
        """How many agents are in it."""
        return self._index.searcher().num_docs

    def count(self, tenant_id: UUID) -> int:
        """How many agents of a tenant are in it; some that are gone may still be counted."""
        return self._index.searcher().doc_freq("tenant", str(tenant_id))

    def add(self, documents: Iterable[Document]) -> None:
        """Adds agents that are not in it; `publish` shows them."""
        for document in documents:
            self._writer.add_document(_entry(document))
            time.sleep(0)  # lets the event loop have the interpreter between two agents

    def publish(self) -> None:
        """Lets searches see what was added."""
        self._writer.commit()
        self._index.reload()

    def put(self, documents: Sequence[Document], gone: Iterable[Key] = ()) -> None:
        """Adds or replaces agents, and removes those that are gone; searches see it at once."""
        for key in gone:
            self._writer.delete_documents_by_term("key", _name(key))
        for document in documents:
            self._writer.delete_documents_by_term("key", _name(document.key))
        self.add(documents)
        self.publish()

    def read(self, query: str) -> list[QueryWord]:
        """The words of a query, as this index knows them, each once."""
        searcher = self._index.searcher()
        words = list(dict.fromkeys(words_of(query)))[:MOST_WORDS]
        found = [_known(searcher, word) for word in words]
        return found + [
            QueryWord(pair, terms, _JOINED, CORRECTED_WEIGHT, 0.0)
            for pair in joined_pairs(words)
            if (terms := _in_use(searcher, _JOINED, ANALYZER.analyze(pair)))
        ]

    def search(
        self,
        tenant_id: UUID,
        words: Sequence[QueryWord],
        limit: int,
        *,
        catalog: bool,
        among: Sequence[UUID] | None = None,
    ) -> list[UUID]:
        """Agents that use the words, best first.

        Args:
            tenant_id: Whose agents.
            words: As `read` gave them.
            limit: At most so many.
            catalog: Whether those that are only in the catalogue count too.
            among: Only these; None: all.
        """
        wanted = [self._wanted(word) for word in words if word.terms]
        if not wanted or among == []:
            return []
        parts = [(Occur.Must, Query.boolean_query([(Occur.Should, one) for one in wanted]))]
        parts += [(Occur.Must, self._only("tenant", str(tenant_id)))]
        if not catalog:
            parts += [(Occur.Must, self._only("in_catalog", False))]
        if among is not None:
            keys = [_name((tenant_id, one)) for one in among]
            chosen = Query.term_set_query(self._schema, "key", keys)
            parts += [(Occur.Must, Query.const_score_query(chosen, 0.0))]
        searcher = self._index.searcher()
        hits = searcher.search(Query.boolean_query(parts), limit=limit, count=False).hits
        return [_id(searcher.doc(address)["key"][0]) for _, address in hits]

    def _wanted(self, word: QueryWord) -> Query:
        """Its best term counts, not the sum of all that it may stand for."""
        terms = [
            Query.term_query(self._schema, word.field, term, index_option="freq")
            for term in word.terms
        ]
        either = Query.disjunction_max_query(terms)
        return Query.boost_query(either, word.weight)

    def _only(self, field: str, value: str | bool) -> Query:
        term = Query.term_query(self._schema, field, value, index_option="basic")
        return Query.const_score_query(term, 0.0)


def _known(searcher: Searcher, word: str) -> QueryWord:
    """The word under the term that agents use, or under those it may have been meant for."""
    terms = _in_use(searcher, _BODY, ANALYZER.analyze(word))
    if terms:
        rarity = _rarity(searcher.num_docs, searcher.doc_freq(_BODY, terms[0]))
        return QueryWord(word, terms, _BODY, 1.0, rarity)
    near = ANALYZER.analyze(" ".join(mistyped(word)))
    used = {term: searcher.doc_freq(_BODY, term) for term in set(near)}
    best = sorted((-count, term) for term, count in used.items() if count)[:MOST_CORRECTIONS]
    unknown = UNKNOWN_SHARE * _rarity(searcher.num_docs, 1)
    return QueryWord(word, tuple(term for _, term in best), _BODY, CORRECTED_WEIGHT, unknown)


def _in_use(searcher: Searcher, field: str, terms: Sequence[str]) -> tuple[str, ...]:
    return tuple(term for term in terms if searcher.doc_freq(field, term))


def _rarity(agents: int, using: int) -> float:
    """Inverse document frequency, as BM25 has it."""
    return math.log(1 + (agents - using + 0.5) / (using + 0.5)) if agents >= using else 0.0


def _entry(document: Document) -> Entry:
    entry = Entry()
    entry.add_text("key", _name(document.key))
    entry.add_text("tenant", str(document.key[0]))
    entry.add_boolean("in_catalog", document.in_catalog)
    for passage in passages(document):
        entry.add_text(_BODY, passage)
    for name in joined_names(document):
        entry.add_text(_JOINED, name)
    return entry


def _name(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _id(name: str) -> UUID:
    """The agent's id; the driver's class, which is read in a fifth of the time."""
    found: UUID = pgproto.UUID(name[-36:])
    return found

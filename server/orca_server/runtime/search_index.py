"""Keeps search fresh: an index of words in memory, vectors of meaning in the database.

The log of changes says which agents to read anew, so an agent that is acknowledged anywhere is
found everywhere soon after. Words come first; vectors follow, computed by whichever server is first
to look and stored for all. Neither is computed on the event loop.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from orca_server.domain.errors import OutOfRange, Unavailable
from orca_server.domain.search import Document, Key, fuse, gist
from orca_server.runtime.changes import Changes, Subscription
from orca_server.runtime.embedding import MODEL, Embedder, as_text
from orca_server.runtime.jobs import repeat
from orca_server.runtime.words import QueryWord, WordIndex
from orca_server.store import search as store
from orca_server.store.database import RETRY_SECONDS, Database
from orca_server.store.filter_sql import Query

RESTART_SECONDS = 1.0
PAGE = 200
"""Agents that are read, or embedded, together."""
EXACT = 4_000
"""So many agents are compared one by one; more are searched by the vectors' index."""
RANKED = 100
"""Length of each ranking; what is in neither is no hit."""
CANDIDATES = 1_000
"""Agents found by words of which a filter over very many chooses."""
LOOKED_AT = 2_000
"""Agents found by meaning of which a filter over very many chooses."""
LOADING_SECONDS = 5.0
"""How long a search waits for the index of a server that has just started."""

log = structlog.get_logger(__name__)

INDEXED = Gauge("orca_search_agents", "Agents in this process's index of words.")
EMBEDDED = Counter("orca_search_embeddings", "Vectors that this process computed.")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        scores: Agents, best first, each with its score, 0 to 1.
        words: The query's words, as the index knows them.
        vector: The query's meaning, as pgvector reads it; empty if it says nothing.
        similar: How similar agents are to the vector, -1 to 1, as far as that is known already.
    """

    scores: dict[UUID, float]
    words: Sequence[QueryWord]
    vector: str
    similar: dict[UUID, float]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a text says: its words, its meaning as in `Found`, and who uses the words."""

    words: Sequence[QueryWord]
    vector: str
    by_words: Sequence[UUID]

    def found(self, by_words: Sequence[UUID], near: dict[UUID, float], limit: int) -> Found:
        """Both rankings as one; without a meaning there is only that of words."""
        rankings = [by_words, list(near)] if self.vector else [by_words]
        scores = dict(islice(fuse(rankings).items(), limit))
        return Found(scores, self.words, self.vector, near)


class SearchIndex:
    """Finds agents by words and by meaning."""

    def __init__(self, db: Database, changes: Changes) -> None:
        """Knows no agent yet; `run` reads them.

        Args:
            db: The primary.
            changes: What says who changed.
        """
        self._db = db
        self._changes = changes
        self._words: WordIndex | None = None
        self._embedder = Embedder()
        self._loaded = asyncio.Event()
        self._unembedded: dict[Key, None] = {}  # in the order in which they changed
        self._waiting = asyncio.Event()

    async def run(self) -> None:
        """Follows the agents until it is cancelled; a database that is away is waited for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("search", self._follow, RESTART_SECONDS))
            group.create_task(repeat("search_meaning", self._embed_all, RESTART_SECONDS))

    async def search(self, query: Query, text: str, *, catalog: bool, limit: int) -> Found:
        """The agents that a query lets and a text asks for.

        Args:
            query: Whose agents, and which.
            text: What is looked for.
            catalog: Whether those that are only in the catalogue count too, as in `query`.
            limit: Agents at most.

        Raises:
            Unavailable: If the database does not answer, or the index is not read yet.
        """
        words = await self._index()
        if query.condition is None and words.count(query.tenant_id) > EXACT:
            asked = await asyncio.to_thread(
                self._ask, words, text, query.tenant_id, RANKED, catalog=catalog
            )
            return await self._wide(query, asked, limit)
        async with self._db.connection() as connection:
            among = await store.match(connection, query, EXACT + 1)
        if len(among) <= EXACT:
            chosen = among if query.condition else None  # else the index knows them itself
            asked = await asyncio.to_thread(
                self._ask, words, text, query.tenant_id, RANKED, catalog=catalog, among=chosen
            )
            return await self._narrow(query, asked, among, limit)
        asked = await asyncio.to_thread(
            self._ask, words, text, query.tenant_id, CANDIDATES, catalog=catalog
        )
        return await self._wide(query, asked, limit)

    async def similarities(self, tenant_id: UUID, found: Found) -> dict[UUID, float]:
        """How similar what was found is to the query, -1 to 1; who has no vector is left out."""
        unknown = [one for one in found.scores if one not in found.similar]
        if not (found.vector and unknown):
            return found.similar
        async with self._db.connection() as connection:
            others = await store.nearest_among(
                connection, tenant_id, unknown, found.vector, len(unknown)
            )
        return found.similar | others

    async def _narrow(
        self, query: Query, asked: "_Asked", among: Sequence[UUID], limit: int
    ) -> Found:
        """Both rankings of few agents as one: each is compared."""
        allowed = set(among)
        by_words = [one for one in asked.by_words if one in allowed]
        near: dict[UUID, float] = {}
        if asked.vector:
            async with self._db.connection() as connection:
                near = await store.nearest_among(
                    connection, query.tenant_id, among, asked.vector, RANKED
                )
        return asked.found(by_words, near, limit)

    async def _wide(self, query: Query, asked: "_Asked", limit: int) -> Found:
        """Both rankings of many agents as one, by the indexes; a filter judges what they find."""
        filtered = bool(query.condition or query.restriction)
        by_words, near = asked.by_words, dict[UUID, float]()
        if asked.vector:
            most = LOOKED_AT if filtered else RANKED
            async with self._db.connection() as connection:
                near = await store.nearest(connection, query.tenant_id, asked.vector, most)
        if filtered:
            among = list({*by_words, *near})
            async with self._db.connection() as connection:
                allowed = set(await store.match(connection, query, len(among), among))
            by_words = [one for one in by_words if one in allowed][:RANKED]
            chosen = islice((one for one in near if one in allowed), RANKED)
            near = {one: near[one] for one in chosen}
        return asked.found(by_words, near, limit)

    def _ask(
        self,
        words: WordIndex,
        text: str,
        tenant_id: UUID,
        most: int,
        *,
        catalog: bool,
        among: Sequence[UUID] | None = None,
    ) -> "_Asked":
        """What a text says, and who uses its words; runs in a thread."""
        asked = words.read(text)
        said = [word for word in asked if word.rarity > 0 and not word.text.isdigit()]
        # The root, for words of a query are few: the rarest alone would speak for all.
        weights = [word.rarity**0.5 for word in said]
        vector = self._embedder.embed_words([word.text for word in said], weights)
        by_words = words.search(tenant_id, asked, most, catalog=catalog, among=among)
        return _Asked(asked, as_text(vector) if vector.any() else "", by_words)

    async def _index(self) -> WordIndex:
        """The index, once it is read.

        Raises:
            Unavailable: If that takes too long.
        """
        try:
            async with asyncio.timeout(LOADING_SECONDS):
                await self._loaded.wait()
        except TimeoutError:
            raise Unavailable(
                "SEARCH_NOT_READY",
                "This server has just started and still reads the agents to search in.",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
        assert self._words is not None  # noqa: S101 - set before the event
        return self._words

    async def _follow(self) -> None:
        """Reads all agents, then those that change; ends when changes were lost."""
        subscription = await self._changes.subscribe()
        words = await self._load()
        self._words = words
        self._loaded.set()
        INDEXED.set(words.size)
        log.info("search_index_read", agents=words.size)
        try:
            while True:
                await self._apply(words, subscription)
        except OutOfRange as error:
            log.warning("search_index_starts_over", cause=error.metadata["cause"])

    async def _load(self) -> WordIndex:
        """An index of all agents; until it is done, the one before answers."""
        words = await asyncio.to_thread(WordIndex)
        last: Key | None = None
        while True:
            async with self._db.connection() as connection:
                page = await store.list_documents(connection, last, PAGE, MODEL)
            if not page:
                await asyncio.to_thread(words.publish)
                return words
            last = page[-1].key
            await asyncio.to_thread(words.add, page)
            self._line_up(page)

    async def _apply(self, words: WordIndex, subscription: Subscription) -> None:
        """Takes over the next changes."""
        changes = await subscription.next()
        keys = {
            (one.tenant_id, one.entity_id): None for one in changes if one.entity_type == "agent"
        }
        for chunk in _chunks(list(keys)):
            async with self._db.connection() as connection:
                found = await store.find_documents(connection, chunk, MODEL)
            present = {document.key for document in found}
            await self._take(words, found, [key for key in chunk if key not in present])
            INDEXED.set(words.size)

    async def _take(
        self, words: WordIndex, found: Sequence[Document], gone: Sequence[Key] = ()
    ) -> None:
        """Puts agents into the index, and in line."""
        await asyncio.to_thread(words.put, found, gone)
        self._line_up(found)

    def _line_up(self, found: Sequence[Document]) -> None:
        """Puts agents with an old vector in line for a new one."""
        self._unembedded |= {one.key: None for one in found if not one.embedded}
        self._waiting.set()

    async def _embed_all(self) -> None:
        """Computes the vectors of those in line, for as long as there are any; then waits."""
        while True:
            await self._waiting.wait()
            while self._unembedded:
                # The latest first: who is changed now need not wait for a whole catalogue.
                chunk = list(islice(reversed(self._unembedded), PAGE))
                for key in chunk:  # before it is read: who changes from now on is in line again
                    del self._unembedded[key]
                try:
                    await self._embed_some(chunk)
                except Unavailable:
                    self._unembedded |= dict.fromkeys(chunk)
                    raise
            self._waiting.clear()

    async def _embed_some(self, keys: Sequence[Key]) -> None:
        async with self._db.connection() as connection:
            found = await store.find_documents(connection, keys, MODEL)
        old = [one for one in found if not one.embedded]  # else another server was faster
        if old:
            vectors = await asyncio.to_thread(self._embed, old)
            async with self._db.connection() as connection:
                await store.store_embeddings(connection, old, MODEL, vectors)
        EMBEDDED.inc(len(old))

    def _embed(self, documents: Sequence[Document]) -> list[str]:
        """Their vectors, as pgvector reads them; runs in a thread."""
        return [as_text(one) for one in self._embedder.embed([gist(one) for one in documents])]


def _chunks(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[at : at + PAGE] for at in range(0, len(keys), PAGE)]

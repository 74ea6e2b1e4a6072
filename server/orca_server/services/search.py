"""SearchAgents: what was found, and why."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from grpc.aio import ServicerContext

from orca.v1 import agent_pb2
from orca.v1 import search_pb2 as pb
from orca_server.domain import filtering
from orca_server.domain.errors import FieldViolation, invalid_fields
from orca_server.domain.search import separated
from orca_server.runtime.search_index import Found, SearchIndex
from orca_server.runtime.words import ANALYZER, QueryWord
from orca_server.services.authentication import current_caller
from orca_server.services.convert_agents import agent_to_proto
from orca_server.services.pages import fitting
from orca_server.services.requests import read_page_size
from orca_server.store import agents as store
from orca_server.store.database import Database
from orca_server.store.filter_sql import Query
from orca_server.store.listings import AGENTS, WITHOUT_CATALOG

LONGEST_QUERY = 1_000
FEW_HITS, MOST_HITS = 10, 100
MOST_TOOLS = 5
LONGEST_FIELD = 20_000
"""Characters of a field in which words are looked for, to say why."""

Context = ServicerContext[Any, Any]


class SearchServicer:
    """Answers SearchAgents."""

    def __init__(self, db: Database, index: SearchIndex) -> None:
        """Keeps what it needs."""
        self._db = db
        self._index = index

    async def SearchAgents(
        self, request: pb.SearchAgentsRequest, context: Context
    ) -> pb.SearchAgentsResponse:
        """The agents that fit best."""
        _check(request.query)
        limit = read_page_size(request.page_size, default=FEW_HITS, most=MOST_HITS)
        condition = filtering.parse(request.filter, AGENTS.fields)
        catalog = request.show_catalog if request.HasField("show_catalog") else True
        tenant_id = current_caller().tenant_id
        query = Query(tenant_id, condition, "" if catalog else WITHOUT_CATALOG)
        found = await self._index.search(query, request.query, catalog=catalog, limit=limit)
        ids = list(found.scores)
        async with self._db.connection() as connection:
            rows = await store.find_agents(connection, tenant_id, ids)
        similar = await self._index.similarities(tenant_id, found)
        there = [rows[one] for one in ids if one in rows]  # else deleted just now
        agents = await fitting(there, agent_to_proto)
        hits = await asyncio.to_thread(_hits, agents, found)
        for hit in hits:
            if (similarity := similar.get(UUID(hit.agent.id))) is not None:
                hit.similarity = similarity
        return pb.SearchAgentsResponse(hits=hits)


def _check(query: str) -> None:
    if not query.strip():
        raise invalid_fields([FieldViolation("query", "REQUIRED", "must be given")])
    if len(query) > LONGEST_QUERY:
        message = f"must have at most {LONGEST_QUERY} characters"
        raise invalid_fields([FieldViolation("query", "TOO_LONG", message)])


def _hits(agents: Sequence[agent_pb2.Agent], found: Found) -> list[pb.SearchHit]:
    """The agents with score and reasons; runs in a thread."""
    return [
        pb.SearchHit(
            agent=agent,
            score=found.scores[UUID(agent.id)],
            matches=_matches(agent, found.words),
        )
        for agent in agents
    ]


def _matches(agent: agent_pb2.Agent, words: Sequence[QueryWord]) -> Iterator[pb.SearchMatch]:
    """The fields that hold words of the query."""
    texts = {
        "name": agent.name,
        "display_name": agent.display_name,
        "description": agent.description,
        "capabilities": " ".join(agent.capabilities),
    }
    for field, text in texts.items():
        if held := _held(text, words):
            yield pb.SearchMatch(field=field, words=held)
    tools = {
        tool.name: held
        for tool in agent.tools
        if (held := _held(f"{tool.name} {tool.description}", words))
    }
    if tools:
        every = {word for held in tools.values() for word in held}
        best = sorted(tools, key=lambda name: -len(tools[name]))[:MOST_TOOLS]
        yield pb.SearchMatch(field="tools", words=_in_order(every, words), tools=best)


def _held(text: str, words: Sequence[QueryWord]) -> list[str]:
    """The words of the query that a text holds."""
    if not text:
        return []
    parts = ANALYZER.analyze(separated(text[:LONGEST_FIELD]))
    terms = {*parts, *map("".join, pairwise(parts))}
    return _in_order({word.text for word in words if terms & set(word.terms)}, words)


def _in_order(held: Collection[str], words: Sequence[QueryWord]) -> list[str]:
    return list(dict.fromkeys(word.text for word in words if word.text in held))

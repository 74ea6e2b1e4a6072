"""What a registry file or a document changes in the inventory: decided here, written elsewhere."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from orca_server.domain import agents
from orca_server.domain.agents import Agent, AgentState, Source
from orca_server.domain.checks import MAX_LABELS
from orca_server.domain.registry_entries import Entries, Entry, Refused
from orca_server.domain.registry_file import AGENT_TYPE, OPTIONAL_FIELDS, FileServer
from orca_server.domain.stamps import read_stamp

# Labels that an import writes; an operator's own labels stay beside them.
IMPORT_LABELS = frozenset(
    {
        "registry",
        "registry_type",
        "package",
        "category",
        "repository",
        "website",
        "commit",
        "status",
    }
)
MakeId = Callable[[], UUID]


@dataclass(slots=True)
class Plan:
    """What is to be written.

    Attributes:
        new: Agents to add.
        updated: Agents to change, as (before, after).
        retired: Agents that leave, as (before, after).
        unchanged: How many are as they should be.
        refused: What is not taken.
    """

    new: list[Agent] = field(default_factory=list)
    updated: list[tuple[Agent, Agent]] = field(default_factory=list)
    retired: list[tuple[Agent, Agent]] = field(default_factory=list)
    unchanged: int = 0
    refused: list[Refused] = field(default_factory=list)

    def settle(self, old: Agent, new: Agent) -> None:
        """Counts an agent as changed or unchanged."""
        if old == new:
            self.unchanged += 1
        else:
            self.updated.append((old, new))


def plan_sync(
    servers: Sequence[FileServer], current: Iterable[Agent], now: datetime, make_id: MakeId
) -> Plan:
    """What makes the inventory agree with the registry file.

    A server of the file is part of the fleet: it is created, taken over from the catalogue, or
    brought back from retirement; only a suspended one stays as the operator set it. Agents of
    the file that it no longer names are retired, and no others.

    Args:
        servers: What the file names.
        current: All agents of the file, and those that have one of its names.
        now: The transaction's time.
        make_id: Gives the id of a new agent.
    """
    plan = Plan()
    known = {agent.name: agent for agent in current}
    for index, server in enumerate(servers):
        agent = known.get(server.name)
        if agent is None:
            plan.new.append(_of_file(make_id(), server))
        elif agent.source not in (Source.FILE, Source.IMPORT):
            plan.refused.append(_owned(index, agent, Source.FILE))
        else:
            plan.settle(agent, _as_in_file(agent, server))
    named = {server.name for server in servers}
    for agent in known.values():
        gone = agent.source is Source.FILE and agent.name not in named
        if gone and agent.state is not AgentState.RETIRED:
            plan.retired.append((agent, agents.retire(agent, now)))
    return plan


def plan_import(entries: Entries, current: Iterable[Agent], make_id: MakeId) -> Plan:
    """What takes a document's entries into the catalogue.

    New entries are catalogue entries; known ones keep their state. An older version of an entry
    changes nothing. Names that something else created are refused.

    Args:
        entries: What the document holds.
        current: The agents that have one of its names.
        make_id: Gives the id of a new agent.
    """
    plan = Plan(unchanged=entries.older, refused=list(entries.refused))
    known = {agent.name: agent for agent in current}
    for entry in entries.taken:
        agent = known.get(entry.name)
        if agent is None:
            plan.new.append(_of_entry(make_id(), entry))
        elif agent.source is not Source.IMPORT:
            plan.refused.append(_owned(entry.index, agent, Source.IMPORT))
        elif other := _other_registry(agent, entry):
            plan.refused.append(other)
        elif entry.stamp.is_older_than(read_stamp(agent.import_stamp)):
            plan.unchanged += 1
        else:
            plan.settle(agent, _as_imported(agent, entry))
    plan.refused.sort(key=lambda refused: refused.index)
    return plan


def _of_file(new_id: UUID, server: FileServer) -> Agent:
    return Agent(
        id=new_id,
        type=AGENT_TYPE,
        name=server.name,
        state=AgentState.ACTIVE,
        source=Source.FILE,
        content=server.content,
    )


def _as_in_file(agent: Agent, server: FileServer) -> Agent:
    """The agent with what the file says; what it does not speak of stays.

    So does what weighs the last values of a suspended agent, until a sync after it is resumed.
    """
    silent = {"tools", "version", "latency_limit_us", *OPTIONAL_FIELDS} - server.stated
    if agent.state is AgentState.SUSPENDED:
        silent |= agents.FROZEN_FIELDS
    kept: dict[str, Any] = {name: getattr(agent.content, name) for name in silent}
    content = replace(server.content, **kept)
    described = replace(agent, content=content, source=Source.FILE)
    return described if agent.state is AgentState.SUSPENDED else agents.activate(described)


def _of_entry(new_id: UUID, entry: Entry) -> Agent:
    return Agent(
        id=new_id,
        type=AGENT_TYPE,
        name=entry.name,
        state=AgentState.CATALOG,
        source=Source.IMPORT,
        content=entry.content,
        import_stamp=entry.stamp.written(),
    )


def _as_imported(agent: Agent, entry: Entry) -> Agent:
    """The agent with what the entry says; tools that only a probe knows stay."""
    old, new = agent.content, entry.content
    own = {key: value for key, value in old.labels.items() if key not in IMPORT_LABELS}
    room = MAX_LABELS - len(new.labels)
    own = dict(list(own.items())[:room])
    content = replace(
        old,
        display_name=new.display_name,
        description=new.description,
        version=new.version,
        endpoint=new.endpoint,
        capabilities=new.capabilities,
        tools=new.tools or old.tools,
        labels=own | dict(new.labels),
    )
    return replace(agent, content=content, import_stamp=entry.stamp.written())


def _owned(index: int, agent: Agent, source: Source) -> Refused:
    return Refused(
        index,
        agent.name,
        "OWNED_BY_OTHER_SOURCE",
        f"'{agent.type}/{agent.name}' was created by source '{agent.source}' (agent {agent.id});"
        f" source '{source}' cannot take it over",
    )


def _other_registry(agent: Agent, entry: Entry) -> Refused | None:
    theirs, ours = agent.content.labels.get("registry", ""), entry.content.labels["registry"]
    if theirs in ("", ours):
        return None
    return Refused(
        entry.index,
        entry.name,
        "OWNED_BY_OTHER_SOURCE",
        f"'{entry.name}' was imported from registry '{theirs}' (agent {agent.id}); registry"
        f" '{ours}' cannot take it over",
    )

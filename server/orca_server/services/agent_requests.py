"""What requests about agents ask for: decoded and checked, before anything is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask

from orca.v1 import agent_pb2 as pb
from orca.v1 import agent_service_pb2 as service_pb
from orca_server.domain import agent_changes
from orca_server.domain.access import Caller
from orca_server.domain.agent_changes import EVERYTHING, IDENTITY, MUTABLE, Change
from orca_server.domain.agent_checks import (
    Violations,
    check_content,
    check_identity,
    check_reason,
)
from orca_server.domain.agents import REPORTED_FIELDS, Agent, Content
from orca_server.domain.errors import FieldViolation, InvalidRequest, PermissionDenied
from orca_server.services.convert_agents import content_of
from orca_server.store.audit import Author
from orca_server.store.filter_sql import ORDERS

MAX_IDS = 1000
OUTPUT_ONLY = frozenset(
    field.name
    for field in pb.Agent.DESCRIPTOR.fields
    if field.name not in MUTABLE and field.name not in (*IDENTITY, "etag")
)
WRITE_SCOPE = "agents.write"


@dataclass(frozen=True, slots=True)
class NewAgent:
    """What CreateAgent asks for."""

    type: str
    name: str
    content: Content
    request_id: UUID | None
    author: Author


@dataclass(frozen=True, slots=True)
class AgentUpdate:
    """What UpdateAgent asks for: the agent by id, or by type and name.

    Attributes:
        given: All that the request says, of which `changes` count for an agent that exists.
        identity: Fields that the mask names and that nobody can change.
    """

    id: UUID | None
    type: str
    name: str
    given: Content
    changes: Sequence[Change]
    identity: Sequence[str]
    etag: str
    allow_missing: bool
    caller: Caller
    author: Author


def author_of(caller: Caller, reason: str) -> Author:
    """Who acts, for the audit log."""
    return Author(caller.tenant_id, caller.subject, reason)


def read_target(agent_id: str, reason: str = "") -> UUID:
    """The id of a request for one agent, and its reason checked.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    found = _id(violations, "id", agent_id)
    check_reason(violations, reason)
    violations.refuse()
    assert found is not None  # noqa: S101 - else it was refused
    return found


def read_ids(ids: Sequence[str]) -> list[UUID]:
    """The ids of BatchGetAgents.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    if not ids:
        violations.add("ids", "REQUIRED", "at least one id is required")
    violations.count("ids", len(ids), MAX_IDS)
    found = [_id(violations, f"ids[{index}]", one) for index, one in enumerate(ids[:MAX_IDS])]
    violations.refuse()
    return [one for one in found if one is not None]


def read_order(order_by: str) -> str:
    """The order of a list in its normal form.

    Raises:
        InvalidRequest: If there is no such order (`ORDER_BY_INVALID`).
    """
    words = order_by.split() or ["id"]
    if words[1:] == ["asc"]:
        words = words[:1]
    found = " ".join(words)
    if found in ORDERS:
        return found
    known = ", ".join(name for name in ORDERS if " " not in name)
    message = f"must be one of {known}, each with ' desc' if wanted"
    raise InvalidRequest(
        "ORDER_BY_INVALID",
        f"order_by: {message}.",
        violations=[FieldViolation("order_by", "ORDER_BY_INVALID", message)],
    )


def read_new(request: service_pb.CreateAgentRequest, caller: Caller) -> NewAgent:
    """What CreateAgent asks for.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    agent = request.agent
    check_identity(violations, "agent.", agent.type, agent.name)
    content = content_of(agent, violations, "agent.")
    check_content(violations, "agent.", content)
    request_id = None
    if request.request_id:
        request_id = _id(violations, "request_id", request.request_id)
        if request_id is not None and request_id.version != 4:
            violations.add("request_id", "INVALID_FORMAT", "must be a UUID of version 4")
    check_reason(violations, request.reason)
    violations.refuse()
    author = author_of(caller, request.reason)
    return NewAgent(agent.type, agent.name, content, request_id, author)


def read_update(request: service_pb.UpdateAgentRequest, caller: Caller) -> AgentUpdate:
    """What UpdateAgent asks for.

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not change one of the fields.
    """
    agent = request.agent
    changes, identity = _changes(agent, request.update_mask)
    _check_rights(caller, changes)
    violations = Violations()
    agent_id = _id(violations, "agent.id", agent.id) if agent.id else None
    if not agent.id:
        check_identity(violations, "agent.", agent.type, agent.name)
    given = content_of(agent, violations, "agent.")
    check_content(violations, "agent.", agent_changes.apply(Content(), given, changes))
    check_reason(violations, request.reason)
    violations.refuse()
    return AgentUpdate(
        id=agent_id,
        type=agent.type,
        name=agent.name,
        given=given,
        changes=changes,
        identity=identity,
        etag=agent.etag,
        allow_missing=request.allow_missing,
        caller=caller,
        author=author_of(caller, request.reason),
    )


def new_content(update: AgentUpdate) -> Content:
    """What an agent that is missing begins with: all that was given (AIP-134).

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not say some of it.
    """
    said = [
        change
        for change in EVERYTHING
        if getattr(update.given, MUTABLE[change.field]) != getattr(Content(), MUTABLE[change.field])
    ]
    _check_rights(update.caller, said)
    violations = Violations()
    check_content(violations, "agent.", update.given)
    violations.refuse()
    return update.given


def changed_content(update: AgentUpdate, agent: Agent) -> Content:
    """What an agent that exists becomes.

    Raises:
        InvalidRequest: If the outcome breaks a bound, or the request means to change what
            identifies the agent (`FIELD_IMMUTABLE`).
    """
    for name, given, current in (
        ("id", update.id or "", agent.id),
        ("type", update.type, agent.type),
        ("name", update.name, agent.name),
    ):
        if given != current and (given or name in update.identity):
            message = f"is '{current}' and cannot be changed"
            raise agent_changes.immutable([FieldViolation(f"agent.{name}", "IMMUTABLE", message)])
    content = agent_changes.apply(agent.content, update.given, update.changes)
    violations = Violations()
    check_content(violations, "agent.", content)
    violations.refuse()
    return content


def check_binding(caller: Caller, agent_id: UUID, agent_type: str, name: str) -> None:
    """Refuses a caller whose token is bound to other agents.

    Raises:
        PermissionDenied: `AGENT_NOT_ALLOWED`.
    """
    if caller.may_report_for(agent_id, agent_type, name):
        return
    raise PermissionDenied(
        "AGENT_NOT_ALLOWED",
        f"This token may not report for agent '{agent_type}/{name}'.",
        {"type": agent_type, "name": name, "subject": caller.subject},
    )


def _changes(agent: pb.Agent, mask: FieldMask) -> tuple[Sequence[Change], Sequence[str]]:
    """What is to change; without a mask, what is populated."""
    if mask.paths:
        return agent_changes.read_mask(mask.paths, OUTPUT_ONLY)
    populated = [field.name for field, _ in agent.ListFields()]
    return [Change(name) for name in populated if name in MUTABLE], ()


def _check_rights(caller: Caller, changes: Sequence[Change]) -> None:
    """Lets callers without the scope of operators say only what agents say of themselves."""
    if caller.may(WRITE_SCOPE):
        return
    refused = sorted({change.field for change in changes} - REPORTED_FIELDS)
    if refused:
        raise PermissionDenied(
            "FIELD_NOT_ALLOWED",
            f"Role '{caller.role}' may not change '{refused[0]}'; an operator may.",
            {"fields": ",".join(refused), "role": caller.role, "scope": WRITE_SCOPE},
        )


def _id(violations: Violations, name: str, value: str) -> UUID | None:
    if not value:
        violations.add(name, "REQUIRED", "is required")
        return None
    try:
        if len(value) == 36:
            return UUID(value)
    except ValueError:
        pass  # told below, like every other text
    violations.add(name, "INVALID_FORMAT", "must be a UUID")
    return None

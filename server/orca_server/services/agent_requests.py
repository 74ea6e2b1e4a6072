"""What requests about agents ask for: decoded and checked, before anything is read."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from orca.v1 import agent_service_pb2 as service_pb
from orca_server.domain import update_masks
from orca_server.domain.access import Caller
from orca_server.domain.agent_checks import check_content, check_identity
from orca_server.domain.agents import REPORTED_FIELDS, UPDATABLE, Agent, Content
from orca_server.domain.checks import Violations, check_reason
from orca_server.domain.errors import PermissionDenied
from orca_server.domain.update_masks import Change
from orca_server.services.convert_agents import content_of
from orca_server.services.requests import author_of, note_id, note_request_id
from orca_server.services.update_requests import (
    New,
    Update,
    changes_of,
    check_identity_stays,
    check_rights,
)

MAX_IDS = 1000
WRITE_SCOPE = "agents.write"


NewAgent = New[Content]
AgentUpdate = Update[Content]


def read_ids(ids: Sequence[str]) -> list[UUID]:
    """The ids of BatchGetAgents.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    if not ids:
        violations.add("ids", "REQUIRED", "at least one id is required")
    violations.count("ids", len(ids), MAX_IDS)
    found = [note_id(violations, f"ids[{index}]", one) for index, one in enumerate(ids[:MAX_IDS])]
    violations.refuse()
    return [one for one in found if one is not None]


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
    request_id = note_request_id(violations, request.request_id)
    check_reason(violations, request.reason)
    violations.refuse()
    author = author_of(caller, request.reason)
    return New(agent.type, agent.name, content, request_id, author)


def read_update(request: service_pb.UpdateAgentRequest, caller: Caller) -> AgentUpdate:
    """What UpdateAgent asks for.

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not change one of the fields.
    """
    agent = request.agent
    changes, identity = changes_of(agent, request.update_mask, UPDATABLE)
    _check_rights(caller, changes)
    violations = Violations()
    agent_id = note_id(violations, "agent.id", agent.id) if agent.id else None
    if not agent.id:
        check_identity(violations, "agent.", agent.type, agent.name)
    given = content_of(agent, violations, "agent.")
    check_content(violations, "agent.", update_masks.apply(UPDATABLE, Content(), given, changes))
    check_reason(violations, request.reason)
    violations.refuse()
    return Update(
        id=agent_id,
        family=agent.type,
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
    said = update_masks.said(UPDATABLE, update.given, Content())
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
    check_identity_stays(
        "agent.",
        update.identity,
        (
            ("id", update.id or "", agent.id),
            ("type", update.family, agent.type),
            ("name", update.name, agent.name),
        ),
    )
    content = update_masks.apply(UPDATABLE, agent.content, update.given, update.changes)
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


def _check_rights(caller: Caller, changes: Iterable[Change]) -> None:
    check_rights(caller, changes, scope=WRITE_SCOPE, reported=REPORTED_FIELDS)

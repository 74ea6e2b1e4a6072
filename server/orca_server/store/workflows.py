"""Workflows in the database: read with what follows from their events, locked, written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orca_server.domain import workflows as domain
from orca_server.domain.changes import Kind
from orca_server.domain.errors import Conflict, NotFound
from orca_server.domain.workflows import Content, Schedule, Workflow, WorkflowState
from orca_server.store import audit, changes
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Record
from orca_server.store.deletion import standing_still
from orca_server.store.listings import WORKFLOWS
from orca_server.store.queries import QUERIES

ENTITY = "workflow"
"""What the audit log and the log of changes call it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Which workflow holds a name or a request id."""

    id: UUID
    provider: str
    name: str
    state: WorkflowState


def workflow_missing(what: UUID | str) -> NotFound:
    """The error for a workflow that is not there, by its id, or by provider and name together."""
    if isinstance(what, UUID):
        message = f"No workflow has id '{what}'."
        return NotFound("WORKFLOW_NOT_FOUND", message, {"workflow_id": str(what)})
    return NotFound("WORKFLOW_NOT_FOUND", f"There is no workflow '{what}'.", {"workflow": what})


def inventory_changed() -> Conflict:
    """The error for a name that was taken between reading and writing."""
    return Conflict(
        "INVENTORY_CHANGED",
        "The workflow was created or deleted by someone else meanwhile; send the request again.",
        {"workflows": "1"},
    )


async def get_workflow(db: Connection, tenant_id: UUID, workflow_id: UUID) -> Record:
    """One workflow with what follows from its events.

    Raises:
        NotFound: If there is none of this id.
    """
    row = await db.fetchrow(WORKFLOWS.one, tenant_id, workflow_id)
    if row is None:
        raise workflow_missing(workflow_id)
    return row


async def require_workflow(db: Connection, tenant_id: UUID, workflow_id: UUID) -> None:
    """Makes sure that there is a workflow.

    Raises:
        NotFound: If there is none of this id.
    """
    if not await db.fetchval(QUERIES["workflow_exists"], tenant_id, workflow_id):
        raise workflow_missing(workflow_id)


async def lock_workflow(
    tx: Connection, tenant_id: UUID, workflow_id: UUID
) -> tuple[Workflow, datetime]:
    """One workflow, locked against other writers, and the transaction's time.

    Raises:
        NotFound: If there is none of this id.
    """
    row = await tx.fetchrow(QUERIES["lock_workflow"], tenant_id, workflow_id)
    if row is None:
        raise workflow_missing(workflow_id)
    return workflow_of(row), row["read_at"]


async def lock_named_workflow(
    tx: Connection, tenant_id: UUID, provider: str, name: str
) -> Workflow | None:
    """One workflow by name, locked against other writers; None if there is none."""
    row = await tx.fetchrow(QUERIES["lock_named_workflow"], tenant_id, provider, name)
    return None if row is None else workflow_of(row)


async def find_created(tx: Connection, tenant_id: UUID, request_id: UUID) -> Taken | None:
    """The workflow that a request created."""
    return _taken(await tx.fetchrow(QUERIES["find_created_workflow"], tenant_id, request_id))


async def find_named(tx: Connection, tenant_id: UUID, provider: str, name: str) -> Taken | None:
    """The workflow that holds a name."""
    return _taken(await tx.fetchrow(QUERIES["find_named_workflow"], tenant_id, provider, name))


async def add_workflow(
    tx: Connection, author: Author, new: Workflow, request_id: UUID | None = None
) -> bool:
    """Adds a workflow, marks it for the tick and records it; False if its name or id is taken."""
    added = await tx.fetchval(
        QUERIES["insert_workflow"],
        author.tenant_id,
        new.id,
        new.provider,
        new.name,
        new.state,
        *_described(new.content),
        request_id,
    )
    if added is None:
        return False
    await changes.record(tx, author.tenant_id, ENTITY, [new.id], Kind.CREATED)
    await mark(tx, author.tenant_id, new.id)
    details = {"provider": new.provider, "name": new.name, "state": new.state}
    await audit.record(tx, author, "workflows.create", ENTITY, {new.id: details})
    return True


async def save_workflow(
    tx: Connection, author: Author, action: str, old: Workflow, new: Workflow
) -> None:
    """Writes a locked workflow; one that did not change is left alone."""
    if old == new:
        return
    await tx.execute(
        QUERIES["update_workflow"],
        author.tenant_id,
        new.id,
        new.state,
        new.counted_until,
        *_described(new.content),
    )
    await changes.record(tx, author.tenant_id, ENTITY, [new.id], Kind.UPDATED)
    if domain.moves_freshness(old, new):
        await mark(tx, author.tenant_id, new.id)
    await audit.record(tx, author, action, ENTITY, {new.id: domain.changes(old, new)})


async def mark(tx: Connection, tenant_id: UUID, workflow_id: UUID) -> None:
    """Makes the next tick compute a workflow anew."""
    await tx.execute(QUERIES["mark_workflow"], tenant_id, workflow_id)


async def lock_for_deletion(tx: Connection, tenant_id: UUID, workflow_id: UUID) -> Workflow:
    """One workflow, locked, while nothing can be stored or computed of it.

    Raises:
        NotFound: If there is none of this id.
        Unavailable: If events are being stored, or the workflow written, for more than a moment.
    """
    async with standing_still(tx, QUERIES["hold_workflow_events"]):
        return (await lock_workflow(tx, tenant_id, workflow_id))[0]


async def has_history(db: Connection, tenant_id: UUID, workflow_id: UUID) -> bool:
    """Whether a workflow ever reported."""
    found: bool = await db.fetchval(QUERIES["workflow_has_history"], tenant_id, workflow_id)
    return found


async def delete_workflow(tx: Connection, author: Author, workflow: Workflow) -> bool:
    """Removes a locked workflow, unless it ever reported; whether it is gone."""
    if await has_history(tx, author.tenant_id, workflow.id):
        return False
    await tx.execute(QUERIES["delete_workflow"], author.tenant_id, workflow.id)
    await changes.record(tx, author.tenant_id, ENTITY, [workflow.id], Kind.DELETED)
    await mark(tx, author.tenant_id, workflow.id)  # the fleet's sums are without it from then on
    details = {"provider": workflow.provider, "name": workflow.name, "state": workflow.state}
    await audit.record(tx, author, "workflows.delete", ENTITY, {workflow.id: details})
    return True


def workflow_of(row: Record) -> Workflow:
    """The workflow of a locked row."""
    return Workflow(
        id=row["id"],
        provider=row["provider"],
        name=row["name"],
        state=WorkflowState(row["state"]),
        content=Content(
            display_name=row["display_name"],
            external_id=row["external_id"],
            url=row["url"],
            owner=row["owner"],
            schedule=_schedule_of(row["schedule"]),
            freshness_slo_seconds=row["freshness_slo_seconds"],
            labels=json.loads(row["labels"]),
        ),
        counted_until=row["counted_until"],
        revision=row["revision"],
    )


def _schedule_of(text: str) -> Schedule:
    found: Mapping[str, Any] = json.loads(text)
    return Schedule(
        cron=found.get("cron", ""),
        timezone=found.get("timezone", ""),
        interval_seconds=found.get("interval_seconds"),
    )


def _taken(row: Record | None) -> Taken | None:
    if row is None:
        return None
    return Taken(row["id"], row["provider"], row["name"], WorkflowState(row["state"]))


def _described(content: Content) -> tuple[object, ...]:
    """The columns from display name to labels, in the order of both statements."""
    return (
        content.display_name,
        content.external_id,
        content.url,
        content.owner,
        json.dumps(domain.schedule_json(content.schedule)),
        content.freshness_slo_seconds,
        json.dumps(dict(content.labels)),
    )

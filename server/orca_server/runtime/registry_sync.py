"""Keeps the inventory in step with the operator's MCP registry file.

The file is looked at twice a second (its path, size, inode and time of change), which also sees
editors that replace a file by renaming, links of mounted volumes, and file systems that tell
nothing. It is read once it has stood still for one look, so that a file that is being written is
not taken for one that lost its servers. A file that is missing, unreadable or wrong changes
nothing; the log and the status say what is wrong, and the server goes on.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Conflict, NotAllowedNow
from orca_server.domain.inventory import Plan, plan_sync
from orca_server.domain.registry_file import AGENT_TYPE, FileServer, parse
from orca_server.runtime.jobs import repeat
from orca_server.runtime.new_ids import new_id
from orca_server.store import agents as store
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Database, unavailable

LOOK_SECONDS = 0.5
ACTION = "registry.sync"
SUBJECT = "registry-file"

log = structlog.get_logger(__name__)

Signature = tuple[int, int, int, int]
ABSENT: Signature = (0, 0, 0, 0)


@dataclass(slots=True)
class RegistryState:
    """How the file is doing.

    Attributes:
        path: The file; empty if none is set.
        ok: Whether what was read last was taken over.
        message: Why not; empty if it was.
        synced_at: When a file was last taken over, by the database's clock.
        servers: How many servers it named then.
    """

    path: str = ""
    ok: bool = False
    message: str = "not read yet"
    synced_at: datetime | None = None
    servers: int = 0


class RegistrySync:
    """Reads the registry file and writes what it says into the inventory."""

    def __init__(
        self, db: Database, path: Path | None, *, tenant_id: UUID = DEFAULT_TENANT
    ) -> None:
        """Reads nothing yet; `run` does.

        Args:
            db: The primary.
            path: The file; None: there is none.
            tenant_id: Whose agents the file names.
        """
        self._db = db
        self._path = path
        self._tenant_id = tenant_id
        self._seen: Signature | None = None
        self._done: Signature | None = None
        self.state = RegistryState(path=str(path or ""))
        if path is None:
            self.state.message = "MCP_REGISTRY_PATH is not set"

    @property
    def tenant_id(self) -> UUID:
        """Whose agents the file names."""
        return self._tenant_id

    async def run(self) -> None:
        """Takes the file over now and whenever it changes, until it is cancelled."""
        if self._path is not None:
            await repeat("registry", self._look, LOOK_SECONDS)

    async def sync(self, author: Author, *, validate_only: bool = False) -> Plan:
        """Reads the file now and takes it over.

        Args:
            author: Who asks.
            validate_only: Only says what would change.

        Raises:
            NotAllowedNow: If the file is missing or wrong (`REGISTRY_FILE_MISSING`,
                `REGISTRY_FILE_INVALID`); nothing was changed.
            Conflict: If agents were created meanwhile; send it again.
        """
        try:
            servers = await asyncio.to_thread(self._read)
            plan, synced_at = await self._write(servers, author, validate_only=validate_only)
        except NotAllowedNow as error:
            if not validate_only:
                self.state.ok, self.state.message = False, error.message
            raise
        if not validate_only:
            refused = "".join(f" {one.message}." for one in plan.refused[:3])
            self.state = RegistryState(
                path=self.state.path,
                ok=True,
                message=f"{len(plan.refused)} refused:{refused}" if plan.refused else "",
                synced_at=synced_at,
                servers=len(servers),
            )
            _tell(self.state.path, plan)
        return plan

    async def _look(self) -> None:
        """One look at the file; takes it over if it changed and now stands still."""
        signature = await asyncio.to_thread(self._signature)
        still, self._seen = signature == self._seen, signature
        if signature == self._done or not (still or self._done is None):
            return
        try:
            await self.sync(Author(self._tenant_id, SUBJECT))
        except Conflict:
            return  # tried again by the next look
        except asyncpg.PostgresError as error:  # such as a schema that is not there yet
            raise unavailable(error) from error  # tried again by the job
        except NotAllowedNow as error:
            log.error(
                "registry_file_not_taken",
                path=self.state.path,
                reason=error.reason,
                cause=error.message,
                violations=[f"{one.field}: {one.message}" for one in error.violations],
            )
        self._done = signature

    def _signature(self) -> Signature:
        """What tells one state of the file from another."""
        assert self._path is not None  # noqa: S101 - run() asked
        try:
            found = self._path.stat()
        except OSError:
            return ABSENT
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> tuple[FileServer, ...]:
        """The servers that the file names; runs in a thread."""
        if self._path is None:
            raise NotAllowedNow("REGISTRY_FILE_MISSING", "MCP_REGISTRY_PATH is not set.")
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise NotAllowedNow(
                "REGISTRY_FILE_MISSING",
                f"{self._path} cannot be read: {error.strerror}. Nothing was changed.",
                {"path": str(self._path), "cause": str(error.strerror)},
            ) from None
        return parse(content, str(self._path))

    async def _write(
        self, servers: tuple[FileServer, ...], author: Author, *, validate_only: bool
    ) -> tuple[Plan, datetime]:
        async with self._db.transaction() as tx:
            now = await store.lock_inventory(tx, self._tenant_id)
            names = [server.name for server in servers]
            named = await store.lock_named_agents(tx, self._tenant_id, AGENT_TYPE, names)
            of_file = await store.lock_file_agents(tx, self._tenant_id, AGENT_TYPE)
            plan = plan_sync(servers, [*named, *of_file], now, new_id)
            if not validate_only:
                await write_plan(tx, author, ACTION, plan)
        return plan, now


async def write_plan(tx: Connection, author: Author, action: str, plan: Plan) -> None:
    """Writes what a file or a document changes; constantly many statements.

    Raises:
        Conflict: If a name was taken since the plan was made (`INVENTORY_CHANGED`).
    """
    added = await store.add_agents(tx, author, action, plan.new)
    if len(added) < len(plan.new):
        raise store.inventory_changed(len(plan.new) - len(added))
    await store.save_agents(tx, author, action, [*plan.updated, *plan.retired])


def _tell(path: str, plan: Plan) -> None:
    log.info(
        "registry_file_taken",
        path=path,
        created=len(plan.new),
        updated=len(plan.updated),
        retired=len(plan.retired),
        unchanged=plan.unchanged,
        refused=[f"{one.name}: {one.message}" for one in plan.refused],
    )

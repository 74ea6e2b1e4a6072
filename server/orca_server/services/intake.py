"""What the methods that take telemetry and those that take events have in common."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from uuid import UUID

from orca_server.domain.access import Caller
from orca_server.domain.errors import FieldViolation, InvalidRequest, invalid_fields
from orca_server.domain.telemetry import MAX_RECORDS, Columns, Refusal
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.runtime.names import Name, Names

RowT = TypeVar("RowT", bound=tuple[object, ...])


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of records is called in answers.

    Attributes:
        field: Field of the requests that holds them.
        whose: What they are about: `agent` or `workflow`.
        invalid: Reason of an error for some that are wrong.
    """

    field: str
    whose: str
    invalid: str


@dataclass(frozen=True, slots=True)
class Batch(Generic[RowT]):
    """A decoded request.

    Attributes:
        columns: Its rows and refusals.
        named: Ids of the names in it.
        done: Its outcome; None if nothing of it was queued.
    """

    columns: Columns[RowT]
    named: Mapping[Name, UUID]
    done: asyncio.Future[Outcome] | None = None


class Intake(Generic[RowT]):
    """Hands batches to ingest and says what became of them."""

    def __init__(self, kind: Kind, ingest: Ingest[RowT], names: Names) -> None:
        """Keeps what it needs.

        Args:
            kind: Of records.
            ingest: The one path by which they become rows.
            names: Ids by name.
        """
        self.kind = kind
        self._ingest = ingest
        self._names = names

    async def resolve(self, caller: Caller, names: set[Name]) -> Mapping[Name, UUID]:
        """Ids of the caller's tenant by name, for those that exist."""
        return await self._names.resolve(caller.tenant_id, names) if names else {}

    def wrong_size(self, records: int) -> Refusal | None:
        """Why a request may not hold so many; None if it may."""
        if 1 <= records <= MAX_RECORDS:
            return None
        reason = "TOO_MANY" if records else "REQUIRED"
        field = self.kind.field
        return Refusal(0, field, reason, f"must hold 1 to {MAX_RECORDS:,} {field}")

    def check_size(self, records: int) -> None:
        """Refuses a request with none, or too many.

        Raises:
            InvalidRequest: `FIELD_INVALID`.
        """
        if wrong := self.wrong_size(records):
            raise invalid_fields([FieldViolation(wrong.field, wrong.reason, wrong.message)])

    async def store_all(self, caller: Caller, batch: Batch[RowT]) -> Outcome:
        """Stores all rows of a batch or none.

        Raises:
            InvalidRequest: If one is refused.
            Overloaded: If the queue is full.
        """
        columns = batch.columns
        if columns.refusals:
            raise self.refused(columns.refusals)
        outcome = await self._ingest.submit(
            caller.tenant_id, columns.rows, columns.size_bytes, atomic=True
        )
        if refusals := self._settle(caller, batch, outcome):
            raise self.refused(refusals)
        return outcome

    async def queue(self, caller: Caller, batch: Batch[RowT]) -> Batch[RowT]:
        """Queues what may be stored once there is room: a full queue makes the sender wait."""
        columns = batch.columns
        if not columns.rows:
            return batch
        await self._ingest.wait_for_room(len(columns.rows), columns.size_bytes)
        done = self._ingest.submit(caller.tenant_id, columns.rows, columns.size_bytes, atomic=False)
        return replace(batch, done=done)

    async def answer(self, caller: Caller, batch: Batch[RowT]) -> tuple[Outcome, Sequence[Refusal]]:
        """What became of a batch that was queued, and what is refused of it."""
        outcome = Outcome(0, 0)
        refusals = batch.columns.refusals
        if batch.done is not None:
            outcome = await batch.done
            refusals = [*refusals, *self._settle(caller, batch, outcome)]
            refusals.sort(key=lambda refusal: refusal.index)
        self._ingest.count_refused(len(refusals))
        return outcome, refusals

    def _settle(self, caller: Caller, batch: Batch[RowT], outcome: Outcome) -> list[Refusal]:
        """Remembers names that proved right, and gives what the database refused."""
        if outcome.unknown:
            self._names.forget(caller.tenant_id, batch.named)
        elif batch.named and not outcome.retired:
            self._names.remember(caller.tenant_id, batch.named.items())
        whose, indexes = self.kind.whose, batch.columns.indexes
        field, reason = f"{whose}_id", whose.upper()
        unknown = [
            Refusal(indexes[row], field, f"{reason}_NOT_FOUND", f"there is no such {whose}")
            for row in outcome.unknown
        ]
        retired = [
            Refusal(indexes[row], field, f"{reason}_RETIRED", f"the {whose} is retired; resume it")
            for row in outcome.retired
        ]
        return sorted(unknown + retired, key=lambda refusal: refusal.index)

    def count_refused(self, records: int) -> None:
        """Counts records that were refused for other reasons."""
        self._ingest.count_refused(records)

    def refused(self, refusals: Sequence[Refusal]) -> InvalidRequest:
        """The error for a request of which nothing was stored; counts the refusals."""
        self.count_refused(len(refusals))
        first, field = refusals[0], self.kind.field
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        return InvalidRequest(
            self.kind.invalid,
            f"{field}[{first.index}].{first.field}: {first.message}{more}; nothing was stored.",
            violations=[
                FieldViolation(f"{field}[{r.index}].{r.field}", r.reason, r.message)
                for r in refusals
            ],
        )

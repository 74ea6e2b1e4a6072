"""How ingest stores telemetry.

By a short statement or COPY where a batch is a single row or large and holds nothing but new rows,
else by the statement that finds out about each.
"""

from collections.abc import Sequence

from orca_server.domain.telemetry import Row
from orca_server.domain.telemetry_block import Block
from orca_server.runtime.ingest import Submission, requests_of, rows_of, tenants_of
from orca_server.store.batches import ALL_STORED, Stored
from orca_server.store.database import Connection
from orca_server.store.telemetry import store_row, store_rows
from orca_server.store.telemetry_copy import copy_blocks

COPY_ROWS = 250
COPIES_TO_SKIP = 32  # after one that failed: retries and strangers come in numbers


class TelemetryWriter:
    """The `Writer` of telemetry."""

    kind = "telemetry"

    def __init__(self) -> None:
        """Has seen no COPY fail yet."""
        self._copies_to_skip = 0

    async def write(self, connection: Connection, batch: Sequence[Submission[Row]]) -> Stored:
        """Tries the short ways if they promise anything, else finds out about each row."""
        first = batch[0]
        if len(batch) == 1 == len(first.rows) and await store_row(
            connection, first.tenant_id, first.rows[0]
        ):
            return ALL_STORED
        blocks = [s.rows for s in batch if isinstance(s.rows, Block)]
        if len(blocks) == len(batch) and self._may_copy(batch):
            if await copy_blocks(connection, first.tenant_id, blocks):
                return ALL_STORED
            self._copies_to_skip = COPIES_TO_SKIP
        return await store_rows(connection, tenants_of(batch), rows_of(batch), requests_of(batch))

    def _may_copy(self, batch: Sequence[Submission[Row]]) -> bool:
        """Whether there are many rows, of one tenant, and COPY did not fail just now."""
        if sum(len(s.rows) for s in batch) < COPY_ROWS or any(
            s.tenant_id != batch[0].tenant_id for s in batch
        ):
            return False
        self._copies_to_skip = max(0, self._copies_to_skip - 1)
        return not self._copies_to_skip

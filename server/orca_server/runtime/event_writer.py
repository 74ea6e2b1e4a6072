"""How ingest stores the events of workflows: by one statement that finds out about each."""

from collections.abc import Sequence

from orca_server.domain.events import Row
from orca_server.runtime.ingest import Submission, requests_of, rows_of, tenants_of
from orca_server.store.batches import Stored
from orca_server.store.database import Connection
from orca_server.store.events import store_events


class EventWriter:
    """The `Writer` of events."""

    kind = "events"

    async def write(self, connection: Connection, batch: Sequence[Submission[Row]]) -> Stored:
        """Stores a batch."""
        return await store_events(connection, tenants_of(batch), rows_of(batch), requests_of(batch))

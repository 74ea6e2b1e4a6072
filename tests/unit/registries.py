"""What tests of entries of public registries have in common."""

import json
from typing import Any

from orca_server.domain.registry_entries import Entry, parse


def one(document: Any) -> Entry:
    """The one entry of a document."""
    found = parse(json.dumps(document).encode())
    assert found.refused == []
    (entry,) = found.taken
    return entry

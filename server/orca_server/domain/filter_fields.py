"""Which fields a filter may ask about, and what they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a field holds, and so which comparisons it knows."""

    TEXT = "text"
    CHOICE = "choice"
    FLAG = "flag"
    ID = "id"
    NUMBER = "number"
    TIME = "time"
    LABELS = "labels"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Field:
    """A field that can be filtered.

    Attributes:
        choices: For CHOICE: what may be asked for, as people write it.
        prefix: For CHOICE: what the API puts before it, such as `STATE_`.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    prefix: str = ""


AGENT_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.ID),
    "type": Field(Kind.TEXT),
    "name": Field(Kind.TEXT),
    "display_name": Field(Kind.TEXT),
    "description": Field(Kind.TEXT),
    "state": Field(Kind.CHOICE, ("CATALOG", "ACTIVE", "SUSPENDED", "RETIRED"), "STATE_"),
    "source": Field(Kind.TEXT),
    "owner": Field(Kind.TEXT),
    "version": Field(Kind.TEXT),
    "criticality": Field(Kind.CHOICE, ("LOW", "NORMAL", "CRITICAL"), "CRITICALITY_"),
    "labels": Field(Kind.LABELS),
    "capabilities": Field(Kind.LIST),
    "trust_level": Field(Kind.NUMBER),
    "trust_state": Field(Kind.CHOICE, ("MEASURED", "IDLE", "SILENT", "UNMEASURED"), "TRUST_STATE_"),
    "health": Field(Kind.CHOICE, ("HEALTHY", "DEGRADED", "CRITICAL"), "HEALTH_"),
    "health_score": Field(Kind.NUMBER),
    "last_seen_at": Field(Kind.TIME),
    "operations": Field(Kind.NUMBER),
    "errors": Field(Kind.NUMBER),
    "violations": Field(Kind.NUMBER),
    "created_at": Field(Kind.TIME),
    "updated_at": Field(Kind.TIME),
}

WORKFLOW_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.ID),
    "provider": Field(Kind.TEXT),
    "name": Field(Kind.TEXT),
    "display_name": Field(Kind.TEXT),
    "external_id": Field(Kind.TEXT),
    "state": Field(Kind.CHOICE, ("ACTIVE", "PAUSED", "RETIRED"), "STATE_"),
    "owner": Field(Kind.TEXT),
    "labels": Field(Kind.LABELS),
    "freshness": Field(Kind.CHOICE, ("FRESH", "STALE", "UNMEASURED"), "FRESHNESS_"),
    "last_event_at": Field(Kind.TIME),
    "last_run_at": Field(Kind.TIME),
    "last_success_at": Field(Kind.TIME),
    "last_outcome": Field(Kind.CHOICE, ("SUCCEEDED", "FAILED", "CANCELLED")),
    "created_at": Field(Kind.TIME),
    "updated_at": Field(Kind.TIME),
}

_FINDING_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.ID),
    "entity_type": Field(Kind.TEXT),
    "entity_id": Field(Kind.ID),
    "type": Field(Kind.TEXT),
    "name": Field(Kind.TEXT),
    "rule": Field(Kind.TEXT),
    "resolved": Field(Kind.FLAG),
    "resolution": Field(Kind.TEXT),
    "first_seen_at": Field(Kind.TIME),
    "last_seen_at": Field(Kind.TIME),
    "resolved_at": Field(Kind.TIME),
    "created_at": Field(Kind.TIME),
}
VIOLATION_FIELDS: Mapping[str, Field] = {
    **_FINDING_FIELDS,
    "violations": Field(Kind.NUMBER),
    "blocked_violations": Field(Kind.NUMBER),
}
DRIFT_FIELDS: Mapping[str, Field] = _FINDING_FIELDS

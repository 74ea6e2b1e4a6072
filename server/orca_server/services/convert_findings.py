"""Policy violations and drift for replies, from rows."""

import json
from datetime import datetime, timedelta

from google.protobuf import json_format

from orca.v1 import drift_pb2, violation_pb2
from orca_server.services.convert_trust import rfc3339
from orca_server.services.timestamps import timestamp
from orca_server.store.database import Record

_MILLISECOND = timedelta(milliseconds=1)


def violation_to_proto(row: Record) -> violation_pb2.PolicyViolation:
    """A violation, as `list_violations` selects it."""
    violation = violation_pb2.PolicyViolation(
        id=str(row["id"]),
        entity_type=row["entity_type"],
        entity_id=str(row["entity_id"]),
        entity=f"{row['type']}/{row['name']}",
        rule=row["rule"],
        violations=row["violations"],
        blocked_violations=row["blocked_violations"],
        evidence=_telemetry(row),
    )
    _add_course(violation, row)
    return violation


def drift_to_proto(row: Record) -> drift_pb2.DriftDetection:
    """A drift, as `list_drift` selects it."""
    drift = drift_pb2.DriftDetection(
        id=str(row["id"]),
        entity_type=row["entity_type"],
        entity_id=str(row["entity_id"]),
        entity=f"{row['type']}/{row['name']}",
        rule=row["rule"],
        difference_count=row["difference_count"],
        observations=row["observations"],
        evidence=f"/agents/{row['entity_id']}",
        etag=drift_etag(row),
    )
    for found in json.loads(row["differences"]):
        difference = drift.differences.add(path=found["path"])
        for side in ("accepted", "observed"):
            if side in found:
                json_format.ParseDict(found[side], getattr(difference, side))
    _add_course(drift, row)
    return drift


def drift_etag(row: Record) -> str:
    """The tag of what was observed: 16 hexadecimal digits."""
    found: str = row["observed_digest"]
    return found[:16]


def _add_course(
    found: violation_pb2.PolicyViolation | drift_pb2.DriftDetection, row: Record
) -> None:
    """When it was seen, and how it ended."""
    found.first_seen_at.CopyFrom(timestamp(row["first_seen_at"]))
    found.last_seen_at.CopyFrom(timestamp(row["last_seen_at"]))
    found.created_at.CopyFrom(timestamp(row["created_at"]))
    found.resolved = row["resolved"]
    if row["resolved"]:
        found.resolution = row["resolution"]
        found.resolved_at.CopyFrom(timestamp(row["resolved_at"]))
        found.resolved_by = row["resolved_by"]
        found.reason = row["reason"]


def _telemetry(row: Record) -> str:
    """The path of the records from the first to the newest, whose keys hold whole milliseconds."""
    first: datetime = row["first_seen_at"]
    end = row["last_seen_at"] + _MILLISECOND
    path = f"/agents/{row['entity_id']}/telemetry"
    return f"{path}?start_time={rfc3339(first)}&end_time={rfc3339(end)}"

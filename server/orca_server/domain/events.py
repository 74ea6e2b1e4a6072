"""Events of workflows: their bounds, and their form as a row.

An event's key is made like that of a telemetry record (`domain.telemetry.record_key`): of the time
at which it occurred, its workflow, and its id or content.
"""

from uuid import UUID

FAILED = "failed"
ENDS = ("succeeded", FAILED, "cancelled")
KINDS = ("started", *ENDS, "heartbeat")
MAX_RUN_ID = 200
MAX_ATTEMPT = 10_000
MAX_TRIGGER = 200
MAX_ERROR_TYPE = 200
MAX_ERROR_MESSAGE = 4_000
MAX_DURATION_MS = 31_622_400_000.0

# (workflow_id, key, run_id, attempt, kind, occurred_us, trigger, url, error_type, error_message,
#  duration_us, attributes): the columns of `store_events` after the tenant, in its order.
Row = tuple[
    UUID,
    UUID,
    str,
    int,
    str,
    int,
    str,
    str,
    str | None,
    str | None,
    int | None,
    str | None,
]

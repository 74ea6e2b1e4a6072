"""Every reason that a client may see: the one table behind docs/errors.md and its tests.

`python -m orca_server.services.error_catalog > docs/errors.md` writes the page. Who adds a reason
to the code adds it here; a test finds those that were forgotten, and those that nothing gives.
"""
# ruff: noqa: E501 - a table reads by its rows

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2

from orca_server.domain.errors import FieldViolation, OrcaError
from orca_server.services.errors import CODES, deadline_error, internal_error, to_status

HTTP = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "ABORTED": 409,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
"""Status -> HTTP code, as the gateway's transcoder has it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason under one status.

    Attributes:
        status: Name of the gRPC status.
        meaning: What happened.
        action: What the caller does about it.
        metadata: An example of the ErrorInfo's metadata.
        workflow: The same where it is about a workflow and not an agent.
        violations: Whether a BadRequest names the fields.
        retry_seconds: An example of the RetryInfo's delay.
    """

    status: str
    reason: str
    meaning: str
    action: str
    metadata: dict[str, str] = field(default_factory=dict)
    violations: bool = False
    retry_seconds: float | None = None
    workflow: dict[str, str] | None = None

    @property
    def key(self) -> str:
        """Status and reason: a reason may stand under two statuses."""
        return f"{self.status} {self.reason}"


_AGENT = {"agent_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
_VIOLATION = {"violation_id": "0198c0de-ac96-774b-bcce-b302099a8058"}
_DRIFT = {"drift_id": "0198c0de-ac96-774b-bcce-b302099a8059"}
_WORKFLOW = {"workflow_id": "0198c0de-ac96-774b-bcce-b302099a8057"}

REASONS = (
    Reason("UNAUTHENTICATED", "TOKEN_MISSING", "No token was sent, and calls without one are not allowed.", "Send `authorization: Bearer TOKEN`; `orca tokens create` makes one."),
    Reason("UNAUTHENTICATED", "TOKEN_INVALID", "The token is not one of this server's: form, signature, audience, issuer or a claim is wrong. A bad token is refused also where calls without one are allowed.", "Get a new token.", {"cause": "Signature verification failed"}),
    Reason("UNAUTHENTICATED", "TOKEN_EXPIRED", "The token's time is over.", "Get a new token."),
    Reason("UNAUTHENTICATED", "TOKEN_REVOKED", "The token was revoked.", "Get a new token."),
    Reason("PERMISSION_DENIED", "SCOPE_MISSING", "The role of the caller lacks the method's scope.", "Use a token with a role that has the scope: docs/access.md.", {"scope": "agents.write", "role": "viewer"}),
    Reason("PERMISSION_DENIED", "AGENT_NOT_ALLOWED", "The token is bound to other agents; one that is bound to any speaks for no workflow.", "Use a token that is bound to this agent, or to none."),
    Reason("PERMISSION_DENIED", "FIELD_NOT_ALLOWED", "Adapters may not change this field.", "Leave the field out, or use an operator's token.", {"fields": "criticality"}),
    Reason("INVALID_ARGUMENT", "REQUEST_MALFORMED", "The request cannot be decoded: text that is not UTF-8, or bytes of another message; over REST: JSON that does not fit.", "Correct the request.", {"type": "orca.v1.GetAgentRequest"}),
    Reason("INVALID_ARGUMENT", "FIELD_INVALID", "Fields are out of bounds; each is named with its own reason.", "Correct the fields that are named.", violations=True),
    Reason("INVALID_ARGUMENT", "FIELD_IMMUTABLE", "A field cannot be changed once the resource exists.", "Leave it out of `update_mask`.", violations=True),
    Reason("INVALID_ARGUMENT", "FILTER_INVALID", "The filter cannot be read, or names an unknown field.", "Correct it where the message points.", violations=True),
    Reason("INVALID_ARGUMENT", "ORDER_BY_INVALID", "The list cannot be ordered by this.", "Use an order that the field's comment lists.", violations=True),
    Reason("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", "The page token is not from this server.", "Start over without a page token.", violations=True),
    Reason("INVALID_ARGUMENT", "PAGE_TOKEN_MISMATCH", "The page token belongs to another filter, order, agent or workflow.", "Repeat the other fields of the first page, or start over without a page token.", violations=True),
    Reason("INVALID_ARGUMENT", "TELEMETRY_INVALID", "Records of the request are wrong; nothing was stored. Each violation names index, field and reason.", "Correct or leave out those records and send the others again.", violations=True),
    Reason("INVALID_ARGUMENT", "EVENTS_INVALID", "Events of the request are wrong; nothing was stored. Each violation names index, field and reason.", "Correct or leave out those events and send the others again.", violations=True),
    Reason("INVALID_ARGUMENT", "DOCUMENT_INVALID", "The document is neither JSON nor YAML, or no known form of a registry; nothing was imported.", "Correct it where the message points."),
    Reason("INVALID_ARGUMENT", "DOCUMENT_TOO_LARGE", "The document has more entries or bytes than one call takes; nothing was imported.", "Split it."),
    Reason("NOT_FOUND", "AGENT_NOT_FOUND", "No agent has this id, or this type and name.", "Look it up with ListAgents.", _AGENT),
    Reason("NOT_FOUND", "WORKFLOW_NOT_FOUND", "No workflow has this id, or this provider and name.", "Look it up with ListWorkflows.", _WORKFLOW),
    Reason("NOT_FOUND", "RUN_NOT_FOUND", "The workflow has no such run, or the tick has not derived it yet.", "Look it up with ListRuns; a run shows within seconds.", {**_WORKFLOW, "run_id": "41"}),
    Reason("NOT_FOUND", "VIOLATION_NOT_FOUND", "No policy violation has this id.", "Look it up with ListViolations.", _VIOLATION),
    Reason("NOT_FOUND", "DRIFT_NOT_FOUND", "No drift has this id.", "Look it up with ListDrift.", _DRIFT),
    Reason("ALREADY_EXISTS", "AGENT_EXISTS", "Type and name are taken.", "Update that agent instead.", _AGENT),
    Reason("ALREADY_EXISTS", "AGENT_RETIRED", "Type and name belong to a retired agent: history is not laundered.", "Resume that agent instead.", _AGENT),
    Reason("ALREADY_EXISTS", "REQUEST_ID_REUSED", "An earlier call with this `request_id` created another agent or workflow.", "Use a new `request_id` for a new one.", _AGENT, workflow=_WORKFLOW),
    Reason("ALREADY_EXISTS", "WORKFLOW_EXISTS", "Provider and name are taken.", "Update that workflow instead.", _WORKFLOW),
    Reason("ALREADY_EXISTS", "WORKFLOW_RETIRED", "Provider and name belong to a retired workflow: history is not laundered.", "Resume that workflow instead.", _WORKFLOW),
    Reason("FAILED_PRECONDITION", "AGENT_RETIRED", "The agent is retired.", "Resume it first.", _AGENT),
    Reason("FAILED_PRECONDITION", "AGENT_IN_CATALOG", "The agent is in the catalogue, not in the fleet.", "Enrol it first.", _AGENT),
    Reason("FAILED_PRECONDITION", "AGENT_NOT_IN_CATALOG", "The agent is suspended or retired, so it cannot be enrolled.", "Resume it instead.", _AGENT),
    Reason("FAILED_PRECONDITION", "AGENT_HAS_HISTORY", "The agent has reported: its records are evidence.", "Retire it instead.", _AGENT),
    Reason("FAILED_PRECONDITION", "AGENT_OWNED_BY_FILE", "The registry file owns what is said of this agent.", "Change the file and sync.", _AGENT),
    Reason("FAILED_PRECONDITION", "AGENT_SUSPENDED", "The agent is suspended: what weighs its last values stays as it was.", "Resume it first.", _AGENT),
    Reason("FAILED_PRECONDITION", "WORKFLOW_RETIRED", "The workflow is retired.", "Resume it first.", _WORKFLOW),
    Reason("FAILED_PRECONDITION", "WORKFLOW_HAS_HISTORY", "The workflow has reported: its events are evidence.", "Retire it instead.", _WORKFLOW),
    Reason("FAILED_PRECONDITION", "VIOLATION_RESOLVED", "The policy violation is resolved already.", "Nothing is left to do; a new one of the rule has a row of its own.", {**_VIOLATION, "resolution": "clean"}),
    Reason("FAILED_PRECONDITION", "DRIFT_RESOLVED", "The drift is resolved already.", "Nothing is left to do; if it differs again it has a row of its own.", {**_DRIFT, "resolution": "gone"}),
    Reason("FAILED_PRECONDITION", "REGISTRY_FILE_INVALID", "The registry file is not well formed; nothing was changed.", "Correct the lines that are named.", violations=True),
    Reason("FAILED_PRECONDITION", "REGISTRY_FILE_MISSING", "The registry file is not there, cannot be read, or none is set; nothing was changed.", "Set MCP_REGISTRY_PATH, or restore the file."),
    Reason("ABORTED", "ETAG_MISMATCH", "The agent, workflow or drift changed since `etag` was read.", "Get it and try again.", _AGENT, workflow=_WORKFLOW),
    Reason("ABORTED", "INVENTORY_CHANGED", "Agents or workflows were created or deleted by someone else between reading and writing; nothing was changed.", "Send the request again.", {"agents": "1"}, workflow={"workflows": "1"}),
    Reason("OUT_OF_RANGE", "RESYNC_REQUIRED", "Changes cannot be told from this token on: they were deleted, or the database was restored or failed over.", "List everything again, then watch from there.", {"cause": "the changes after this token are gone"}),
    Reason("RESOURCE_EXHAUSTED", "INGEST_QUEUE_FULL", "More telemetry or events wait than the server may hold; nothing was stored.", "Send the same request again after the delay.", retry_seconds=1.0),
    Reason("UNAVAILABLE", "DATABASE_UNAVAILABLE", "The database does not answer, or did not in time. A write may have been done all the same; sending it again is safe where the method is idempotent.", "Send the request again after the delay.", {"cause": "ConnectionRefusedError"}, retry_seconds=1.0),
    Reason("UNAVAILABLE", "NOT_READY", "The server cannot do its work; the metadata has the failing checks and their causes.", "Try again after the delay; an operator looks at the causes.", {"database": "The database does not answer: connection refused."}, retry_seconds=1.0),
    Reason("UNAVAILABLE", "SERVER_DRAINING", "The server stops.", "Open a new stream and send the batches without a receipt again.", retry_seconds=1.0),
    Reason("UNAVAILABLE", "TRUST_TICK_BUSY", "Another computation of trust did not end in time; nothing was computed for this call.", "Try again after the delay.", retry_seconds=5.0),
    Reason("UNAVAILABLE", "SEARCH_NOT_READY", "The server has just started and still reads the agents to search in.", "Try again after the delay.", retry_seconds=1.0),
    Reason("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "The call took longer than its deadline, or, without one, than any call may. It may have been done all the same.", "Set a longer deadline, or ask for less.", {"seconds": "60"}),
    Reason("INTERNAL", "INTERNAL", "A fault of the server. Its log has the cause under the request id.", "Report it with the request id.", {"request_id": "2c1f0a"}),
)  # fmt: skip

GATEWAY = (
    Reason("NOT_FOUND", "PATH_NOT_FOUND", "Nothing is served under this path and method.", "See the paths in proto/orca/v1."),
    Reason("PERMISSION_DENIED", "HOST_NOT_ALLOWED", "This host name is not served here.", "Add it to ORCA_ALLOWED_HOSTS."),
    Reason("PERMISSION_DENIED", "ORIGIN_NOT_ALLOWED", "A page of another origin may not change anything here.", "Call from a program, or from a page of the same origin."),
    Reason("INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE", "The body's content type is not read here (HTTP 415).", "Send `content-type: application/json`."),
    Reason("INVALID_ARGUMENT", "REQUEST_TOO_LARGE", "Body or headers are too large (HTTP 413 or 431).", "Split the request."),
    Reason("UNAVAILABLE", "SERVER_UNAVAILABLE", "No server answers the gateway.", "Try again in a moment."),
    Reason("INTERNAL", "GATEWAY_ERROR", "A fault of the gateway.", "Report it."),
)  # fmt: skip
"""What the gateway answers by itself, before any server is asked."""

FIELD_REASONS = {
    "REQUIRED": "The field is missing or empty.",
    "INVALID_FORMAT": "The field has not the form that its comment says.",
    "INVALID_VALUE": "The field is none of the values that are allowed.",
    "INVALID_TYPE": "The value is of another kind, such as text in place of a number.",
    "OUT_OF_RANGE": "The value is too small or too large.",
    "TOO_LONG": "The text is too long.",
    "TOO_MANY": "The list has too many entries.",
    "TOO_DEEP": "The value is nested too deeply.",
    "DUPLICATE": "The value stands twice.",
    "EXCLUSIVE": "Two fields exclude each other.",
    "CONFLICTING": "The field contradicts another one.",
    "NOT_ALLOWED": "The field must be absent here.",
    "IMMUTABLE": "The field cannot be changed.",
    "OUTPUT_ONLY": "Only the server sets the field.",
    "UNKNOWN_FIELD": "There is no such field.",
    "UNKNOWN_KEY": "There is no such key in this file.",
    "UNSUPPORTED": "This form is not supported.",
    "SECRET_IN_PLAIN_TEXT": "A secret would be stored: name it as `${VAR}`.",
    "FILTER_INVALID": "The filter cannot be read.",
    "ORDER_BY_INVALID": "The list cannot be ordered by this.",
    "AGENT_NOT_FOUND": "No agent has this id, or this type and name.",
    "AGENT_RETIRED": "The agent is retired: its telemetry is refused.",
    "AGENT_NOT_ALLOWED": "The token is bound to other agents.",
    "WORKFLOW_NOT_FOUND": "No workflow has this id, or this provider and name.",
    "WORKFLOW_RETIRED": "The workflow is retired: its events are refused.",
}
"""Reasons of a single field, record or line: in BadRequest and in stream receipts."""

ENTRY_REASONS = {
    "NAME_MISSING": "The entry has no name.",
    "INVALID_NAME": "The entry's name cannot be an agent's.",
    "ENTRY_INVALID": "A field of the entry is out of bounds.",
    "DELETED": "The entry's registry has deleted it.",
    "OWNED_BY_OTHER_SOURCE": "The name belongs to an agent of another source.",
}
"""Why a registry's entry was not taken: in RefusedEntry."""

AUTHENTICATION = (
    "UNAUTHENTICATED TOKEN_MISSING",
    "UNAUTHENTICATED TOKEN_INVALID",
    "UNAUTHENTICATED TOKEN_EXPIRED",
    "UNAUTHENTICATED TOKEN_REVOKED",
    "PERMISSION_DENIED SCOPE_MISSING",
)
"""Every method whose scope is not `public`."""
EVERYWHERE = (
    "INVALID_ARGUMENT REQUEST_MALFORMED",
    "UNAVAILABLE DATABASE_UNAVAILABLE",
    "DEADLINE_EXCEEDED DEADLINE_EXCEEDED",
    "INTERNAL INTERNAL",
)
"""Every method; SystemService answers without the database."""

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"
_FOUND = "NOT_FOUND AGENT_NOT_FOUND"
_ETAG = "ABORTED ETAG_MISMATCH"
_CHANGED = "ABORTED INVENTORY_CHANGED"
_PAGE = ("INVALID_ARGUMENT PAGE_TOKEN_INVALID", "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH")
_ORDER = "INVALID_ARGUMENT ORDER_BY_INVALID"
_BOUND = "PERMISSION_DENIED AGENT_NOT_ALLOWED"
_KNOWN = "NOT_FOUND WORKFLOW_NOT_FOUND"
_FILTER = "INVALID_ARGUMENT FILTER_INVALID"

METHODS: dict[str, tuple[str, ...]] = {
    "AgentService.CreateAgent": (
        _FIELD, "ALREADY_EXISTS AGENT_EXISTS", "ALREADY_EXISTS AGENT_RETIRED",
        "ALREADY_EXISTS REQUEST_ID_REUSED", _CHANGED,
    ),
    "AgentService.GetAgent": (_FIELD, _FOUND),
    "AgentService.ListAgents": (_FIELD, _FILTER, _ORDER, *_PAGE),
    "AgentService.UpdateAgent": (
        _FIELD, "INVALID_ARGUMENT FIELD_IMMUTABLE", _FOUND, _ETAG, "ALREADY_EXISTS AGENT_RETIRED",
        "FAILED_PRECONDITION AGENT_OWNED_BY_FILE", "FAILED_PRECONDITION AGENT_SUSPENDED",
        "PERMISSION_DENIED FIELD_NOT_ALLOWED", _BOUND, _CHANGED,
    ),
    "AgentService.DeleteAgent": (_FIELD, _FOUND, "FAILED_PRECONDITION AGENT_HAS_HISTORY", _ETAG),
    "AgentService.BatchGetAgents": (_FIELD, _FOUND),
    "AgentService.SearchAgents": (
        _FIELD, _FILTER, "UNAVAILABLE SEARCH_NOT_READY",
    ),
    "AgentService.SuspendAgent": (
        _FIELD, _FOUND, "FAILED_PRECONDITION AGENT_RETIRED", "FAILED_PRECONDITION AGENT_IN_CATALOG",
        _ETAG,
    ),
    "AgentService.ResumeAgent": (_FIELD, _FOUND, "FAILED_PRECONDITION AGENT_IN_CATALOG", _ETAG),
    "AgentService.RetireAgent": (_FIELD, _FOUND, "FAILED_PRECONDITION AGENT_IN_CATALOG", _ETAG),
    "AgentService.EnrolAgent": (_FIELD, _FOUND, "FAILED_PRECONDITION AGENT_NOT_IN_CATALOG", _ETAG),
    "AgentService.ObserveAgent": (_FIELD, _FOUND, "ALREADY_EXISTS AGENT_RETIRED", "PERMISSION_DENIED AGENT_NOT_ALLOWED"),
    "AgentService.RecordTelemetry": (
        _FIELD, "INVALID_ARGUMENT TELEMETRY_INVALID", _BOUND, "RESOURCE_EXHAUSTED INGEST_QUEUE_FULL",
    ),
    "AgentService.StreamTelemetry": ("UNAVAILABLE SERVER_DRAINING",),
    "AgentService.ListTelemetry": (_FIELD, _ORDER, *_PAGE, _FOUND),
    "AgentService.SyncRegistry": (
        _FIELD, "FAILED_PRECONDITION REGISTRY_FILE_INVALID", "FAILED_PRECONDITION REGISTRY_FILE_MISSING",
        _CHANGED,
    ),
    "AgentService.ImportAgents": (
        _FIELD, "INVALID_ARGUMENT DOCUMENT_INVALID", "INVALID_ARGUMENT DOCUMENT_TOO_LARGE",
        _CHANGED,
    ),
    "WorkflowService.CreateWorkflow": (
        _FIELD, "ALREADY_EXISTS WORKFLOW_EXISTS", "ALREADY_EXISTS WORKFLOW_RETIRED",
        "ALREADY_EXISTS REQUEST_ID_REUSED", "PERMISSION_DENIED FIELD_NOT_ALLOWED", _BOUND, _CHANGED,
    ),
    "WorkflowService.GetWorkflow": (_FIELD, _KNOWN),
    "WorkflowService.ListWorkflows": (_FIELD, _FILTER, _ORDER, *_PAGE),
    "WorkflowService.UpdateWorkflow": (
        _FIELD, "INVALID_ARGUMENT FIELD_IMMUTABLE", _KNOWN, _ETAG, "ALREADY_EXISTS WORKFLOW_RETIRED",
        "PERMISSION_DENIED FIELD_NOT_ALLOWED", _BOUND, _CHANGED,
    ),
    "WorkflowService.DeleteWorkflow": (
        _FIELD, _KNOWN, "FAILED_PRECONDITION WORKFLOW_HAS_HISTORY", _ETAG,
    ),
    "WorkflowService.PauseWorkflow": (
        _FIELD, _KNOWN, "FAILED_PRECONDITION WORKFLOW_RETIRED", _ETAG,
    ),
    "WorkflowService.ResumeWorkflow": (_FIELD, _KNOWN, _ETAG),
    "WorkflowService.RetireWorkflow": (_FIELD, _KNOWN, _ETAG),
    "WorkflowService.RecordEvents": (
        _FIELD, "INVALID_ARGUMENT EVENTS_INVALID", _BOUND, "RESOURCE_EXHAUSTED INGEST_QUEUE_FULL",
    ),
    "WorkflowService.StreamEvents": (_BOUND, "UNAVAILABLE SERVER_DRAINING"),
    "WorkflowService.ListEvents": (_FIELD, _ORDER, *_PAGE, _KNOWN),
    "WorkflowService.GetRun": (_FIELD, _KNOWN, "NOT_FOUND RUN_NOT_FOUND"),
    "WorkflowService.ListRuns": (_FIELD, _ORDER, *_PAGE, _KNOWN),
    "TrustService.GetTrust": (),
    "TrustService.RefreshTrust": ("UNAVAILABLE TRUST_TICK_BUSY",),
    "TrustService.GetAgentTrust": (_FIELD, _FOUND),
    "TrustService.GetTrustHistory": (_FIELD, *_PAGE, _FOUND),
    "TrustService.ListViolations": (_FIELD, _FILTER, _ORDER, *_PAGE),
    "TrustService.ResolveViolation": (_FIELD, "NOT_FOUND VIOLATION_NOT_FOUND", "FAILED_PRECONDITION VIOLATION_RESOLVED"),
    "TrustService.ListDrift": (_FIELD, _FILTER, _ORDER, *_PAGE),
    "TrustService.AcceptDrift": (
        _FIELD,
        "NOT_FOUND DRIFT_NOT_FOUND",
        "FAILED_PRECONDITION DRIFT_RESOLVED",
        "FAILED_PRECONDITION AGENT_OWNED_BY_FILE",
        "ALREADY_EXISTS AGENT_RETIRED",
        _ETAG,
    ),
    "ReportService.GetExecutiveSummary": (),
    "ReportService.ExportReport": (_FIELD,),
    "ReportService.GetHealing": (_FIELD,),
    "SystemService.GetHealth": ("UNAVAILABLE NOT_READY",),
    "SystemService.GetStatus": (),
    "SystemService.GetOpenApi": (),
    "SystemService.GetDocs": (),
}  # fmt: skip
"""Service.Method -> what it answers besides AUTHENTICATION and EVERYWHERE."""


def example(reason: Reason) -> dict[str, object]:
    """The JSON body that REST shows for the reason."""
    if reason.reason == "INTERNAL":
        status = internal_error(reason.metadata["request_id"])
    elif reason.reason == "DEADLINE_EXCEEDED":
        status = deadline_error(float(reason.metadata["seconds"]))
    else:
        status = to_status(_error(reason))
    body = MessageToDict(status, preserving_proto_field_name=True)
    for detail in body["details"]:
        if "metadata" in detail:  # a map: its order is not the same in each process
            detail["metadata"] = dict(sorted(detail["metadata"].items()))
    return body


def _error(reason: Reason) -> OrcaError:
    code = code_pb2.Code.Value(reason.status)
    kind = next(kind for kind, number in CODES.items() if number == code)
    violation = FieldViolation("agent.name", "REQUIRED", "is missing")
    return kind(
        reason.reason,
        reason.meaning,
        reason.metadata,
        violations=(violation,) if reason.violations else (),
        retry_after_seconds=reason.retry_seconds,
    )


def render() -> str:
    """docs/errors.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from _INTRODUCTION.strip().splitlines()
    yield from ("", "## Reasons", "")
    yield from _table(REASONS)
    yield from ("", "## By method", "", _BY_METHOD, "")
    yield from ("| method | errors of its own |", "|---|---|")
    for method, keys in METHODS.items():
        told = ", ".join(f"`{key.split()[0]}` (`{key.split()[1]}`)" for key in keys)
        yield f"| {method} | {told or 'none'} |"
    yield from (
        "",
        "## Reasons of a field, record or line",
        "",
        "| reason | meaning |",
        "|---|---|",
    )
    yield from (f"| `{name}` | {meaning} |" for name, meaning in sorted(FIELD_REASONS.items()))
    yield from ("", "## Reasons of a registry's entry", "", "| reason | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in sorted(ENTRY_REASONS.items()))
    yield from ("", "## Answers of the gateway itself", "")
    yield from _table(GATEWAY)
    yield from ("", "## Examples", "")
    for reason in REASONS:
        body = json.dumps(example(reason), indent=2)
        yield from (f"### {reason.status}, {reason.reason}", "", "```json", body, "```", "")


def _table(reasons: Iterable[Reason]) -> Iterator[str]:
    yield from ("| status | HTTP | reason | meaning | what to do |", "|---|---|---|---|---|")
    for each in reasons:
        http = HTTP[each.status]
        yield f"| `{each.status}` | {http} | `{each.reason}` | {each.meaning} | {each.action} |"


_INTRODUCTION = """
<!-- Written by `python -m orca_server.services.error_catalog`; change that module, not this. -->
# Errors

Every error is a `google.rpc.Status`. Over gRPC its details stand in the trailer
`grpc-status-details-bin`; over REST it is the JSON body, where `code` is the gRPC number. The
details always hold one `ErrorInfo` with domain `orca` and a **reason**: reasons are stable,
messages are not. `BadRequest` names fields, `RetryInfo` says when the same request may be sent
again, `ResourceInfo` names what was not found. The trailer `x-request-id` (over REST: the header)
finds the call in the server's log.

A request with so many faults that clients would refuse the trailer is answered with equal faults
joined: `records[0,4,7-9].operations` stands for five records. If even that is too long, the rest
is left off, and the metadata says so: `violations` against `violations_shown`.
"""
_BY_METHOD = (
    "Besides these, every method with a scope other than `public` answers "
    + ", ".join(f"`{key.split()[1]}`" for key in AUTHENTICATION)
    + ", and every method "
    + ", ".join(f"`{key.split()[1]}`" for key in EVERYWHERE)
    + " (SystemService answers without the database)."
)


if __name__ == "__main__":
    print(render(), end="")

"""How each error of each method is provoked: one row per method, status and reason.

The keys are those of the catalogue behind docs/errors.md; a test fails for one without a row.
"""

import time
from collections.abc import Callable, Iterator

from orca.v1 import report_service_pb2, trust_service_pb2
from orca.v1.system_service_pb2 import (
    GetDocsRequest,
    GetHealthRequest,
    GetOpenApiRequest,
    GetStatusRequest,
)
from orca_server.domain.access import PUBLIC_SCOPE, ROLES, SCOPES
from orca_server.services import error_catalog as catalog
from orca_server.services.interceptors import scope_of
from tests.contract import (
    agent_error_paths,
    event_error_paths,
    finding_error_paths,
    workflow_error_paths,
)
from tests.contract.error_rows import Make, Metadata, Row
from tests.contract.stages import REVOKED
from tests.fuzz.requests import label, methods
from tests.inventory import UNKNOWN, bearer

GOOD: dict[str, Make] = {
    **agent_error_paths.GOOD,
    **finding_error_paths.GOOD,
    **workflow_error_paths.GOOD,
    **event_error_paths.GOOD,
    "GetTrust": lambda f: trust_service_pb2.GetTrustRequest(),
    "RefreshTrust": lambda f: trust_service_pb2.RefreshTrustRequest(),
    "GetAgentTrust": lambda f: trust_service_pb2.GetAgentTrustRequest(agent_id=f.ids["active"]),
    "GetTrustHistory": lambda f: trust_service_pb2.GetTrustHistoryRequest(),
    "GetExecutiveSummary": lambda f: report_service_pb2.GetExecutiveSummaryRequest(),
    "ExportReport": lambda f: report_service_pb2.ExportReportRequest(format="markdown"),
    "GetHealing": lambda f: report_service_pb2.GetHealingRequest(),
    "GetHealth": lambda f: GetHealthRequest(),
    "GetStatus": lambda f: GetStatusRequest(),
    "GetOpenApi": lambda f: GetOpenApiRequest(),
    "GetDocs": lambda f: GetDocsRequest(),
}
"""A request to each method that nothing is wrong with."""

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"
_FOUND = "NOT_FOUND AGENT_NOT_FOUND"
_INVALID = "INVALID_ARGUMENT PAGE_TOKEN_INVALID"
_MISMATCH = "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH"


def _trust() -> Iterator[Row]:
    explain, history = trust_service_pb2.GetAgentTrustRequest, "TrustService.GetTrustHistory"
    yield Row("TrustService.GetAgentTrust", _FIELD, "id=x", lambda f: explain(agent_id="x"))
    yield Row("TrustService.GetAgentTrust", _FOUND, "unknown", lambda f: explain(agent_id=UNKNOWN))
    make = trust_service_pb2.GetTrustHistoryRequest
    yield Row(history, _FIELD, "page_size=-1", lambda f: make(page_size=-1))
    yield Row(history, _INVALID, "page_token=x", lambda f: make(page_token="x"))
    yield Row(
        history,
        _MISMATCH,
        "a token of another list",
        lambda f: make(page_token=f.pages["ListAgents"].page_token),  # type: ignore[attr-defined]
    )
    yield Row(history, _FOUND, "unknown id", lambda f: make(agent_id=UNKNOWN))
    yield Row(
        "TrustService.RefreshTrust",
        "UNAVAILABLE TRUST_TICK_BUSY",
        "another computation does not end",
        GOOD["RefreshTrust"],
        stage="busy",
    )
    yield Row(
        "SystemService.GetHealth",
        "UNAVAILABLE NOT_READY",
        "the database is down",
        GOOD["GetHealth"],
        stage="down",
    )


def _reports() -> Iterator[Row]:
    export, healing = "ReportService.ExportReport", "ReportService.GetHealing"
    make = report_service_pb2.ExportReportRequest
    yield Row(export, _FIELD, "format=pdf", lambda f: make(format="pdf"))
    negative = report_service_pb2.GetHealingRequest(page_size=-1)
    yield Row(healing, _FIELD, "page_size=-1", lambda f: negative)


def _expired() -> Metadata:
    return bearer("operator", exp=int(time.time()) - 3_600)


def _everywhere() -> Iterator[Row]:
    """What every method answers, from its scope."""
    for method in methods():
        name, good = label(method), GOOD[method.name]
        yield Row(
            name, "INVALID_ARGUMENT REQUEST_MALFORMED", "bytes of nothing", good, raw=b"\xff\xff"
        )
        scope = scope_of(method)
        if method.containing_service.name != "SystemService":
            key = "UNAVAILABLE DATABASE_UNAVAILABLE"
            yield Row(name, key, "PostgreSQL is stopped", good, stage="down")
            if not method.client_streaming:
                key = "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"
                yield Row(name, key, "another transaction locks the rows", good, stage="slow")
        if scope == PUBLIC_SCOPE:
            continue
        yield Row(name, "UNAUTHENTICATED TOKEN_MISSING", "no token", good, stage="closed")
        for key, how, metadata in _TOKENS:
            yield Row(name, key, how, good, metadata)
        lacking = [role for role in ROLES if scope not in SCOPES[role]]
        if lacking:
            key, how = "PERMISSION_DENIED SCOPE_MISSING", f"a token of role {lacking[0]}"
            yield Row(name, key, how, good, lambda role=lacking[0]: bearer(role))  # type: ignore[misc]


_TOKENS: tuple[tuple[str, str, Callable[[], Metadata]], ...] = (
    ("UNAUTHENTICATED TOKEN_INVALID", "no JWT", lambda: (("authorization", "Bearer x"),)),
    ("UNAUTHENTICATED TOKEN_EXPIRED", "an hour late", _expired),
    ("UNAUTHENTICATED TOKEN_REVOKED", "revoked", lambda: bearer("operator", jti=REVOKED)),
)

ROWS = (
    *agent_error_paths.rows(),
    *finding_error_paths.rows(),
    *workflow_error_paths.rows(),
    *event_error_paths.rows(),
    *_trust(),
    *_reports(),
    *_everywhere(),
)

UNREACHABLE = {
    "PERMISSION_DENIED SCOPE_MISSING": "every role has the scope",
    "INTERNAL INTERNAL": "a fault of the server cannot be had of every method; CreateAgent's is",
    "DEADLINE_EXCEEDED DEADLINE_EXCEEDED": "streams have no longest time; GetStatus gives up parts",
    "UNAVAILABLE DATABASE_UNAVAILABLE": "SystemService answers without the database",
}


PUBLIC = {label(method) for method in methods() if scope_of(method) == PUBLIC_SCOPE}


def promised() -> set[tuple[str, str]]:
    """Every (method, `STATUS REASON`) of the catalogue."""
    return {
        (method, key)
        for method, keys in catalog.METHODS.items()
        for key in (*keys, *catalog.EVERYWHERE, *_authentication(method))
    }


def _authentication(method: str) -> tuple[str, ...]:
    return () if method in PUBLIC else catalog.AUTHENTICATION

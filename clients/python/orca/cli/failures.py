"""How a command says that it failed: one line with the reason, one with what to do."""

from orca.cli.output import Printer
from orca.errors import (
    Changed,
    DeadlineExceeded,
    OrcaError,
    Overloaded,
    Unauthenticated,
    Unavailable,
)

_TOKEN = "Make one with `orca tokens create`, then set ORCA_TOKEN or pass --token-file."  # noqa: S105

_BY_REASON = {
    "TOKEN_MISSING": _TOKEN,
    "TOKEN_INVALID": _TOKEN,
    "TOKEN_EXPIRED": _TOKEN,
    "TOKEN_REVOKED": _TOKEN,
    "TOKEN_NEEDS_TLS": "Use an https:// address, or --insecure where the network is trusted.",
    "SCOPE_MISSING": "Ask for a token with a role that has this scope.",
    "ADDRESS_INVALID": "For example: --address localhost:50051",
    "AGENT_NOT_FOUND": "`orca search NAME` finds it by a part of its name, or by what it does.",
    "AGENT_AMBIGUOUS": "`orca agents list --catalog --output json` shows types and ids.",
    "AGENT_IN_CATALOG": "`orca agents enrol` makes it part of the fleet.",
    "AGENT_NOT_IN_CATALOG": "`orca agents resume` brings it back.",
    "AGENT_RETIRED": "`orca agents resume` brings it back.",
    "WORKFLOW_NOT_FOUND": "`orca workflows list` shows what there is.",
    "WORKFLOW_AMBIGUOUS": "`orca workflows list --output json` shows providers and ids.",
    "WORKFLOW_EXISTS": "`orca workflows update` changes it.",
    "WORKFLOW_RETIRED": "`orca workflows resume` brings it back.",
    "WORKFLOW_HAS_HISTORY": "`orca workflows retire` ends it and keeps what it did.",
    "RUN_NOT_FOUND": "`orca runs list WORKFLOW` shows its runs; a new one takes a moment.",
    "VIOLATION_NOT_FOUND": "`orca violations list --all` shows what there is.",
    "VIOLATION_RESOLVED": "`orca violations list --all` shows how it ended.",
    "DRIFT_NOT_FOUND": "`orca drift list --all` shows what there is.",
    "DRIFT_RESOLVED": "`orca drift list --all` shows how it ended.",
    "REGISTRY_FILE_INVALID": "Correct the file and sync again; nothing was changed.",
    "REGISTRY_FILE_MISSING": "Put the file back, or set MCP_REGISTRY_PATH, where the server runs.",
    "NOT_READY": "`orca status` shows each part of the server.",
    "DATABASE_UNAVAILABLE": "`orca status` shows the cause; try again when it is back.",
}

_BY_TYPE: tuple[tuple[type[OrcaError], str], ...] = (
    (Unauthenticated, _TOKEN),
    (Changed, "It changed meanwhile: look at it and try again."),
    (Overloaded, "The server is busy: try again in a moment."),
    (DeadlineExceeded, "--timeout SECONDS waits longer; `orca status` says whether it runs."),
)


def report(error: OrcaError, printer: Printer, address: str = "") -> None:
    """Prints what went wrong, and what to do where that is known."""
    reason = f" [{error.reason}]" if error.reason else ""
    printer.note(f"error: {_one_line(error.message)}{reason}")
    for violation in error.violations[1:6]:
        printer.note(f"  also {violation.field}: {_one_line(violation.description)}")
    if hint := advice(error, address):
        printer.note(f"  {hint}")


def advice(error: OrcaError, address: str = "") -> str:
    """What to do about an error; empty where nobody can say."""
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    if isinstance(error, Unavailable) and not error.reason:
        where = f" at {address}" if address else ""
        return f"Nobody answers{where}: start it with `orca up`, or name another with --address."
    return next((hint for kind, hint in _BY_TYPE if isinstance(error, kind)), "")


def _one_line(text: str) -> str:
    return " ".join(text.split())

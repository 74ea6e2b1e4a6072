"""What came of the requests: counts per RPC, and every answer that should not have been."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from google.rpc import error_details_pb2, status_pb2

from orca_server.services import error_catalog as catalog

FORBIDDEN = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNIMPLEMENTED"}
EVERY_REASON = {reason.key for reason in (*catalog.REASONS, *catalog.GATEWAY)}
GATEWAY = {reason.key for reason in catalog.GATEWAY}
MOST_SHOWN = 3


def documented(label: str) -> set[str]:
    """`STATUS REASON` of what a method may answer."""
    return {*catalog.AUTHENTICATION, *catalog.EVERYWHERE, *catalog.METHODS[label]}


@dataclass
class Tally:
    """Counts, and faults with the request that showed them."""

    sent: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    fault_kinds: Counter[str] = field(default_factory=Counter)

    def accept(self, label: str) -> None:
        """Counts a request that was accepted."""
        self.sent[label] += 1
        self.accepted[label] += 1

    def refuse(self, label: str, status: str, reason: str) -> None:
        """Counts a request that was refused."""
        self.sent[label] += 1
        self.reasons[label][reason or status] += 1

    def judge(
        self,
        label: str,
        status: str,
        details: status_pb2.Status,
        known: set[str],
        about: object,
    ) -> None:
        """Counts an error and finds what is wrong with it.

        Args:
            label: What was asked.
            status: Name of the gRPC status.
            details: As the server sent them.
            known: `STATUS REASON` of the errors that it may give.
            about: The request, for people.
        """
        reason = _reason(details)
        self.refuse(label, status, reason)
        if status in FORBIDDEN:
            self.fault(f"{label}: {status} {reason} {details.message[:60]}", about)
        elif not reason:
            self.fault(f"{label}: {status} without an ErrorInfo of domain orca", about)
        elif f"{status} {reason}" not in known:
            self.fault(f"{label}: {status} {reason} is not documented for it", about)
        for each in _violations(details) - set(catalog.FIELD_REASONS):
            self.fault(f"{label}: violation {each} is not documented", about)

    def fault(self, kind: str, about: object) -> None:
        """Notes what should not have been."""
        self.fault_kinds[kind] += 1
        if self.fault_kinds[kind] <= MOST_SHOWN:
            self.faults.append(f"--- {kind}\n{str(about)[:2_000]}")

    def table(self) -> str:
        """Sent, accepted and reasons per RPC, for people."""
        lines = [f"{'':36} {'sent':>8} {'accepted':>9}  refused"]
        for label in sorted(self.sent):
            share = 100 * self.accepted[label] / self.sent[label]
            told = ", ".join(f"{name} {n}" for name, n in self.reasons[label].most_common())
            lines.append(f"{label:36} {self.sent[label]:>8} {share:>8.1f}%  {told}")
        return "\n".join([*lines, f"{'all':36} {self.sent.total():>8}"])


def _reason(details: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in details.details:
        if detail.Unpack(info) and info.domain == "orca":
            return str(info.reason)
    return ""


def _violations(details: status_pb2.Status) -> set[str]:
    bad = error_details_pb2.BadRequest()
    for detail in details.details:
        if detail.Unpack(bad):
            return {each.reason for each in bad.field_violations}
    return set()

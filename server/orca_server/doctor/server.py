"""Checks of what runs: the gateway over REST, the server over gRPC, ingest."""

import asyncio
import http.client
import io
import json
import os
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import orca
from orca.address import Address
from orca.errors import OrcaError, Unauthenticated
from orca.v1 import system_service_pb2 as pb
from orca_server.doctor.findings import Finding, fail, ok, skipped, warn
from orca_server.doctor.situation import Situation
from orca_server.services.authentication import issue

DEADLINE_SECONDS = 5.0
LARGEST_REPLY = 2**20
TOKEN_LIFETIME = timedelta(minutes=1)
_OWN_TOKEN_HELPS = ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED")


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """What GET /health gave: its status and message, or why there is none (status 0).

    Attributes:
        url: What was asked; empty: nothing.
        status: Of the answer; 0: there was none.
        message: What it says, or why there is none.
    """

    url: str
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What GetStatus gave, or why there is nothing."""

    address: str
    status: pb.Status | None
    error: OrcaError | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if it is on this machine."""
        host, _, pid = self.status.instance.rpartition(":") if self.status else ("", "", "")
        return int(pid) if host == socket.gethostname() and pid.isdecimal() else None


async def ask_rest(seen: Situation) -> RestAnswer:
    """GET /health where REST is expected."""
    if seen.rest is None:
        return RestAnswer("", 0, "")
    host, port = seen.rest
    url = f"http://{host}:{port}/health"
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            status, body = await _get(host, port, "/health")
    except TimeoutError:
        return RestAnswer(url, 0, f"no answer within {DEADLINE_SECONDS:g} s")
    except ConnectionRefusedError:
        return RestAnswer(url, 0, "connection refused")
    except (OSError, http.client.HTTPException) as error:
        return RestAnswer(url, 0, str(error) or type(error).__name__)
    return RestAnswer(url, status, _message(body))


async def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status and body; all of it is read under the caller's deadline."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        raw = b""
        while len(raw) < LARGEST_REPLY and (piece := await reader.read(65_536)):
            raw += piece
    finally:
        writer.close()
    response = http.client.HTTPResponse(_Read(raw))  # type: ignore[arg-type]  # reads alone
    response.begin()
    return response.status, response.read()


class _Read:
    """A socket whose bytes have been read."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        """The bytes."""
        return io.BytesIO(self._raw)


def _message(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    return str(told.get("message") or told.get("status") or "") if isinstance(told, dict) else ""


async def ask_server(seen: Situation) -> ServerAnswer:
    """GetStatus from the first address where one answers."""
    answers = []
    for address in seen.addresses:
        answer = await _ask(seen, address)
        if answer.status is not None or isinstance(answer.error, Unauthenticated):
            return answer
        answers.append(answer)
    tried = " and ".join(each.address for each in answers)
    return replace(answers[0], address=tried) if answers else ServerAnswer("", None)


async def _ask(seen: Situation, address: Address) -> ServerAnswer:
    """Asks without a token or with the caller's; if that is refused, with one of our own."""
    answer = await _status(address, None)
    refused = answer.error is not None and answer.error.reason in _OWN_TOKEN_HELPS
    own = _own_token(seen, address)
    if refused and own and not os.environ.get("ORCA_TOKEN"):
        return await _status(address, own)
    return answer


def _own_token(seen: Situation, address: Address) -> str:
    """A viewer's token for a minute, if the settings have the key and it stays on this machine."""
    if seen.settings is None or not seen.settings.jwt_secrets or not address.is_local:
        return ""
    return issue(
        seen.settings.jwt_secrets[-1].get_secret_value(),
        role="viewer",
        lifetime=TOKEN_LIFETIME,
        now=datetime.now(UTC),
        subject="orca doctor",
    ).token


async def _status(address: Address, token: str | None) -> ServerAnswer:
    where = f"https://{address.target}" if address.tls else address.target
    try:
        options = {"timeout": DEADLINE_SECONDS, "max_attempts": 1}
        async with orca.connect(where, token=token, **options) as client:  # type: ignore[arg-type]
            return ServerAnswer(address.target, await client.system.status())
    except OrcaError as error:
        return ServerAnswer(address.target, None, error)


def check_gateway(rest: RestAnswer, server: ServerAnswer, start: str) -> Finding:
    """Whether REST answers, and what /health says.

    Args:
        rest: What it gave.
        server: What gRPC gave.
        start: The command that starts what is missing.
    """
    if not rest.url:
        return skipped("gateway", "ORCA_ADDRESS is encrypted: only gRPC was asked")
    found = f"{rest.url}: {rest.status or 'no answer'}, {rest.message or 'no message'}"
    if rest.status == 200:
        return ok("gateway", found)
    if rest.status == 0 and server.status is not None:
        cause = f"a server answers gRPC at {server.address}, and no gateway stands before it"
        mend = "start a gateway, or set ORCA_REST_PORT to the port of the one there is"
        return warn("gateway", found, cause, mend)
    if rest.status == 0:
        return fail("gateway", found, "nothing listens there: the stack does not run", start)
    if rest.status == 503:
        return fail("gateway", found, "the server cannot do its work, or is away", "orca status")
    cause = "another program answers on this port, or this host name is not allowed"
    return fail("gateway", found, cause, "see the check ports; ORCA_ALLOWED_HOSTS lists names")


def check_server(answer: ServerAnswer, start: str) -> Finding:
    """Whether the server is ready, and which of its parts are not."""
    status, error = answer.status, answer.error
    if status is None and error is None:
        return skipped("server", "its address is not known")
    if status is None:
        return _no_status(answer, start)
    found = f"{status.version} on {status.instance} at {answer.address}"
    failing = [f"{each.name}: {each.message}" for each in status.checks if not each.ok]
    if not status.ready:
        cause = "; ".join(failing) or "it does not say why"
        return fail("server", f"{found}, not ready", cause, "see the checks of the database")
    if failing:
        return warn("server", f"{found}, ready", "; ".join(failing), "orca status")
    return ok("server", f"{found}, ready, {status.access}")


def _no_status(answer: ServerAnswer, start: str) -> Finding:
    assert answer.error is not None  # noqa: S101 - check_server() asked
    told = str(answer.error) if answer.error.reason else "nobody answers"
    found = f"{answer.address}: {told}"
    if isinstance(answer.error, Unauthenticated):
        return warn(
            "server",
            found,
            "it lets nobody in without a token, and its JWT_SECRET is not that of these settings",
            "export ORCA_TOKEN=$(orca tokens create --role viewer --ttl 1h)",
        )
    return fail("server", found, "it does not run, or not there: ORCA_ADDRESS names it", start)


def check_ingest(answer: ServerAnswer, backlog: int | None) -> Finding:
    """Whether records move: the queue of the server, and what waits for the tick.

    Args:
        answer: What the server says.
        backlog: Rows that wait for the tick; None if the database was not asked.
    """
    waiting = "" if backlog is None else f", {backlog:,} sums wait for the tick"
    if answer.status is None:
        return skipped("ingest", f"no server tells its queue{waiting}")
    ingest = answer.status.ingest
    last = "none since the start"
    if ingest.HasField("last_commit_at"):
        at = ingest.last_commit_at.ToDatetime(tzinfo=UTC)
        last = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    found = f"{ingest.queued_records:,.0f} records wait, last commit {last}{waiting}"
    stuck = [each.message for each in answer.status.checks if each.name == "ingest" and not each.ok]
    if stuck:
        cause = "; ".join(stuck)
        return fail("ingest", found, cause, "see the checks database, connections and transactions")
    if ingest.shed:
        cause = f"{ingest.shed:,.0f} requests were turned away since the start: the queue was full"
        return warn("ingest", found, cause, "raise ORCA_INGEST_QUEUE_RECORDS, or add a replica")
    return ok("ingest", found)

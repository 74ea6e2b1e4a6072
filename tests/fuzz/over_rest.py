"""Sends requests over REST, through the real gateway."""

import random
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.json_format import ParseError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, status_pb2

from orca_server.services import error_catalog as catalog
from tests import replies
from tests.fuzz import rest
from tests.fuzz.http import Answer, ClosedError, Connection
from tests.fuzz.pool import Pool
from tests.fuzz.requests import Case, label
from tests.fuzz.rest import UUID, HttpRequest
from tests.fuzz.tally import EVERY_REASON, GATEWAY, Tally, documented

SPOILED = 0.2
HELD_BYTES = 20_000
OTHER_CODES = (413, 415, 431)
"""HTTP codes that say more than the status does."""


class RestFuzzer:
    """Sends one request after the other on a connection of its own."""

    def __init__(self, port: int, pool: Pool, tally: Tally) -> None:
        """Opens nothing yet.

        Args:
            port: Of the gateway's REST listener.
            pool: Real values.
            tally: Where answers are counted.
        """
        self._connection = Connection(port)
        self._pool = pool
        self._tally = tally

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def send(self, case: Case, dice: random.Random) -> None:
        """Sends a request as its method's binding says, or almost so."""
        request = rest.to_http(case.method, case.request, dice)
        name = label(case.method)
        if case.kind != "plausible" and dice.random() < SPOILED:
            await self._send_spoiled(rest.spoil(request, dice))
            return
        answer = await self._ask(request)
        if answer is None:
            self._tally.fault(f"REST {name}: closed without an answer", request)
        elif answer.status < 400:
            self._accepted(case, answer, request)
        else:
            # A path that holds no plain id may be another method's.
            known = documented(name) | GATEWAY if UUID.search(request.target) else EVERY_REASON
            self._refused(f"REST {name}", answer, known, request)

    async def send_broken(self, dice: random.Random) -> None:
        """Sends bytes that are hardly HTTP."""
        data = dice.choice(rest.BROKEN)
        try:
            answer = await self._connection.ask(data, last=True)
        except ClosedError:
            self._tally.accept("REST raw, broken")
            return
        if answer.body and answer.status >= 400:
            self._refused("REST raw, broken", answer, EVERY_REASON, data)
        elif answer.status >= 500:
            self._tally.fault(f"REST raw, broken: {answer.status}", f"{data[:300]!r}")
        else:
            self._tally.accept("REST raw, broken")

    async def _send_spoiled(self, request: HttpRequest) -> None:
        answer = await self._ask(request)
        if answer is None or answer.status < 400:
            self._tally.accept("REST raw, spoiled")
        elif request.verb == "HEAD":
            self._tally.refuse("REST raw, spoiled", str(answer.status), "")
            if answer.status >= 500:
                self._tally.fault(f"REST raw, spoiled: HEAD {answer.status}", request)
        else:
            self._refused("REST raw, spoiled", answer, EVERY_REASON, request)

    async def _ask(self, request: HttpRequest) -> Answer | None:
        """The answer; the connection may have been closed since the last one, so asks twice."""
        for _ in range(2):
            try:
                return await self._connection.ask(request.data, head=request.verb == "HEAD")
            except ClosedError:
                continue
        return None

    def _accepted(self, case: Case, answer: Answer, request: HttpRequest) -> None:
        self._tally.accept(f"REST {label(case.method)}")
        reply = GetMessageClass(case.method.output_type)()
        self._hold_to_document(case, answer, request)
        if isinstance(reply, HttpBody):  # it is no JSON of a message
            return
        try:
            json_format.Parse(answer.body, reply)
        except (ParseError, UnicodeDecodeError) as error:
            if UUID.search(request.target) or "{" not in _template(case):
                about = f"{error}\n{request}\n{answer.body[:500]!r}"
                self._tally.fault(f"REST {label(case.method)}: not its reply", about)
            return
        self._pool.learn(case.method.name, case.request, reply)

    def _hold_to_document(self, case: Case, answer: Answer, request: HttpRequest) -> None:
        """Whether the reply is what the OpenAPI document says; the long ones would take long."""
        if len(answer.body) <= HELD_BYTES:
            for fault in replies.faults(request.verb, request.target, answer):
                self._tally.fault(f"REST {label(case.method)}: not in openapi.json", fault)

    def _refused(self, name: str, answer: Answer, known: set[str], about: object) -> None:
        """Checks the form of an error: `{code, message, details}` under the right HTTP code."""
        about = f"{about}\n{answer.status} {answer.headers}\n{answer.body[:1000]!r}"
        if "raw" in name and (answer.status, answer.body) == (400, b""):
            self._tally.refuse(name, "400", "")  # Envoy's parser: it is not even HTTP
            return
        details = status_pb2.Status()
        try:
            body: Any = json_format.Parse(answer.body, details)
        except (ParseError, UnicodeDecodeError):
            self._tally.refuse(name, str(answer.status), "")
            self._tally.fault(f"{name}: {answer.status} is not {{code, message, details}}", about)
            return
        status = code_pb2.Code.Name(body.code) if body.code in _CODES else f"code {body.code}"
        self._tally.judge(name, status, details, known, about)
        if answer.headers.get("content-type") != "application/json":
            self._tally.fault(f"{name}: an error of another content type", about)
        if answer.status >= 500:
            self._tally.fault(f"{name}: {answer.status}", about)
        elif answer.status != catalog.HTTP.get(status) and answer.status not in OTHER_CODES:
            self._tally.fault(f"{name}: {answer.status} for {status}", about)


_CODES = set(code_pb2.Code.values())


def _template(case: Case) -> str:
    rule = rest.bindings(case.method)[0]
    return str(getattr(rule, str(rule.WhichOneof("pattern"))))

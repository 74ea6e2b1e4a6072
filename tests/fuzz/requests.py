"""Requests to send: for each RPC of each service a mix of right, almost right and wild ones."""

import importlib
import pkgutil
import random
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

import orca.v1
from tests.fuzz import filters, wild
from tests.fuzz.plausible import MAKERS
from tests.fuzz.pool import Pool, forge

PLAUSIBLE, ALMOST = 0.5, 0.75
FORGED_KEYS = (
    "",
    "x",
    "-1",
    "1e9",
    "99999999999999999999",
    "\0",
    "NaN",
    "infinity",
    "2026-01-01",
    "294277-01-01",
    "00000000-0000-0000-0000-000000000000",
    7,
    None,
    ["a"],
    {},
)
IDENTITY_FIELDS = ("id", "agent_id", "agent")


@cache
def methods() -> tuple[MethodDescriptor, ...]:
    """Every RPC of orca.v1."""
    found = []
    for module in pkgutil.iter_modules(orca.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"orca.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                found.extend(service.methods)
    return tuple(found)


def label(method: MethodDescriptor) -> str:
    """Service.Method, as the catalogue of errors has it."""
    return f"{method.containing_service.name}.{method.name}"


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and how it was made."""

    method: MethodDescriptor
    kind: str
    request: Message


def make(method: MethodDescriptor, pool: Pool, dice: random.Random) -> Case:
    """The next request to a method."""
    while True:
        try:
            return _make(method, pool, dice)
        except DecodeError:  # deeper than protobuf copies
            continue


def _make(method: MethodDescriptor, pool: Pool, dice: random.Random) -> Case:
    roll = dice.random()
    if roll < PLAUSIBLE:
        return Case(method, "plausible", MAKERS[method.name](pool, dice))
    if roll < ALMOST:
        request = MAKERS[method.name](pool, dice)
        _misuse(request, dice)
        for _ in range(dice.randint(0, 2)):
            wild.mutate(request, dice)
        return Case(method, "almost", request)
    return Case(method, "wild", wild.message(method.input_type, dice))


def _misuse(request: Message, dice: random.Random) -> None:
    """Gives fields that have a language of their own something in almost that language."""
    fields = request.DESCRIPTOR.fields_by_name
    if "filter" in fields and dice.random() < 0.6:
        request.filter = filters.bad(dice)  # type: ignore[attr-defined]
    if "page_token" in fields and dice.random() < 0.6:
        token = request.page_token  # type: ignore[attr-defined]
        forged = forge(token, dice, FORGED_KEYS) if token else dice.choice(("AAAA", "W10", "MQ"))
        request.page_token = forged  # type: ignore[attr-defined]
    if "update_mask" in fields and dice.random() < 0.5:
        paths = dice.choices(("*", "labels.team", "id", "trust_level", "a..b", "", "etag"), k=2)
        request.update_mask.paths.extend(paths)  # type: ignore[attr-defined]
    if "content" in fields and dice.random() < 0.7:
        content = request.content  # type: ignore[attr-defined]
        content.data = garble(content.data, dice)


def garble(data: bytes, dice: random.Random) -> bytes:
    """The bytes with a few of them lost, doubled, or replaced."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(0, len(found))
        match dice.randrange(5):
            case 0:
                del found[at : at + dice.randint(1, 9)]
            case 1:
                found[at:at] = found[at : at + dice.randint(1, 9)] * dice.choice((1, 2, 400))
            case 2:
                found[at:at] = dice.choice(ODD)
            case 3 if at < len(found):
                found[at] = dice.randrange(256)
            case _:
                del found[at:]
    return bytes(found)


ODD = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"-",
    b"NaN",
    b"null",
    b"[" * 500,
    b'{"a":' * 200,
    b"&a *a",
    b"<<: {}",
    b"!!python/object:os.system x",
    b"9" * 400,
    b'"',
    b",",
    b":",
    b"\n",
)

"""Messages as HTTP requests: by the bindings of their method, as JSON, and spoiled on the way."""

import base64
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fuzz.requests import garble

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH_FIELD = re.compile(r"\{([a-z_.]+)\}")
_JSON = "application/json"
_WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it is sent."""

    verb: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def data(self) -> bytes:
        """Its bytes."""
        lines = [f"{self.verb} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.verb in ("POST", "PATCH", "PUT"):
            lines.append(f"content-length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + self.body


def bindings(method: MethodDescriptor) -> list[http_pb2.HttpRule]:
    """The HTTP bindings of a method."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return [rule, *rule.additional_bindings] if rule.ByteSize() else []


def plain(value: Message) -> Any:
    """A message as its JSON, also where it has none."""
    if isinstance(value, Timestamp):
        return _instant(value)
    if isinstance(value, Struct):
        return {key: plain(child) for key, child in value.fields.items()}
    if isinstance(value, Value):
        return _value(value)
    if value.DESCRIPTOR.full_name == "google.protobuf.FieldMask":
        return ",".join(value.paths)  # type: ignore[attr-defined]
    return {field.name: _field(field, found) for field, found in value.ListFields()}


def _instant(stamp: Timestamp) -> str:
    try:
        return stamp.ToJsonString()
    except (ValueError, OverflowError):
        return f"{stamp.seconds}.{stamp.nanos}"


def _value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_value(child) for child in value.list_value.values]
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {str(key): _one(kind.fields_by_name["value"], child) for key, child in value.items()}
    if field.is_repeated:
        return [_one(field, child) for child in value]
    return _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    if field.cpp_type in _WIDE:
        return str(value)
    return value


def _has_path(content: Any, rule: http_pb2.HttpRule) -> bool:
    """Whether the request has all that stands in the path."""
    for path in _PATH_FIELD.findall(getattr(rule, str(rule.WhichOneof("pattern")))):
        value = content
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not value:
            return False
    return True


def to_http(method: MethodDescriptor, request: Message, dice: random.Random) -> HttpRequest:
    """The request to one of the method's bindings."""
    content = plain(request)
    known = bindings(method)
    rule = dice.choice([rule for rule in known if _has_path(content, rule)] or known)
    verb = str(rule.WhichOneof("pattern"))
    path = _PATH_FIELD.sub(lambda match: _taken(content, match[1]), getattr(rule, verb))
    body, headers = b"", [("host", "localhost")]
    if rule.body:
        chosen = content if rule.body == "*" else content.pop(rule.body, {})
        if rule.body == "content":  # an HttpBody is sent as it is
            body = request.content.data  # type: ignore[attr-defined]
            headers.append(("content-type", request.content.content_type or _JSON))  # type: ignore[attr-defined]
        else:
            body = json.dumps(chosen).encode()
            headers.append(("content-type", _JSON))
        content = {} if rule.body == "*" else content
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in _query("", content))
    return HttpRequest(verb.upper(), f"{path}?{query}" if query else path, tuple(headers), body)


def _taken(content: dict[str, Any], field: str) -> str:
    """A field that stands in the path, and not in what is left."""
    *outer, name = field.split(".")
    for part in outer:
        content = content.get(part, {})
    return quote(str(content.pop(name, "")) or "x", safe="")


def _query(prefix: str, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _query(f"{prefix}{name}.", value)
            continue
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict | list):
                text = json.dumps(one) if isinstance(one, bool | float) else str(one)
                yield f"{prefix}{name}", text


def spoil(request: HttpRequest, dice: random.Random) -> HttpRequest:
    """The request with something wrong with it, which may do no harm."""
    verb, target, headers, body = request.verb, request.target, list(request.headers), request.body
    match dice.randrange(6):
        case 0 | 1 if body:
            body = garble(body, dice)
        case 2:
            target += dice.choice(("&" if "?" in target else "?",)) + dice.choice(QUERIES)
        case 3:
            at = dice.randint(1, len(target))
            target = target[:at] + dice.choice(TARGETS) + target[at + dice.randrange(3) :]
        case 4:
            headers.append(dice.choice(HEADERS))
        case _:
            verb = dice.choice(VERBS)
    return HttpRequest(verb, target, tuple(headers), body)


QUERIES = (
    "surprise=1",
    "page_size=many",
    "page_size=99999999999",
    "page_size=1e3",
    "filter=%FF%FE",
    "filter=%00",
    "id=other",
    "agent.name=x&agent.name=y",
    "show_catalog=perhaps",
    "start_time=yesterday",
    "update_mask=,,",
    "%",
    "%zz=1",
    "=",
    "&&&",
    "a[]=1",
    "labels.a=b",
    "reason=%ED%A0%80",
)
TARGETS = ("%00", "%FF", "%2F", "%", "//", "..", "%2E%2E/", ":", ";", "é", "~", "*", "x" * 3_000)
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "get")
HEADERS = (
    ("content-type", "text/plain"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "application/json; charset=latin-1"),
    ("content-type", "application/grpc"),
    ("content-type", "application/grpc-web+proto"),
    ("content-encoding", "gzip"),
    ("accept", "application/xml"),
    ("accept-encoding", "br"),
    ("authorization", "Bearer a.b.c"),
    ("authorization", "Basic eDp5"),
    ("origin", "http://evil.example"),
    ("origin", "null"),
    ("x-request-id", "a b\tc"),
    ("x-request-id", "x" * 5_000),
    ("x-http-method-override", "DELETE"),
    ("x-envoy-original-path", "/status"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-retry-on", "5xx"),
    ("x-orca-tenant", "other"),
    ("x-odd-bin", "!!!"),
    ("under_score", "1"),
    ("grpc-timeout", "1n"),
    ("grpc-timeout", "soon"),
    ("grpc-encoding", "gzip"),
    ("grpc-status", "0"),
    ("te", "trailers"),
    ("expect", "100-continue"),
    ("range", "bytes=0-1"),
    ("if-none-match", "*"),
    ("connection", "x-request-id"),
    ("upgrade", "websocket"),
    ("cookie", "a=b; " * 500),
    ("x-large", "y" * 20_000),
    ("x-latin", "é"),
    ("x-empty", ""),
    ("forwarded", "for=1.2.3.4;host=evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("host", "other.example"),
)
BROKEN = (
    b"GET\r\n\r\n",
    b"GET /agents\r\n\r\n",
    b"GET /agents HTTP/9.9\r\nhost: localhost\r\n\r\n",
    b"GET /agents HTTP/1.1\r\n\r\n",
    b"GET /agents HTTP/1.0\r\nhost: localhost\r\n\r\n",
    b"GET agents HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET http://localhost/agents?page_size=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nhost: localhost:1\r\n\r\n",
    b"GET /agents HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n",
    b"GET /agents HTTP/1.1\r\nhost: localhost\r\nx: \0\r\n\r\n",
    b"GET /agents HTTP/1.1\r\nhost: localhost\r\n folded: 1\r\n\r\n",
    b"GET /ag\xffents HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{}",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
    b"content-type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\nx",
    b"POST /agents HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 64,
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /agents HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n",
)

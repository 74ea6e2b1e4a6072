"""docs/api: one page per service, written from the contract and its comments.

`python -m orca_server.services.api_pages DESCRIPTORS FOLDER` writes the pages; `make gen` calls it.
DESCRIPTORS is protoc's descriptor set with source information. The kept generator of such pages
(protoc-gen-doc) needs a Go toolchain and knows neither our scopes nor the paths of REST.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from orca_server.services.access_page import methods
from orca_server.services.interceptors import scope_of
from orca_server.services.openapi import bindings, comments_of, pattern
from orca_server.services.openapi_schemas import PACKAGE, behaviours, message_of

Type = Descriptor | EnumDescriptor

INDEX = "README.md"
_WRITTEN = "<!-- Written by `make gen` from proto/; change the comments there, not this. -->"
_ABOUT = """
The operations of `orca.v1`, for gRPC and, where a path is given, for REST. Each path also exists
under `/v1`. JSON has the names of the fields, zero values are printed, and what is not known is
absent: only fields that may be. Scopes: [access](../access.md). Errors: [errors](../errors.md).
The same as a document for tools: `/openapi.json` of a server.
"""


def pages(files: FileDescriptorSet) -> dict[str, str]:
    """The text of each page, by file name.

    Args:
        files: The contract with its comments; the generated code has everything else.
    """
    writer = _Writer(comments_of(files))
    services = [
        (service, list(group))
        for service, group in groupby(methods(), lambda method: method.containing_service)
    ]
    for service, own in services:
        writer.place(service, own)
    written = {INDEX: writer.index(services)}
    for service, own in services:
        written[file_of(service)] = writer.page(service, own)
    return written


def file_of(service: ServiceDescriptor) -> str:
    """`AgentService` -> `agent-service.md`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", service.name).lower() + ".md"


class _Writer:
    """Writes pages; a type that several services use stands on the page of the first."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._place: dict[str, str] = {}
        self._types: dict[str, list[Type]] = {}

    def place(self, service: ServiceDescriptor, own: list[MethodDescriptor]) -> None:
        """Gives what the service's methods use, and is on no page yet, to its page."""
        page = file_of(service)
        self._types[page] = []
        for method in own:
            for used in (method.input_type, method.output_type):
                self._place_type(used, page)

    def _place_type(self, used: Type, page: str) -> None:
        if used.file.package != PACKAGE or used.full_name in self._place:
            return
        self._place[used.full_name] = page
        self._types[page].append(used)
        for each in _used_by(used):
            self._place_type(each, page)

    def index(self, services: list[tuple[ServiceDescriptor, list[MethodDescriptor]]]) -> str:
        """The page that leads to the others."""
        lines = [_WRITTEN, "# API", "", *_ABOUT.strip().splitlines()]
        for service, own in services:
            lines += ["", f"## [{service.name}]({file_of(service)})", ""]
            lines += [self._comments[service.full_name].partition("\n")[0], ""]
            lines += ["| method | REST | scope |", "|---|---|---|"]
            for method in own:
                link = f"[{method.name}]({file_of(service)}#{method.name.lower()})"
                rest = "<br>".join(_rest(method)) or "gRPC only"
                lines.append(f"| {link} | {rest} | `{scope_of(method)}` |")
        return "\n".join(lines) + "\n"

    def page(self, service: ServiceDescriptor, own: list[MethodDescriptor]) -> str:
        """The page of a service: its methods, then the types that they use."""
        page = file_of(service)
        lines = [_WRITTEN, f"# {service.name}", "", self._comments[service.full_name]]
        lines += ["", "## Methods"]
        for method in own:
            lines += self._method(method, page)
        lines += ["", "## Types"]
        for used in self._types[page]:
            lines += ["", f"### {_name(used)}", "", self._comments[used.full_name], ""]
            if isinstance(used, EnumDescriptor):
                lines += self._enum(used)
            else:
                lines += self._message(used, page)
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"

    def _method(self, method: MethodDescriptor, page: str) -> Iterator[str]:
        takes = self._link(method.input_type, page)
        gives = self._link(method.output_type, page)
        takes = f"a stream of {takes}" if method.client_streaming else takes
        gives = f"a stream of {gives}" if method.server_streaming else gives
        rest = " · ".join(_rest(method)) or "gRPC only"
        yield from ("", f"### {method.name}", "", f"{takes} → {gives}<br>")
        yield f"{rest}<br>"
        yield from (f"Scope `{scope_of(method)}`", "", self._comments[method.full_name])

    def _message(self, message: Descriptor, page: str) -> Iterator[str]:
        if not message.fields:
            yield "It has no fields."
            return
        yield from ("| field | type | | |", "|---|---|---|---|")
        for field in message.fields:
            about = ", ".join(_about(field))
            text = _cell(self._comments[field.full_name])
            yield f"| `{field.name}` | {self._type_of(field, page)} | {about} | {text} |"

    def _enum(self, enum: EnumDescriptor) -> Iterator[str]:
        yield from ("| value | number | |", "|---|---|---|")
        for value in enum.values:
            text = _cell(self._comments[f"{enum.full_name}.{value.name}"])
            yield f"| `{value.name}` | {value.number} | {text} |"

    def _type_of(self, field: FieldDescriptor, page: str) -> str:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = self._single(kind.fields_by_name["value"], page)
            return f"map from string to {value}"
        single = self._single(field, page)
        return f"list of {single}" if field.is_repeated else single

    def _single(self, field: FieldDescriptor, page: str) -> str:
        if field.enum_type is not None:
            return self._link(field.enum_type, page)
        if field.message_type is not None:
            return self._link(message_of(field), page)
        return _SCALARS[field.type]

    def _link(self, used: Type, page: str) -> str:
        name = _name(used)
        place = self._place.get(used.full_name)
        if place is None:
            return f"`{used.full_name}`"
        anchor = name.replace(".", "").lower()
        return f"[{name}]({'' if place == page else place}#{anchor})"


_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def _used_by(used: Type) -> Iterator[Type]:
    """Types of the fields of a message, those of its maps included."""
    if isinstance(used, EnumDescriptor):
        return
    for field in used.fields:
        if field.enum_type is not None:
            yield field.enum_type
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _used_by(field.message_type)
        elif field.message_type is not None:
            yield field.message_type


def _name(used: Type) -> str:
    return used.full_name.removeprefix(f"{PACKAGE}.")


def _about(field: FieldDescriptor) -> Iterator[str]:
    about = {each.lower().replace("_", " ") for each in behaviours(field)} - {"optional"}
    yield from sorted(about)
    if field.has_presence and field.message_type is None:
        yield "may be absent"


def _rest(method: MethodDescriptor) -> Iterator[str]:
    for rule in bindings(method):
        verb, path = pattern(rule)
        part = "" if rule.body in ("", "*") else f" (body: `{rule.body}`)"
        yield f"`{verb.upper()} {path}`{part}"


def _cell(comment: str) -> str:
    """A comment in one line of a table."""
    return re.sub(r"\n+", "<br>", comment).replace("|", "\\|")


def write(files: FileDescriptorSet, folder: Path) -> None:
    """Writes the pages, and removes those of services that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        path.unlink()
    for name, text in pages(files).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))

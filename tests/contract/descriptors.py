"""The contract as protoc sees it, comments included."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google.api
import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from orca.v1 import options_pb2

ROOT = Path(__file__).parents[2]
PACKAGE = "orca.v1"
_ERRORS = re.compile(r"`([A-Z_]+)` \(((?:`[A-Z_]+`(?:,\s+)?)+)\)")

Comments = dict[tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    service: str
    proto: MethodDescriptorProto
    comment: str

    @property
    def label(self) -> str:
        """Service.Method."""
        return f"{self.service}.{self.proto.name}"

    @property
    def scope(self) -> str:
        """Its scope option."""
        found: str = self.proto.options.Extensions[options_pb2.scope]
        return found

    @property
    def errors(self) -> set[str]:
        """`STATUS REASON` of the errors that its comment lists."""
        _, _, listed = self.comment.partition("Errors:")
        return {
            f"{status} {reason}"
            for status, reasons in _ERRORS.findall(listed)
            for reason in re.findall(r"[A-Z_]+", reasons)
        }

    @property
    def bindings(self) -> list[tuple[str, str, str]]:
        """Verb, path and body of each HTTP binding."""
        rule = self.proto.options.Extensions[annotations_pb2.http]
        rules = [rule, *rule.additional_bindings] if rule.ByteSize() else []
        return [_binding(each) for each in rules]


@dataclass(frozen=True, slots=True)
class Message:
    """One message, with the comments of its fields."""

    name: str
    proto: DescriptorProto
    comment: str
    fields: dict[str, str]


def _binding(rule: http_pb2.HttpRule) -> tuple[str, str, str]:
    verb = rule.WhichOneof("pattern") or ""
    return verb, getattr(rule, verb), rule.body


def _comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(place.path): place.leading_comments.strip()
        for place in file.source_code_info.location
    }


def _messages(
    prefix: str, path: tuple[int, ...], proto: DescriptorProto, comments: Comments
) -> Iterator[Message]:
    name = f"{prefix}{proto.name}"
    if proto.options.map_entry:
        return
    fields = {
        field.name: comments.get((*path, 2, index), "") for index, field in enumerate(proto.field)
    }
    yield Message(name, proto, comments.get(path, ""), fields)
    for index, nested in enumerate(proto.nested_type):
        yield from _messages(f"{name}.", (*path, 3, index), nested, comments)


@pytest.fixture(scope="session")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """All files of the contract, with source information, fresh from protoc."""
    target = tmp_path_factory.mktemp("protos") / "orca.binpb"
    site = Path(next(iter(google.api.__path__))).parents[1]
    protos = sorted((ROOT / "proto" / "orca" / "v1").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"-I{site}"]
    flags = ["--include_imports", "--include_source_info", "-o", str(target)]
    subprocess.run([*command, *flags, *map(str, protos)], check=True)
    return FileDescriptorSet.FromString(target.read_bytes())


@pytest.fixture(scope="session")
def files(descriptors: FileDescriptorSet) -> list[FileDescriptorProto]:
    """Our files."""
    return [file for file in descriptors.file if file.package == PACKAGE]


@pytest.fixture(scope="session")
def methods(files: list[FileDescriptorProto]) -> list[Method]:
    """Every RPC."""
    return [
        Method(service.name, method, _comments(file).get((6, at, 2, number), ""))
        for file in files
        for at, service in enumerate(file.service)
        for number, method in enumerate(service.method)
    ]


@pytest.fixture(scope="session")
def service_comments(files: list[FileDescriptorProto]) -> dict[str, str]:
    """The comment of each service."""
    return {
        service.name: _comments(file).get((6, at), "")
        for file in files
        for at, service in enumerate(file.service)
    }


@pytest.fixture(scope="session")
def messages(files: list[FileDescriptorProto]) -> list[Message]:
    """Every message, nested ones included."""
    return [
        message
        for file in files
        for index, proto in enumerate(file.message_type)
        for message in _messages("", (4, index), proto, _comments(file))
    ]

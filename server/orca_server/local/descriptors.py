"""What Envoy must know of the contract, read from the generated code itself."""

import importlib
import pkgutil
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

import orca.v1

# Without these two the transcoder cannot print errors, and answers an empty 404 instead.
ERROR_FILES = (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)
OTHER_STREAMS = (r"grpc\.reflection\.\w+\.ServerReflection/\w+", r"grpc\.health\.v1\.Health/Watch")


@dataclass(frozen=True, slots=True)
class Contract:
    """The services of orca.v1 as the gateway serves them."""

    descriptor_set: bytes
    """A serialized FileDescriptorSet, each file after those that it imports."""
    services: tuple[str, ...]
    """Full names."""
    stream_paths: str
    """A regular expression for the gRPC paths of all streams, ours and the standard ones."""


def read_contract() -> Contract:
    """The contract of all modules in orca.v1, so that a new service is served without more ado."""
    own = [
        importlib.import_module(f"orca.v1.{module.name}").DESCRIPTOR
        for module in sorted(pkgutil.iter_modules(orca.v1.__path__), key=lambda each: each.name)
        if module.name.endswith("_pb2")
    ]
    ordered: dict[str, FileDescriptor] = {}
    for file in (*own, *ERROR_FILES):
        _add(ordered, file)
    files = FileDescriptorSet()
    for file in ordered.values():
        file.CopyToProto(files.file.add())
    services = [service for file in own for service in file.services_by_name.values()]
    streams = [
        method.full_name.rpartition(".")
        for service in services
        for method in service.methods
        if method.client_streaming or method.server_streaming
    ]
    paths = [f"{service.replace('.', chr(92) + '.')}/{method}" for service, _, method in streams]
    return Contract(
        descriptor_set=files.SerializeToString(deterministic=True),
        services=tuple(service.full_name for service in services),
        stream_paths=f"/({'|'.join((*paths, *OTHER_STREAMS))})",
    )


def _add(ordered: dict[str, FileDescriptor], file: FileDescriptor) -> None:
    if file.name in ordered:
        return
    for imported in file.dependencies:
        _add(ordered, imported)
    ordered[file.name] = file

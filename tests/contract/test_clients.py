"""The clients agree with the contract, and with each other, where they are written by hand."""

import json
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from orca.address import service_config
from orca_server.services.access_page import methods

CLIENTS = Path(__file__).parents[2] / "clients"
TYPESCRIPT = (CLIENTS / "typescript" / "src" / "connection.ts").read_text(encoding="utf-8")
GO = (CLIENTS / "go" / "orca" / "orca.go").read_text(encoding="utf-8")
NAME = re.compile(r'"?service"?: "([\w.]+)", "?method"?: "(\w+)"')


def python_names() -> set[tuple[str, str]]:
    """Methods that the Python client sends once."""
    _, once = json.loads(service_config())["methodConfig"]
    return {(name["service"], name["method"]) for name in once["name"]}


def is_sent_once(method: MethodDescriptor) -> bool:
    """Whether a call must not be repeated by a channel that knows nothing of its meaning."""
    streams = method.client_streaming or method.server_streaming
    return streams or method.name.startswith("Delete") or method.name == "GetHealth"


@pytest.mark.parametrize(
    "names",
    [python_names(), set(NAME.findall(TYPESCRIPT)), set(NAME.findall(GO))],
    ids=["python", "typescript", "go"],
)
def test_what_is_not_idempotent_is_sent_once(names: set[tuple[str, str]]) -> None:
    once = {
        (method.containing_service.full_name, method.name)
        for method in methods()
        if is_sent_once(method)
    }
    assert names == once


def test_a_connection_in_typescript_has_every_service() -> None:
    services = {method.containing_service.name for method in methods()}
    assert set(re.findall(r"new orca\.v1\.(\w+)Client\(", TYPESCRIPT)) == services

"""Reports through the gateway, and `orca reports` as a shell runs it."""

import json
import re
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.workflow_pb2 import Workflow
from tests.e2e.commands import parsed, printed, run_orca
from tests.servers import GatewayServer, PostgresServer, running_gateway
from tests.serving import server_process

FILE = re.compile(r'^attachment; filename="executive_summary_\d{8}T\d{6}Z\.(\w+)"$')
TYPES = {
    "markdown": ("text/markdown; charset=utf-8", "md"),
    "json": ("application/json", "json"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "html": ("text/html; charset=utf-8", "html"),
}


@pytest.fixture(scope="module")
def address(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a server that knows an agent and a workflow of nobody."""
    with postgres.database(template) as url, server_process(url) as server:
        target = server.start().grpc
        while run_orca("status", address=target).returncode != 0:
            pass
        with orca.connect_sync(target, token="") as client:
            client.agents.create(Agent(type="mcp", name="it's$(id)"))
            client.workflows.create(Workflow(provider="n8n", name="nightly"))
            client.trust.refresh()
        yield target


@pytest.fixture(scope="module")
def gateway(address: str) -> Iterator[GatewayServer]:
    """An Envoy in front of it."""
    with running_gateway(int(address.rpartition(":")[2])) as running:
        yield running


def ask(gateway: GatewayServer, path: str, body: dict[str, Any] | None = None) -> Any:
    """The response to a GET, or to a POST of JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.settings.rest_port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=30)  # noqa: S310


@pytest.mark.parametrize("form", TYPES)
def test_an_export_is_a_bare_document_with_type_and_name(gateway: GatewayServer, form: str) -> None:
    with ask(gateway, "/reports/export", {"format": form}) as response:
        text = response.read().decode()
        kind, extension = TYPES[form]
        assert response.headers["content-type"] == kind
        name = FILE.match(response.headers["content-disposition"])
        assert name is not None
        assert name[1] == extension
    begin = {"markdown": "# Executive", "json": "{\n", "csv": "section,item", "html": "<!doctype"}
    assert text.startswith(begin[form])
    assert "it" in text


def evidence_of(document: Any) -> Iterator[str]:
    """Every path of evidence in a reply."""
    if isinstance(document, dict):
        if document.get("evidence"):
            yield document["evidence"]
        for each in document.values():
            yield from evidence_of(each)
    if isinstance(document, list):
        for each in document:
            yield from evidence_of(each)


@pytest.mark.parametrize("path", ["/reports/executive-summary", "/v1/reports/healing"])
def test_every_path_of_evidence_is_answered(gateway: GatewayServer, path: str) -> None:
    with ask(gateway, path) as response:
        paths = set(evidence_of(json.load(response)))
    assert len(paths) >= 2
    for each in paths:
        with ask(gateway, each) as response:
            assert response.status == 200, each


def test_the_exported_json_is_what_rest_prints(gateway: GatewayServer) -> None:
    documents = []
    for path, body in (
        ("/reports/executive-summary", None),
        ("/reports/export", {"format": "json"}),
    ):
        with ask(gateway, path, body) as response:
            documents.append(json.load(response))
    for document in documents:
        for name in ("as_of", "created_at"):
            del document[name]
        for change in document["trust"]["changes"]:
            del change["since"], change["evidence"]
    assert documents[0] == documents[1]


def test_people_read_the_summary_and_the_findings(address: str) -> None:
    text = printed("reports", "summary", address=address)
    assert "1 unmeasured" in text
    assert "mcp/it's$(id)" in text
    table = printed("reports", "healing", address=address).splitlines()
    assert table[0].split() == ["SEVERITY", "KIND", "ENTITY", "FIGURES", "COMMAND"]
    assert {line.split()[1] for line in table[1:]} == {"unowned"}
    assert parsed("reports", "summary", address=address)["fleet"]["agents"] == 1


def test_an_export_goes_to_a_file_or_to_standard_output(address: str, tmp_path: Path) -> None:
    file = tmp_path / "summary.html"
    printed("reports", "export", "--format", "html", "--file", file, address=address)
    assert file.read_text().startswith("<!doctype html>")
    assert printed("reports", "export", address=address).startswith("# Executive summary\n")
    nowhere = tmp_path / "none" / "x"
    result = run_orca("reports", "export", "--file", nowhere, address=address)
    assert result.returncode == 1
    assert "cannot be written" in result.stderr


def test_a_proposed_command_can_be_typed(address: str) -> None:
    findings = parsed("reports", "healing", address=address)["findings"]
    (workflow,) = [each for each in findings if each["entity_type"] == "workflow"]
    program, *arguments = shlex.split(workflow["command"])
    assert program == "orca"
    printed(*arguments, address=address)
    owners = parsed("workflows", "get", "nightly", address=address)["owner"]
    assert owners == "TEAM"

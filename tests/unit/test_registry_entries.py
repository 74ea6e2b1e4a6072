"""Entries of public registries: every form, every refusal, and nothing that breaks the reader."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.agent_checks import check_content
from orca_server.domain.agents import Content, Endpoint, Tool
from orca_server.domain.checks import Violations
from orca_server.domain.errors import InvalidRequest
from orca_server.domain.registry_entries import MAX_BYTES, Entries, parse
from orca_server.domain.stamps import Stamp
from tests.unit.registries import one

DATA = Path(__file__).parents[1] / "data" / "registry"
SHARED = Path(os.environ.get("ORCA_SHARED", Path(__file__).parents[3] / "shared")) / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the whole data sets are not there ({SHARED}); set ORCA_SHARED"
)


def sample(name: str) -> Entries:
    return parse((DATA / name).read_bytes())


def refusal(content: bytes, content_type: str = "") -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(content, content_type)
    return f"{caught.value.reason} {caught.value.message}"


def test_the_first_form() -> None:
    found = sample("first-form.json")
    assert [(entry.index, entry.reason) for entry in found.refused] == [(1, "NAME_MISSING")]
    magic, cloudflare, dart = found.taken
    assert magic.name == "io.github.21st-dev/magic-mcp"
    assert magic.content == Content(
        description=magic.content.description,
        version="0.0.1-seed",
        endpoint=Endpoint(
            command="npx",
            args=("-y", "@21st-dev/magic@0.0.46"),
            env={"API_KEY": "${API_KEY}"},
        ),
        labels={
            "registry": "official",
            "registry_type": "npm",
            "package": "@21st-dev/magic",
            "repository": "https://github.com/21st-dev/magic-mcp",
        },
    )
    assert magic.stamp == Stamp(True, "2025-05-16T18:56:49.000000+00:00", "0.0.1-seed")
    assert cloudflare.content.endpoint.url == "https://observability.mcp.cloudflare.com/sse"
    assert dart.content.endpoint.command == "docker"
    assert dart.content.endpoint.args == ("run", "-i", "--rm", "-e", "DART_TOKEN", "mcp/dart")


def test_the_current_form() -> None:
    (entry,) = sample("server.json").taken
    assert entry.content.display_name == "Brave Search"
    assert entry.content.version == "1.0.2"
    assert entry.content.endpoint == Endpoint(
        command="npx",
        args=("-y", "@modelcontextprotocol/server-brave-search@1.0.2"),
        env={"BRAVE_API_KEY": "${BRAVE_API_KEY}"},
    )
    assert entry.content.labels["website"] == "https://github.com/modelcontextprotocol/servers"


def test_a_page_of_the_api() -> None:
    found = sample("page.json")
    files, cloud = found.taken
    assert (found.older, [one.reason for one in found.refused]) == (1, ["DELETED"])
    assert files.content.description == "Filesystem operations server"  # the latest, not the newest
    assert files.content.endpoint.args == (
        *("run", "-i", "--rm", "--network", "none", "docker.io/mcp/filesystem:1.0.2", "/project"),
    )
    assert cloud.content.endpoint == Endpoint(
        url="https://mcp-fs.anonymous.modelcontextprotocol.io/mcp"
    )
    assert cloud.content.labels["status"] == "deprecated"


def test_docker_server() -> None:
    (entry,) = sample("docker-sqlite.yaml").taken
    assert entry.name == "SQLite"
    assert entry.content.display_name == "SQLite (Archived)"
    assert entry.content.capabilities == ("sqlite", "database")
    assert entry.content.endpoint == Endpoint(
        command="docker",
        args=(*("run", "-i", "--rm", "-v", "mcp-sqlite:/mcp", "mcp/sqlite"), "--db-path",
              "/mcp/db.sqlite"),
    )  # fmt: skip
    assert entry.content.labels["registry"] == "docker"
    assert entry.content.labels["registry_type"] == "server"
    assert entry.content.labels["category"] == "database"


def test_docker_remote() -> None:
    (entry,) = sample("docker-apify.yaml").taken
    assert entry.content.endpoint == Endpoint(
        url="https://mcp.apify.com", env={"APIFY_API_KEY": "${APIFY_API_KEY}"}
    )


def test_docker_poci() -> None:
    (entry,) = sample("docker-ffmpeg.yaml").taken
    assert entry.content.endpoint == Endpoint()
    assert [tool.name for tool in entry.content.tools] == ["imagemagick", "file-exists", "ffmpeg"]
    schema = entry.content.tools[1].input_schema
    assert schema is not None
    assert schema["required"] == ["path"]


PACKAGES = [
    ({"registryType": "npm", "identifier": "a", "version": "1"}, "npx -y a@1"),
    ({"registryType": "npm", "identifier": "a", "runtimeHint": "bunx"}, "bunx -y a"),
    ({"registryType": "pypi", "identifier": "a", "version": "1"}, "uvx a==1"),
    ({"registry_type": "pypi", "identifier": "a", "runtime_hint": "uvx"}, "uvx a"),
    ({"registryType": "oci", "identifier": "h:5/a", "version": "1"}, "docker run -i --rm h:5/a:1"),
    ({"registryType": "oci", "identifier": "a@sha256:1", "version": "1"},
     "docker run -i --rm a@sha256:1"),
    ({"registryType": "nuget", "identifier": "A", "version": "1"}, "dnx A@1 --yes"),
    ({"registryType": "nuget", "identifier": "A", "packageArguments": [
        {"type": "positional", "value": "mcp"}]}, "dnx A --yes -- mcp"),
    ({"registryType": "mcpb", "identifier": "https://x/y.mcpb"}, ""),
    ({"registryType": "unknown", "name": "a"}, ""),
    ({"registryType": "npm"}, ""),
    ({"registryType": "npm", "identifier": "a", "runtimeArguments": [
        {"type": "named", "name": "--yes"}], "packageArguments": [
        {"type": "named", "name": "--port", "default": "1"},
        {"type": "positional", "valueHint": "dir", "isRequired": True},
        {"type": "positional", "valueHint": "optional"}]}, "npx --yes a --port 1 {dir}"),
    ({"registryType": "oci", "identifier": "a", "environmentVariables": [
        {"name": "A"}, {"name": "B C"}, {"name": 5}]}, "docker run -i --rm -e A a"),
]  # fmt: skip


@pytest.mark.parametrize(("package", "expected"), PACKAGES)
def test_how_packages_are_started(package: dict[str, Any], expected: str) -> None:
    endpoint = one({"name": "x", "packages": [package]}).content.endpoint
    assert " ".join((endpoint.command, *endpoint.args)).strip() == expected


@pytest.mark.parametrize(
    "document",
    [
        [{"name": "x"}],
        {"servers": [{"name": "x"}]},
        {"servers": [{"server": {"name": "x"}}], "metadata": {}},
        {"server": {"name": "x"}, "_meta": {}},
        {"name": "x"},
        {"name": "x", "type": "remote", "remote": {"url": "https://x/"}},
    ],
    ids=str,
)
def test_every_form_of_a_document(document: Any) -> None:
    assert one(document).name == "x"
    (entry,) = parse(yaml.safe_dump(document).encode(), "application/yaml").taken
    assert entry.name == "x"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "NAME_MISSING"),
        ({"name": ""}, "NAME_MISSING"),
        ({"name": None}, "NAME_MISSING"),
        ({"name": 5}, "INVALID_NAME"),
        ({"name": "a b"}, "INVALID_NAME"),
        ({"name": "a\u0000"}, "INVALID_NAME"),
        ({"name": "\ud800"}, "INVALID_NAME"),
        ({"name": "x" * 201}, "INVALID_NAME"),
        ({"name": "x", "status": "deleted"}, "DELETED"),
        ("x", "ENTRY_INVALID"),
        (None, "ENTRY_INVALID"),
    ],
)
def test_entries_that_are_refused(entry: Any, reason: str) -> None:
    found = parse(json.dumps([{"name": "good"}, entry]).encode())
    assert [one.name for one in found.taken] == ["good"]
    assert [(one.index, one.reason) for one in found.refused] == [(1, reason)]


def test_what_does_not_fit_is_shortened_or_left_out() -> None:
    entry = one(
        {
            "name": "x",
            "title": "t" * 300,
            "description": "d\u0000" * 5000,
            "version": 7,
            "websiteUrl": "https://u:p@x/",
            "repository": {"url": "https://x/" + "y" * 300},
            "remotes": [{"url": "https://u:p@x/"}, {"url": "https://x/"}],
            "tools": [{"name": "a"}, {"name": "a"}, {"name": 5}, "b"],
            "tags": ["a", "a", 5, "b" * 300],
        }
    )
    assert entry.content.display_name == "t" * 199 + "…"
    assert entry.content.description == "d" * 3999 + "…"
    assert entry.content.version == ""
    assert entry.content.labels == {"registry": "official"}
    assert entry.content.endpoint == Endpoint(url="https://x/")
    assert entry.content.tools == (Tool("a"),)
    assert entry.content.capabilities == ("a", "b" * 199 + "…")


def test_schemas_that_are_too_large_together_are_left_out() -> None:
    tools = [{"name": f"t{n}", "inputSchema": {"x": "y" * 10_000}} for n in range(40)]
    found = one({"name": "x", "tools": tools}).content.tools
    assert len(found) == 40
    assert all(tool.input_schema is None for tool in found)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no known form"),
        (b"7", "no known form"),
        (b"{}", "no known form"),
        (b'{"foo": 1}', "no known form"),
        (b"{", "line 1: it is no JSON"),
        (b'{"name": NaN}', "NaN is not allowed"),
        (b'{"name": 1e999}', "out of range"),
        (b"[" * 100_000, "nested too deeply"),
        (b"a: [", "it is no YAML"),
        (b"a: &a [*a]", "points to nothing"),
        (b"name: x\nname: y", "stands there twice"),
        (b"name: !!python/name:os.system x", "constructor"),
        (b"\xff\xfe\x00", "not in UTF-8"),
        (b"version: '1.0.0'\nservers: {a: {}}", "registry file of one's own"),
        (b"servers: 5", "no known form"),
        (b"- a: " + b"[" * 200, "nested deeper"),
    ],
)
def test_documents_that_cannot_be_read(content: bytes, told: str) -> None:
    message = refusal(content)
    assert message.startswith("DOCUMENT_INVALID ")
    assert told in message


def test_documents_that_are_too_large() -> None:
    entries = [{"name": f"x{n}"} for n in range(1001)]
    assert refusal(json.dumps(entries).encode()).startswith("DOCUMENT_TOO_LARGE")
    assert refusal(b" " * (MAX_BYTES + 1)).startswith("DOCUMENT_TOO_LARGE")
    assert len(parse(json.dumps(entries[:1000]).encode()).taken) == 1000


def test_the_content_type_decides_and_else_it_is_guessed() -> None:
    assert "it is no JSON" in refusal(b"name: x", "application/json; charset=utf-8")
    assert parse(b"{name: x}", "application/yaml").taken[0].name == "x"
    assert parse(b"name: x", "text/plain").taken[0].name == "x"
    assert parse(b'\xef\xbb\xbf{"name": "x"}').taken[0].name == "x"


KEYS = (
    *("name", "title", "description", "version", "packages", "remotes", "repository", "url"),
    *("registryType", "identifier", "environmentVariables", "packageArguments", "type", "value"),
    *("about", "meta", "tags", "image", "run", "config", "secrets", "env", "tools", "parameters"),
    *("servers", "server", "_meta", "status", "isLatest", "publishedAt", "version_detail"),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["server", "npm", "oci", "https://x/", "2025-01-01T00:00:00Z", "deleted"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=8)
    ),
    max_leaves=30,
)


def read(content: bytes) -> Entries:
    """The entries; none if the document is refused, as it may be."""
    try:
        return parse(content)
    except InvalidRequest as error:
        if error.reason not in ("DOCUMENT_INVALID", "DOCUMENT_TOO_LARGE"):
            raise
        return Entries()


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8), max_size=4))
def test_any_entries_are_taken_within_bounds_or_refused(document: list[Any]) -> None:
    found = read(json.dumps(document).encode())
    for entry in found.taken:
        violations = Violations()
        check_content(violations, "", entry.content)
        assert violations.found == []
    yaml_too = read(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace"))
    assert len(yaml_too.taken) <= len(document)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert read(content).older == 0


@needs_shared
def test_the_whole_official_seed() -> None:
    found = parse((SHARED / "mcp-registry" / "seed.json").read_bytes())
    assert len(found.taken) == 232
    assert [one.reason for one in found.refused] == ["NAME_MISSING"] * 4


@needs_shared
def test_the_whole_docker_registry() -> None:
    files = sorted((SHARED / "docker-mcp").glob("*.yaml"))
    assert len(files) == 164
    kinds = set()
    for path in files:
        (entry,) = parse(path.read_bytes()).taken
        kinds.add(entry.content.labels["registry_type"])
        reachable = entry.content.endpoint != Endpoint() or entry.content.tools
        assert reachable, path.name
    assert kinds == {"server", "remote", "poci"}

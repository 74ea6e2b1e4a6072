"""docs/api: what the contract says, whole, and without a link that leads nowhere."""

import re
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from orca_server.services import api_pages
from tests.contract.descriptors import Message, Method

FOLDER = Path(__file__).parents[2] / "docs" / "api"
LINK = re.compile(r"\]\(([a-z-]*(?:\.md)?)#([a-z0-9]+)\)")


@pytest.fixture(scope="module")
def pages(descriptors: FileDescriptorSet) -> dict[str, str]:
    """The pages as they should be."""
    return api_pages.pages(descriptors)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_the_committed_pages_are_what_the_contract_says(pages: dict[str, str]) -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert sorted(committed) == sorted(pages), "run: make gen"
    for name, text in pages.items():
        assert committed[name] == text, f"{name}: run: make gen"


def test_writing_removes_what_is_no_more(descriptors: FileDescriptorSet, tmp_path: Path) -> None:
    (tmp_path / "old-service.md").write_text("old")
    api_pages.write(descriptors, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path / each.name for each in FOLDER.iterdir())


def test_every_method_and_message_stands_on_one_page(
    pages: dict[str, str], methods: list[Method], messages: list[Message]
) -> None:
    services = [text for name, text in pages.items() if name != api_pages.INDEX]
    there = Counter(heading for text in services for heading in headings(text))
    assert {there[method.proto.name] for method in methods} == {1}
    assert [each.name for each in messages if there[each.name] != 1] == []


def test_scope_path_fields_and_errors_are_told(
    pages: dict[str, str], methods: list[Method], messages: list[Message]
) -> None:
    text = "\n".join(pages.values())
    for method in methods:
        section = re.split(rf"^### {method.proto.name}$", text, flags=re.MULTILINE)[1]
        section = section.partition("\n### ")[0]
        assert f"Scope `{method.scope}`" in section
        for error in method.errors:
            assert all(f"`{word}`" in section for word in error.split())
        for verb, path, _ in method.bindings:
            assert path.startswith("/v1/") or f"`{verb.upper()} {path}`" in section
    for message in messages:
        section = re.split(rf"^### {re.escape(message.name)}$", text, flags=re.MULTILINE)[1]
        assert all(f"| `{field}` |" in section.partition("\n### ")[0] for field in message.fields)


def test_every_link_leads_to_a_heading(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        places = {
            page: {heading.replace(".", "").lower() for heading in headings(other)}
            for page, other in pages.items()
        }
        found = LINK.findall(text)
        assert found
        assert [each for each in found if each[1] not in places[each[0] or name]] == []

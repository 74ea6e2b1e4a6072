"""Registry files are cut into documents, and broken ones refused before anything is sent."""

import json
from pathlib import Path

import pytest

from orca.cli.documents import (
    MAX_DOCUMENT_BYTES,
    MAX_ENTRIES,
    Document,
    FileRefused,
    documents,
    find_files,
    inspect,
)


def _documents(path: Path) -> list[Document]:
    return list(documents(inspect(path)))


def _write(tmp_path: Path, content: object, name: str = "registry.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("wrap", [lambda entries: entries, lambda entries: {"servers": entries}])
def test_a_list_and_a_page_are_cut(tmp_path: Path, wrap: object) -> None:
    entries = [{"name": f"n{number}", "packages": [{"v": 1.5}]} for number in range(450)]
    path = _write(tmp_path, wrap(entries))
    found = _documents(path)
    assert [each.entries for each in found] == [MAX_ENTRIES, MAX_ENTRIES, 50]
    assert [each.first_index for each in found] == [0, 200, 400]
    assert [entry for each in found for entry in json.loads(each.content)] == entries
    assert inspect(path).entries == 450


def test_entries_of_any_kind_are_passed_on(tmp_path: Path) -> None:
    entries = [{"server": {"servers": [1, 2]}}, None, "text", 5, True, [1]]
    (found,) = _documents(_write(tmp_path, {"metadata": {"count": 6}, "servers": entries}))
    assert json.loads(found.content) == entries
    assert found.entries == 6


def test_documents_are_cut_by_size_too(tmp_path: Path) -> None:
    entries = [{"name": "x" * 1_500_000} for _ in range(3)]
    found = _documents(_write(tmp_path, entries))
    assert [each.entries for each in found] == [2, 1]
    assert all(len(each.content) <= MAX_DOCUMENT_BYTES + 10 for each in found)


def test_an_entry_alone_goes_as_it_is(tmp_path: Path) -> None:
    text = '{ "name": "io.github.x/y",\n  "version": "1" }'
    (found,) = _documents(_write(tmp_path, text))
    assert found.content == text.encode()
    assert found.content_type == "application/json"


def test_yaml_goes_as_it_is(tmp_path: Path) -> None:
    (found,) = _documents(_write(tmp_path, "name: x # kept\n", "server.yaml"))
    assert found.content == b"name: x # kept\n"
    assert found.content_type == "application/yaml"


def test_nothing_of_an_empty_list_is_sent(tmp_path: Path) -> None:
    assert _documents(_write(tmp_path, [])) == []


@pytest.mark.parametrize("text", ['[{"name": "x"},', "", "[1,]", "nonsense", '{"servers": [', "\0"])
def test_broken_json_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileRefused) as caught:
        inspect(_write(tmp_path, text))
    assert caught.value.reason == "DOCUMENT_INVALID"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused) as caught:
        inspect(tmp_path / "none.json")
    assert caught.value.reason == "FILE_UNREADABLE"


@pytest.mark.parametrize("name", ["one.json", "one.yaml"])
def test_one_that_is_too_large_to_send_is_refused(tmp_path: Path, name: str) -> None:
    text = json.dumps({"name": "x" * (2 * MAX_DOCUMENT_BYTES)})
    with pytest.raises(FileRefused) as caught:
        inspect(_write(tmp_path, text, name))
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_folders_are_looked_through_in_order(tmp_path: Path) -> None:
    for name in ("b/2.yml", "a/1.json", "a/.hidden/3.json", "a/readme.md", "c.YAML"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("{}")
    named = tmp_path / "a" / "readme.md"
    found = [str(each.relative_to(tmp_path)) for each in find_files([tmp_path, named])]
    assert found == ["a/1.json", "b/2.yml", "c.YAML", "a/readme.md"]

"""Addresses, and where a token may travel."""

from pathlib import Path

import pytest

import orca
from orca.address import Address, parse_address
from orca.credentials import find_token


@pytest.mark.parametrize(
    ("text", "tls", "expected"),
    [
        ("localhost:50051", None, Address("localhost:50051", "localhost", False)),
        ("localhost", None, Address("localhost:50051", "localhost", False)),
        ("http://h:1/", None, Address("h:1", "h", False)),
        ("https://orca.example", None, Address("orca.example:443", "orca.example", True)),
        ("h:8443", True, Address("h:8443", "h", True)),
        ("[::1]:7", None, Address("[::1]:7", "::1", False)),
        ("unix:/run/orca.sock", None, Address("unix:/run/orca.sock", "", False)),
    ],
)
def test_addresses_that_are_understood(text: str, tls: bool | None, expected: Address) -> None:
    assert parse_address(text, tls) == expected


@pytest.mark.parametrize("text", ["", "ftp://h", "h:port", "http://h/path", "h:99999", ":50051"])
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(orca.ConfigurationError) as caught:
        parse_address(text)
    assert caught.value.reason == "ADDRESS_INVALID"


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.2", True), ("[::1]", True), ("10.0.0.1", False), ("h", False)],
)
def test_what_is_local(host: str, local: bool) -> None:
    assert parse_address(f"{host}:1").is_local is local


async def test_a_token_does_not_leave_the_machine_unencrypted() -> None:
    with pytest.raises(orca.ConfigurationError) as caught:
        orca.connect("orca.example:50051", token="secret")
    assert caught.value.reason == "TOKEN_NEEDS_TLS"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"address": "orca.example:1", "token": "s", "insecure": True},
        {"address": "orca.example:1", "token": ""},
        {"address": "https://orca.example", "token": "s"},
        {"address": "127.0.0.1:1", "token": "s"},
    ],
    ids=["meant", "no token", "encrypted", "loopback"],
)
async def test_what_may_travel(options: dict[str, object]) -> None:
    async with orca.connect(**options) as client:
        assert client.address.host


def test_the_token_is_looked_for_in_order(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("of-file")
    both = {"ORCA_TOKEN": "of-variable", "ORCA_TOKEN_FILE": str(path)}
    assert find_token("given", path, both).read() == "given"
    assert find_token(None, path, both).read() == "of-file"
    assert find_token(None, None, both).read() == "of-variable"
    assert find_token(None, None, {"ORCA_TOKEN_FILE": str(path)}).read() == "of-file"
    assert not find_token(None, None, {})


@pytest.mark.parametrize("content", [None, b"", b"\xff"], ids=["missing", "empty", "not text"])
def test_an_unusable_token_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(orca.ConfigurationError, match=str(path)) as caught:
        find_token(None, path, {}).read()
    assert caught.value.reason == "TOKEN_FILE_UNREADABLE"


async def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(orca.ConfigurationError) as caught:
        orca.connect("https://orca.example", ca_file=tmp_path / "none.pem")
    assert caught.value.reason == "CA_FILE_UNREADABLE"

"""What the doctor makes of settings, of access and of secrets."""

from dataclasses import replace
from pathlib import Path

import pytest

from orca.address import parse_address
from orca_server.doctor import configuration
from orca_server.doctor.findings import Finding, Status
from orca_server.doctor.situation import Situation, look
from tests.unit.doctor_views import STRONG, bare, situation

__all__ = ["bare"]
OTHER = "a81be4d07c5f29363e90d7b2c84f1a65"


def of_settings(seen: Situation) -> dict[str, Finding]:
    return {each.name: each for each in configuration.check(seen)}


# Settings


def test_good_settings_give_nothing_to_do() -> None:
    found = of_settings(situation())
    assert {each.status for each in found.values()} == {Status.OK}
    assert found["access"].found == "closed: each call needs a token"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.OK),
        ({"grpc_address": "[::1]:50151"}, Status.OK),
        ({"grpc_address": "0.0.0.0:50151"}, Status.WARN),
        ({"grpc_address": "api:50151"}, Status.WARN),
    ],
)
def test_open_access_is_told_and_on_other_addresses_warned_of(
    changes: dict[str, str], status: Status
) -> None:
    found = of_settings(situation(anonymous_role="operator", **changes))["access"]
    assert found.status is status
    assert "open: a call without a token acts as operator" in found.found
    assert ("ORCA_ANONYMOUS_ROLE=none" in found.mend) is (status is Status.WARN)


def test_the_server_that_runs_knows_best_whom_it_lets_in() -> None:
    closed, opened = situation(), situation(anonymous_role="viewer")
    assert "acts as operator" in configuration.check(closed, "operator")[1].found
    assert configuration.check(opened, "none")[1].found.startswith("closed")
    far = replace(closed, addresses=(parse_address("far.example:50051"),))
    assert configuration.check(far, "viewer")[1].status is Status.WARN
    assert "far.example:50051" in configuration.check(far, "viewer")[1].found


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        (STRONG, False),
        ("k7Qw2-Zx9vB4nM1pL6tR8yU3iO5aS0dF", False),
        ("changeme-changeme-changeme-changeme", True),
        ("your-jwt-key-of-32-letters-or-more", True),
        ("my-super-secret-jwt-key-1234567890", True),
        ("0" * 64, True),
        ("0123456789" * 4, True),
        ("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb", True),
    ],
)
def test_a_secret_that_is_none_is_found_and_not_shown(secret: str, weak: bool) -> None:
    found = of_settings(situation(jwt_secrets=(secret,)))["secrets"]
    assert (found.status is Status.WARN) is weak
    assert secret not in found.found + found.cause + found.mend


def test_bits_grow_with_letters_and_not_with_repetition() -> None:
    assert configuration.bits_of("") == 0
    assert configuration.bits_of("a" * 100) == 0
    assert configuration.bits_of("ab" * 50) == pytest.approx(2)
    assert configuration.bits_of("abcdefgh") == pytest.approx(24)


@pytest.mark.parametrize(
    ("user", "password", "weak"),
    [
        ("orca", "orca", True),
        ("app", "app", True),
        ("app", "postgres", True),
        ("app", "ch%61ngeme", True),
        ("app", "", False),
        ("app", "qX7-2bLw9", False),
    ],
)
def test_a_default_password_of_the_database_is_found(user: str, password: str, weak: bool) -> None:
    word = f":{password}" if password else ""
    found = of_settings(situation(f"postgresql://{user}{word}@db/orcamesh"))["secrets"]
    assert (found.status is Status.WARN) is weak


def test_several_secrets_warn_until_the_old_ones_go() -> None:
    found = of_settings(situation(jwt_secrets=(STRONG, OTHER), hmac_secrets=(OTHER,)))["rotation"]
    assert found.status is Status.WARN
    assert found.found == "JWT_SECRET has 2 values: all are valid, the last signs"
    assert "remove the older lines of JWT_SECRET from .env" in found.mend


def test_with_nothing_set_the_settings_say_so_and_how_to_begin(bare: Path) -> None:
    seen = look()
    found = of_settings(seen)
    assert found["settings"].status is Status.FAIL
    assert found["settings"].found.startswith("DATABASE_URL: is not set; JWT_SECRET: nobody could")
    assert found["settings"].mend.startswith("orca up")
    assert found["access"].status is found["secrets"].status is Status.SKIPPED
    assert [each.target for each in seen.addresses] == ["127.0.0.1:50051", "127.0.0.1:50151"]
    assert seen.rest == ("127.0.0.1", 3000)


def test_every_bad_setting_is_named_and_the_good_ones_are_used(bare: Path) -> None:
    (bare / ".env").write_text(
        f"DATABASE_URL=postgresql://orca@db/x\nJWT_SECRET=short\nPGMAXCONNECTIONS=x\n"
        f"ORCA_TICK_SECONDS=0\nORCA_ANONYMOUS_ROLE=root\nHMAC_SECRET={STRONG}\n"
        f"ORCA_GRPC_ADDRESS=127.0.0.1:7\n"
    )
    seen = look()
    named = {fault.partition(":")[0] for fault in seen.faults}
    assert named == {"JWT_SECRET", "PGMAXCONNECTIONS", "ORCA_TICK_SECONDS", "ORCA_ANONYMOUS_ROLE"}
    assert seen.settings is not None
    assert seen.database_url == "postgresql://orca@db/x"
    assert seen.addresses[1].target == "127.0.0.1:7"
    found = of_settings(seen)
    assert all(name in found["settings"].found for name in named)
    assert found["secrets"].status is Status.OK  # a refused secret is told once


def test_a_file_that_cannot_be_read_ends_nothing(bare: Path) -> None:
    (bare / ".env").write_text("'this is not NAME=value\n")
    seen = look()
    assert seen.settings is None
    assert seen.faults == (".env, line 1: is not NAME=value",)
    assert of_settings(seen)["settings"].status is Status.FAIL


def test_an_address_that_is_none_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_ADDRESS", "ftp://x")
    seen = look()
    assert [fault for fault in seen.faults if fault.startswith("ORCA_ADDRESS: ")]
    assert seen.addresses == ()


def test_ports_of_the_stack_can_be_chosen(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_REST_PORT", "3100")
    monkeypatch.setenv("ORCA_ADDRESS", "far.example:9000")
    seen = look()
    assert seen.rest == ("far.example", 3100)
    assert [each.target for each in seen.addresses] == ["far.example:9000"]

"""Tokens to resume from, and what makes one log another."""

from uuid import UUID

import pytest

from orca_server.domain.changes import Place, epoch_of, read_token
from orca_server.domain.errors import OutOfRange

STORED = UUID(int=1)
EPOCH = epoch_of("7", "00000001", 16_384, STORED)


@pytest.mark.parametrize(
    "other",
    [
        ("8", "00000001", 16_384, STORED),
        ("7", "00000002", 16_384, STORED),
        ("7", "00000001", 16_385, STORED),
        ("7", "00000001", 16_384, UUID(int=2)),
    ],
    ids=["cluster", "timeline", "table", "stored"],
)
def test_each_part_makes_another_epoch(other: tuple[str, str, int, UUID]) -> None:
    assert epoch_of(*other) != EPOCH
    assert epoch_of("7", "00000001", 16_384, STORED) == EPOCH


@pytest.mark.parametrize("position", [0, 1, 2**53])
def test_a_token_is_read_back(position: int) -> None:
    place = Place(EPOCH, position)
    assert read_token(str(place)) == place


@pytest.mark.parametrize(
    "token", ["", "x", "1", f"{EPOCH}", f"{EPOCH}-", f"{EPOCH}--1", f"{EPOCH}-1 ", "g" * 32 + "-1"]
)
def test_what_is_no_token_asks_for_a_resync(token: str) -> None:
    with pytest.raises(OutOfRange) as caught:
        read_token(token)
    assert caught.value.reason == "RESYNC_REQUIRED"

"""Ids: UUIDs of version 7, ordered by the time of their making (RFC 9562)."""

from uuid import UUID

RANDOM_BYTES = 10
RANDOM_BITS = 74
"""What is left of them beside version and variant."""
_LOW_BITS = 62
"""Those after the variant."""


def uuid7(milliseconds: int, randomness: bytes, after: UUID | None = None) -> UUID:
    """The id for an instant.

    Args:
        milliseconds: Since 1970, below 2^48.
        randomness: RANDOM_BYTES bytes, of which RANDOM_BITS bits are taken.
        after: The id that was made before, if any: the new one is greater, also within one
            millisecond and when the clock went back (RFC 9562, section 6.2, method 2).
    """
    chance = int.from_bytes(randomness[:RANDOM_BYTES], "big") & (1 << RANDOM_BITS) - 1
    number = (milliseconds & (1 << 48) - 1) << RANDOM_BITS | chance
    return _shaped(number if after is None else max(number, _number(after) + 1))


def _shaped(number: int) -> UUID:
    """The UUID of time and chance as one number, with version and variant put in."""
    high, low = number >> _LOW_BITS, number & (1 << _LOW_BITS) - 1
    time, middle = high >> 12, high & 0xFFF
    return UUID(int=time << 80 | 0x7 << 76 | middle << 64 | 0x2 << _LOW_BITS | low)


def _number(made: UUID) -> int:
    """Time and chance of a UUID as one number."""
    time, middle = made.int >> 80, made.int >> 64 & 0xFFF
    return (time << 12 | middle) << _LOW_BITS | made.int & (1 << _LOW_BITS) - 1

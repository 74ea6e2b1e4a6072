"""Ids: UUIDs of version 7, ordered by the time of their making (RFC 9562)."""

from uuid import UUID

RANDOM_BYTES = 10


def uuid7(milliseconds: int, randomness: bytes) -> UUID:
    """The id for an instant.

    Args:
        milliseconds: Since 1970, below 2^48.
        randomness: RANDOM_BYTES bytes, of which 74 bits are taken.
    """
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(randomness[:RANDOM_BYTES], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)

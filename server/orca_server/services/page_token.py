"""Page tokens: opaque, bound to the query they belong to.

A token carries the key of the last row and a digest of filter and order. It holds no
authority (rows are looked up with the caller's own rights), so it needs no seal.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from orca_server.domain.errors import FieldViolation, InvalidRequest

LONGEST_TOKEN = 4_096


def issue(query: str, last_key: Sequence[str]) -> str:
    """The token of the page that follows a row.

    Args:
        query: Everything that must stay the same from page to page, as one text.
        last_key: Sort key of the last row of this page.
    """
    text = json.dumps([_digest(query), *last_key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def redeem(query: str, token: str, *, parts: int) -> list[str] | None:
    """The key of the last row of the page before, or None for the first page.

    Args:
        query: As it was issued for.
        token: What the caller sent; empty for the first page.
        parts: How many parts the key has.

    Raises:
        InvalidRequest: If it is not from this server (`PAGE_TOKEN_INVALID`), or belongs to
            another query (`PAGE_TOKEN_MISMATCH`).
    """
    if not token:
        return None
    try:
        if len(token) > LONGEST_TOKEN:
            raise ValueError("too long")
        padded = token + "=" * (-len(token) % 4)
        found: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
            raise ValueError("not a key")
        digest, *last_key = found
    except (ValueError, TypeError, RecursionError) as error:  # also binascii.Error, JSONDecodeError
        raise invalid() from error
    if digest != _digest(query):
        raise InvalidRequest(
            "PAGE_TOKEN_MISMATCH",
            "page_token belongs to another query; send the other fields as they were.",
            violations=[FieldViolation("page_token", "CONFLICTING", "belongs to another query")],
        )
    if len(last_key) != parts:
        raise invalid()
    return last_key


def invalid() -> InvalidRequest:
    """The error for a token that this server did not issue."""
    return InvalidRequest(
        "PAGE_TOKEN_INVALID",
        "page_token is not from this server; start over without one.",
        violations=[FieldViolation("page_token", "INVALID_FORMAT", "is not from this server")],
    )


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:16]

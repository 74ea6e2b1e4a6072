"""Whatever stands in `authorization`, the answer is a caller or Unauthenticated."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.errors import Unauthenticated
from orca_server.services.authentication import Authenticator, sign

SECRET = "a-secret-of-the-tests-0123456789-abcdef"
AUTHENTICATOR = Authenticator([SECRET])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refused(authorization: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        AUTHENTICATOR.authenticate(authorization)
    assert caught.value.reason in ("TOKEN_INVALID", "TOKEN_EXPIRED")


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    refused(text)
    refused(f"Bearer {text}")


@given(st.dictionaries(st.sampled_from(["alg", "typ", "crit", "b64", "kid", "x"]), json_values))
def test_any_header_without_our_signature_is_refused(header: dict[str, Any]) -> None:
    claims = {"sub": "x", "role": "admin", "iat": 1, "exp": 2**40, "jti": "1"}
    for algorithm in ("HS256", "none", "RS256"):
        token = f"{part({**header, 'alg': algorithm})}.{part(claims)}.{part('signature')}"
        refused(f"Bearer {token}")


@given(
    st.dictionaries(
        st.sampled_from(["sub", "role", "iat", "exp", "jti", "tenant", "agents", "nbf", "aud"]),
        json_values,
    )
)
def test_odd_claims_under_our_own_signature_do_no_harm(claims: dict[str, Any]) -> None:
    good = {"sub": "x", "role": "viewer", "iat": 1, "exp": 2**40, "jti": "1"}
    try:
        token = sign(SECRET, {**good, **claims})
    except (TypeError, ValueError):
        return  # the library refuses to sign it
    try:
        caller = AUTHENTICATOR.authenticate(f"Bearer {token}")
    except Unauthenticated:
        return
    assert caller.role in ("viewer", "operator", "admin", "adapter")

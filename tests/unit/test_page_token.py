"""Page tokens: what was issued is redeemed, anything else is refused."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.errors import InvalidRequest
from orca_server.services import page_token


@given(st.text(max_size=50), st.lists(st.text(max_size=50), min_size=1, max_size=3))
def test_a_token_gives_back_its_key(query: str, key: list[str]) -> None:
    query = query.encode("utf-8", "replace").decode()
    assert page_token.redeem(query, page_token.issue(query, key), parts=len(key)) == key


def test_no_token_is_the_first_page() -> None:
    assert page_token.redeem("q", "", parts=1) is None


def test_a_token_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_token.redeem("b", page_token.issue("a", ["k"]), parts=1)
    assert caught.value.reason == "PAGE_TOKEN_MISMATCH"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "é",
        "a" * 10_000,
        page_token.issue("q", ["a", "b"]),
        *(
            base64.urlsafe_b64encode(text.encode()).decode()
            for text in ("{", "7", "[]", "{}", '"text"', "[1, 2]", "null", "[" * 2000)
        ),
        base64.urlsafe_b64encode(json.dumps(["d", 5]).encode()).decode(),
    ],
)
def test_what_was_not_issued_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_token.redeem("q", token, parts=1)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


@given(st.text(max_size=200))
def test_any_text_is_refused_in_good_order(token: str) -> None:
    if not token:
        return
    with pytest.raises(InvalidRequest) as caught:
        page_token.redeem("q", token, parts=1)
    assert caught.value.reason in ("PAGE_TOKEN_INVALID", "PAGE_TOKEN_MISMATCH")

"""Words, slips of the finger, texts that count, and rankings that become one."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search_quality import Quality, judge, ndcg
from orca_server.domain import search
from orca_server.domain.search import Document, fuse, gist, mistyped, words_of

KEY = (UUID(int=1), UUID(int=2))


def document(**said: object) -> Document:
    fields: dict[str, object] = {
        "key": KEY,
        "revision": 1,
        "embedded": False,
        "in_catalog": False,
        "names": ("deep-wiki",),
        "description": "Reads wikis",
        "capabilities": (),
        "tools": (("fetchPage", "Fetches one page."),),
        **said,
    }
    return Document(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read issues from github", ["read", "issues", "github"]),
        ("io.github.owner/read_file-server", ["io", "github", "owner", "read", "file", "server"]),
        ("getHTTPResponse", ["get", "http", "response"]),
        ("listIssues2", ["list", "issues2"]),
        ("on GitHub", ["github", "git", "hub"]),
        ("必应搜索 Bing", ["必", "应", "搜", "索", "bing"]),
        ("Très bien", ["très", "bien"]),
        ("who are you", ["who", "are", "you"]),
        ("—, !", []),
        ("", []),
    ],
    ids=[
        "stops",
        "separators",
        "camel",
        "digits",
        "brand",
        "signs",
        "accents",
        "only",
        "none",
        "empty",
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


@given(st.text(max_size=200))
def test_any_text_has_words_in_lower_case_without_white_space(text: str) -> None:
    for word in words_of(text):
        assert word
        assert word == word.lower()
        assert not any(sign.isspace() or sign == "_" for sign in word)


@pytest.mark.parametrize("slip", ["gihub", "gitthub", "githbu", "gizhub", "github"])
def test_one_slip_is_undone(slip: str) -> None:
    assert "github" in {slip, *mistyped(slip)}


def test_two_slips_and_short_words_are_left_alone() -> None:
    assert "github" not in set(mistyped("gzthxb"))
    assert list(mistyped("gti")) == []


def test_the_gist_holds_names_of_tools_and_not_what_their_parameters_are() -> None:
    words = gist(document()).split()
    assert words.count("wiki") == search.NAME_WEIGHT
    assert words.count("wikis") == search.DESCRIPTION_WEIGHT
    assert words[-2:] == ["fetch", "page"]
    assert "one" not in words


def test_a_gist_is_bounded() -> None:
    assert len(gist(document(description="word " * 100_000))) == search.LONGEST_TEXT


def test_neighbouring_words_of_names_are_found_as_one() -> None:
    assert search.joined_names(document()) == {"deepwiki", "fetchpage"}


def test_names_weigh_more_than_descriptions() -> None:
    found = list(search.passages(document()))
    assert (found.count("deep-wiki"), found.count("fetch Page"), found.count("Reads wikis")) == (
        2,
        2,
        1,
    )


def test_the_first_of_all_rankings_scores_one() -> None:
    assert fuse([["a", "b"], ["a", "c"]])["a"] == 1


def test_second_twice_is_more_than_first_once() -> None:
    assert list(fuse([["a", "b"], ["c", "b"]])) == ["b", "a", "c"]


def test_fusing_follows_the_formula() -> None:
    scores = fuse([["a", "b"], ["b"]])
    assert scores["b"] == pytest.approx((61 / 62 + 1) / 2)
    assert scores["a"] == pytest.approx(1 / 2)
    assert dict(fuse([])) == {}
    assert dict(fuse([[], ["a"]])) == {"a": 0.5}


@given(st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1, max_size=3))
def test_fused_scores_fall_and_stay_within_bounds(rankings: list[list[int]]) -> None:
    scores = list(fuse(rankings).values())
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


def test_quality_is_what_its_definition_says() -> None:
    assert ndcg(["x", "a", "b"], {"a", "b"}) == pytest.approx(
        (1 / 1.584962500721156 + 1 / 2) / (1 + 1 / 1.584962500721156)
    )
    found = judge([["a", "x"], ["x"] * 10 + ["a"]], [["a"], ["a"]])
    assert found == Quality(ndcg=0.5, mrr=pytest.approx((1 + 1 / 11) / 2), zero_hit_share=0.5)

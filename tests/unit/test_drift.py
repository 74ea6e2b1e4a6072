"""What differs between what was accepted and what was observed."""

import pytest

from orca_server.domain import drift
from orca_server.domain.agents import Content, Endpoint, Tool

SEARCH = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    # Its own example, section 3.2.2 and following: numbers as ECMAScript prints them, keys sorted.
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert drift.canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}, True),
        ([1, 2], [2, 1], False),
        (True, 1, False),
        (0, -0.0, True),
        (2**53, 2**53 + 1, True),  # one double
        ("a", "á", False),
        (None, {}, False),
    ],
)
def test_which_values_are_the_same(one: object, other: object, same: bool) -> None:
    assert (drift.digest(one) == drift.digest(other)) is same
    assert (not drift.compare("tools", {"x": one}, {"x": other})) is same


def test_tools_differ_field_by_field_and_not_by_order() -> None:
    before = (Tool("search", "Finds.", SEARCH), Tool("read", "Reads."), Tool("a/b~c", "Odd."))
    changed = {**SEARCH, "required": []}
    after = (Tool("read", "Reads all."), Tool("search", "Finds.", changed), Tool("new", ""))
    found = drift.compare("tools", drift.tools_value(before), drift.tools_value(after))
    assert [(each.path, dict(each.sides)) for each in found] == [
        ("/tools/a~1b~0c", {"accepted": {"description": "Odd."}}),
        ("/tools/new", {"observed": {"description": ""}}),
        ("/tools/read/description", {"accepted": "Reads.", "observed": "Reads all."}),
        (
            "/tools/search/input_schema/required",
            {"accepted": ["query"], "observed": []},
        ),
    ]
    turned = drift.tools_value(reversed(before))
    assert not drift.compare("tools", drift.tools_value(before), turned)


def test_a_command_where_there_was_none_differs_as_a_whole() -> None:
    started = drift.command_value(Endpoint(command="npx", args=("-y",)))
    (found,) = drift.compare("command", None, started)
    assert found.path == "/command"
    assert dict(found.sides) == {"observed": {"command": "npx", "args": ["-y"]}}


def test_what_was_observed_first_completes_what_nobody_said() -> None:
    said = Content(tools=(Tool("search"), Tool("gone", "Old.")), endpoint=Endpoint(url="http://a"))
    seen = drift.tools_value((Tool("search", "Finds.", SEARCH), Tool("extra", "More.")))
    content = drift.completed(said, "tools", seen)
    assert content.tools == (Tool("search", "Finds.", SEARCH), Tool("gone", "Old."))
    assert drift.completed(content, "tools", drift.tools_value((Tool("search", "Other."),))).tools[
        0
    ] == Tool("search", "Finds.", SEARCH)
    assert drift.completed(said, "version", "2.1").version == "2.1"
    assert drift.completed(Content(version="2.0"), "version", "2.1").version == "2.0"
    started = drift.command_value(Endpoint(command="npx"))
    assert drift.completed(said, "command", started) == said  # reached by url: that was said
    assert drift.completed(Content(), "command", started).endpoint.command == "npx"
    assert drift.completed(Content(), "tools", seen).tools[1].name == "extra"


def test_accepting_writes_each_field_and_keeps_the_rest() -> None:
    content = Content(version="1", endpoint=Endpoint(command="a", env={"HOME": "/x"}), owner="me")
    value = drift.command_value(Endpoint(command="b", args=("c",)))
    changed = drift.with_value(content, "command", value)
    assert changed.endpoint == Endpoint(command="b", args=("c",), env={"HOME": "/x"})
    assert drift.with_value(content, "version", "2").version == "2"
    assert drift.with_value(content, "command", None).endpoint == Endpoint()
    tools = (Tool("search", "Finds.", SEARCH),)
    assert drift.with_value(content, "tools", drift.tools_value(tools)).tools == tools
    assert changed.owner == "me"


def test_an_adapter_cannot_write_what_is_compared() -> None:
    old = Content(version="1", tools=(Tool("a"),), endpoint=Endpoint(command="x"), description="d")
    new = Content(version="2", tools=(Tool("b"),), endpoint=Endpoint(url="http://b"))
    told = {"version", "tools", "endpoint", "description"}
    kept, observed = drift.observed_by_report(old, new, told)
    assert kept == Content(version="1", tools=(Tool("a"),), endpoint=Endpoint(command="x"))
    assert observed == {
        "tools": {"b": {"description": ""}},
        "version": "2",
        "command": None,
    }
    moved = Content(version="1", tools=(Tool("a"),), endpoint=Endpoint(command="x", env={"A": "b"}))
    command = {"command": "x", "args": []}
    assert drift.observed_by_report(old, moved, {"endpoint"}) == (moved, {"command": command})
    assert drift.observed_by_report(old, old, {"version"}) == (old, {"version": "1"})
    url = Content(endpoint=Endpoint(url="http://a"))
    assert drift.observed_by_report(Content(), url, {"endpoint"}) == (url, {})


def test_all_differences_are_counted_by_path() -> None:
    before = {f"tool-{number}": {"description": "a"} for number in range(300)}
    found = drift.compare("tools", before, {})
    assert len(found) == 300
    assert [each.path for each in found] == sorted(each.path for each in found)

"""The language of filters: what is read, what is refused, and that nothing breaks it."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.errors import InvalidRequest
from orca_server.domain.filter_fields import AGENT_FIELDS, WORKFLOW_FIELDS, Kind
from orca_server.domain.filtering import (
    And,
    Comparison,
    Node,
    Not,
    Or,
    Pattern,
    parse,
)
from orca_server.store.filter_sql import Listing
from orca_server.store.listings import AGENTS, WORKFLOWS

TENANT = UUID(int=1)


def equals(field: str, *parts: str) -> Comparison:
    return Comparison(field, "", "=", Pattern(parts))


MCP, BOT = equals("type", "mcp"), equals("type", "bot")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  \n", None),
        ('type = "mcp"', MCP),
        ("type=mcp", MCP),
        ("type='mcp'", MCP),
        ("(((type = mcp)))", MCP),
        ("NOT type = mcp", Not(MCP)),
        ("-type = mcp", Not(MCP)),
        ("- (type = mcp)", Not(MCP)),
        ("type = mcp AND type = bot", And((MCP, BOT))),
        ("type = mcp OR type = bot", Or((MCP, BOT))),
        # As in AIP-160, OR binds tighter than AND.
        ("type = mcp AND type = bot OR type = mcp", And((MCP, Or((BOT, MCP))))),
        ("(type = mcp AND type = bot) OR type = mcp", Or((And((MCP, BOT)), MCP))),
        ("NOT type = mcp OR type = bot", Or((Not(MCP), BOT))),
        ("NOT(type = mcp AND type = bot)", Not(And((MCP, BOT)))),
        ('name = "a*b*"', equals("name", "a", "b", "")),
        ("name = a*", equals("name", "a", "")),
        (r'name = "a\*\"\\"', equals("name", 'a*"\\')),
        ('name = "AND"', equals("name", "AND")),
        ("name = NOTHING", equals("name", "NOTHING")),
        ("owner != x", Comparison("owner", "", "!=", Pattern(("x",)))),
        ("description : sql", Comparison("description", "", ":", Pattern(("sql",)))),
        ("description:*", Comparison("description", "", ":", None)),
        ("state = ACTIVE", Comparison("state", "", "=", "ACTIVE")),
        ("state = STATE_ACTIVE", Comparison("state", "", "=", "ACTIVE")),
        ("state:active", Comparison("state", "", "=", "ACTIVE")),
        ('trust_state != "unmeasured"', Comparison("trust_state", "", "!=", "UNMEASURED")),
        ("criticality = CRITICALITY_LOW", Comparison("criticality", "", "=", "LOW")),
        ("trust_level < 0.75", Comparison("trust_level", "", "<", Decimal("0.75"))),
        ("trust_level>=-1.5e-3", Comparison("trust_level", "", ">=", Decimal("-0.0015"))),
        ("operations = 1e18", Comparison("operations", "", "=", Decimal(10) ** 18)),
        ("trust_level:*", Comparison("trust_level", "", ":", None)),
        (
            "created_at > 2026-01-31T12:00:00Z",
            Comparison("created_at", "", ">", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ),
        (
            'created_at <= "2026-01-31T12:00:00.5+02:00"',
            Comparison("created_at", "", "<=", datetime(2026, 1, 31, 10, 0, 0, 500_000, UTC)),
        ),
        (
            "last_seen_at < 2026-01-31",
            Comparison("last_seen_at", "", "<", datetime(2026, 1, 31, tzinfo=UTC)),
        ),
        (f"id = {TENANT}", Comparison("id", "", "=", TENANT)),
        ("labels:team", Comparison("labels", "team", ":", None)),
        ("labels.team:*", Comparison("labels", "team", ":", None)),
        ("labels.team = pay", Comparison("labels", "team", "=", Pattern(("pay",)))),
        ('labels."a.b" != "x"', Comparison("labels", "a.b", "!=", Pattern(("x",)))),
        ("labels.a-b:x", Comparison("labels", "a-b", ":", Pattern(("x",)))),
        (
            'capabilities:"code search"',
            Comparison("capabilities", "", ":", Pattern(("code search",))),
        ),
    ],
)
def test_filters(text: str, expected: Node | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "told", "position"),
    [
        ("mcp", "alone is no condition", 0),
        ('type = mcp AND "x"', "alone is no condition", 15),
        ("type = mcp type = bot", "not expected", 11),
        ("type =", "ends too early", 6),
        ("(type = mcp", "ends too early", 11),
        ("type = mcp)", "not expected", 10),
        ('type = "mcp', "not expected", 7),
        ("AND", "alone is no condition", 0),
        ("tpye = mcp", "unknown field 'tpye'", 0),
        ("type = mcp AND name.x = y", "unknown field 'name.x'", 15),
        ("name < b", "does not fit", 0),
        ("capabilities = x", "does not fit", 0),
        ("id : x", "does not fit", 0),
        ("state = FOO", "is none of", 8),
        ("trust_level = high", "is no number", 14),
        ("trust_level = NaN", "is no number", 14),
        ("trust_level = Infinity", "is no number", 14),
        ("trust_level = 1e400", "out of range", 14),
        ("operations = 99999999999999999999", "out of range", 13),
        ("created_at > yesterday", "is no time", 13),
        ("created_at > 2026-02-30T00:00:00Z", "is no time", 13),
        ("created_at > 0001-01-01T00:00:00+14:00", "is no time", 13),
        ("id = 1", "is no id", 5),
        ("labels = x", "name a label", 0),
        ("labels:*", "is no key", 0),
        ("type = a\0b", "NUL", 8),
        ("(" * 51 + "type = mcp" + ")" * 51, "nested deeper", 0),
        (" AND ".join(["type = mcp"] * 101), "more than 100 comparisons", 0),
        ("x" * 4001, "at most 4000", 0),
    ],
)
def test_filters_that_are_refused(text: str, told: str, position: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert caught.value.reason == "FILTER_INVALID"
    assert told in caught.value.message
    assert caught.value.metadata["position"] == str(position)
    assert caught.value.violations[0].field == "filter"


def test_fifty_levels_are_read() -> None:
    assert parse("(" * 50 + "type = mcp" + ")" * 50) == MCP


def test_an_unknown_field_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse("tpye = mcp")
    assert caught.value.metadata["field"] == "tpye"
    assert all(name in caught.value.message for name in AGENT_FIELDS)


@pytest.mark.parametrize("listing", [AGENTS, WORKFLOWS], ids=lambda listing: listing.id)
def test_every_field_has_a_column_and_every_column_a_field(listing: Listing) -> None:
    assert set(listing.columns) == set(listing.fields)
    assert all(field.choices for field in listing.fields.values() if field.kind is Kind.CHOICE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('type = "mcp"', "unknown field 'type'"),
        ("freshness = GONE", "'GONE' is none of FRESH, STALE, UNMEASURED"),
        ("last_outcome = broken", "'broken' is none of SUCCEEDED, FAILED, CANCELLED"),
        ("state = SUSPENDED", "'SUSPENDED' is none of ACTIVE, PAUSED, RETIRED"),
    ],
)
def test_workflows_have_fields_of_their_own(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(told)):
        parse(text, WORKFLOW_FIELDS)
    assert parse('provider = "n8n" AND freshness = STALE', WORKFLOW_FIELDS) == And(
        (equals("provider", "n8n"), Comparison("freshness", "", "=", "STALE"))
    )


@pytest.mark.parametrize(
    ("service", "listing"), [("agent_service", AGENTS), ("workflow_service", WORKFLOWS)]
)
def test_the_contract_names_every_field_and_order(service: str, listing: Listing) -> None:
    proto = Path(__file__).parents[2] / "proto" / "orca" / "v1" / f"{service}.proto"
    text = " ".join(line.strip().removeprefix("// ") for line in proto.read_text().splitlines())
    filters = text.partition("AIP-160 filter over ")[2].partition(";")[0]
    named = {each.partition(".")[0] for each in re.findall(r"`([a-z_.A-Z]+)`", filters)}
    assert named == set(listing.fields)
    orders = text.partition("`id` (default)")[2].partition("each")[0]
    assert {"id", *re.findall(r"`([a-z_]+)`", orders)} == {
        name for name in listing.orders if " " not in name
    }


TOKENS = st.sampled_from(
    ["(", ")", "-", "NOT ", " AND ", " OR ", "type", "labels.a", "state", " = ", ":", "<", "!=",
     '"x*"', "'", '"', "\\", "mcp", "0.5", "1e999", "2026-01-01T00:00:00Z", "*", ",", "\u2603", " "]
)  # fmt: skip


def refusal(text: str) -> InvalidRequest | None:
    try:
        parse(text)
    except InvalidRequest as error:
        return error
    return None


@given(st.one_of(st.text(max_size=200), st.lists(TOKENS, max_size=60).map("".join)))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    error = refusal(text)
    if error is not None:
        assert error.reason == "FILTER_INVALID"
        assert 0 <= int(error.metadata["position"]) <= len(text)


@pytest.mark.parametrize("unit", ["(", "NOT (", "-(", "type = mcp AND (", "x" * 3999, '"', "-"])
def test_long_filters_end_in_an_answer(unit: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse((unit * 4000)[:4000])
    assert caught.value.reason == "FILTER_INVALID"


def test_the_examples_of_the_documentation_are_filters() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inventory.md").read_text(encoding="utf-8")
    rows = [line for line in page.split("## Filters")[1].splitlines() if line.startswith("| `")]
    examples = [text for row in rows for text in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(examples) >= 10
    assert all(parse(text) is not None for text in examples)

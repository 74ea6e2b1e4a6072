"""Schedules of cron: what is read, what is refused, and that nothing breaks it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.cron import cron_problem


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "0 6 * * 1-5",
        "*/5 * * * *",
        "0 0 1 1 *",
        "59 23 31 12 7",
        "0,15,30,45 8-18/2 * * MON-FRI",
        "5/20 * * * *",
        "0 0 * jan,JUL sun",
        "  0\t0  * * 0 ",
        "1-59/59 * * * *",
        "0 0 29 2 *",
        "0 0 31 1-2 *",
        # A day of the week makes it come, whatever the day of the month.
        "0 0 31 2 1",
        "0 0 30 feb sat",
    ],
)
def test_schedules_that_are_read(text: str) -> None:
    assert cron_problem(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("@daily", "has 1 fields"),
        ("60 * * * *", "minute '60': '60' is not from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * 32 * *", "day of month '32'"),
        ("* * * 0 *", "month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "day of week '8': '8' is not from 0 to 7, or sun and so on"),
        ("* * * foo *", "month 'foo'"),
        ("* * * * jan", "day of week 'jan'"),
        ("jan * * * *", "minute 'jan'"),
        ("5-1 * * * *", "runs backwards"),
        ("* 22-2 * * *", "runs backwards"),
        ("* * * * fri-mon", "runs backwards"),
        ("*/0 * * * *", "the step 0 is not from 1 to 59"),
        ("*/60 * * * *", "the step 60 is not from 1 to 59"),
        ("*-5 * * * *", "* has no end"),
        ("1,,2 * * * *", "is not *"),
        ("1, * * * *", "is not *"),
        ("-1 * * * *", "is not *"),
        ("1-2-3 * * * *", "is not *"),
        ("1/2/3 * * * *", "is not *"),
        ("* * L * *", "is not *"),
        ("* * 15W * *", "is not *"),
        ("* * ? * *", "is not *"),
        ("* * * * 5#2", "is not *"),
        ("١ * * * *", "is not *"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 31 2 */2", "never comes"),
    ],
)
def test_schedules_that_are_refused(text: str, told: str) -> None:
    problem = cron_problem(text)
    assert problem is not None
    assert told in problem


@given(st.one_of(st.text(max_size=60), st.from_regex(r"([*0-9a-z,/-]{1,6} ){4}[*0-9a-z,/-]{1,6}")))
def test_any_text_is_read_or_refused(text: str) -> None:
    problem = cron_problem(text)
    assert problem is None or re.search(r"\w", problem)

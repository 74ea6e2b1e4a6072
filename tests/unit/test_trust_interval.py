"""The interval of the score holds the score, is narrow on steady days, wide after an outage."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.fleet_trust import TrustSettings
from orca_server.domain.trust_interval import DAYS, WindowDays, bootstrap

SETTINGS = TrustSettings()


def days(operations: list[list[int]], errors: list[list[int]], recent: float = 0.0) -> WindowDays:
    agents = len(operations)
    return WindowDays(
        operations=np.array(operations, dtype=np.float64),
        errors=np.array(errors, dtype=np.float64),
        violation_tenths=np.zeros((agents, DAYS)),
        recent_operations=np.full(agents, recent),
        recent_errors=np.full(agents, recent),
        weights=np.ones(agents),
        silent=np.zeros(agents, dtype=np.bool_),
    )


def test_no_agents_have_no_interval() -> None:
    none = WindowDays(*(np.zeros((0, DAYS)),) * 3, *(np.zeros(0),) * 3, np.zeros(0, dtype=np.bool_))
    assert bootstrap(none, SETTINGS, 0.9) is None


def test_steady_days_give_a_narrow_interval_and_an_outage_a_wide_one() -> None:
    steady = bootstrap(days([[1000] * 7], [[10] * 7]), SETTINGS, 0.99)
    outage = bootstrap(days([[1000] * 7], [[1000] + [0] * 6]), SETTINGS, 0.92)
    assert steady is not None
    assert outage is not None
    assert steady[1] - steady[0] < 0.01
    assert outage[1] - outage[0] > 0.1


def test_an_outage_in_the_last_hours_lowers_every_resample() -> None:
    found = bootstrap(days([[1000] * 7], [[0] * 7], recent=1000.0), SETTINGS, 0.45)
    assert found is not None
    assert found[1] < 0.6


def test_quiet_days_are_no_evidence() -> None:
    one_day = [[1000] + [0] * 6]
    found = bootstrap(days(one_day, [[0] * 7]), SETTINGS, 0.98)
    assert found is not None
    assert found[0] > 0.95


def test_the_same_facts_give_the_same_interval() -> None:
    facts = days([[100, 0, 5, 7, 900, 0, 1]], [[1, 0, 5, 0, 9, 0, 0]])
    assert bootstrap(facts, SETTINGS, 0.9) == bootstrap(facts, SETTINGS, 0.9)


counts = st.lists(st.integers(0, 1000), min_size=DAYS, max_size=DAYS)


@given(st.lists(counts, min_size=1, max_size=3), st.floats(0, 1))
def test_the_interval_holds_the_score(operations: list[list[int]], score: float) -> None:
    found = bootstrap(days(operations, operations), SETTINGS, score)
    assert found is not None
    assert 0 <= found[0] <= score <= found[1] <= 1

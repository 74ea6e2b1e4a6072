"""The fleet's trust: one example worked by hand, each rule alone, and what always holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.fleet_trust import (
    COMPONENTS,
    CRITICALITY_WEIGHTS,
    DEFAULT_WEIGHTS_PPB,
    Component,
    FleetSums,
    TrustSettings,
    score_fleet,
)
from orca_server.domain.numbers import PPB
from orca_server.domain.trust import Band

# Two agents: a normal one with s = p = 0.9, a critical one with s = 0.5, p = 1, level 0.7.
TWO = FleetSums(
    agents=3,
    measured=1,
    idle=1,
    success_ppb=1_400_000_000,
    adherence_ppb=1_900_000_000,
    weighted_level_ppb=3 * 900_000_000 + 9 * 700_000_000,
    weights=12,
    bands={Band.EXCELLENT: 1, Band.GOOD: 1},
    operations=1_000,
    violations=5,
)


def test_two_agents_by_hand() -> None:
    trust = score_fleet(TWO, TrustSettings())
    # .3 x .7 + .3 x .95 + .15 x .75 = .6075, over .75
    assert trust.trust_ppb == 810_000_000
    assert trust.components == {
        "agent_uptime": Component(700_000_000, 400_000_000, 280_000_000),
        "policy_adherence": Component(950_000_000, 400_000_000, 380_000_000),
        "sync_freshness": Component(),
        "risk_exposure": Component(750_000_000, 200_000_000, 150_000_000),
    }
    assert (trust.band, trust.capped_by) == (Band.MODERATE, ("agent_uptime",))
    assert trust.compliance_ppb == 995_000_000
    assert trust.risk_avoided_nano_usd == -800 * PPB  # 10,000 x (.81 - .85) x 2


def test_without_values_there_is_no_score() -> None:
    trust = score_fleet(FleetSums(agents=4), TrustSettings())
    assert trust.trust_ppb is trust.band is trust.compliance_ppb is None
    assert trust.risk_avoided_nano_usd is None
    assert trust.components == dict.fromkeys(COMPONENTS, Component())
    assert trust.capped_by == ()


def fleet(uptime: int, adherence: int, level: int, **changes: object) -> FleetSums:
    """One measured agent of normal criticality."""
    sums = FleetSums(
        agents=1,
        measured=1,
        success_ppb=uptime,
        adherence_ppb=adherence,
        weighted_level_ppb=3 * level,
        weights=3,
    )
    return replace(sums, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sums", "band", "capped_by"),
    [
        (fleet(PPB, PPB, PPB), Band.EXCELLENT, ()),
        (fleet(850_000_000, 850_000_000, 850_000_000), Band.EXCELLENT, ()),
        (fleet(849_999_999, PPB, PPB), Band.MODERATE, ("agent_uptime",)),
        (fleet(PPB, 849_999_999, PPB), Band.MODERATE, ("policy_adherence",)),
        (fleet(PPB, PPB, 0), Band.GOOD, ()),  # risk_exposure has no floor
        (fleet(PPB, PPB, PPB, critical_agent=True), Band.MODERATE, ("critical_agent",)),
        (
            fleet(800_000_000, 800_000_000, PPB, critical_agent=True),
            Band.MODERATE,
            ("agent_uptime", "policy_adherence", "critical_agent"),
        ),
        # Not lowered, so nothing capped it.
        (fleet(600_000_000, 600_000_000, 600_000_000), Band.MODERATE, ()),
        (fleet(0, 0, 0, critical_agent=True), Band.CRITICAL, ()),
    ],
    ids=[
        "perfect",
        "at the floors",
        "uptime",
        "adherence",
        "no floor",
        "critical agent",
        "several",
        "moderate anyway",
        "critical anyway",
    ],
)
def test_bands_and_what_lowers_them(sums: FleetSums, band: Band, capped_by: tuple[str]) -> None:
    trust = score_fleet(sums, TrustSettings())
    assert (trust.band, trust.capped_by) == (band, capped_by)


def test_contributions_are_shared_by_largest_remainder() -> None:
    trust = score_fleet(fleet(1, 1, 3), TrustSettings())
    # Products .3, .3, .45 of 1.05 over .75 = 1.4: one billionth, for the largest remainder.
    assert trust.trust_ppb == 1
    assert [part.contribution_ppb for part in trust.components.values()] == [0, 0, None, 1]


def test_a_tie_goes_to_the_component_that_stands_first() -> None:
    weights = {**dict.fromkeys(COMPONENTS, 0), "agent_uptime": PPB // 2, "risk_exposure": PPB // 2}
    trust = score_fleet(fleet(1, 0, 1), TrustSettings(weights_ppb=weights))
    assert trust.trust_ppb == 1
    assert trust.components["agent_uptime"].contribution_ppb == 1
    assert trust.components["risk_exposure"].contribution_ppb == 0


def test_a_score_of_zero_has_parts_of_zero() -> None:
    trust = score_fleet(fleet(0, 0, 0), TrustSettings())
    assert trust.trust_ppb == 0
    assert [part.contribution_ppb for part in trust.components.values()] == [0, 0, None, 0]


def test_a_component_without_weight_is_shown_and_adds_nothing() -> None:
    weights = {**dict.fromkeys(COMPONENTS, 0), "sync_freshness": PPB}
    trust = score_fleet(TWO, TrustSettings(weights_ppb=weights))
    assert trust.trust_ppb is None
    assert trust.components["agent_uptime"].ppb == 700_000_000


def test_more_violations_than_operations_comply_with_nothing() -> None:
    assert score_fleet(replace(TWO, violations=2_000), TrustSettings()).compliance_ppb == 0


@pytest.mark.parametrize(
    ("baseline", "expected"), [(810_000_000, 0), (800_000_000, 200 * PPB), (809_999_999, 20_000)]
)
def test_risk_avoided_against_the_baseline(baseline: int, expected: int) -> None:
    trust = score_fleet(TWO, TrustSettings(baseline_ppb=baseline))
    assert trust.risk_avoided_nano_usd == expected


def test_weights_of_criticality() -> None:
    assert CRITICALITY_WEIGHTS == {"low": 1, "normal": 3, "critical": 9}


@pytest.mark.parametrize(
    "weights",
    [
        {"agent_uptime": PPB},
        {**DEFAULT_WEIGHTS_PPB, "risk_exposure": 150_000_001},
        {**DEFAULT_WEIGHTS_PPB, "agent_uptime": -1, "policy_adherence": 600_000_001},
    ],
    ids=["missing", "not 1", "negative"],
)
def test_weights_that_are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weight"):
        TrustSettings(weights_ppb=weights)


ppb = st.integers(min_value=0, max_value=PPB)
counts = st.integers(min_value=0, max_value=9)


@st.composite
def fleets(draw: st.DrawFn) -> FleetSums:
    agents = draw(st.lists(st.tuples(ppb, ppb, ppb, st.sampled_from([1, 3, 9])), max_size=6))
    return FleetSums(
        agents=len(agents) + draw(counts),
        measured=len(agents),
        success_ppb=sum(s for s, _, _, _ in agents),
        adherence_ppb=sum(p for _, p, _, _ in agents),
        weighted_level_ppb=sum(level * weight for _, _, level, weight in agents),
        weights=sum(weight for _, _, _, weight in agents),
        critical_agent=draw(st.booleans()),
    )


@st.composite
def settings_(draw: st.DrawFn) -> TrustSettings:
    cuts = sorted(draw(st.lists(ppb, min_size=3, max_size=3)))
    parts = [high - low for low, high in zip([0, *cuts], [*cuts, PPB], strict=True)]
    return TrustSettings(
        baseline_ppb=draw(ppb), weights_ppb=dict(zip(COMPONENTS, parts, strict=True))
    )


@given(sums=fleets(), settings=settings_())
def test_contributions_add_up_to_the_score_and_weights_to_one(
    sums: FleetSums, settings: TrustSettings
) -> None:
    trust = score_fleet(sums, settings)
    if trust.trust_ppb is None:
        return
    present = [part for part in trust.components.values() if part.contribution_ppb is not None]
    assert sum(part.contribution_ppb or 0 for part in present) == trust.trust_ppb
    assert sum(part.weight_ppb for part in trust.components.values()) == PPB
    assert 0 <= trust.trust_ppb <= PPB
    values = [part.ppb for part in present if part.weight_ppb]
    assert min(values) <= trust.trust_ppb <= max(values)  # type: ignore[type-var]


@given(sums=fleets(), settings=settings_(), drops=st.tuples(ppb, ppb, ppb))
def test_a_worse_agent_never_raises_the_score(
    sums: FleetSums, settings: TrustSettings, drops: tuple[int, int, int]
) -> None:
    worse = replace(
        sums,
        success_ppb=max(0, sums.success_ppb - drops[0]),
        adherence_ppb=max(0, sums.adherence_ppb - drops[1]),
        weighted_level_ppb=max(0, sums.weighted_level_ppb - drops[2]),
    )
    before, after = score_fleet(sums, settings), score_fleet(worse, settings)
    assert (after.trust_ppb or 0) <= (before.trust_ppb or 0)
    if before.band is not None and after.band is not None:
        bands = list(Band)
        assert bands.index(after.band) >= bands.index(before.band)

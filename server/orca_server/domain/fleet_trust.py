"""The fleet's trust: the definition (docs/trust.md).

Takes integer sums over the agents that count and gives the score, its parts and what they
add to it. Contributions are shared out by largest remainder, so they add up exactly.
"""

from dataclasses import dataclass, field

from orca_server.domain.numbers import PPB, divide_half_up, share_out
from orca_server.domain.trust import Band, band_of

COMPONENTS = ("agent_uptime", "policy_adherence", "sync_freshness", "risk_exposure")
DEFAULT_WEIGHTS_PPB = {
    "agent_uptime": 300_000_000,
    "policy_adherence": 300_000_000,
    "sync_freshness": 250_000_000,
    "risk_exposure": 150_000_000,
}
# Below its floor a component lowers the band to at most moderate.
FLOORS_PPB = {
    "sync_freshness": 800_000_000,
    "agent_uptime": 850_000_000,
    "policy_adherence": 850_000_000,
}
CRITICALITY_WEIGHTS = {"low": 1, "normal": 3, "critical": 9}
CRITICAL_AGENT = "critical_agent"
_BANDS = tuple(Band)


@dataclass(frozen=True, slots=True)
class WorkflowSums:
    """How many workflows of a tenant are in which state.

    Attributes:
        fresh: Counted, with a success within the deadline.
        stale: Counted, without one.
        unmeasured: Counted, and nothing known yet.
        paused: Shown, not counted.
    """

    fresh: int = 0
    stale: int = 0
    unmeasured: int = 0
    paused: int = 0


@dataclass(frozen=True, slots=True)
class FleetSums:
    """Sums over the agents and workflows that count, all integers.

    Attributes:
        agents: All of them.
        measured: Those in state measured.
        idle: Those in state idle.
        silent: Those in state silent.
        success_ppb: Sum of counted success.
        adherence_ppb: Sum of counted adherence.
        weighted_level_ppb: Sum of criticality weight times counted level.
        weights: Sum of criticality weights of agents with values.
        bands: Agents with values per band.
        critical_agent: Whether an agent of critical criticality is in the critical band.
        operations: Operations in the agents' windows.
        violations: Unblocked violations in them.
        cost_nano_usd: Cost in them.
        input_tokens: Input tokens in them.
        output_tokens: Output tokens in them.
        baselines: Agents of which something was ever observed.
        drifted: Those of them with an open drift.
        workflows: The workflows beside the agents.
    """

    agents: int = 0
    measured: int = 0
    idle: int = 0
    silent: int = 0
    success_ppb: int = 0
    adherence_ppb: int = 0
    weighted_level_ppb: int = 0
    weights: int = 0
    bands: dict[Band, int] = field(default_factory=dict)
    critical_agent: bool = False
    operations: int = 0
    violations: int = 0
    cost_nano_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    baselines: int = 0
    drifted: int = 0
    workflows: WorkflowSums = field(default_factory=WorkflowSums)

    @property
    def with_values(self) -> int:
        """Agents that were ever measured."""
        return self.measured + self.idle + self.silent


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """What an operator may choose about the score.

    Attributes:
        baseline_ppb: TRUST_SCORE_BASELINE.
        risk_baseline_cost_nano_usd: RISK_BASELINE_COST_USD.
        weights_ppb: Weight per component, summing to `PPB`.
        freshness_slo_seconds: SYNC_FRESHNESS_SLO_HOURS: a workflow that declares nothing must
            succeed at least this often.
    """

    baseline_ppb: int = 850_000_000
    risk_baseline_cost_nano_usd: int = 10_000 * PPB
    weights_ppb: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS_PPB))
    freshness_slo_seconds: int = 24 * 3600

    def __post_init__(self) -> None:
        if set(self.weights_ppb) != set(COMPONENTS) or sum(self.weights_ppb.values()) != PPB:
            raise ValueError(f"need a weight for each of {COMPONENTS}, summing to 1")
        if min(self.weights_ppb.values()) < 0 or not 0 <= self.baseline_ppb <= PPB:
            raise ValueError("weights and baseline must lie within 0 and 1")


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the score; an absent one has no value and no weight.

    Attributes:
        ppb: Value.
        weight_ppb: Weight after scaling; those of the present parts sum to `PPB`.
        contribution_ppb: What it adds; these sum to the score.
    """

    ppb: int | None = None
    weight_ppb: int = 0
    contribution_ppb: int | None = None


@dataclass(frozen=True, slots=True)
class FleetTrust:
    """The fleet's score with its parts.

    Attributes:
        trust_ppb: Score; None while nothing was ever measured.
        band: Class after caps; None without a score.
        capped_by: What lowered the band, in the order of `COMPONENTS`, critical agent last.
        components: Part by name, in the order of `COMPONENTS`.
        compliance_ppb: 1 - unblocked violations / operations; None without operations.
        risk_avoided_nano_usd: Baseline cost times (score - baseline) times agents with
            values; None without a score.
        drift_ppb: Drifted agents / agents with a baseline; None without a baseline.
    """

    trust_ppb: int | None
    band: Band | None
    capped_by: tuple[str, ...]
    components: dict[str, Component]
    compliance_ppb: int | None
    risk_avoided_nano_usd: int | None
    drift_ppb: int | None = None


def score_fleet(sums: FleetSums, settings: TrustSettings) -> FleetTrust:
    """The fleet's trust from the sums of one tick."""
    values = component_values(sums)
    trust_ppb, components = _weigh(values, settings)
    band, capped_by = (None, ()) if trust_ppb is None else _cap(trust_ppb, values, sums)
    return FleetTrust(
        trust_ppb=trust_ppb,
        band=band,
        capped_by=capped_by,
        components=components,
        compliance_ppb=_compliance(sums),
        risk_avoided_nano_usd=_risk_avoided(trust_ppb, sums, settings),
        drift_ppb=_mean(sums.drifted * PPB, sums.baselines),
    )


def component_values(sums: FleetSums) -> dict[str, int | None]:
    """Value of each component; None if nothing of it is measured."""
    return {
        "agent_uptime": _mean(sums.success_ppb, sums.with_values),
        "policy_adherence": _mean(sums.adherence_ppb, sums.with_values),
        "sync_freshness": _mean(
            sums.workflows.fresh * PPB, sums.workflows.fresh + sums.workflows.stale
        ),
        "risk_exposure": _mean(sums.weighted_level_ppb, sums.weights),
    }


def _mean(total: int, count: int) -> int | None:
    return divide_half_up(total, count) if count else None


def _weigh(
    values: dict[str, int | None], settings: TrustSettings
) -> tuple[int | None, dict[str, Component]]:
    present = {name: ppb for name, ppb in values.items() if ppb is not None}
    weights = {name: settings.weights_ppb[name] for name in present}
    whole = sum(weights.values())
    if whole == 0:
        absent = {name: Component(ppb=ppb) for name, ppb in values.items()}
        return None, absent
    products = [weights[name] * ppb for name, ppb in present.items()]
    trust_ppb = divide_half_up(sum(products), whole)
    scaled = share_out(PPB, list(weights.values()))
    shares = share_out(trust_ppb, products) if sum(products) else [0] * len(products)
    components = {name: Component() for name in values}
    for name, weight, share in zip(present, scaled, shares, strict=True):
        components[name] = Component(present[name], weight, share)
    return trust_ppb, components


def _cap(
    trust_ppb: int, values: dict[str, int | None], sums: FleetSums
) -> tuple[Band, tuple[str, ...]]:
    band = band_of(trust_ppb)
    capped_by = [
        name
        for name in COMPONENTS
        if name in FLOORS_PPB and (ppb := values[name]) is not None and ppb < FLOORS_PPB[name]
    ]
    if sums.critical_agent:
        capped_by.append(CRITICAL_AGENT)
    if not capped_by or _BANDS.index(band) >= _BANDS.index(Band.MODERATE):
        return band, ()
    return Band.MODERATE, tuple(capped_by)


def _compliance(sums: FleetSums) -> int | None:
    if sums.operations == 0:
        return None
    return divide_half_up(max(0, sums.operations - sums.violations) * PPB, sums.operations)


def _risk_avoided(trust_ppb: int | None, sums: FleetSums, settings: TrustSettings) -> int | None:
    if trust_ppb is None:
        return None
    above = trust_ppb - settings.baseline_ppb
    size = divide_half_up(settings.risk_baseline_cost_nano_usd * abs(above) * sums.with_values, PPB)
    return size if above >= 0 else -size

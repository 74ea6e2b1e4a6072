"""A 95 % interval of the fleet's score, by bootstrap over the days of the window.

Days are drawn together for all agents: an outage hits many at once, so agents are not
independent, and a binomial interval would be far too narrow. The seed is fixed, so the
same facts give the same interval. Display only; the score itself never comes from here.

Source: B. Efron (1979), "Bootstrap Methods: Another Look at the Jackknife", Annals of
Statistics 7(1), 1-26; percentile interval.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orca_server.domain.fleet_trust import TrustSettings
from orca_server.domain.numbers import PPB
from orca_server.domain.trust import (
    ADHERENCE_PRIOR_OPERATIONS,
    PRIOR_OPERATIONS,
    VIOLATION_FACTOR,
)

DAYS = 7
RESAMPLES = 200
SEED = 7

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WindowDays:
    """Facts by agent (row) and day of its window (column, 0 the newest).

    Attributes:
        operations: Operations.
        errors: Errors.
        violation_tenths: 10 x violations + blocked violations.
        weights: Criticality weight per agent.
        silent: Whether the agent's values count as at most 0.5.
    """

    operations: Floats
    errors: Floats
    violation_tenths: Floats
    weights: Floats
    silent: NDArray[np.bool_]


def bootstrap(days: WindowDays, settings: TrustSettings) -> tuple[float, float] | None:
    """2.5th and 97.5th percentile of the score, or None without agents.

    The lowering of `success` by the last 6 hours is left out: resampled days have none.
    """
    if days.operations.shape[0] == 0:
        return None
    generator = np.random.default_rng(SEED)
    draws = generator.multinomial(DAYS, [1 / DAYS] * DAYS, size=RESAMPLES).astype(np.float64)
    scores = np.array([_score(days, draw, settings) for draw in draws])
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def _score(days: WindowDays, draw: Floats, settings: TrustSettings) -> float:
    operations = days.operations @ draw
    errors = days.errors @ draw
    violations = days.violation_tenths @ draw / 10
    baseline = settings.baseline_ppb / PPB
    cap = np.where(days.silent, 0.5, 1.0)
    success = (operations - errors + PRIOR_OPERATIONS * baseline) / (operations + PRIOR_OPERATIONS)
    adherence = np.maximum(
        0.0, 1 - VIOLATION_FACTOR * violations / (operations + ADHERENCE_PRIOR_OPERATIONS)
    )
    level = np.minimum(0.6 * success + 0.4 * adherence, cap)
    parts = {
        "agent_uptime": float(np.minimum(success, cap).mean()),
        "policy_adherence": float(np.minimum(adherence, cap).mean()),
        "risk_exposure": float((days.weights * level).sum() / days.weights.sum()),
    }
    whole = sum(settings.weights_ppb[name] for name in parts)
    if whole == 0:
        return 0.0
    return sum(settings.weights_ppb[name] * value for name, value in parts.items()) / whole

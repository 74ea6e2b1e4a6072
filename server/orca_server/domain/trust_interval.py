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
    RECENT_MINIMUM_OPERATIONS,
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
        recent_operations: Operations of the last 6 hours, per agent.
        recent_errors: Errors among them.
        weights: Criticality weight per agent.
        silent: Whether the agent's values count as at most 0.5.
    """

    operations: Floats
    errors: Floats
    violation_tenths: Floats
    recent_operations: Floats
    recent_errors: Floats
    weights: Floats
    silent: NDArray[np.bool_]


def bootstrap(
    days: WindowDays, settings: TrustSettings, score: float
) -> tuple[float, float] | None:
    """2.5th and 97.5th percentile of the score, widened to hold it; None without agents.

    Each agent's day is drawn among those with operations: a quiet day is no evidence. The
    last 6 hours lower a resample as they lower the score.
    """
    agents = days.operations.shape[0]
    if agents == 0:
        return None
    generator = np.random.default_rng(SEED)
    draws = generator.random((RESAMPLES, DAYS))
    # The same draw picks the same share of each agent's days with operations, newest first.
    active = np.argsort(days.operations <= 0, axis=1, kind="stable")
    counts = np.maximum((days.operations > 0).sum(axis=1), 1)
    rows = np.arange(agents)[:, None]
    scores = np.empty(RESAMPLES)
    for number, draw in enumerate(draws):
        chosen = active[rows, (draw[None, :] * counts[:, None]).astype(np.intp)]
        scale = counts / DAYS  # as many days as the agent has
        operations, errors, tenths = (
            column[rows, chosen].sum(axis=1) * scale
            for column in (days.operations, days.errors, days.violation_tenths)
        )
        scores[number] = _score(days, operations, errors, tenths, settings)
    low, high = np.percentile(scores, [2.5, 97.5])
    return min(float(low), score), max(float(high), score)


def _score(
    days: WindowDays,
    operations: Floats,
    errors: Floats,
    violation_tenths: Floats,
    settings: TrustSettings,
) -> float:
    baseline = settings.baseline_ppb / PPB
    cap = np.where(days.silent, 0.5, 1.0)
    success = _success(operations, errors, baseline)
    recent = _success(days.recent_operations, days.recent_errors, baseline)
    enough = days.recent_operations >= RECENT_MINIMUM_OPERATIONS
    success = np.where(enough, np.minimum(success, recent), success)
    adherence = np.maximum(
        0.0,
        1 - VIOLATION_FACTOR * violation_tenths / 10 / (operations + ADHERENCE_PRIOR_OPERATIONS),
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


def _success(operations: Floats, errors: Floats, baseline: float) -> Floats:
    return (operations - errors + PRIOR_OPERATIONS * baseline) / (operations + PRIOR_OPERATIONS)

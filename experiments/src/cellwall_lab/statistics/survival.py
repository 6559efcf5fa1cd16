"""How long it takes to recover, where some runs never did while they were watched.

Decides the survival curve (Kaplan and Meier, 1958) and its median. A run that did not recover is censored at the time
it was watched to: never averaged, never left out. A median that was not reached is None.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats


class Life(msgspec.Struct, frozen=True):
    """One run: until when it was watched, and whether it recovered then (else it is censored)."""

    time_s: float
    recovered: bool


class Step(msgspec.Struct, frozen=True):
    """From ``time_s`` on the share not yet recovered is ``share``, within [low, high]."""

    time_s: float
    share: float
    low: float
    high: float


def curve(lives: Sequence[Life], confidence: float = 0.95) -> list[Step]:
    """The share of runs not yet recovered, a step at each recovery; intervals by Greenwood's log-log formula."""
    events = [life.time_s for life in lives if life.recovered]
    if not events:
        return []
    data = stats.CensoredData(events, right=[life.time_s for life in lives if not life.recovered])
    survival = stats.ecdf(data).sf
    with (
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
    ):  # at 0 and 1 the formula has no width: NaN, with a warning
        warnings.simplefilter("ignore", RuntimeWarning)
        around = survival.confidence_interval(confidence, method="log-log")
    steps = zip(
        survival.quantiles, survival.probabilities, around.low.probabilities, around.high.probabilities, strict=True
    )
    times = set(events)
    return [
        Step(float(t), float(p), _known(lo, p, 0.0), _known(hi, p, 1.0)) for t, p, lo, hi in steps if float(t) in times
    ]


def _known(bound: float, share: float, edge: float) -> float:
    """Greenwood's formula breaks down where everybody (or nobody) is left: then the bound is the edge."""
    if np.isfinite(bound):
        return float(bound)
    return float(share) if share in (0.0, 1.0) and share == edge else edge


def median_s(lives: Sequence[Life]) -> float | None:
    """The time by which half have recovered; None if half never did."""
    return next((step.time_s for step in curve(lives) if step.share <= 0.5), None)

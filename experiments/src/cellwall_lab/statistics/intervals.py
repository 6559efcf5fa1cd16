"""How sure a share, a mean or a difference is.

Decides which interval is used for what: Wilson's for shares, Student's t for means, Newcombe's and Welch's for the
difference of two sets, the paired t where both have the same seeds. Never drops a value and never invents one: of
too few values an interval is unbounded, not narrow. All are of 95 % unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from scipy import stats

CONFIDENCE = 0.95


class Interval(msgspec.Struct, frozen=True):
    """An estimate and the interval around it, of ``n`` values. Unbounded where nothing can be said."""

    value: float
    low: float
    high: float
    n: int

    def holds(self, x: float) -> bool:
        return self.low <= x <= self.high


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """A share, by Wilson's score interval: of none, [0, 1]."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    found = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    # The formula's own rounding can leave the share itself a bit outside at 0 and n.
    share = hits / n
    return Interval(share, min(float(found.low), share), max(float(found.high), share), n)


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """A mean, by Student's t. Equal values give no width: whether they can differ at all they do not say."""
    n = len(values)
    if n == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    centre = math.fsum(values) / n
    if n == 1:
        return Interval(centre, -math.inf, math.inf, 1)
    error = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n)
    reach = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return Interval(centre, centre - reach, centre + reach, n)


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[np.ndarray], float],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Any statistic of a sample, by the percentile bootstrap: for medians and for skewed shares."""
    sample = np.asarray(values, dtype=float)
    if sample.size < 2:
        return Interval(float(statistic(sample)) if sample.size else math.nan, -math.inf, math.inf, sample.size)
    drawn = [statistic(rng.choice(sample, sample.size)) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(sample)), float(low), float(high), sample.size)


def difference_of_shares(a: tuple[int, int], b: tuple[int, int], confidence: float = CONFIDENCE) -> Interval:
    """Share b less share a, each (hits, n): Newcombe's interval (1998, method 10), made of two Wilson intervals."""
    first, second = wilson(*a, confidence), wilson(*b, confidence)
    if not first.n or not second.n:
        return Interval(math.nan, -1.0, 1.0, 0)
    gap = second.value - first.value
    down = math.hypot(second.value - second.low, first.high - first.value)
    up = math.hypot(second.high - second.value, first.value - first.low)
    return Interval(gap, max(-1.0, gap - down), min(1.0, gap + up), min(first.n, second.n))


def difference_of_means(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean of b less mean of a, of sets that have nothing to do with each other (Welch)."""
    if len(a) < 2 or len(b) < 2:
        gap = math.fsum(b) / len(b) - math.fsum(a) / len(a) if a and b else math.nan
        return Interval(gap, -math.inf, math.inf, min(len(a), len(b)))
    (va, vb), (na, nb) = (np.var(a, ddof=1), np.var(b, ddof=1)), (len(a), len(b))
    gap, error2 = math.fsum(b) / nb - math.fsum(a) / na, va / na + vb / nb
    if error2 == 0:
        return Interval(gap, gap, gap, min(na, nb))
    # Divided first: variances of 1e-200 would vanish when squared.
    wa, wb = va / na / error2, vb / nb / error2
    freedom = 1 / (wa**2 / (na - 1) + wb**2 / (nb - 1))
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(error2)
    return Interval(gap, gap - reach, gap + reach, min(na, nb))


def difference_of_pairs(pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Interval:
    """Mean of b − a over pairs (a, b) that share their seed: what they have in common cancels out."""
    return mean([b - a for a, b in pairs], confidence)

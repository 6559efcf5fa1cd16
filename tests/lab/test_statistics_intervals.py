"""Intervals hold what they estimate, agree with formulas written out, and cover what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall_lab.statistics.intervals import (
    bootstrap,
    difference_of_means,
    difference_of_pairs,
    difference_of_shares,
    mean,
    wilson,
)

counts = st.integers(0, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)
Z = 1.959963984540054  # the normal's 97.5 % point


def wilson_twin(hits: int, n: int) -> tuple[float, float]:
    """As in Wilson (1927), term by term."""
    p = hits / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return centre - reach, centre + reach


@given(counts)
def test_wilson_is_the_formula_and_holds_the_share(pair):
    hits, n = pair
    found = wilson(hits, n)
    if n == 0:
        assert (found.low, found.high) == (0.0, 1.0)
        return
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == pytest.approx(wilson_twin(hits, n), abs=1e-9)


@given(counts)
def test_a_share_and_its_complement_mirror(pair):
    hits, n = pair
    one, other = wilson(hits, n), wilson(n - hits, n)
    assert one.low == pytest.approx(1 - other.high, abs=1e-9)


@given(st.integers(1, 100), st.integers(0, 100))
def test_more_runs_of_the_same_share_say_more(n, hits):
    hits = min(hits, n)
    one, more = wilson(hits, n), wilson(4 * hits, 4 * n)
    assert more.high - more.low < one.high - one.low


def test_more_hits_than_runs_are_no_share():
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


@given(values)
def test_a_mean_lies_in_its_interval_which_moves_with_the_values(sample):
    found, moved = mean(sample), mean([v + 7.0 for v in sample])
    assert found.low <= found.value <= found.high
    assert moved.low == pytest.approx(found.low + 7.0, abs=1e-6)
    assert moved.high - moved.low == pytest.approx(found.high - found.low, abs=1e-6)


def test_known_interval_of_a_mean():
    # Student's t, 4 degrees of freedom: 2.776445; s = 1.581139, n = 5
    found = mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.low, found.value, found.high) == pytest.approx((1.036757, 3.0, 4.963243), abs=1e-6)


def test_one_value_says_nothing_of_the_spread():
    assert mean([3.0]).low == -math.inf
    assert mean([]).holds(1e9)
    assert difference_of_means([1.0], [2.0, 2.0]).holds(-5.0)


def test_intervals_cover_what_they_promise():
    """Of 400 samples of 20 around a known mean, 95 % of intervals hold it: between 92 and 98 % with near certainty."""
    rng = np.random.default_rng(1)
    samples = rng.normal(5.0, 2.0, (400, 20)).tolist()
    assert 0.92 <= np.mean([mean(s).holds(5.0) for s in samples]) <= 0.98
    others = rng.normal(6.0, 1.0, (400, 12)).tolist()
    pairs = zip(samples, others, strict=True)
    assert 0.92 <= np.mean([difference_of_means(a, b).holds(1.0) for a, b in pairs]) <= 0.98
    hits = rng.binomial(30, 0.3, 800).tolist()
    gaps = [difference_of_shares((a, 30), (b, 30)) for a, b in zip(hits[:400], hits[400:], strict=True)]
    assert 0.92 <= np.mean([gap.holds(0.0) for gap in gaps]) <= 0.99


@given(values, values)
def test_differences_turn_round_with_their_sides(a, b):
    there, back = difference_of_means(a, b), difference_of_means(b, a)
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)


@given(counts, counts)
def test_shares_differ_by_at_most_one_and_not_from_themselves(a, b):
    gap = difference_of_shares(a, b)
    assert -1 <= gap.low <= gap.high <= 1
    assert difference_of_shares(a, a).holds(0.0)
    if a[1] and b[1]:
        assert gap.holds(gap.value)


def test_newcombes_own_example():
    """Newcombe (1998), table II, (a): 56/70 against 48/80 gives 0.2 in [0.0524, 0.3339]."""
    gap = difference_of_shares((48, 80), (56, 70))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.5, 1.5)), min_size=3, max_size=20))
def test_pairs_see_what_sets_apart_hide(pairs):
    """What both sides of a pair share cancels out."""
    noisy = [(a, a + gap) for a, gap in pairs]
    paired = difference_of_pairs(noisy)
    assert paired.value == pytest.approx(np.mean([gap for _, gap in pairs]), abs=1e-9)
    spread = np.std([gap for _, gap in pairs], ddof=1)
    assert paired.high - paired.low <= 2 * 4.4 * spread / math.sqrt(len(pairs)) + 1e-6


def test_bootstrap_of_a_median_holds_it_and_repeats():
    sample = np.random.default_rng(2).exponential(3.0, 60).tolist()
    one, again = (bootstrap(sample, lambda s: float(np.median(s)), np.random.default_rng(3)) for _ in range(2))
    assert one == again
    assert one.low <= one.value <= one.high
    assert one.high - one.low < 3.0
    assert bootstrap([1.0], lambda s: float(s.mean()), np.random.default_rng(1)).high == math.inf

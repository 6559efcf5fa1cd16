"""Survival against a twin; bisection finds the step it is shown; a loop's figures are those of its curve."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall_lab.statistics.boundary import Level, Search
from cellwall_lab.statistics.hysteresis import Reading, loop, schedule
from cellwall_lab.statistics.survival import Life, curve, median_s

lives = st.lists(st.builds(Life, st.integers(1, 12).map(float), st.booleans()), min_size=1, max_size=40)


def survival_twin(runs: list[Life], t: float) -> float:
    """Kaplan and Meier, written out: at each recovery, those who recover of those still watched."""
    share = 1.0
    for at in sorted({life.time_s for life in runs if life.recovered and life.time_s <= t}):
        watched = sum(life.time_s >= at for life in runs)
        recovered = sum(life.recovered and life.time_s == at for life in runs)
        share *= 1 - recovered / watched
    return share


@given(lives)
def test_survival_is_the_product_written_out(runs):
    steps = curve(runs)
    assert [step.time_s for step in steps] == sorted({life.time_s for life in runs if life.recovered})
    for step in steps:
        assert step.share == pytest.approx(survival_twin(runs, step.time_s), abs=1e-9)
        assert -1e-9 <= step.low <= step.share + 1e-9 <= step.high + 2e-9 <= 1 + 3e-9


@given(lives)
def test_survival_never_rises(runs):
    shares = [step.share for step in curve(runs)]
    assert shares == sorted(shares, reverse=True)


@given(lives, st.integers(0, 20))
def test_runs_that_never_recover_never_shorten_the_median(runs, stuck):
    before, after = median_s(runs), median_s([*runs, *[Life(100.0, False)] * stuck])
    assert (math.inf if after is None else after) >= (math.inf if before is None else before)


def test_a_median_that_was_not_reached_is_none():
    assert median_s([Life(5.0, True), Life(70.0, False), Life(70.0, False)]) is None
    assert median_s([Life(70.0, False)]) is None
    assert median_s([Life(2.0, True), Life(4.0, True), Life(70.0, False)]) == 4.0


def search_to_the_end(tips: object, search: Search, runs: int = 5) -> Search:
    for _ in range(100):
        level = search.next_level()
        if level is None:
            return search
        search = search.having_seen(Level(level, runs if tips(level) else 0, runs))  # type: ignore[operator]
    raise AssertionError("does not end")


@given(st.floats(0.02, 0.98), st.floats(0.001, 0.2), st.booleans())
def test_bisection_closes_in_on_a_step(step, tolerance, falling):
    """Whichever way the setting hurts."""
    found = search_to_the_end(lambda x: (x >= step) != falling, Search(0.0, 1.0, tolerance))
    assert found.where == "found"
    low, high = found.bracket()
    assert low.at <= step <= high.at
    assert high.at - low.at <= tolerance
    assert low.tips != high.tips
    assert found.monotone
    assert len(found.seen) <= 3 + math.ceil(math.log2(1 / tolerance))


@pytest.mark.parametrize(("always", "where"), [(True, "below"), (False, "above")])
def test_a_boundary_outside_is_said_to_be_there(always, where):
    found = search_to_the_end(lambda x: always, Search(1.0, 2.0, 0.1))
    assert (found.where, found.estimate, found.bracket()) == (where, None, None)
    assert len(found.seen) == 2


@given(st.lists(st.integers(0, 5), min_size=8, max_size=40))
def test_bisection_keeps_its_invariant_whatever_it_is_shown(tipped):
    search = Search(0.0, 1.0, 1e-9)
    for number in tipped:
        level = search.next_level()
        if level is None:
            break
        search = search.having_seen(Level(level, number, 5))
        ends = search.bracket()
        if ends is not None:
            assert ends[0].tips != ends[1].tips
            assert ends[0].at < ends[1].at
            assert search.estimate == (ends[0].at + ends[1].at) / 2


def test_an_interrupted_search_goes_on_where_it_was():
    whole = search_to_the_end(lambda x: x >= 0.3, Search(0.0, 1.0, 0.05))
    for stop in range(len(whole.seen)):
        part = Search(0.0, 1.0, 0.05, whole.seen[:stop])
        assert search_to_the_end(lambda x: x >= 0.3, part) == whole


def test_what_contradicts_a_boundary_is_said():
    seen = (Level(0.0, 0, 5), Level(1.0, 5, 5), Level(0.5, 5, 5), Level(0.25, 0, 5), Level(0.75, 0, 5))
    assert not Search(0.0, 1.0, 0.1, seen).monotone


@given(st.floats(0.1, 5.0), st.floats(0.1, 5.0), st.integers(1, 20))
def test_a_schedule_goes_up_and_the_same_way_down(low, width, steps):
    levels = schedule(low, low + width, steps)
    up, down = ([level for level, way in levels if way == side] for side in (True, False))
    assert up == sorted(up) == down[::-1]
    assert (up[0], up[-1]) == pytest.approx((low, low + width))


def test_a_loop_tells_where_it_tips_and_where_it_recovers():
    up = [Reading(x, True, 0.6 if x > 1.45 else 0.0) for x in (0.5, 1.0, 1.5, 2.0)]
    down = [Reading(x, False, 0.6 if x > 0.75 else 0.0) for x in (2.0, 1.5, 1.0, 0.5)]
    made = loop([*up, *down], mark=0.3)
    assert (made.tips_at, made.recovers_at) == (1.5, 0.5)
    assert made.width_ratio == pytest.approx(2 / 3)
    assert made.area == pytest.approx(0.3)  # one level of 0.6 between 0.5 and 1.5, by trapezes


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_the_same_way_up_and_down_is_no_loop(shares):
    both = [Reading(float(k), up, share) for up in (True, False) for k, share in enumerate(shares, 1)]
    made = loop(both, mark=0.3)
    assert made.area == 0.0
    with pytest.raises(ValueError, match="other levels"):
        loop([*both, Reading(99.0, True, 0.0)], mark=0.3)

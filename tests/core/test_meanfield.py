"""The mean field of a cut: what can be reckoned by hand, what holds for any cell, and that its step is fine enough."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall import forecast, meanfield
from cellwall.meanfield import Cell, Sizes, classes, course, large_of
from cellwall.spec import RenewalPolicy, RetryPolicy

POLICY = RenewalPolicy()  # R = 20 s, T = 2 s
CUT_S = 3.0


def cell_of(load_factor: float, sizes: tuple[Sizes, ...], policy: RenewalPolicy = POLICY) -> Cell:
    work_s = sum(size.servers * size.work_s for size in sizes)
    return Cell(sizes=sizes, cores=work_s / policy.time_limit_s / load_factor, request_s=0.0, policy=policy)


def even(servers: float, work_s: float, spread: float = 0.3, parts: int = 7) -> tuple[Sizes, ...]:
    """Memberships evenly within ± spread of their mean."""
    factors = [1 - spread + spread * (2 * i + 1) / parts for i in range(parts)]
    return tuple(Sizes(servers / parts, factor * work_s) for factor in factors)


ALIKE = (Sizes(100, 0.01),)


def test_alike_and_all_cut_they_are_answered_if_their_work_fits_into_one_time_limit() -> None:
    """Of equal ones that start together either all are answered or hardly any."""
    assert not course(forecast.struck(cell_of(0.95, ALIKE), 1.0), CUT_S).stuck
    assert course(forecast.struck(cell_of(1.8, ALIKE), 1.0), CUT_S).out_ratio > 0.9


def test_one_alone_takes_what_its_work_takes() -> None:
    """A cut of next to nobody heals in the wait and the work of one renewal."""
    lonely = cell_of(0.5, ALIKE)
    healed_s = course(forecast.struck(lonely, 0.01), CUT_S).healed_s
    assert healed_s is not None
    assert 0 < healed_s <= 2 * POLICY.retry.wait_max_s


def test_who_is_not_cut_notices_nothing_in_a_healthy_cell() -> None:
    quiet = course(forecast.struck(cell_of(6.0, even(400, 0.009)), 0.0), CUT_S)
    assert quiet == meanfield.Course(False, 0.0, 0.0, 0.0)


def test_more_than_the_cpu_can_do_falls_over_by_itself() -> None:
    assert course(forecast.struck(cell_of(1.2 * POLICY.renew_every_s / POLICY.time_limit_s, ALIKE), 0.0), CUT_S).stuck


def test_the_reference_set() -> None:
    """Simulated: a quarter sticks under the limit, not under 1.5 times it; half of them under 2.0, not under 2.4."""
    reference = cell_of(5.6, (*even(400, 0.00935), *even(80, 0.0021, 0.78), Sizes(320, 0.00047)))
    found = course(forecast.struck(reference, 0.25), CUT_S)
    assert found.stuck
    assert 0.5 < found.out_ratio < 0.6
    growth, half = (forecast.growth(forecast.struck(reference, cut), CUT_S) for cut in (0.25, 0.5))
    assert growth is not None and half is not None
    assert 1 / 1.5 < growth < 1 / 1.25
    assert 1 / 2.4 < half < 1 / 2.0


cells = st.builds(
    lambda load, large, small, spread, period, wait_s: cell_of(
        load,
        (*even(large, 0.01, spread), Sizes(small, 0.0005)),
        RenewalPolicy(renew_every_s=2.0 * period, retry=RetryPolicy(wait_min_s=0.5 * wait_s, wait_max_s=1.5 * wait_s)),
    ),
    load=st.floats(0.5, 6.0),
    large=st.floats(20, 2000),
    small=st.floats(1, 2000),
    spread=st.floats(0.01, 0.5),
    period=st.floats(7, 20),
    wait_s=st.floats(0.05, 1.0),
)


@settings(max_examples=40, deadline=None)
@given(cell=cells, cut=st.floats(0, 1))
def test_shares_are_shares_and_a_cut_is_seen(cell: Cell, cut: float) -> None:
    found = course(forecast.struck(cell, cut), CUT_S)
    assert -1e-6 <= found.out_ratio <= found.worst_ratio + 1e-6 <= 1 + 2e-6
    assert found.worst_ratio >= cut - 1e-6
    assert (found.healed_s is None) == found.stuck == meanfield.sticks(forecast.struck(cell, cut), CUT_S)


@settings(max_examples=20, deadline=None)
@given(cell=cells, cut=st.floats(0.05, 0.95))
def test_nobody_is_made_or_lost(cell: Cell, cut: float) -> None:
    """In service + out = all, whatever each of them is doing: waiting for its time, in flight, or to ask again."""
    field = meanfield._Field(forecast.struck(cell, cut))
    field.run(5.0)
    field.cut()
    field.run(CUT_S)
    field.heal()
    for _ in range(20):
        field.run(1.7)
        asked = sum(request.servers for asked in field._asked for request in asked)
        pools = [*field._renew, *field._retry]
        pending = sum(ahead(pool, field._now) for pool in pools)
        assert asked + pending == pytest.approx(sum(size.servers for size in cell.sizes), rel=1e-6)


def ahead(pool: meanfield._Spread, now: int) -> float:
    """All that a pool will give, asked step by step. A dumb reading of its ring of differences."""
    rate, total, ring = pool._rate, 0.0, len(pool._change)
    for step in range(1, ring):
        rate += pool._change[(now + step) % ring]
        total += rate
    return total


@settings(max_examples=20, deadline=None)
@given(cell=cells, cut=st.floats(0.05, 1.0))
def test_where_a_cut_heals_it_heals_with_a_fifth_more_cpu(cell: Cell, cut: float) -> None:
    """Without the fifth waves may fall together a little worse: a border is no sharper than that."""
    hit = forecast.struck(cell, cut)
    if not course(hit, CUT_S).stuck:
        roomy = Cell(sizes=hit.sizes, cores=1.2 * hit.cores, request_s=0.0, policy=hit.policy)
        assert not course(roomy, CUT_S).stuck


def test_a_finer_step_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    hit = forecast.struck(cell_of(5.6, (*even(400, 0.00935), Sizes(400, 0.0005))), 0.25)
    coarse = forecast.growth(hit, CUT_S)
    monkeypatch.setattr(meanfield, "STEPS_PER_LIMIT", 2 * meanfield.STEPS_PER_LIMIT)
    fine = forecast.growth(hit, CUT_S)
    assert coarse is not None and fine is not None
    assert math.isclose(coarse, fine, rel_tol=0.02 + forecast.GROWTH_FINE - 1)


@given(st.lists(st.tuples(st.floats(1e-5, 1e-1), st.booleans()), min_size=1, max_size=200))
def test_classes_keep_servers_work_and_cut(servers: list[tuple[float, bool]]) -> None:
    works = [work_s for work_s, _ in servers]
    found = classes(works, [cut for _, cut in servers])
    assert sum(size.servers for size in found) == len(servers)
    assert sum(size.servers * size.work_s for size in found) == pytest.approx(sum(works))
    assert sum(size.cut for size in found) == sum(cut for _, cut in servers)
    large = [w for w in works if w >= meanfield.LARGE_SHARE * max(works)]
    count, _ = large_of(Cell(sizes=found, cores=1.0, request_s=0.0, policy=POLICY))
    assert count == pytest.approx(len(large), abs=sum(0.38 < w / max(works) < 0.42 for w in works))

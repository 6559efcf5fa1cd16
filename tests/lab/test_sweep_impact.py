"""One run's measures: zero where nobody is out, the same as a slow reckoning, and right on worlds read off by hand."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.capacity import TYPICAL
from cellwall_lab.sweep.impact import Change, Trace, customer_errors, measure, states
from cellwall_lab.sweep.points import point
from cellwall_lab.sweep.world import Customers, place

SMALL = {"fleet.servers": 100, "cpu.load_factor": 6.0, "trigger": "cell", "share": 1.0}


def world_of(cells, placement):
    return place(point({**SMALL, "cells": cells, "placement": placement}, 70.0), 1, TYPICAL)


WORLDS = {key: world_of(*key) for key in itertools.product((1, 4), ("aligned", "striped"))}


def trace(placed, out, from_s=103.0, back_s=None, **fields):
    """Everybody in at 50; ``out`` leave at ``from_s`` and come back at ``back_s``."""
    changes = [Change(50.0, s, True) for s in range(len(placed.cell))]
    changes += [Change(from_s, s, False) for s in out]
    changes += [Change(back_s, s, True) for s in out] if back_s is not None else []
    times = {"clean_s": 80.0, "cut_on_s": 100.0, "cut_off_s": 103.0, "end_s": 173.0, "early_failures": 0}
    return Trace(changes=changes, **{**times, **fields})


@pytest.mark.parametrize("world", WORLDS.values(), ids=[str(key) for key in WORLDS])
def test_with_nobody_out_nothing_happened(world):
    found = measure(trace(world, []), world)
    assert found.healthy_before and not found.stuck
    assert (found.servers_out, found.operations_failed, found.customers_1, found.customer_minutes) == (0, 0, 0, 0)
    assert (found.dragged_ratio, found.cells_tipped, found.recover_s) == (0, 0, 0)


def test_with_everybody_out_everything_fails():
    world = WORLDS[4, "aligned"]
    found = measure(trace(world, range(100)), world)
    assert (found.servers_out, found.cells_tipped, found.recover_s) == (1, 4, None)
    assert found.operations_failed == pytest.approx(1)
    assert (found.customers_1, found.customers_10, found.customers_50) == (1, 1, 1)


def test_a_cell_out_reaches_its_customers_only_where_they_are_aligned():
    for placement, customers in (("aligned", 0.25), ("striped", 1.0)):
        world = WORLDS[4, placement]
        found = measure(trace(world, [s for s in range(100) if world.cell[s] == 0]), world)
        assert found.servers_out == found.servers_out_struck / 4 == pytest.approx(0.25)
        assert found.servers_out_elsewhere == 0
        assert (found.struck_cells, found.cells_tipped) == (1, 1)
        assert found.customers_living == customers
        assert found.operations_failed == pytest.approx(0.25, abs=0.1)
        if placement == "aligned":
            assert (found.customers_1, found.customers_elsewhere) == (0.25, 0)
        else:
            assert found.customers_1 > 0.9, "nearly every customer has a table there"
            assert found.customers_50 < 0.25, "but few lose most of it"


@pytest.mark.parametrize(("back_s", "recover_s"), [(120.0, 17.0), (152.0, 49.0), (160.0, None), (None, None)])
def test_recovery_must_last_a_period_or_is_censored(back_s, recover_s):
    world = WORLDS[1, "aligned"]
    found = measure(trace(world, range(50), back_s=back_s), world)
    assert found.watched_s == 50.0
    assert found.recover_s == (None if recover_s is None else pytest.approx(recover_s, abs=2.0))


def test_a_second_wave_is_no_recovery():
    world = WORLDS[1, "aligned"]
    once = trace(world, range(50), back_s=110.0)
    twice = [*once.changes, *(Change(140.0, s, False) for s in range(50))]
    assert measure(once, world).recover_s == pytest.approx(7.0, abs=2.0)
    assert measure(msgspec.structs.replace(once, changes=twice), world).recover_s is None


def test_who_was_sick_before_is_said():
    world = WORLDS[1, "aligned"]
    assert not measure(trace(world, [3], from_s=99.0), world).healthy_before
    assert not measure(trace(world, [], early_failures=1), world).healthy_before
    assert measure(trace(world, [3], from_s=100.0), world).healthy_before, "the cut itself is no sickness"


def test_those_never_cut_who_fell_are_dragged_in():
    world = WORLDS[4, "aligned"]
    others = [s for s in range(100) if world.cell[s] != 0][:5]
    found = measure(trace(world, [*world.struck, *others]), world)
    assert found.dragged_ratio == pytest.approx(5 / 25)


# ---------------------------------------------------------------- twins

changes = st.lists(st.builds(Change, st.integers(0, 30).map(float), st.integers(0, 4), st.booleans()), max_size=40).map(
    lambda found: sorted(found, key=lambda c: c.t)
)


@given(changes, st.integers(0, 30), st.integers(1, 5))
def test_states_are_the_last_word_on_each_server(found, start, step):
    times = np.arange(start, 31.0, step)
    before, up = states(found, 5, float(start), times)
    for server in range(5):
        mine = [c for c in found if c.server == server]
        assert before[server] == ([False, *[c.available for c in mine if c.t < start]])[-1]
        for k, t in enumerate(times):
            assert up[k, server] == ([False, *[c.available for c in mine if c.t <= t]])[-1]


@settings(max_examples=60)
@given(st.data())
def test_errors_are_those_of_a_slow_reckoning(data):
    owners = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))
    replicas = [data.draw(st.permutations(range(6)))[:3] for _ in owners]
    up = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5)))
    weights = [1 / owners.count(owner) for owner in owners]
    customers = Customers(
        np.array(replicas, np.int32), np.array(owners, np.int32), np.array(weights), list("abcd"), np.full(4, 0.25)
    )
    found = customer_errors(up, customers)
    for k, now in enumerate(up):
        for customer in range(4):
            expected = 0.0
            for owner, servers, weight in zip(owners, replicas, weights, strict=True):
                left = sum(now[s] for s in servers)
                failed = 0.8 if left == 1 else 1.0 if left == 0 else 0.0  # 80 % need two of three, 20 % one
                expected += weight * failed * (owner == customer)
            assert found[k, customer] == pytest.approx(expected)


@pytest.mark.parametrize("world", WORLDS.values(), ids=[str(key) for key in WORLDS])
def test_a_customers_requests_are_all_somewhere(world):
    c = world.customers
    assert np.bincount(c.customer, weights=c.weight) == pytest.approx(np.ones(len(c.names)))
    assert c.load.sum() == pytest.approx(1)
    assert len(c.customer) == sum(len(table.replicas[""]) for table in world.layout.tables)

"""The simulated event at both sizes: it sticks, its controls heal, cells contain it, with margin on both sides."""

from __future__ import annotations

from collections import Counter

import pytest

from cellwall import history
from cellwall.errors import Refused
from cellwall.placement import domain_servers, make_fleet, server_id
from cellwall_lab import verbs
from cellwall_lab.backends.engine import DELAY_S

from .simulated_arms import (
    CUT_S,
    FULL,
    HALF,
    HALF_SPREAD,
    SCALED,
    ZOMBIES,
    Arm,
    R,
    T,
    cpu,
    make_spec,
    seeds,
    settled_and_stuck,
    sizes,
)


@sizes
@seeds
def test_the_monolith_sticks_at_about_half_long_after_the_trigger(struck, size, seed):
    arm = struck(size, seed=seed)
    assert settled_and_stuck(arm), arm.plateau
    if size is FULL:  # the claim itself; a quarter of the groups are too few for it
        assert all(0.45 <= failed <= 0.65 for _, failed in arm.plateau), arm.plateau
    assert arm.cut_servers == arm.spec.fleet.servers // 4
    assert max(out for out, _ in arm.plateau) > 2 * 0.25, "more than was ever cut"


@sizes
@seeds
def test_servers_never_cut_are_dragged_in_and_some_relapse(struck, size, seed):
    arm = struck(size, seed=seed)
    (fault,) = [f for f in arm.of(history.Fault) if f.state == "on"]
    changes = [a for a in arm.of(history.Availability) if a.t >= arm.cut_s]
    dragged = {a.server for a in changes if not a.available} - set(fault.targets)
    assert len(dragged) > 0.2 * arm.spec.fleet.servers
    assert {a.reason for a in changes if not a.available and a.server in dragged} == {"time-out"}
    times_out = Counter(a.server for a in changes if not a.available and a.t < arm.off_s + 2 * R + 30.0)
    if size is FULL:  # a fleet of 200 has one group of mid-sized memberships, and it may lie on one side of the cut
        assert sum(count > 1 for count in times_out.values()) > 0, "nobody relapsed"


@sizes
@seeds
@pytest.mark.parametrize("control", [HALF, cpu(2.0)], ids=["half-membership", "double-cpu"])
def test_the_same_cut_heals_by_itself(struck, size, seed, control):
    arm, monolith = struck(size, control, seed=seed), struck(size, seed=seed)
    assert all(out <= 0.005 and failed <= 0.005 for out, failed in [*arm.settled[-4:], *arm.plateau])
    on, _ = arm.of(history.Fault)
    assert on.targets == monolith.of(history.Fault)[0].targets, "unlike triggers prove nothing"


@sizes
def test_work_for_callers_that_have_gone_takes_everybody_out(struck, size):
    arm = struck(size, ZOMBIES, seed=1)
    assert arm.out_ratio() >= 0.99
    assert arm.failed_ratio() >= 0.98
    assert arm.out_ratio() > struck(size, seed=1).out_ratio() + 0.3


# ---------------------------------------------------------------- cells


@pytest.mark.parametrize("factor, seed", [(1.0, 1), (1.0, 2), (0.95, 1)])
def test_four_cells_contain_the_cut_to_the_struck_one(struck, seed, factor):
    arm = struck(cpu(factor), seed=seed, cells=4)
    struck_cell = "cell-0"
    (on, _) = arm.of(history.Fault)
    assert {row[0] for row in arm.of(history.World)[0].servers if row[1] == struck_cell} == set(on.targets)
    cells = {c: w.servers_out / w.servers for c, w in arm.window().cells.items()}
    assert 0.45 <= cells[struck_cell] <= 0.68
    assert all(out <= 0.68 / 4 and failed <= 0.3 for out, failed in arm.plateau)
    elsewhere = [r for r in arm.of(history.Renewal) if r.cell != struck_cell and r.t >= arm.cut_s]
    assert len(elsewhere) > 600 * 3, "the others went on renewing"
    assert Counter(r.outcome for r in elsewhere) == {"done": len(elsewhere)}
    assert max(r.waited_s for r in elsewhere) < T
    left = {a.cell for a in arm.of(history.Availability) if not a.available and a.t >= arm.cut_s}
    assert left == {struck_cell}
    homes = arm.of(history.World)[0].customers
    failed = {q.customer for q in arm.of(history.Request) if q.t >= arm.cut_s and q.outcome != "done"}
    assert failed and all(homes[customer] == [struck_cell] for customer in failed)


@seeds
def test_a_cut_spread_over_all_cells_hits_all(struck, seed):
    arm = struck(targets=HALF_SPREAD, seed=seed, cells=4)
    assert settled_and_stuck(arm), arm.plateau
    for cell in arm.window().cells.values():
        assert cell.servers_out / cell.servers >= 0.4


def test_every_arm_of_a_seed_loses_the_same_servers_and_has_the_same_cpu(struck):
    arms = [struck(seed=1), struck(seed=1, cells=4), struck(HALF, seed=1), struck(ZOMBIES, seed=1)]
    fleet = make_fleet(arms[0].spec.fleet, arms[0].world._rng)
    expected = [server_id(s) for s in domain_servers(fleet, 0)]
    for arm in arms:
        assert arm.of(history.Fault)[0].targets == expected
    assert len({arm.of(history.World)[0].calibration["total_cores"] for arm in arms}) == 1
    limits = [limit for limit in arms[1].of(history.CpuLimit) if limit.t == 10.0]
    assert sum(limit.limit_cores for limit in limits) == pytest.approx(
        arms[0].of(history.World)[0].calibration["total_cores"]
    )


def test_the_size_rule_refuses_the_scaled_fleet_in_four_cells():
    with pytest.raises(Refused, match="cells: 4 cells are too small for 200 servers"):
        make_spec(SCALED, cells=4).check()


# ---------------------------------------------------------------- margins


@pytest.mark.parametrize("factor, seed", [(1.1, 1), (1.1, 2), (0.8, 1)])
def test_the_monolith_is_still_stuck_with_more_or_less_cpu(struck, seed, factor):
    arm = struck(cpu(factor), seed=seed)
    assert settled_and_stuck(arm), arm.plateau


@sizes
def test_half_the_membership_heals_even_with_less_cpu(struck, size):
    factor = 0.8 if size is FULL else 0.95  # with less, the size rule refuses a fleet of 200
    arm = struck(size, HALF, cpu(factor), seed=1)
    assert all(out <= 0.005 for out, _ in arm.plateau)


@sizes
def test_a_small_cut_heals(struck, size):
    arm = struck(size, targets=verbs.Targets(spread=0.1), seed=1)
    assert all(out <= 0.005 for out, _ in arm.plateau)


# ---------------------------------------------------------------- faults


@sizes
def test_no_fault_is_active_after_the_trigger_is_off(struck, size):
    arm = struck(size, seed=1)
    assert arm.do(verbs.Faults()) == []
    on, off = arm.of(history.Fault)
    assert (on.state, off.state, on.id, on.targets) == ("on", "off", off.id, off.targets)
    assert off.t == pytest.approx(on.t + CUT_S)
    assert off.receipt["refused"] > len(on.targets), "the cut bit every server"
    unreachable = [r for r in arm.of(history.Renewal) if r.reason == "unreachable"]
    assert {r.server for r in unreachable} == set(on.targets)
    assert all(r.t + r.waited_s <= off.t + 2 * DELAY_S for r in unreachable), "refused after the trigger was off"
    prevented = [r for r in unreachable if r.t >= on.t]
    assert len(prevented) == off.receipt["refused"]
    link_lost = [a for a in arm.of(history.Availability) if a.reason == "link-lost"]
    assert {a.t for a in link_lost} == {on.t}
    # From then on whoever fails, fails by the limit: it waited T and no answer came.
    after = [r for r in arm.of(history.Renewal) if r.t >= off.t and r.outcome != "done"]
    assert after and all(r.reason == "time-out" and r.waited_s == pytest.approx(T) for r in after)


def test_cuts_that_overlap_end_each_for_itself(tmp_path):
    arm = Arm(make_spec(SCALED, HALF), tmp_path)
    names = [server_id(s) for s in range(6)]
    arm.do(verbs.Cut(targets=verbs.Targets(servers=names[:4]), for_s=3.0))
    arm.wait(1.0)
    arm.do(verbs.Cut(targets=verbs.Targets(servers=names[2:]), for_s=10.0))
    arm.wait(6.0)
    assert [fault.id for fault in arm.do(verbs.Faults())] == ["cut-2"]
    assert arm.window().servers_out == 4, "the end of the first cut ended the second"
    assert arm.do(verbs.Wait(until="recovered", deadline_s=20.0)).met

"""The CPU limit: its formula worked out again in plain sums, the same in every arm, refused where it means nothing."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.capacity import CORES_MIN, TYPICAL, Costs, large_servers, total_cores
from cellwall.errors import Refused
from cellwall.placement import Fleet, make_fleet
from cellwall.spec import CpuSpec, FleetSpec, RenewalPolicy, RetryPolicy, WorldSpec

CHEAP = Costs(c_record_s=6e-6, c_request_s=1e-4)


def fleet_of(spec: WorldSpec) -> Fleet:
    return make_fleet(spec.fleet, lambda name: Random(f"{spec.seed}/{name}"))


def limit(spec: WorldSpec, costs: Costs = CHEAP) -> float:
    return total_cores(spec, fleet_of(spec), costs)


def by_hand(spec: WorldSpec, costs: Costs) -> float:
    """CPU seconds that all large servers ask for at once, done in L time limits; plus accepting their storm."""
    sizes = [t for t in fleet_of(spec).target if t > spec.fleet.large_records / 2]
    reading = sum(sizes) * costs.c_record_s / spec.cpu.load_factor / spec.renewal.time_limit_s
    retry = spec.renewal.retry
    attempts_per_s = len(sizes) / (spec.renewal.time_limit_s + (retry.wait_min_s + retry.wait_max_s) / 2)
    return (reading + attempts_per_s * costs.c_request_s) * spec.cpu.factor


@given(
    st.integers(1, 1000),
    st.floats(2, 7),
    st.floats(0.5, 4),
    st.floats(1, 3),
    st.floats(0.05, 1),
    st.floats(4e-6, 1e-5),
    st.floats(0, 3e-4),
)
def test_the_limit_is_the_formula(seed, load_factor, factor, time_limit_s, wait_min_s, c_record_s, c_request_s):
    spec = WorldSpec(
        seed=seed,
        cpu=CpuSpec(load_factor=load_factor, factor=factor),
        renewal=RenewalPolicy(
            time_limit_s=time_limit_s, retry=RetryPolicy(wait_min_s=wait_min_s, wait_max_s=2 * wait_min_s)
        ),
    )
    costs = Costs(c_record_s, c_request_s)
    expected = by_hand(spec, costs)
    if expected / factor < CORES_MIN:
        with pytest.raises(Refused, match=r"fleet\.large_records"):
            limit(spec, costs)
    else:
        assert limit(spec, costs) == pytest.approx(expected)


@pytest.mark.parametrize("costs", [CHEAP, TYPICAL])
@pytest.mark.parametrize("seed", [1, 2])
def test_arms_of_a_seed_have_the_same_limit(costs, seed):
    base = WorldSpec(seed=seed)
    replace = msgspec.structs.replace
    arms = [
        replace(base, cells=4),
        replace(base, cells=8, placement="striped"),
        replace(base, nodes_per_cell=2),
        replace(base, fleet=FleetSpec(indexes=False)),
        replace(base, metadata=replace(base.metadata, drop_abandoned=False)),
    ]
    assert {limit(arm, costs) for arm in arms} == {limit(base, costs)}
    assert limit(replace(base, cpu=CpuSpec(factor=2.0)), costs) == 2 * limit(base, costs)


def test_the_reference_set_is_allowed_with_typical_costs_and_in_the_range_of_research_07():
    assert 0.25 < limit(WorldSpec(), TYPICAL) < 0.5


def test_a_given_limit_is_taken_as_it_is_and_multiplied():
    cpu = CpuSpec(total_cores=0.01, factor=1.5)
    assert limit(WorldSpec(cpu=cpu)) == pytest.approx(0.015)


def test_large_servers_are_those_of_large_groups():
    spec = WorldSpec()
    fleet = fleet_of(spec)
    assert large_servers(spec, fleet) == [s for s, t in enumerate(fleet.target) if t > spec.fleet.large_records / 2]


# ---------------------------------------------------------------- refusals


def test_a_limit_below_the_least_is_refused_by_the_field_that_makes_it_so():
    with pytest.raises(Refused, match=r"^fleet\.large_records: 400 gives a CPU limit of 0\.1\d cores") as refusal:
        limit(WorldSpec(fleet=FleetSpec(large_records=400)))
    assert str(CORES_MIN) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_least_is_asked_of_the_base_arm_so_that_no_arm_of_a_seed_is_refused_alone():
    spec = WorldSpec()
    free = Costs(CHEAP.c_record_s, 0.0)
    just = Costs(1.01 * CHEAP.c_record_s * CORES_MIN / limit(spec, free), 0.0)
    for factor in (0.5, 1.0, 2.0):
        assert limit(msgspec.structs.replace(spec, cpu=CpuSpec(factor=factor)), just) > 0


@pytest.mark.parametrize("share, allowed", [(0.099, True), (0.101, False), (0.5, False)])
def test_requests_dearer_than_a_tenth_of_a_large_renewal_are_refused(share, allowed):
    spec = WorldSpec()
    fleet = fleet_of(spec)
    large = [fleet.target[s] for s in large_servers(spec, fleet)]
    costs = Costs(6e-6, share * 6e-6 * sum(large) / len(large))
    if allowed:
        assert limit(spec, costs) > CORES_MIN
        return
    with pytest.raises(Refused, match=r"^fleet\.large_records: 1700 is too few: a request costs .* tenth"):
        limit(spec, costs)


def test_without_large_servers_there_is_nothing_to_follow_from():
    fleet = FleetSpec(large_share=0.0)
    with pytest.raises(Refused, match=r"^fleet\.large_share: 0 is not allowed without cpu\.total_cores"):
        limit(WorldSpec(fleet=fleet))
    assert limit(WorldSpec(fleet=fleet, cpu=CpuSpec(total_cores=0.3))) == 0.3

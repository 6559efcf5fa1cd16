"""The custom resources say the same world as a spec does, and quantities are read as Kubernetes reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec, cores, cpu_per_node, millicores, resources, world
from cellwall.spec import CpuSpec, FleetSpec, LoadSpec, MetadataPolicy, RenewalPolicy, RetryPolicy, WorldSpec

specs = st.builds(
    WorldSpec,
    seed=st.integers(0, 99),
    cells=st.integers(1, 8),
    nodes_per_cell=st.integers(1, 3),
    placement=st.sampled_from(["aligned", "striped", "shuffle"]),
    shuffle_cells=st.integers(1, 4),
    fleet=st.builds(
        FleetSpec,
        servers=st.sampled_from([200, 800]),
        large_share=st.floats(0, 0.9),
        large_records=st.integers(1, 5000),
        mid_range=st.just((0.1, 0.3)),
        indexes=st.booleans(),
        customers_per_group=st.integers(1, 9),
    ),
    renewal=st.builds(
        RenewalPolicy, renew_every_s=st.floats(5, 60), retry=st.builds(RetryPolicy, wait_min_s=st.floats(0.01, 0.4))
    ),
    metadata=st.builds(
        MetadataPolicy,
        discipline=st.sampled_from(["processor-sharing", "fifo", "lifo"]),
        drop_abandoned=st.booleans(),
        admin_lane=st.sampled_from(["shared", "own"]),
        partitions=st.integers(1, 64),
    ),
    load=st.builds(LoadSpec, rps=st.floats(0, 500)),
    cpu=st.builds(CpuSpec, total_cores=st.integers(40, 4000).map(lambda m: m / 1000)),
)


@given(specs)
def test_a_world_survives_the_way_to_resources_and_back(spec: WorldSpec) -> None:
    assert spec.cpu.total_cores is not None
    service, fleet = resources(spec, "world", spec.cpu.total_cores)
    assert world(service, fleet, spec.load) == spec


def test_the_defaults_are_those_of_the_reference_world() -> None:
    spec = world(MetadataServiceSpec(), StorageFleetSpec(service="world"), LoadSpec())
    assert spec == WorldSpec(cpu=CpuSpec(total_cores=0.4))


@pytest.mark.parametrize(("text", "value"), [("400m", 0.4), ("2", 2.0), ("0.25", 0.25), ("0m", 0.0)])
def test_cpu_quantities(text: str, value: float) -> None:
    assert cores(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0.1234", "4 ", "1k", "-1", "400M"])
def test_what_is_no_cpu_quantity_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="cpu"):
        cores(text)


@given(st.integers(0, 10**6))
def test_millicores_are_what_was_asked(m: int) -> None:
    assert cores(millicores(m / 1000)) == pytest.approx(m / 1000)


def test_the_total_is_shared_equally() -> None:
    assert cpu_per_node(MetadataServiceSpec(cells=4, nodes_per_cell=1)) == "100m"

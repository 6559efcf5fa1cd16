"""Layouts: what arms of one seed share, what placement changes, and every record counted again by hand."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.model import hash_slice, partition_key
from cellwall.placement import (
    DOMAINS,
    Layout,
    assignments,
    cell_id,
    domain_servers,
    make_fleet,
    make_layout,
    server_id,
    server_tables,
    spread_servers,
)
from cellwall.spec import FleetSpec, MetadataPolicy, WorldSpec

SMALL = FleetSpec(servers=120, group_servers=10, large_records=300)
TINY = FleetSpec(servers=24, group_servers=6, large_records=60, customers_per_group=2)
REFERENCE = FleetSpec()


def build(spec: WorldSpec) -> Layout:
    return make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))


@functools.cache
def layout(fleet: FleetSpec = SMALL, seed: int = 1, cells: int = 1, placement: str = "aligned", k: int = 2) -> Layout:
    return build(WorldSpec(seed=seed, cells=cells, placement=placement, shuffle_cells=k, fleet=fleet))


def triples(world: Layout):
    for table in world.tables:
        for index, placed in table.replicas.items():
            for number, triple in enumerate(placed):
                yield table, index, number, triple


worlds = st.builds(
    WorldSpec,
    seed=st.integers(0, 10_000),
    cells=st.integers(1, 4),
    placement=st.sampled_from(["aligned", "striped", "shuffle"]),
    shuffle_cells=st.integers(1, 5),
    metadata=st.builds(MetadataPolicy, partitions=st.integers(1, 20)),
    fleet=st.builds(
        FleetSpec,
        servers=st.just(24),
        group_servers=st.sampled_from([4, 6]),
        large_share=st.sampled_from([0.0, 0.3, 0.5]),
        mid_share=st.sampled_from([0.0, 0.1, 0.5]),
        large_records=st.integers(1, 80),
        customers_per_group=st.integers(1, 5),
        indexes=st.booleans(),
    ),
)


# ---------------------------------------------------------------- any world


@given(worlds)
@settings(max_examples=60)
def test_any_world_has_every_replica_in_its_place(spec):
    world = build(spec)
    group, zone = world.fleet.group, world.fleet.zone
    counted: Counter[int] = Counter()
    for _, _, _, triple in triples(world):
        assert {zone[s] for s in triple} == {"a", "b", "c"}
        assert len({group[s] for s in triple}) == 1
        assert len({world.cell[s] for s in triple}) == 1
        counted.update(triple)
    assert world.records == [counted[s] for s in range(world.fleet.servers)]
    assert set(world.cell) == set(range(spec.cells))
    assert all(0 <= p < spec.metadata.partitions for p in world.partition)
    for servers in world.fleet.groups():
        assert len({world.cell[s] for s in servers}) == 1, "a group is split over cells"
    for table in world.tables:
        assert list(table.replicas) == ["", *(index.name for index in table.info.indexes)]
        assert [len(placed) for placed in table.replicas.values()] == [
            table.info.partitions,
            *(index.partitions for index in table.info.indexes),
        ]


@given(worlds)
@settings(max_examples=30)
def test_the_same_seed_gives_the_same_layout(spec):
    assert build(spec) == build(spec)


def test_another_seed_gives_another_layout():
    one, two = layout(seed=1), layout(seed=2)
    assert one.fleet.target != two.fleet.target
    assert [t.replicas for t in one.tables] != [t.replicas for t in two.tables]


# ---------------------------------------------------------------- arms of a seed


@pytest.mark.parametrize("fleet", [SMALL, REFERENCE], ids=["small", "reference"])
@pytest.mark.parametrize("seed", [1, 2])
def test_half_the_membership_is_the_same_world_without_its_indexes(fleet, seed):
    full, half = layout(fleet, seed), layout(msgspec.structs.replace(fleet, indexes=False), seed)
    assert half.fleet == full.fleet
    assert half.cell == full.cell
    assert [t.replicas for t in half.tables] == [{"": t.replicas[""]} for t in full.tables]
    assert [t.info for t in half.tables] == [msgspec.structs.replace(t.info, indexes=()) for t in full.tables]
    assert 2 * sum(half.records) == sum(full.records)
    base: Counter[int] = Counter(s for _, index, _, triple in triples(full) if not index for s in triple)
    assert half.records == [base[s] for s in range(fleet.servers)]


@pytest.mark.parametrize("cells", [2, 4, 8])
@pytest.mark.parametrize("seed", [1, 2])
def test_arms_share_sizes_replicas_and_the_servers_cut_whatever_the_cell_count(cells, seed):
    one, many = layout(seed=seed), layout(seed=seed, cells=cells)
    assert many.fleet == one.fleet
    assert many.tables == one.tables
    assert many.records == one.records
    for domain in range(DOMAINS):
        assert domain_servers(many.fleet, domain) == domain_servers(one.fleet, domain)


@pytest.mark.parametrize("fleet", [SMALL, REFERENCE], ids=["small", "reference"])
def test_a_domain_is_a_quarter_and_is_one_of_four_cells(fleet):
    world = layout(fleet, cells=4)
    for domain in range(DOMAINS):
        struck = domain_servers(world.fleet, domain)
        assert len(struck) == fleet.servers // 4
        assert struck == [s for s, cell in enumerate(world.cell) if cell == domain]
    assert domain_servers(world.fleet, DOMAINS) == []


def test_domains_are_like_each_other_in_the_reference_set():
    fleet = layout(REFERENCE).fleet
    domains = [[fleet.target[s] for s in domain_servers(fleet, d)] for d in range(DOMAINS)]
    assert max(map(sum, domains)) < 1.05 * min(map(sum, domains))
    assert {sum(target > 800 for target in domain) for domain in domains} == {100}, "large servers"


# ---------------------------------------------------------------- placement over cells


def cells_of_tables(world: Layout) -> dict[str, set[int]]:
    found = defaultdict(set)
    for table, _, _, triple in triples(world):
        found[table.info.id].add(world.cell[triple[0]])
    return found


def test_aligned_puts_a_customer_in_one_cell():
    assert {len(cells) for cells in layout(cells=4).customers().values()} == {1}


def test_striped_puts_a_table_in_every_cell():
    world = layout(cells=4, placement="striped")
    found = cells_of_tables(world)
    big = [t.info for t in world.tables if t.info.partitions >= 4]
    assert big
    for info in big:
        assert found[info.id] == {0, 1, 2, 3}
        assert world.customers()[info.customer] == [cell_id(c) for c in range(4)]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_shuffle_puts_a_customer_in_k_cells(k):
    world = layout(cells=4, placement="shuffle", k=k)
    homes = defaultdict(set)
    for table, _, _, triple in triples(world):
        homes[table.info.customer].add(world.cell[triple[0]])
    big = {t.info.customer for t in world.tables if t.info.partitions >= 4}
    assert big
    assert {len(homes[customer]) for customer in big} == {min(k, 4)}
    assert all(len(cells) <= k for cells in homes.values())
    if k < 4:
        assert len({tuple(sorted(homes[customer])) for customer in big}) > 1, "everybody in the same cells"
    assert {c: [cell_id(i) for i in sorted(cells)] for c, cells in homes.items()} == world.customers()


@pytest.mark.parametrize("placement", ["striped", "shuffle"])
def test_with_one_cell_there_is_nothing_to_stripe(placement):
    assert layout(placement=placement).tables == layout().tables


# ---------------------------------------------------------------- cuts


@given(st.sampled_from([SMALL, TINY]), st.floats(0.01, 1.0), st.integers())
@settings(max_examples=50)
def test_a_spread_cut_takes_its_share_of_every_group(fleet_spec, share, seed):
    fleet = layout(fleet_spec).fleet
    struck = spread_servers(fleet, share, Random(seed))
    assert struck == sorted(set(struck))
    for servers in fleet.groups():
        assert abs(len(set(servers) & set(struck)) - share * len(servers)) <= 0.5
    assert spread_servers(fleet, share, Random(seed)) == struck


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused_by_name(share):
    with pytest.raises(Refused, match="spread"):
        spread_servers(layout(TINY).fleet, share, Random(1))


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("seed", [1, 2])
def test_every_server_carries_about_the_records_it_was_sized_for(seed):
    """Two things move a server from its target: rounding of tables, and that each zone of a group holds a third."""
    world = layout(REFERENCE, seed)
    fleet = world.fleet
    for group, servers in enumerate(fleet.groups()):
        total, target = sum(world.records[s] for s in servers), sum(fleet.target[s] for s in servers)
        tables = sum(table.group == group for table in world.tables)
        assert abs(total - target) <= 6 * tables, "more than a partition and its index off, per table"
        for zone in "abc":
            here = [s for s in servers if fleet.zone[s] == zone]
            assert sum(world.records[s] for s in here) == total / 3
            for s in here:
                expected = total / 3 * fleet.target[s] / sum(fleet.target[h] for h in here)
                # Binomial; 6 standard deviations: once in a million fleets.
                assert abs(world.records[s] - expected) <= 6 * math.sqrt(expected) + 1
    large = [s for s, target in enumerate(fleet.target) if target > 1000]
    assert all(0.7 < world.records[s] / fleet.target[s] < 1.3 for s in large)


def test_large_mid_and_small_groups_have_the_sizes_of_the_reference_set():
    fleet = make_fleet(REFERENCE, Random)
    groups = [[fleet.target[s] / REFERENCE.large_records for s in servers] for servers in fleet.groups()]
    assert len(groups) == 32
    for number, sizes in enumerate(groups):
        low, high = (0.7, 1.3) if number < 16 else (0.05, 0.4) if number < 19 else (0.025, 0.075)
        assert low - 0.001 <= min(sizes) and max(sizes) <= high + 0.001
    assert 0.97 < sum(map(sum, groups[:16])) / 400 < 1.03
    assert all({fleet.zone[s] for s in servers} == {"a", "b", "c"} for servers in fleet.groups())


# ---------------------------------------------------------------- memberships


@given(worlds)
@settings(max_examples=30)
def test_assignments_name_every_replica_once_with_its_peers_and_its_slice(spec):
    world = build(spec)
    found = {}
    for server, assignment in assignments(world):
        key = (assignment.table, assignment.index, assignment.partition, assignment.replica)
        assert key not in found, "twice"
        found[key] = (server, assignment)
    expected = {
        (table.info.id, index, number, replica) for table, index, number, _ in triples(world) for replica in range(3)
    }
    assert set(found) == expected
    for table, index, number, triple in triples(world):
        for replica, server in enumerate(triple):
            holder, assignment = found[table.info.id, index, number, replica]
            assert holder == server
            assert assignment.peers == tuple(server_id(s) for r, s in enumerate(triple) if r != replica)
            assert (assignment.lo, assignment.hi) == hash_slice(number, len(table.replicas[index]))
            assert assignment.key == partition_key(table.info.id, index, number)
    assert Counter(server for server, _ in found.values()) == Counter(dict(enumerate(world.records))), (
        "records are not what memberships hold"
    )


@given(worlds)
@settings(max_examples=20)
def test_key_ranges_of_a_table_follow_each_other_without_a_gap(spec):
    ranges = defaultdict(set)
    for _, assignment in assignments(build(spec)):
        ranges[assignment.table, assignment.index].add((assignment.lo, assignment.hi))
    for slices in ranges.values():
        ordered = sorted(slices)
        assert ordered[0][0] == "0" * 16 and ordered[-1][1] == ""
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ordered))


@given(worlds)
@settings(max_examples=20)
def test_server_tables_are_those_its_membership_mentions(spec):
    world = build(spec)
    mentioned = [set() for _ in range(world.fleet.servers)]
    for server, assignment in assignments(world):
        mentioned[server].add(assignment.table)
    assert [{world.tables[i].info.id for i in mine} for mine in server_tables(world)] == mentioned


def test_the_published_map_and_the_history_row_say_the_same():
    world = layout(cells=4)
    entries = world.entries()
    for s, row in enumerate(world.rows()):
        entry = entries[server_id(s)]
        assert row == [entry.id, entry.cell, entry.partition, entry.zone, entry.group, world.records[s]]
        assert entry.cell == cell_id(world.cell[s])

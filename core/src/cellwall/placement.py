"""From a spec and a seed to a world: servers, customers, tables, indexes, partitions, replicas, cells.

Decides where everything lives; never starts anything. Chance comes in as ``rng_for(name)``, one
generator per named thing, so that arms of one seed share sizes, tables and replicas whatever their
cell count, and half the membership is the same world minus its indexes. Invariant I8: the three
replicas of a partition are on servers in three zones, all in one placement group, hence in one cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .cells import assign_groups, slice_servers
from .errors import Refused
from .model import Assignment, IndexInfo, ServerEntry, TableInfo, hash_slice
from .spec import ZONES, FleetSpec, WorldSpec

if TYPE_CHECKING:
    from random import Random

RngFor = Callable[[str], "Random"]
DOMAINS = 4  # a network domain is a quarter of the servers (design §2)
Triple = tuple[int, int, int]  # server numbers, by replica number


class Fleet(msgspec.Struct, frozen=True):
    """The servers by number. ``target[s]``: records server s was sized for, with indexes."""

    group: list[int]
    zone: list[str]
    target: list[int]

    @property
    def servers(self) -> int:
        return len(self.group)

    def groups(self) -> list[list[int]]:
        out: list[list[int]] = [[] for _ in range(max(self.group) + 1)]
        for server, group in enumerate(self.group):
            out[group].append(server)
        return out

    def group_records(self) -> list[int]:
        return [sum(self.target[s] for s in servers) for servers in self.groups()]


class PlacedTable(msgspec.Struct, frozen=True):
    """A table and where its partitions lie. ``replicas[index]`` lists them by partition number; ``weight``
    is the table's share of its placement group's requests."""

    info: TableInfo
    group: int
    weight: float
    replicas: dict[str, list[Triple]]


class Layout(msgspec.Struct, frozen=True):
    """A whole world. ``cell[s]`` and ``partition[s]`` are server s's cell and metadata partition."""

    spec: WorldSpec
    fleet: Fleet
    tables: list[PlacedTable]
    cell: list[int]
    partition: list[int]
    records: list[int]

    def entries(self) -> dict[str, ServerEntry]:
        """Every server's line in the published map, without addresses."""
        return {
            server_id(s): ServerEntry(server_id(s), cell_id(self.cell[s]), self.partition[s], self.fleet.zone[s], g)
            for s, g in enumerate(self.fleet.group)
        }

    def rows(self) -> list[list[Any]]:
        """Every server's row of the `history.World` record."""
        return [
            [entry.id, entry.cell, entry.partition, entry.zone, entry.group, records]
            for entry, records in zip(self.entries().values(), self.records, strict=True)
        ]

    def customers(self) -> dict[str, list[str]]:
        """The cells each customer's tables live in."""
        cells: dict[str, set[int]] = {}
        for table in self.tables:
            mine = cells.setdefault(table.info.customer, set())
            for triples in table.replicas.values():
                mine.update(self.cell[triple[0]] for triple in triples)
        return {customer: [cell_id(c) for c in sorted(found)] for customer, found in sorted(cells.items())}


def server_id(server: int) -> str:
    return f"s-{server:04d}"


def cell_id(cell: int) -> str:
    return f"cell-{cell}"


# ---------------------------------------------------------------- the fleet


def make_fleet(spec: FleetSpec, rng_for: RngFor) -> Fleet:
    """Servers in placement groups over three zones; large groups first, then mid, then small."""
    groups = spec.servers // spec.group_servers
    large = round(groups * spec.large_share)
    mid = round(groups * spec.mid_share)
    group = [s // spec.group_servers for s in range(spec.servers)]
    target = []
    rng = rng_for("sizes")
    for g in group:
        low, high = spec.large_range if g < large else spec.mid_range if g < large + mid else spec.small_range
        target.append(max(2, round(spec.large_records * (low + (high - low) * rng.random()))))
    zone = [ZONES[s % spec.zones] for s in range(spec.servers)]
    return Fleet(group, zone, target)


def domain_servers(fleet: Fleet, domain: int) -> list[int]:
    """A fixed network domain: the servers that are one cell when the fleet is cut into four."""
    groups = fleet.group_records()
    cells = assign_groups(groups, min(DOMAINS, len(groups)))
    return [s for s, group in enumerate(fleet.group) if cells[group] == domain]


def spread_servers(fleet: Fleet, share: float, rng: Random) -> list[int]:
    """That share of the servers of every placement group."""
    if not 0 < share <= 1:
        raise Refused(f"spread: {share!r} is not allowed; it must be in (0, 1]")
    return sorted(s for servers in fleet.groups() for s in rng.sample(servers, round(share * len(servers))))


# ---------------------------------------------------------------- customers and tables


def make_tables(spec: FleetSpec, fleet: Fleet, rng_for: RngFor) -> list[tuple[TableInfo, int, float]]:
    """(table, home group, weight) for every table: a few customers a group, of very uneven size.

    A group holds a third as many partitions as records. Half of them belong to secondary indexes: each
    table has one or two with as many partitions together as the table itself, so leaving them out
    halves every membership. Customers' and tables' sizes fall as 1, 1/2, 1/3 … (Zipf; guess).
    """
    tables: list[tuple[TableInfo, int, float]] = []
    for group, records in enumerate(fleet.group_records()):
        rng = rng_for(f"tables/{group}")
        base = records / 3 / 2
        shares: list[tuple[int, float]] = []
        for customer, share in enumerate(_zipf(spec.customers_per_group)):
            shares += [(customer, share * part) for part in _zipf(rng.randint(1, 3))]
        for number, (customer, share) in enumerate(shares):
            partitions = max(1, round(base * share))
            count = 2 if partitions >= 2 and rng.random() < 0.5 else 1
            split = [partitions - partitions // 2, partitions // 2] if count == 2 else [partitions]
            indexes = tuple(IndexInfo(f"by-g{i}", p, f"g{i}") for i, p in enumerate(split))
            info = TableInfo(
                id=f"t-{len(tables):05d}",
                name=f"table-{number}",
                customer=f"customer-{group:03d}-{customer}",
                partitions=partitions,
                indexes=indexes if spec.indexes else (),
            )
            tables.append((info, group, share))
    return tables


def _zipf(count: int) -> list[float]:
    weights = [1 / (i + 1) for i in range(count)]
    return [w / sum(weights) for w in weights]


# ---------------------------------------------------------------- replicas


def place_partitions(fleet: Fleet, groups: Sequence[Sequence[int]], partitions: int, rng: Random) -> list[Triple]:
    """Three servers in three zones for each partition, chosen in proportion to the servers' targets.

    ``groups[i]`` are the servers that partition i, i + len(groups), … may use: one group for an aligned
    table, one per cell for a striped one.
    """
    out: list[Triple] = [(0, 0, 0)] * partitions
    for turn, servers in enumerate(groups):
        mine = range(turn, partitions, len(groups))
        columns = []
        for zone in ZONES:
            here = [s for s in servers if fleet.zone[s] == zone]
            weights = list(itertools.accumulate(fleet.target[s] for s in here))
            columns.append(rng.choices(here, cum_weights=weights, k=len(mine)))
        for partition, triple in zip(mine, zip(*columns, strict=True), strict=True):
            out[partition] = triple
    return out


def make_layout(spec: WorldSpec, rng_for: RngFor) -> Layout:
    """The world of a spec and its seed. Same input, same layout."""
    fleet = make_fleet(spec.fleet, rng_for)
    groups = fleet.groups()
    sizes = fleet.group_records()
    group_cell = assign_groups(sizes, spec.cells)
    tables = []
    records = [0] * fleet.servers
    for info, group, weight in make_tables(spec.fleet, fleet, rng_for):
        homes = [groups[g] for g in _home_groups(spec, group, group_cell, sizes, rng_for(f"home/{info.customer}"))]
        replicas = {"": place_partitions(fleet, homes, info.partitions, rng_for(f"place/{info.id}/"))}
        for index in info.indexes:
            rng = rng_for(f"place/{info.id}/{index.name}")
            replicas[index.name] = place_partitions(fleet, homes, index.partitions, rng)
        for triples in replicas.values():
            for a, b, c in triples:
                records[a] += 1
                records[b] += 1
                records[c] += 1
        tables.append(PlacedTable(info, group, weight, replicas))
    partition: dict[int, int] = {}
    for cell in range(spec.cells):
        mine = [[(s, records[s]) for s in groups[g]] for g, c in enumerate(group_cell) if c == cell]
        partition.update(slice_servers(mine, spec.metadata.partitions))
    cells = [group_cell[g] for g in fleet.group]
    return Layout(spec, fleet, tables, cells, [partition[s] for s in range(fleet.servers)], records)


def _home_groups(spec: WorldSpec, group: int, cell: Sequence[int], sizes: Sequence[int], rng: Random) -> list[int]:
    """The groups a customer's tables may use: one (aligned), or its counterparts in several cells.

    The counterpart of a group in another cell is the one with the same rank by size there, so that
    memberships stay as uneven as they were."""
    if spec.placement == "aligned" or spec.cells == 1:
        return [group]
    ranked = [
        sorted((g for g, c in enumerate(cell) if c == k), key=lambda g: (-sizes[g], g)) for k in range(spec.cells)
    ]
    rank = ranked[cell[group]].index(group)
    chosen = list(range(spec.cells))
    if spec.placement == "shuffle":
        chosen = sorted(rng.sample(chosen, min(spec.shuffle_cells, spec.cells)))
    return [ranked[k][min(rank, len(ranked[k]) - 1)] for k in chosen]


# ---------------------------------------------------------------- memberships


def assignments(layout: Layout) -> Iterator[tuple[int, Assignment]]:
    """Every (server, record) of the world, table by table."""
    names = [server_id(s) for s in range(layout.fleet.servers)]
    for table in layout.tables:
        for index, triples in table.replicas.items():
            for number, (a, b, c) in enumerate(triples):
                lo, hi = hash_slice(number, len(triples))
                x, y, z = names[a], names[b], names[c]
                yield a, Assignment(table.info.id, index, number, lo, hi, 0, 1, 1, (y, z))
                yield b, Assignment(table.info.id, index, number, lo, hi, 1, 1, 1, (x, z))
                yield c, Assignment(table.info.id, index, number, lo, hi, 2, 1, 1, (x, y))


def server_tables(layout: Layout) -> list[set[int]]:
    """Per server, the positions in ``layout.tables`` of the tables its membership mentions."""
    out: list[set[int]] = [set() for _ in range(layout.fleet.servers)]
    for position, table in enumerate(layout.tables):
        for triples in table.replicas.values():
            for triple in triples:
                for server in triple:
                    out[server].add(position)
    return out

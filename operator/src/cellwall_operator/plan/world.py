"""The world that a service and its fleet describe, and where its servers live.

Decides what of a spec is fixed once the stores are filled, what refuses a world, and which storage pod carries which
server. Layouts are made once for each world: they follow from spec and seed alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from random import Random

import msgspec

from cellwall import placement
from cellwall.capacity import TYPICAL, large_servers
from cellwall.errors import Refused
from cellwall.model import ServerEntry
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec, world
from cellwall.spec import ZONES, CpuSpec, LoadSpec, WorldSpec

from .. import names

SLACK = 1.5  # what a record costs on this machine may be less than the typical: 4.1-6.4 us were seen (DESIGN 4)


class Land(msgspec.Struct, frozen=True):
    """A layout, without its tables, and where it lives. ``servers``: as in the map; ``pods``: per zone, the servers of
    each pod; ``records``, ``groups`` and ``count`` (of servers): of each cell, by cell id. By placement group:
    ``cell_of``, the number of its cell, ``members``, its servers, and ``sizes``, their records."""

    servers: Mapping[str, ServerEntry]
    pods: Mapping[str, list[list[str]]]
    records: Mapping[str, int]
    groups: Mapping[str, int]
    count: Mapping[str, int]
    cell_of: list[int]
    members: list[list[str]]
    sizes: list[int]


@lru_cache(maxsize=128)  # the worlds of one operator; 0.4 MB each for 800 servers
def land(spec: WorldSpec, fleet: str, per_pod: int) -> Land:
    """The layout of a world that passed `wanted`, for a fleet of that name; 0.4 s for 800 servers, once."""
    layout = placement.make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    entries = layout.entries()
    dealt = pods(entries, per_pod)
    where = addresses(fleet, dealt)
    groups = layout.fleet.groups()
    return _land(
        {name: msgspec.structs.replace(entry, address=where[name]) for name, entry in entries.items()},
        dealt,
        [layout.cell[servers[0]] for servers in groups],
        [[placement.server_id(server) for server in servers] for servers in groups],
        [sum(layout.records[server] for server in servers) for servers in groups],
    )


def _land(
    servers: Mapping[str, ServerEntry],
    dealt: Mapping[str, list[list[str]]],
    cell_of: list[int],
    members: list[list[str]],
    sizes: list[int],
) -> Land:
    records, count, groups = Counter[str](), Counter[str](), Counter[str]()
    for number, mine, size in zip(cell_of, members, sizes, strict=True):
        cell = placement.cell_id(number)
        records[cell] += size
        count[cell] += len(mine)
        groups[cell] += 1
    return Land(servers, dealt, records, groups, count, cell_of, members, sizes)


def moved(land: Land, cell_of: list[int], published: Mapping[str, ServerEntry]) -> Land:
    """The same land, where groups have changed cells since the layout was made. ``published`` knows the metadata
    partitions that servers got there."""
    if cell_of == land.cell_of and all(
        published[name].partition == entry.partition for name, entry in land.servers.items() if name in published
    ):
        return land
    servers = {}
    for name, entry in land.servers.items():
        cell, known = placement.cell_id(cell_of[entry.group]), published.get(name)
        partition = known.partition if known is not None and known.cell == cell else entry.partition
        servers[name] = msgspec.structs.replace(entry, cell=cell, partition=partition)
    return _land(servers, land.pods, cell_of, land.members, land.sizes)


def owners(land: Land, published: Mapping[str, ServerEntry], written: str) -> list[int]:
    """The cell number of each group: by the published map, or, if it was deleted by hand, as ``written`` last."""
    if published:
        found = {entry.group: int(entry.cell.rpartition("-")[2]) for entry in published.values()}
        return [found.get(group, cell) for group, cell in enumerate(land.cell_of)]
    numbers = [int(word) for word in written.split() if word.isdecimal()]
    return numbers if len(numbers) == len(land.cell_of) else land.cell_of


def carries(world: WorldSpec, cells: int, *, force: bool) -> None:
    """Refused if the world cannot be divided into so many cells."""
    divided = msgspec.structs.replace(world, cells=cells)
    divided.check()
    if not force:
        spec_of_size(divided).check()


def wanted(service: MetadataServiceSpec, fleet: StorageFleetSpec, *, force: bool) -> WorldSpec:
    """The world the two ask for; Refused if it cannot mean anything, or if its cells are too small."""
    spec = world(service, fleet, LoadSpec())
    spec.check()
    if not force:
        spec_of_size(spec).check()
    return spec


def spec_of_size(spec: WorldSpec) -> WorldSpec:
    """The same world with its CPU told as a load factor, which is what the core's rule of cell sizes goes by.

    L = N_large · n · c / (q · T), `capacity.total_cores` without what requests cost; c is the typical one, so the rule
    is held to only where it is broken by more than that may be wrong."""
    large = large_servers(spec, placement.make_fleet(spec.fleet, lambda name: Random(f"{spec.seed}/{name}")))
    seconds = len(large) * spec.fleet.large_records * TYPICAL.c_record_s
    cores = spec.cpu.total_cores
    assert cores is not None
    factor = seconds / (cores * spec.renewal.time_limit_s) / SLACK
    return msgspec.structs.replace(spec, cpu=CpuSpec(load_factor=factor or 1.0))


FIXED = ("seed", "placement", "shuffle_cells", "fleet")  # of WorldSpec, beside cells and metadata.partitions


def with_fixed(filled: WorldSpec, asked: WorldSpec) -> tuple[WorldSpec, list[str]]:
    """The world as it goes on after the stores were filled: what was asked for, but for what is fixed; and the names
    of those fields that were asked for in vain. Its cells are those that were filled: others come and go by moves."""
    changed = [name for name in FIXED if getattr(filled, name) != getattr(asked, name)]
    if filled.metadata.partitions != asked.metadata.partitions:
        changed.append("partitions")
    metadata = msgspec.structs.replace(asked.metadata, partitions=filled.metadata.partitions)
    kept = {name: getattr(filled, name) for name in ("cells", *FIXED)}
    return msgspec.structs.replace(asked, metadata=metadata, **kept), changed


# ---------------------------------------------------------------- servers and pods


def pods(entries: Mapping[str, ServerEntry], per_pod: int) -> dict[str, list[list[str]]]:
    """Per zone, the servers of each pod: the zone's servers by number, dealt in turn into as many pods as the largest
    zone needs."""
    zones: dict[str, list[str]] = {zone: [] for zone in ZONES}
    for name in sorted(entries):
        zones[entries[name].zone].append(name)
    count = math.ceil(max(map(len, zones.values())) / per_pod)
    dealt = {}
    for zone, servers in zones.items():
        share = math.ceil(len(servers) / count) if servers else 0
        dealt[zone] = [servers[first : first + share] for first in range(0, len(servers), share or 1)]
    return dealt


def addresses(fleet: str, dealt: Mapping[str, list[list[str]]]) -> dict[str, str]:
    """Each server's address: that of its pod."""
    return {
        server: names.storage_address(fleet, names.storage_pod(fleet, zone, number))
        for zone, hosts in dealt.items()
        for number, servers in enumerate(hosts)
        for server in servers
    }


__all__ = ["Land", "Refused", "addresses", "carries", "land", "moved", "owners", "pods", "wanted", "with_fixed"]

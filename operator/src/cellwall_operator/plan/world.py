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
    each pod; ``records``, ``groups`` and ``count`` (of servers): of each cell, by cell id."""

    servers: Mapping[str, ServerEntry]
    pods: Mapping[str, list[list[str]]]
    records: Mapping[str, int]
    groups: Mapping[str, int]
    count: Mapping[str, int]


@lru_cache(maxsize=128)  # the worlds of one operator; 0.4 MB each for 800 servers
def land(spec: WorldSpec, fleet: str, per_pod: int) -> Land:
    """The layout of a world that passed `wanted`, for a fleet of that name; 0.4 s for 800 servers, once."""
    layout = placement.make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    records = dict.fromkeys(map(placement.cell_id, range(spec.cells)), 0)
    for cell, count in zip(layout.cell, layout.records, strict=True):
        records[placement.cell_id(cell)] += count
    entries = layout.entries()
    dealt = pods(entries, per_pod)
    where = addresses(fleet, dealt)
    return Land(
        servers={name: msgspec.structs.replace(entry, address=where[name]) for name, entry in entries.items()},
        pods=dealt,
        records=records,
        count=Counter(entry.cell for entry in entries.values()),
        groups={cell: len({entry.group for entry in entries.values() if entry.cell == cell}) for cell in records},
    )


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
    of those fields that were asked for in vain."""
    changed = [name for name in ("cells", *FIXED) if getattr(filled, name) != getattr(asked, name)]
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


__all__ = ["Land", "Refused", "addresses", "land", "pods", "wanted", "with_fixed"]

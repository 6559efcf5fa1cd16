"""Where a new table goes: its placement group, and the servers of each partition.

Decides deterministically from the records that servers hold already; never asks a service. A customer
stays in one group, and so in one cell (placement `aligned`); its partitions have replicas in three zones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cellwall.errors import Refused
from cellwall.model import Assignment, ServerEntry, ServerId, TableInfo, hash_slice
from cellwall.quorum import REPLICAS


def choose_group(
    servers: Mapping[ServerId, ServerEntry], records: Mapping[ServerId, int], known: ServerId | None
) -> int:
    """The customer's group (that of ``known``, a server of one of its tables), else the one with fewest records."""
    if known is not None and known in servers:
        return servers[known].group
    totals: dict[int, int] = {}
    for entry in servers.values():
        totals[entry.group] = totals.get(entry.group, 0) + records.get(entry.id, 0)
    if not totals:
        raise Refused("cell map: it names no server; a table needs servers in three zones")
    return min(totals, key=lambda group: (totals[group], group))


def place(
    info: TableInfo, group: int, servers: Mapping[ServerId, ServerEntry], records: Mapping[ServerId, int]
) -> dict[ServerId, list[Assignment]]:
    """Assignments per server. In each zone the server with fewest records takes the next replica; the zone
    of replica 0 rotates. ``epoch`` and ``born`` are 0: the metadata node fills them in."""
    held: dict[str, dict[ServerId, int]] = {}
    for entry in servers.values():
        if entry.group == group:
            held.setdefault(entry.zone, {})[entry.id] = records.get(entry.id, 0)
    zones = sorted(held)
    if len(zones) < REPLICAS:
        raise Refused(f"placement group {group}: it has servers in {len(zones)} zones, {REPLICAS} are needed")
    placed: dict[ServerId, list[Assignment]] = {}
    turn = 0
    for index, count in (("", info.partitions), *((i.name, i.partitions) for i in info.indexes)):
        for partition in range(count):
            triple = []
            for step in range(REPLICAS):
                zone = held[zones[(turn + step) % len(zones)]]
                server = min(zone, key=lambda s: (zone[s], s))
                zone[server] += 1
                triple.append(server)
            turn += 1
            for server, assignment in assignments(info, index, partition, count, tuple(triple)):
                placed.setdefault(server, []).append(assignment)
    return placed


def assignments(
    info: TableInfo, index: str, partition: int, partitions: int, servers: tuple[ServerId, ...]
) -> list[tuple[ServerId, Assignment]]:
    """The records of one partition, one for each of its servers in order of replica number."""
    lo, hi = hash_slice(partition, partitions)
    return [
        (server, Assignment(info.id, index, partition, lo, hi, replica, 0, 0, tuple(s for s in servers if s != server)))
        for replica, server in enumerate(servers)
    ]


def collect(
    info: TableInfo, partitions: Iterable[tuple[str, int, int, tuple[ServerId, ...]]]
) -> dict[ServerId, list[Assignment]]:
    """All assignments of a table that exists, per server, from (index, partition, partitions of it, servers)."""
    found: dict[ServerId, list[Assignment]] = {}
    for index, partition, count, servers in partitions:
        for server, assignment in assignments(info, index, partition, count, servers):
            found.setdefault(server, []).append(assignment)
    return found

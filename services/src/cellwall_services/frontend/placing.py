"""Where the partitions of a new table or index go: the placement group, and the servers of each partition.

Decides deterministically from the records that servers hold already; never asks a service. A customer
stays in one group, and so in one cell (placement `aligned`); a partition's replicas are in three zones (I8).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from cellwall.errors import Refused
from cellwall.model import Assignment, ServerEntry, ServerId, TableInfo, hash_slice
from cellwall.quorum import REPLICAS

Triple = tuple[ServerId, ...]  # the servers of replica 0, 1, 2
Routes = dict[str, list[Triple]]  # by index ("" is the table itself), then by partition number


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
    counts: Mapping[str, int],
    group_of: Callable[[int], int],
    servers: Mapping[ServerId, ServerEntry],
    records: Mapping[ServerId, int],
) -> Routes:
    """Servers for ``counts[index]`` partitions each; ``group_of`` tells a partition number's group. In each zone the
    server with fewest records takes the next replica; the zone of replica 0 rotates."""
    fewest: dict[int, list[list[tuple[int, ServerId]]]] = {}  # by group, a heap for each zone
    routes: Routes = {}
    turn = 0
    for index, count in counts.items():
        routes[index] = []
        for partition in range(count):
            group = group_of(partition)
            if group not in fewest:
                fewest[group] = _zones(group, servers, records)
            zones = fewest[group]
            triple = []
            for step in range(REPLICAS):
                heap = zones[(turn + step) % len(zones)]
                held, server = heap[0]
                heapq.heapreplace(heap, (held + 1, server))
                triple.append(server)
            turn += 1
            routes[index].append(tuple(triple))
    return routes


def assignments(info: TableInfo, routes: Routes) -> dict[ServerId, list[Assignment]]:
    """The records that ``routes`` stand for, by server. ``epoch`` and ``born`` are the metadata node's to fill in."""
    placed: dict[ServerId, list[Assignment]] = {}
    for index, triples in routes.items():
        for partition, servers in enumerate(triples):
            lo, hi = hash_slice(partition, len(triples))
            for replica, server in enumerate(servers):
                peers = (*servers[:replica], *servers[replica + 1 :])
                record = Assignment(info.id, index, partition, lo, hi, replica, 0, 0, peers)
                placed.setdefault(server, []).append(record)
    return placed


def holders(routes: Routes) -> set[ServerId]:
    """Every server that is named."""
    return {server for triples in routes.values() for servers in triples for server in servers}


def _zones(
    group: int, servers: Mapping[ServerId, ServerEntry], records: Mapping[ServerId, int]
) -> list[list[tuple[int, ServerId]]]:
    zones: dict[str, list[tuple[int, ServerId]]] = {}
    for entry in servers.values():
        if entry.group == group:
            zones.setdefault(entry.zone, []).append((records.get(entry.id, 0), entry.id))
    if len(zones) < REPLICAS:
        raise Refused(f"placement group {group}: it has servers in {len(zones)} zones, {REPLICAS} are needed")
    heaps = [zones[zone] for zone in sorted(zones)]
    for heap in heaps:
        heapq.heapify(heap)
    return heaps

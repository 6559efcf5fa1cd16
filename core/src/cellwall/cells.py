"""Which cell serves which placement group, and which slice of its servers is which metadata partition.

Decides by records, never by chance; how a group gets to its cell is not its matter (`moves`). Invariant I7: a cell is
a set of whole placement groups; growth by one cell moves at most ⌈groups/N⌉ groups, and only to the new cell; removing
one moves its groups and no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import Refused


def assign_groups(records: Sequence[int], cells: int) -> list[int]:
    """The cell of each group, balanced by ``records`` (records per group) and by number of groups.

    Largest first to the lightest cell that has room (longest processing time; Graham 1969), room being
    ⌈groups/cells⌉: cells also get equal shares of servers and customers.
    """
    if not 1 <= cells <= len(records):
        raise Refused(f"cells: {cells} is not allowed; it must be in 1..{len(records)}, the number of placement groups")
    room = math.ceil(len(records) / cells)
    load = [0] * cells
    count = [0] * cells
    cell_of = [0] * len(records)
    left = len(records)
    for group in sorted(range(len(records)), key=lambda g: (-records[g], g)):
        empty = [c for c in range(cells) if count[c] == 0]
        # Every cell must get a group, even where there are hardly more groups than cells.
        open_cells = empty if len(empty) == left else [c for c in range(cells) if count[c] < room]
        cell = min(open_cells, key=lambda c: (load[c], c))
        cell_of[group] = cell
        load[cell] += records[group]
        count[cell] += 1
        left -= 1
    return cell_of


def grow(cell_of: Sequence[int], records: Sequence[int], cells: int) -> list[int]:
    """The assignment with one more cell: number ``cells - 1`` is new and takes groups from the heaviest.

    Each step takes the group that brings the new cell closest to the mean; it stops at ⌈groups/cells⌉
    groups, or when another would carry it further from the mean.
    """
    new = cells - 1
    if set(cell_of) != set(range(new)):
        raise Refused(f"cells: {cells} is not allowed; growth adds exactly one to the {len(set(cell_of))} there are")
    grown = list(cell_of)
    load = [0] * cells
    for group, cell in enumerate(grown):
        load[cell] += records[group]
    mean = sum(records) / cells
    for _ in range(math.ceil(len(records) / cells)):
        sizes = [grown.count(c) for c in range(cells)]
        givers = [c for c in range(new) if sizes[c] > 1]
        if not givers:
            break
        giver = max(givers, key=lambda c: (load[c], -c))
        group = min(
            (g for g, c in enumerate(grown) if c == giver), key=lambda g: (abs(mean - load[new] - records[g]), g)
        )
        if sizes[new] and abs(mean - load[new] - records[group]) >= abs(mean - load[new]):
            break
        grown[group] = new
        load[giver] -= records[group]
        load[new] += records[group]
    return grown


def shrink(cell_of: Sequence[int], records: Sequence[int], cells: int) -> list[int]:
    """The assignment with one cell less: number ``cells``, the last, gives all its groups to the others.

    Like `assign_groups`: largest first to the lightest cell that has room. There always is room, also where growth
    has left a cell with more groups than that: the others then have the fewer.
    """
    if cells < 1 or set(cell_of) != set(range(cells + 1)):
        raise Refused(f"cells: {cells} is not allowed; removal leaves one less than the {len(set(cell_of))} there are")
    room = math.ceil(len(records) / cells)
    shrunk = list(cell_of)
    load = [0] * (cells + 1)
    for group, cell in enumerate(shrunk):
        load[cell] += records[group]
    leaving = (g for g, c in enumerate(cell_of) if c == cells)
    for group in sorted(leaving, key=lambda g: (-records[g], g)):
        cell = min((c for c in range(cells) if shrunk.count(c) < room), key=lambda c: (load[c], c))
        shrunk[group] = cell
        load[cell] += records[group]
    return shrunk


def resize(cell_of: Sequence[int], records: Sequence[int], cells: int) -> list[int]:
    """The assignment with ``cells`` cells, one added or removed after the other."""
    if not 1 <= cells <= len(records):
        raise Refused(f"cells: {cells} is not allowed; it must be in 1..{len(records)}, the number of placement groups")
    resized = list(cell_of)
    while (count := max(resized) + 1) < cells:
        resized = grow(resized, records, count + 1)
    while (count := max(resized) + 1) > cells:
        resized = shrink(resized, records, count - 1)
    return resized


def lightest_slices(load: Sequence[int], count: Sequence[int], servers: Sequence[tuple[str, int]]) -> dict[str, int]:
    """The metadata partitions of servers that come to a running cell: largest first, each to the lightest.

    ``load`` and ``count``: records and servers of each metadata partition now; ``servers``: (server, records) pairs.
    """
    load, count = list(load), list(count)
    out: dict[str, int] = {}
    for server, records in sorted(servers, key=lambda pair: (-pair[1], pair[0])):
        partition = min(range(len(load)), key=lambda p: (load[p], count[p], p))
        load[partition] += records
        count[partition] += 1
        out[server] = partition
    return out


def slice_servers(groups: Sequence[Sequence[tuple[int, int]]], partitions: int) -> dict[int, int]:
    """The metadata partition of each server of one cell.

    ``groups``: per placement group, (server, records) pairs. Whole groups go to partitions where there
    are enough of them, else servers do; both balanced by records, largest first to the lightest.
    """
    whole = len(groups) >= partitions
    pieces = [list(group) for group in groups] if whole else [[pair] for group in groups for pair in group]
    load = [0] * partitions
    count = [0] * partitions
    out: dict[int, int] = {}
    for piece in sorted(pieces, key=lambda piece: (-sum(r for _, r in piece), piece[0][0])):
        partition = min(range(partitions), key=lambda p: (load[p], count[p], p))
        load[partition] += sum(r for _, r in piece)
        count[partition] += 1
        for server, _ in piece:
            out[server] = partition
    return out

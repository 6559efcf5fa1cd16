"""What happens next: a heap where delays differ, a ring where they are all the same, lists of requests.

Decides order only: by time, then by order of scheduling, as `backends.timeline.Loop` does. A ring needs no
sorting because the network delay and the time limit are constants: what is scheduled later happens later.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .compiled import part
from .model import Ints
from .state import EVENT, NONE, WAKING, Table


class Heap(NamedTuple):
    """A binary heap. ``size``: one number."""

    entries: Table
    size: Ints


class Ring(NamedTuple):
    """A queue in an array whose length is a power of two. ``ends``: taken and added, counted from the start."""

    entries: Table
    ends: Ints


def make_heap(room: int) -> Heap:
    return Heap(np.zeros(room, WAKING), np.zeros(1, np.int64))


def make_ring(room: int) -> Ring:
    return Ring(np.zeros(1 << (room - 1).bit_length(), EVENT), np.zeros(2, np.int64))


def heap_room(heap: Heap) -> int:
    return len(heap.entries) - int(heap.size[0])


def ring_room(ring: Ring) -> int:
    return len(ring.entries) - int(ring.ends[1] - ring.ends[0])


def wider_heap(heap: Heap) -> Heap:
    """The same entries with twice the room."""
    out = make_heap(2 * len(heap.entries))
    out.entries[: len(heap.entries)] = heap.entries
    out.size[:] = heap.size
    return out


def wider_ring(ring: Ring) -> Ring:
    out = make_ring(2 * len(ring.entries))
    held = np.arange(*ring.ends)
    out.entries[held & (len(out.entries) - 1)] = ring.entries[held & (len(ring.entries) - 1)]
    out.ends[:] = ring.ends
    return out


# ---------------------------------------------------------------- compiled


@part
def push(heap: Heap, t_ns: int, seq: int, who: int) -> None:
    entries, hole = heap.entries, heap.size[0]
    heap.size[0] = hole + 1
    while hole > 0:
        parent = entries[(hole - 1) >> 1]
        if parent.t_ns < t_ns or (parent.t_ns == t_ns and parent.seq < seq):
            break
        here = entries[hole]
        here.t_ns, here.seq, here.who = parent.t_ns, parent.seq, parent.who
        hole = (hole - 1) >> 1
    here = entries[hole]
    here.t_ns, here.seq, here.who = t_ns, seq, who


@part
def drop(heap: Heap) -> None:
    """Take the first entry away."""
    entries, last = heap.entries, heap.size[0] - 1
    heap.size[0] = last
    t_ns, seq, who = entries[last].t_ns, entries[last].seq, entries[last].who
    hole = 0
    while 2 * hole + 1 < last:
        at = 2 * hole + 1
        child = entries[at]
        if at + 1 < last:
            right = entries[at + 1]
            if right.t_ns < child.t_ns or (right.t_ns == child.t_ns and right.seq < child.seq):
                at, child = at + 1, right
        if t_ns < child.t_ns or (t_ns == child.t_ns and seq < child.seq):
            break
        here = entries[hole]
        here.t_ns, here.seq, here.who = child.t_ns, child.seq, child.who
        hole = at
    here = entries[hole]
    here.t_ns, here.seq, here.who = t_ns, seq, who


@part
def add(ring: Ring, t_ns: int, seq: int, kind: int, who: int, what: int) -> None:
    event = ring.entries[ring.ends[1] & (len(ring.entries) - 1)]
    ring.ends[1] += 1
    event.t_ns, event.seq, event.kind, event.who, event.what = t_ns, seq, kind, who, what


@part
def append(lists: Table, index: int, requests: Table, slot: int) -> None:
    """A request to the end of a list; head and tail are NONE for an empty one."""
    queue, request = lists[index], requests[slot]
    request.following = NONE
    request.before = queue.tail
    if queue.tail == NONE:
        queue.head = slot
    else:
        requests[queue.tail].following = slot
    queue.tail = slot


@part
def unlink(lists: Table, index: int, requests: Table, slot: int) -> None:
    queue, before, following = lists[index], requests[slot].before, requests[slot].following
    if before == NONE:
        queue.head = following
    else:
        requests[before].following = following
    if following == NONE:
        queue.tail = before
    else:
        requests[following].before = before

"""From an input to the kernel's memory, and to a larger one.

Decides how much room there is. `advance` never allocates: it stops while there still is room for one more event,
and `wider` makes more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backends.timeline import NS, policy_in_ns
from .control import make_steps
from .model import Accounts, Ints, KernelInput
from .queues import Heap, Ring, heap_room, make_heap, make_ring, ring_room, wider_heap, wider_ring
from .state import (
    ACCOUNT,
    CELL,
    CLOCK,
    DISCIPLINES,
    LINE,
    NODE,
    NONE,
    QUEUE,
    REQUEST,
    SERVER,
    SPARE,
    TARGET,
    TURNS,
    Rules,
    Table,
)


class World(NamedTuple):
    """Everything. ``held[first[s]:first[s + 1]]`` are server s's targets; the counts are `KernelResult`'s, with shares
    still in parts × nanoseconds: whole numbers, whose sum does not depend on the order of adding."""

    clock: Table
    cells: Table
    fleet: Table
    requests: Table
    nodes: Table
    turns: Table
    queues: Table
    targets: Table
    accounts: Table
    first: Ints
    held: Ints
    out_ns: Ints
    renewals: Ints
    left: Ints
    no_quorum: Ints
    no_replica: Ints
    steps: Table
    struck: Ints
    wakes: Heap
    pages: Heap
    network: Ring
    limits: Ring
    lines: Table


def make_rules(given: KernelInput) -> Rules:
    policy, m = policy_in_ns(given.renewal), given.metadata
    return Rules(
        renew_ns=policy.renew_every_s,
        jitter_ratio=policy.jitter_ratio,
        limit_ns=int(policy.time_limit_s),
        wait_min_ns=policy.retry.wait_min_s,
        wait_max_ns=policy.retry.wait_max_s,
        discipline=DISCIPLINES[m.discipline],
        concurrency=m.concurrency,
        drop_abandoned=m.drop_abandoned,
        page_records=m.page_records,
        partitions=m.partitions,
        slots=m.slots_per_partition,
        record_ns=given.costs.c_record_s * NS,
        request_ns=given.costs.c_request_s * NS,
        delay_ns=given.delay_ns,
        nodes_per_cell=given.cores.shape[1],
        window_ns=given.window_ns,
        traced=given.trace,
    )


def make_world(given: KernelInput) -> World:
    """Everybody out, nobody asking, as `engine.Servers` begins."""
    servers, (cells, per_cell) = len(given.cell), given.cores.shape
    room = servers + SPARE
    fleet = np.zeros(servers, SERVER)
    for name in ("cell", "partition", "records", "chance"):
        fleet[name] = getattr(given, name)
    by_cell = np.zeros(cells, CELL)
    by_cell["out"] = np.bincount(given.cell, minlength=cells)
    nodes = np.zeros(cells * per_cell, NODE)
    nodes["cores"] = given.cores.reshape(-1)
    turns = np.zeros(len(nodes), TURNS)
    queues = np.zeros(len(nodes) * given.metadata.partitions, QUEUE)
    queues["slots"] = given.metadata.slots_per_partition
    for lists in (turns, queues):
        lists["head"] = lists["tail"] = NONE
    clock = np.zeros(1, CLOCK)
    clock["frees"] = 2 * room
    requests = np.zeros(2 * room, REQUEST)
    requests["following"] = np.arange(1, 2 * room + 1)
    targets, accounts, first, held = _targets(given)
    steps, struck = make_steps(given.actions)
    return World(
        clock=clock,
        cells=by_cell,
        fleet=fleet,
        requests=requests,
        nodes=nodes,
        turns=turns,
        queues=queues,
        targets=targets,
        accounts=accounts,
        first=first,
        held=held,
        out_ns=np.zeros((given.windows, cells), np.int64),
        renewals=np.zeros((given.windows, cells, 3), np.int64),
        left=np.zeros((given.windows, cells), np.int64),
        no_quorum=np.zeros((given.windows, len(accounts)), np.int64),
        no_replica=np.zeros((given.windows, len(accounts)), np.int64),
        steps=steps,
        struck=struck,
        wakes=make_heap(2 * room),
        pages=make_heap(len(nodes) + 1),
        network=make_ring(2 * room),
        limits=make_ring(2 * room),
        lines=np.zeros(4 * room, LINE),
    )


def _targets(given: KernelInput) -> tuple[Table, Table, Ints, Ints]:
    """Targets and accounts with no replica in service, and which targets each server holds."""
    nobody = np.zeros((0, 3), np.int64)
    mine = given.accounts or Accounts(servers=nobody, account=nobody[:, 0], parts=nobody[:, 0], weight=np.zeros(0))
    targets = np.zeros(len(mine.account), TARGET)
    targets["account"], targets["parts"] = mine.account, mine.parts
    accounts = np.zeros(len(mine.weight), ACCOUNT)
    np.add.at(accounts["no_quorum"], mine.account, mine.parts)
    accounts["no_replica"] = accounts["no_quorum"]
    flat = mine.servers.reshape(-1)
    first = np.zeros(len(given.cell) + 1, np.int64)
    np.cumsum(np.bincount(flat, minlength=len(given.cell)), out=first[1:])
    return targets, accounts, first, np.argsort(flat, kind="stable") // 3


# ---------------------------------------------------------------- more room


def wider(world: World) -> World:
    """The same state with twice the room wherever the next event might not fit (`advance.short`)."""
    need, clock = len(world.fleet) + SPARE, world.clock[0]
    if clock["frees"] < need:
        world = world._replace(requests=_wider_requests(world.requests, clock))
    if heap_room(world.wakes) < need:
        world = world._replace(wakes=wider_heap(world.wakes))
    if ring_room(world.network) < need:
        world = world._replace(network=wider_ring(world.network))
    if ring_room(world.limits) < need:
        world = world._replace(limits=wider_ring(world.limits))
    if len(world.lines) - clock["lines"] < 2 * need:
        world = world._replace(lines=np.concatenate([world.lines, np.zeros_like(world.lines)]))
    return world


def _wider_requests(requests: Table, clock: np.void) -> Table:
    """New slots go before the free ones there are."""
    old = len(requests)
    wide = np.concatenate([requests, np.zeros_like(requests)])
    wide["following"][old:] = np.arange(old + 1, 2 * old + 1)
    wide["following"][-1] = clock["free"]
    clock["free"] = old
    clock["frees"] += old
    return wide

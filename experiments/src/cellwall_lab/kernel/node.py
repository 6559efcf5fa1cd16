"""A metadata node: the admitted second copy of `cellwall.admission` and of `backends.engine.Node`.

Decides whose page comes next and when it is done. Held to the core by the traces of `tests/lab/test_kernel_trace.py`;
administrative requests and nodes added later are not covered.
"""

from __future__ import annotations

import math

from .compiled import part
from .queues import add, append, push, unlink
from .state import LAST, LIFO, NONE, PROCESSOR_SHARING, Rules
from .world import World

TRAVELLING, WAITING, TURN, WORKED = range(4)  # where a request is
ARRIVE, ANSWER, GONE, FAIL = range(4)  # kinds of events on the network

# ---------------------------------------------------------------- admission


@part
def start(world: World, rules: Rules, slot: int, partition: int) -> None:
    """From waiting to having turns."""
    requests, request = world.requests, world.requests[slot]
    node, line = world.nodes[request.node], request.node * rules.partitions + partition
    unlink(world.queues, line, requests, slot)
    node.waiting -= 1
    node.in_service += 1
    world.queues[line].serving += 1
    request.where = TURN
    append(world.turns, request.node, requests, slot)


@part
def fill(world: World, rules: Rules, node: int, freed: int) -> None:
    """Start what may start after an arrival in, or a slot freed in, one metadata partition."""
    if rules.discipline == PROCESSOR_SHARING:
        mine = world.queues[node * rules.partitions + freed]
        while mine.head != NONE and mine.serving < mine.slots:
            start(world, rules, mine.head, freed)
        return
    while world.nodes[node].waiting > 0 and world.nodes[node].in_service < rules.concurrency:
        chosen, best, partition = NONE, LAST, 0
        for p in range(rules.partitions):
            queue = world.queues[node * rules.partitions + p]
            head = queue.tail if rules.discipline == LIFO else queue.head
            if head != NONE and queue.serving < queue.slots:
                number = world.requests[head].number
                rank = -number if rules.discipline == LIFO else number
                if rank < best:
                    chosen, best, partition = head, rank, p
        if chosen == NONE:
            return
        start(world, rules, chosen, partition)


@part
def finish(world: World, rules: Rules, slot: int) -> None:
    """The request needs no more work, and its slot is free."""
    requests, request, clock = world.requests, world.requests[slot], world.clock[0]
    number, partition = request.node, world.fleet[request.server].partition
    node, line = world.nodes[number], number * rules.partitions + partition
    waited = request.where == WAITING
    if waited:
        unlink(world.queues, line, requests, slot)
        node.waiting -= 1
    else:
        node.in_service -= 1
        world.queues[line].serving -= 1
        if request.where == TURN:
            unlink(world.turns, number, requests, slot)
    request.id = 0
    request.following = clock.free
    clock.free = slot
    clock.frees += 1
    if not waited:
        fill(world, rules, number, partition)


# ---------------------------------------------------------------- the node


@part
def serve(world: World, rules: Rules, number: int) -> None:
    """Begin the next page, if none is being done."""
    node, slot, clock = world.nodes[number], world.turns[number].head, world.clock[0]
    if node.busy != 0 or slot == NONE:
        return
    unlink(world.turns, number, world.requests, slot)
    request = world.requests[slot]
    request.where = WORKED
    page = min(rules.page_records, request.left)
    work_ns = node.owed * rules.request_ns + page * rules.record_ns
    node.owed = 0
    node.cpu_ns += work_ns
    node.busy, node.slot, node.id, node.page = 1, slot, request.id, page
    clock.seq += 1
    push(world.pages, clock.now_ns + math.ceil(work_ns / node.cores), clock.seq, number)


@part
def page_done(world: World, rules: Rules, number: int) -> None:
    node, clock = world.nodes[number], world.clock[0]
    slot = node.slot
    request = world.requests[slot]
    node.busy = 0
    if request.id == node.id:  # else its caller hung up meanwhile
        request.left -= node.page
        if request.left <= 0:
            finish(world, rules, slot)
            clock.seq += 1
            add(world.network, clock.now_ns + rules.delay_ns, clock.seq, ANSWER, request.server, node.id)
        else:
            request.where = TURN
            append(world.turns, number, world.requests, slot)
    serve(world, rules, number)


@part
def arrive(world: World, rules: Rules, slot: int) -> None:
    request = world.requests[slot]
    number, partition = request.node, world.fleet[request.server].partition
    node = world.nodes[number]
    node.owed += 1
    node.arrivals += 1
    node.waiting += 1
    request.number = node.arrivals
    request.where = WAITING
    append(world.queues, number * rules.partitions + partition, world.requests, slot)
    fill(world, rules, number, partition)
    serve(world, rules, number)


@part
def gone(world: World, rules: Rules, slot: int, request: int) -> None:
    """The caller has hung up."""
    if world.requests[slot].id == request and rules.drop_abandoned:
        number = world.requests[slot].node
        finish(world, rules, slot)
        serve(world, rules, number)

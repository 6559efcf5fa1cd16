"""The storage servers: the admitted second copy of `cellwall.renewal` and of `backends.engine.Servers`.

Decides when a server asks, gives up, leaves and enters service. Sums of times are written as the core writes them,
term by term: they are floats there, and must round the same way here. Held to the core by the traces of
`tests/lab/test_kernel_trace.py`.
"""

from __future__ import annotations

import math

import numpy as np

from ..backends import chance
from .compiled import part
from .measure import available_changed, renewal_ended, write
from .model import Outcome
from .node import ARRIVE, FAIL, GONE, TRAVELLING
from .queues import add, push
from .state import Rules, Table
from .world import World

DONE, TIME_OUT, UNREACHABLE, IN, OUT = (int(outcome) for outcome in Outcome)

STRIDE, FIRST, SECOND = np.uint64(chance.STRIDE), np.uint64(chance.FIRST), np.uint64(chance.SECOND)
S11, S27, S30, S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
UNIT = chance.UNIT


@part
def draw(fleet: Table, server: int) -> float:
    """`chance.Stream.random`."""
    word = fleet[server].chance + STRIDE
    fleet[server].chance = word
    word = (word ^ (word >> S30)) * FIRST
    word = (word ^ (word >> S27)) * SECOND
    number: float = ((word ^ (word >> S31)) >> S11) * UNIT
    return number


@part
def wake_at(world: World, server: int, at_ns: float) -> None:
    """Replaces any earlier one."""
    clock = world.clock[0]
    clock.seq += 1
    world.fleet[server].timer = clock.seq
    push(world.wakes, max(math.ceil(at_ns), clock.now_ns), clock.seq, server)


@part
def fail(world: World, rules: Rules, server: int) -> None:
    """No usable membership: out of service, and again after the retry wait."""
    agent = world.fleet[server]
    wait_ns = rules.wait_min_ns + (rules.wait_max_ns - rules.wait_min_ns) * draw(world.fleet, server)
    wake_at(world, server, max(world.clock[0].now_ns + wait_ns, agent.paced_ns))
    agent.asking = 0
    if agent.available:
        available_changed(world, rules, server, -1)
        write(world, rules, server, OUT)


@part
def renew(world: World, rules: Rules, server: int) -> None:
    """The membership is here and verified."""
    agent, now_ns = world.fleet[server], world.clock[0].now_ns
    agent.renewed = True
    if agent.then_ns > now_ns:
        next_ns = agent.then_ns
    else:
        next_ns = now_ns + rules.renew_ns * (1 + rules.jitter_ratio * (2 * draw(world.fleet, server) - 1))
    wake_at(world, server, next_ns)
    agent.asking = 0
    agent.then_ns = 0.0
    if not agent.available:
        available_changed(world, rules, server, 1)
        write(world, rules, server, IN)


@part
def pace(world: World, rules: Rules, server: int, over_ns: float) -> None:
    """`renewal.entry` from now, and what its `Paced` does."""
    agent, from_ns = world.fleet[server], world.clock[0].now_ns
    place = (agent.partition + draw(world.fleet, server)) / rules.partitions
    agent.paced_ns = from_ns + over_ns * place
    agent.then_ns = 0.0 if agent.renewed else from_ns + over_ns + rules.renew_ns * place
    if not agent.available and agent.asking == 0:
        wake_at(world, server, agent.paced_ns)


# ---------------------------------------------------------------- asking


@part
def ask(world: World, rules: Rules, server: int) -> None:
    agent, clock = world.fleet[server], world.clock[0]
    now_ns = clock.now_ns
    agent.attempts += 1
    agent.asking = agent.attempts
    clock.seq += 1
    if agent.cuts > 0 or world.cells[agent.cell].paused:
        add(world.network, now_ns + rules.delay_ns, clock.seq, FAIL, server, agent.asking)
        return
    node = agent.cell * rules.nodes_per_cell  # the one with the fewest outstanding
    for other in range(node + 1, node + rules.nodes_per_cell):
        if world.nodes[other].outstanding < world.nodes[node].outstanding:
            node = other
    world.nodes[node].outstanding += 1
    slot = clock.free
    request = world.requests[slot]
    clock.free = request.following
    clock.frees -= 1
    clock.ids += 1
    request.id, request.server, request.node, request.left = clock.ids, server, node, agent.records
    request.where = TRAVELLING
    agent.open_slot, agent.open_id, agent.open_node, agent.open_since_ns = slot, clock.ids, node, now_ns
    add(world.network, now_ns + rules.delay_ns, clock.seq, ARRIVE, slot, clock.ids)
    clock.seq += 1
    add(world.limits, now_ns + rules.limit_ns, clock.seq, TIME_OUT, server, clock.ids)


@part
def hang_up(world: World, rules: Rules, server: int, outcome: int) -> None:
    """End the open request, if there is one."""
    agent, clock = world.fleet[server], world.clock[0]
    if agent.open_id != 0:
        world.nodes[agent.open_node].outstanding -= 1
        clock.seq += 1
        add(world.network, clock.now_ns + rules.delay_ns, clock.seq, GONE, agent.open_slot, agent.open_id)
        agent.open_id = 0
        renewal_ended(world, rules, server, agent.open_since_ns, outcome)


@part
def answered(world: World, rules: Rules, server: int, request: int) -> None:
    agent = world.fleet[server]
    if agent.open_id == request:
        world.nodes[agent.open_node].outstanding -= 1
        agent.open_id = 0
        renewal_ended(world, rules, server, agent.open_since_ns, DONE)
        renew(world, rules, server)


@part
def timed_out(world: World, rules: Rules, server: int, request: int) -> None:
    if world.fleet[server].open_id == request:
        hang_up(world, rules, server, TIME_OUT)
        fail(world, rules, server)


@part
def refused(world: World, rules: Rules, server: int, attempt: int) -> None:
    """Nobody could be reached. A cut may have ended the attempt meanwhile; it counts all the same."""
    renewal_ended(world, rules, server, world.clock[0].now_ns - rules.delay_ns, UNREACHABLE)
    if world.fleet[server].asking == attempt:
        fail(world, rules, server)

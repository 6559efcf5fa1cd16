"""The kernel's loop: the earliest event, then the next.

Decides what happens in which order, exactly as `backends.timeline.Loop` with `backends.engine` would; allocates
nothing: while less room is left than one event may need it stops and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .compiled import part, whole
from .control import CUT_OFF, CUT_ON, LIMIT, PAUSE, RESUME
from .measure import settle_account, settle_cell
from .node import ANSWER, ARRIVE, GONE, arrive, fill, gone, page_done, serve
from .queues import drop
from .servers import UNREACHABLE, answered, ask, fail, hang_up, pace, refused, timed_out
from .state import SPARE, Rules
from .world import World

NOTHING, WAKE, PAGE, NETWORK, TIME_LIMIT, ACTION = range(6)


@part
def short(world: World) -> bool:
    """Whether one event more might not fit. A cut of all servers needs the most."""
    need, clock = len(world.fleet) + SPARE, world.clock[0]
    network, limits = world.network, world.limits
    return bool(
        clock.frees < need
        or len(world.wakes.entries) - world.wakes.size[0] < need
        or len(network.entries) - (network.ends[1] - network.ends[0]) < need
        or len(limits.entries) - (limits.ends[1] - limits.ends[0]) < need
        or len(world.lines) - clock.lines < 2 * need
    )


@part
def earliest(world: World, until_ns: int) -> int:
    """Which queue holds the next event, or NOTHING until then. Time passes to it."""
    network, limits, clock = world.network, world.limits, world.clock[0]
    found, t_ns, seq = NOTHING, until_ns + 1, 0
    if world.pages.size[0] > 0:
        page = world.pages.entries[0]
        if page.t_ns < t_ns:
            found, t_ns, seq = PAGE, page.t_ns, page.seq
    if world.wakes.size[0] > 0:
        wake = world.wakes.entries[0]
        if wake.t_ns < t_ns or (wake.t_ns == t_ns and wake.seq < seq):
            found, t_ns, seq = WAKE, wake.t_ns, wake.seq
    if network.ends[0] < network.ends[1]:
        event = network.entries[network.ends[0] & (len(network.entries) - 1)]
        if event.t_ns < t_ns or (event.t_ns == t_ns and event.seq < seq):
            found, t_ns, seq = NETWORK, event.t_ns, event.seq
    if limits.ends[0] < limits.ends[1]:
        event = limits.entries[limits.ends[0] & (len(limits.entries) - 1)]
        if event.t_ns < t_ns or (event.t_ns == t_ns and event.seq < seq):
            found, t_ns, seq = TIME_LIMIT, event.t_ns, event.seq
    if clock.step < len(world.steps):
        step = world.steps[clock.step]
        if step.t_ns < t_ns or (step.t_ns == t_ns and step.seq < seq):
            found, t_ns, seq = ACTION, step.t_ns, step.seq
    clock.now_ns = min(t_ns, until_ns)
    return found


@part
def act(world: World, rules: Rules, number: int) -> None:
    """One step of the control: what `simulation` does for the verb of that name."""
    step, fleet, clock = world.steps[number], world.fleet, world.clock[0]
    nodes = range(step.cell * rules.nodes_per_cell, (step.cell + 1) * rules.nodes_per_cell)
    if step.kind == CUT_ON:
        for i in range(step.first, step.first + step.count):
            fleet[world.struck[i]].cuts += 1
            hang_up(world, rules, world.struck[i], UNREACHABLE)
            fail(world, rules, world.struck[i])
        clock.seq += 1
        world.steps[step.other].seq = clock.seq
    elif step.kind == CUT_OFF:
        for i in range(step.first, step.first + step.count):
            fleet[world.struck[i]].cuts -= 1
    elif step.kind == LIMIT:
        for node in nodes:
            world.nodes[node].cores *= step.value
    elif step.kind == PAUSE:
        world.cells[step.cell].paused = True
    elif step.kind == RESUME:
        for server in range(len(fleet)):
            if fleet[server].cell == step.cell:
                pace(world, rules, server, step.value)
        world.cells[step.cell].paused = False
    else:
        for node in nodes:
            world.queues[node * rules.partitions + step.other].slots = math.ceil(rules.slots * step.value / 100)
            fill(world, rules, node, step.other)
            serve(world, rules, node)


def make_advance(key: str) -> Callable[[World, Rules, int], bool]:
    def advance(world: World, rules: Rules, until_ns: int) -> bool:
        """Everything up to and at an instant. False: stopped before it for want of room; call again with more."""
        if len(key) == 0:  # mentions the key, so that it is enclosed
            return False
        clock, network, limits = world.clock[0], world.network, world.limits
        while not short(world):
            queue = earliest(world, until_ns)
            if queue == NOTHING:
                for cell in range(len(world.cells)):
                    settle_cell(world, rules, cell)
                for account in range(len(world.accounts)):
                    settle_account(world, rules, account)
                return True
            clock.events += 1
            if queue == PAGE:
                node = world.pages.entries[0].who
                drop(world.pages)
                page_done(world, rules, node)
            elif queue == NETWORK:
                event = network.entries[network.ends[0] & (len(network.entries) - 1)]
                kind, who, what = event.kind, event.who, event.what
                network.ends[0] += 1
                if kind == ARRIVE:
                    arrive(world, rules, who)
                elif kind == ANSWER:
                    answered(world, rules, who, what)
                elif kind == GONE:
                    gone(world, rules, who, what)
                else:
                    refused(world, rules, who, what)
            elif queue == WAKE:
                server, timer = world.wakes.entries[0].who, world.wakes.entries[0].seq
                drop(world.wakes)
                if world.fleet[server].timer == timer:
                    ask(world, rules, server)
            elif queue == TIME_LIMIT:
                event = limits.entries[limits.ends[0] & (len(limits.entries) - 1)]
                server, request = event.who, event.what
                limits.ends[0] += 1
                timed_out(world, rules, server, request)
            else:
                clock.step += 1
                act(world, rules, clock.step - 1)
        return False

    return advance


advance = whole(make_advance)

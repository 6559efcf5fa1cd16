"""What is counted while the kernel runs: servers out, renewals, and requests by quorum (the copy of `quorum`).

Decides counts per window, by adding up what was true for how long at each change; draws no sample. A target of an
account is a partition with three replicas: with fewer than two in service it has no quorum, `quorum.needed`.
"""

from __future__ import annotations

from .compiled import part
from .model import Ints
from .state import Rules
from .world import World

QUORUM = 2


@part
def spread(sums: Ints, column: int, value: int, from_ns: int, to_ns: int, window_ns: int) -> None:
    """Add a value that held from … to, times that span, to the windows it lies in."""
    while value > 0 and from_ns < to_ns:
        window = from_ns // window_ns
        end_ns = min(to_ns, (window + 1) * window_ns)
        sums[window, column] += value * (end_ns - from_ns)
        from_ns = end_ns


@part
def settle_cell(world: World, rules: Rules, number: int) -> None:
    cell, now_ns = world.cells[number], world.clock[0].now_ns
    spread(world.out_ns, number, cell.out, cell.since_ns, now_ns, rules.window_ns)
    cell.since_ns = now_ns


@part
def settle_account(world: World, rules: Rules, number: int) -> None:
    account, now_ns = world.accounts[number], world.clock[0].now_ns
    spread(world.no_quorum, number, account.no_quorum, account.since_ns, now_ns, rules.window_ns)
    spread(world.no_replica, number, account.no_replica, account.since_ns, now_ns, rules.window_ns)
    account.since_ns = now_ns


@part
def write(world: World, rules: Rules, server: int, outcome: int) -> None:
    """A line of the trace."""
    if rules.traced:
        clock = world.clock[0]
        line = world.lines[clock.lines]
        line.t_ns, line.server, line.outcome = clock.now_ns, server, outcome
        clock.lines += 1


@part
def renewal_ended(world: World, rules: Rules, server: int, asked_ns: int, outcome: int) -> None:
    """Counted in the window in which it was asked."""
    world.renewals[asked_ns // rules.window_ns, world.fleet[server].cell, outcome] += 1
    write(world, rules, server, outcome)


@part
def available_changed(world: World, rules: Rules, server: int, change: int) -> None:
    """One server more (1), or one less (-1), in service."""
    number, now_ns = world.fleet[server].cell, world.clock[0].now_ns
    world.fleet[server].available = change > 0
    settle_cell(world, rules, number)
    world.cells[number].out -= change
    if change < 0:
        world.left[min(now_ns // rules.window_ns, len(world.left) - 1), number] += 1
    for i in range(world.first[server], world.first[server + 1]):
        target = world.targets[world.held[i]]
        settle_account(world, rules, target.account)
        account, most = world.accounts[target.account], max(target.up, target.up + change)
        target.up += change
        if most == 1:
            account.no_replica -= change * target.parts
        if most == QUORUM:
            account.no_quorum -= change * target.parts

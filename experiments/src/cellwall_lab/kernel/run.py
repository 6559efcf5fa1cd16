"""From a `KernelInput` to a `KernelResult`.

Decides nothing: checks, makes memory, lets the kernel run, more memory where it asks for it, and names the world.
"""

from __future__ import annotations

import numpy as np

from ..backends.timeline import NS
from .advance import advance
from .model import PARTS, Floats, Ints, KernelInput, KernelResult, Trace
from .world import World, make_rules, make_world, wider


def run(given: KernelInput) -> KernelResult:
    """Run a world to its end. Same input, same result, bit for bit."""
    given.check()
    world, rules = make_world(given), make_rules(given)
    while not advance(world, rules, given.until_ns):
        world = wider(world)
    return _result(given, world)


def _result(given: KernelInput, world: World) -> KernelResult:
    cells = given.cores.shape[0]
    spans = np.diff(np.minimum(np.arange(given.windows + 1) * given.window_ns, given.until_ns))

    def share(parts_ns: Ints) -> Floats:
        shares: Floats = parts_ns / (spans[:, None] * PARTS)
        return shares

    accounts = given.accounts
    return KernelResult(
        until_ns=given.until_ns,
        window_ns=given.window_ns,
        servers=np.bincount(given.cell, minlength=cells).astype(np.int64),
        out_ns=world.out_ns,
        renewals=world.renewals,
        left=world.left,
        no_quorum=share(world.no_quorum),
        no_replica=share(world.no_replica),
        eventual_ratio=accounts.eventual_ratio if accounts else 0.0,
        weight=accounts.weight if accounts else np.zeros(0),
        available=world.fleet["available"],
        cpu_s=world.nodes["cpu_ns"].reshape(cells, -1).sum(axis=1) / NS,
        events=int(world.clock[0]["events"]),
        trace=_trace(world) if given.trace else None,
    )


def _trace(world: World) -> Trace:
    lines = world.lines[: world.clock[0]["lines"]]
    return Trace(lines["t_ns"], lines["server"], lines["outcome"])

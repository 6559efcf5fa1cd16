"""The seam between a sweep and what plays its runs: a placed world in, a trace out.

Decides the course of a run (enter, one clean period, cut, watch) and nothing about renewal. Two engines play it: the
compiled kernel, and the core's own state machines, which define what is right. Invariant: both give the same trace of
the same world.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable

import msgspec
import numpy as np

from cellwall import history
from cellwall.capacity import Costs
from cellwall.placement import server_id

from .. import verbs
from ..backends.config import ArmConfig
from ..backends.simulation import STEP_S, SimulatedWorld
from ..backends.timeline import NS
from .impact import Change, Trace
from .world import Placed

Play = Callable[[Placed, Costs], Trace]
ENTRY_PERIODS = 10  # as `SimulatedWorld.start`: who is not in by then is sick


def world_of(placed: Placed, costs: Costs) -> SimulatedWorld:
    """The core's world, everybody in service (or as far as it gets)."""
    spec = placed.layout.spec
    config = ArmConfig(arm="sweep", backend="simulation", seed=spec.seed, spec=spec, out="", force=True)
    world = SimulatedWorld(config, costs, placed.layout)
    world.start()
    return world


def core(placed: Placed, costs: Costs) -> Trace:
    world = world_of(placed, costs)
    strike, targets = placed.point.strike, verbs.Targets(servers=[server_id(s) for s in placed.struck])

    async def course() -> tuple[float, float, float]:
        clean_s = await _now_s(world)
        await world.carry_out(verbs.Wait(for_s=placed.layout.spec.renewal.renew_every_s))
        cut_on_s = await _now_s(world)
        await world.carry_out(verbs.Cut(targets=targets, for_s=strike.cut_s))
        await world.carry_out(verbs.Wait(for_s=strike.cut_s + placed.point.watch_s))
        return clean_s, cut_on_s, await _now_s(world)

    clean_s, cut_on_s, end_s = asyncio.run(course())
    number = {server_id(s): s for s in range(placed.layout.fleet.servers)}
    changes = [Change(r.t, number[r.server], r.available) for r in world.records if isinstance(r, history.Availability)]
    renewals = [r for r in world.records if isinstance(r, history.Renewal) and r.outcome != "done"]
    return Trace(
        clean_s=clean_s,
        cut_on_s=cut_on_s,
        cut_off_s=cut_on_s + strike.cut_s,
        end_s=end_s,
        changes=[change for change in changes if change.t > 0],  # at 0 everybody is said to be out
        early_failures=sum(clean_s <= r.t + r.waited_s < cut_on_s for r in renewals),
    )


async def _now_s(world: SimulatedWorld) -> float:
    window: verbs.WindowStats = await world.carry_out(verbs.Window())
    return window.now_s


def kernel(placed: Placed, costs: Costs) -> Trace:
    """Twice: once without the trigger, to see when everybody is in."""
    from ..kernel.build import kernel_input
    from ..kernel.model import Outcome
    from ..kernel.run import run

    spec, strike = placed.layout.spec, placed.point.strike
    renew_s = spec.renewal.renew_every_s

    def played(script: list[tuple[float, verbs.Cut]], until_s: float) -> list[np.ndarray]:
        given = kernel_input(spec, placed.layout, costs, script, until_s=until_s, window_s=until_s, trace=True)
        trace = run(msgspec.structs.replace(given, accounts=None)).trace
        assert trace is not None
        return [trace.t_ns, trace.server, trace.outcome]

    t_ns, server, outcome = played([], ENTRY_PERIODS * renew_s)
    clean_s = _all_in_s(t_ns[outcome >= Outcome.IN], outcome[outcome >= Outcome.IN], len(placed.cell), renew_s)
    cut_on_s = clean_s + renew_s
    end_s = cut_on_s + strike.cut_s + placed.point.watch_s
    cut = verbs.Cut(targets=verbs.Targets(servers=[server_id(s) for s in placed.struck]), for_s=strike.cut_s)
    t_ns, server, outcome = played([(cut_on_s, cut)], end_s)
    moved = outcome >= Outcome.IN
    columns = (t_ns[moved] / NS, server[moved], outcome[moved] == Outcome.IN)
    ended_s = t_ns[(outcome == Outcome.TIME_OUT) | (outcome == Outcome.UNREACHABLE)] / NS
    return Trace(
        clean_s=clean_s,
        cut_on_s=cut_on_s,
        cut_off_s=cut_on_s + strike.cut_s,
        end_s=end_s,
        changes=[Change(*change) for change in zip(*(column.tolist() for column in columns), strict=True)],
        early_failures=int(((clean_s <= ended_s) & (ended_s < cut_on_s)).sum()),
    )


def _all_in_s(t_ns: np.ndarray, outcome: np.ndarray, servers: int, renew_s: float) -> float:
    """When the core's start ends: at its first look with nobody out, or when it gives up."""
    from ..kernel.model import Outcome

    out = servers - np.cumsum(np.where(outcome == Outcome.IN, 1, -1))
    for look in range(1, round(ENTRY_PERIODS * renew_s / STEP_S) + 1):
        seen = int(np.searchsorted(t_ns, round(look * STEP_S * NS), side="right"))
        if seen and out[seen - 1] == 0:
            return look * STEP_S
    return ENTRY_PERIODS * renew_s


# The fastest first; the kernel needs numba, which not every installation has.
ENGINES: dict[str, Play] = {"kernel": kernel, "core": core} if importlib.util.find_spec("numba") else {"core": core}

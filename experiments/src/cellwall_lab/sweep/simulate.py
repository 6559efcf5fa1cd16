"""The one seam between a sweep and what plays its runs: a placed world in, a trace out.

Decides the course of a run (enter, one clean period, cut, watch) and nothing about renewal: that is the simulation's.
`play` is over the core's own state machines; another engine needs to give the same trace for the same world.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cellwall import history
from cellwall.capacity import Costs
from cellwall.placement import server_id

from .. import verbs
from ..backends.config import ArmConfig
from ..backends.simulation import SimulatedWorld
from .impact import Change, Impact, Trace, measure
from .points import Point
from .world import Placed, place

Play = Callable[[Placed, Costs], Trace]
ENGINE = "core"  # which engine made a row


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its measures, and what it cost."""

    point: Point
    seed: int
    impact: Impact
    cpu_s: float


class Run(msgspec.Struct, frozen=True):
    point: Point
    seed: int


def world_of(placed: Placed, costs: Costs) -> SimulatedWorld:
    """The world, everybody in service (or as far as it gets)."""
    spec = placed.layout.spec
    config = ArmConfig(arm="sweep", backend="simulation", seed=spec.seed, spec=spec, out="", force=True)
    world = SimulatedWorld(config, costs, placed.layout)
    world.start()
    return world


async def now_s(world: SimulatedWorld) -> float:
    window: verbs.WindowStats = await world.carry_out(verbs.Window())
    return window.now_s


def play(placed: Placed, costs: Costs) -> Trace:
    world = world_of(placed, costs)
    strike = placed.point.strike
    targets = verbs.Targets(servers=[server_id(s) for s in placed.struck])

    async def course() -> tuple[float, float, float]:
        clean_s = await now_s(world)
        await world.carry_out(verbs.Wait(for_s=placed.layout.spec.renewal.renew_every_s))
        cut_on_s = await now_s(world)
        await world.carry_out(verbs.Cut(targets=targets, for_s=strike.cut_s))
        await world.carry_out(verbs.Wait(for_s=strike.cut_s + placed.point.watch_s))
        return clean_s, cut_on_s, await now_s(world)

    clean_s, cut_on_s, end_s = asyncio.run(course())
    number = {server_id(s): s for s in range(placed.layout.fleet.servers)}
    changes = [Change(r.t, number[r.server], r.available) for r in world.records if isinstance(r, history.Availability)]
    failures = sum(
        isinstance(r, history.Renewal) and r.outcome != "done" and clean_s <= r.t and r.t + r.waited_s < cut_on_s
        for r in world.records
    )
    return Trace(
        clean_s=clean_s,
        cut_on_s=cut_on_s,
        cut_off_s=cut_on_s + strike.cut_s,
        end_s=end_s,
        changes=changes,
        early_failures=failures,
    )


def simulate(point: Point, seed: int, costs: Costs, engine: Play = play) -> Outcome:
    start_s = time.process_time()
    placed = place(point, seed, costs)
    impact = measure(engine(placed, costs), placed)
    return Outcome(point=point, seed=seed, impact=impact, cpu_s=time.process_time() - start_s)


def row(outcome: Outcome, columns: Sequence[str], marks: dict[str, Any]) -> dict[str, Any]:
    """A run as a row of the results: ``columns`` are the settings that vary somewhere in the sweep."""
    point = outcome.point
    return {
        "point": point.id,
        "seed": outcome.seed,
        **{path: point.value(path) for path in columns},
        "trigger": point.strike.trigger,
        "share": point.strike.share,
        "cut_s": point.strike.cut_s,
        "cells": point.spec.cells,
        "below_size_rule": point.below_size_rule,
        **msgspec.structs.asdict(outcome.impact),
        "cpu_s": outcome.cpu_s,
        "engine": ENGINE,
        **marks,
    }

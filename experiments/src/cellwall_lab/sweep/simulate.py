"""One run of a sweep: a point and a seed in, its measures out, whichever engine plays it.

Decides which engine plays a run and what a row of the results holds; never what happens in a run (`engines`) or what it
meant (`impact`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from cellwall.capacity import Costs

from .engines import ENGINES, Play
from .impact import Impact, measure
from .points import Point
from .world import place


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its measures, and what it cost."""

    point: Point
    seed: int
    impact: Impact
    cpu_s: float
    engine: str


class Run(msgspec.Struct, frozen=True):
    point: Point
    seed: int


def simulate(point: Point, seed: int, costs: Costs, engine: str = "") -> Outcome:
    """``engine``: by its name; empty: the fastest there is."""
    name = engine or next(iter(ENGINES))
    play: Play = ENGINES[name]
    start_s = time.process_time()
    placed = place(point, seed, costs)
    impact = measure(play(placed, costs), placed)
    return Outcome(point=point, seed=seed, impact=impact, cpu_s=time.process_time() - start_s, engine=name)


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
        "engine": outcome.engine,
        **marks,
    }

"""Stepping a setting up and down again, and what the loop between the two ways is.

Decides the order of levels and where the system tipped and recovered; runs nothing. Invariant: the way down has the
levels of the way up, so that both have a value at each, and the loop's area is a sum over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """What was seen after a while at one level: the share of something bad, on the way up or down."""

    level: float
    up: bool
    share: float


class Loop(msgspec.Struct, frozen=True):
    """``tips_at``: the first level on the way up that is above the mark; ``recovers_at``: the highest on the way down
    that is not. None: there was none. ``width_ratio``: their distance, as a share of ``tips_at``."""

    tips_at: float | None
    recovers_at: float | None
    width_ratio: float | None
    area: float


def schedule(low: float, high: float, steps: int) -> list[tuple[float, bool]]:
    """(level, on the way up) for ``steps`` equal steps from low to high and back; the top is held once each way."""
    if steps < 1 or not low < high:
        raise ValueError(f"{steps} steps from {low} to {high}")
    levels = [low + (high - low) * k / steps for k in range(steps + 1)]
    return [(level, True) for level in levels] + [(level, False) for level in reversed(levels)]


def loop(readings: Sequence[Reading], mark: float) -> Loop:
    """``mark``: the share above which the system counts as tipped."""
    up = sorted((r.level, r.share) for r in readings if r.up)
    down = sorted((r.level, r.share) for r in readings if not r.up)
    if [level for level, _ in up] != [level for level, _ in down]:
        raise ValueError("the way down has other levels than the way up")
    tips_at = next((level for level, share in up if share > mark), None)
    recovers_at = next((level for level, share in reversed(down) if share <= mark), None)
    width = None if tips_at is None or recovers_at is None else max(0.0, tips_at - recovers_at) / tips_at
    gaps = [(level, d - u) for (level, u), (_, d) in zip(up, down, strict=True)]
    area = sum((b - a) * (ga + gb) / 2 for (a, ga), (b, gb) in pairwise(gaps))
    return Loop(tips_at, recovers_at, width, area)

"""A sweep's figures: impact against the number of cells, the vulnerable region, survival, boundaries, loops.

Decides which grid is drawn how: by what its axes are. Computes no statistic (`summary` and `statistics` do). Drawn on
the report's canvas, in its colours; a figure without data is not drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..report.canvas import CUT, ERRORS, FONT_PT, INK, MUTED, OK, OUT, PAPER, PAUSED, label, percent_axis, sheet
from ..report.embed import framed, key, svg
from ..statistics.hysteresis import loop
from ..statistics.survival import Life, curve, median_s
from .search import Looped, Searched
from .store import GridMade
from .summary import Told, percent

SERIES = (("out", OUT), ("errors", ERRORS), ("ok", OK), ("paused", PAUSED), ("cut", CUT), ("ink", INK))
TIPPED_RATIO = 0.30  # as in `impact`
CELLS = "cells"


def impact(grid: GridMade, places: Sequence[Told]) -> list[str]:
    """Customers above 1 % and servers out against the number of cells, beside 1/N; a panel for all else that varies."""
    if CELLS not in grid.axes:
        return []
    others = [axis for axis in grid.axes if axis != CELLS]
    drawn = []
    for name, panel in _panels(places, others):
        if len({one.cells for one in panel}) < 2:
            continue
        panel = sorted(panel, key=lambda one: one.cells)
        figure, (axes,) = sheet(190, top_pt=12)
        spots = {n: k for k, n in enumerate(sorted({one.cells for one in panel}))}
        axes.plot(list(spots.values()), [1 / n for n in spots], color=MUTED, linewidth=1, dashes=(4, 2))
        label(axes, 0, 1.0, "1/N", MUTED, dx_pt=6, dy_pt=-4, va="top")
        for measure, colour, dx in (("customers_1", ERRORS, 0.04), ("servers_out", OUT, -0.04)):
            x = [spots[one.cells] + dx for one in panel]
            axes.plot(x, [one.means[measure].value for one in panel], color=colour, marker="o", markersize=4)
            for at, one in zip(x, panel, strict=True):
                interval = one.means[measure]
                if interval.n > 1:
                    axes.plot(
                        [at, at], [max(0, interval.low), min(1, interval.high)], color=colour, linewidth=2.4, alpha=0.45
                    )
        doubtful = [spots[one.cells] for one in panel if one.below_size_rule or one.sick]
        axes.plot(doubtful, [1.03] * len(doubtful), "v", color=CUT, markersize=5, clip_on=False)
        percent_axis(axes)
        axes.set_xticks(list(spots.values()), [str(n) for n in spots])
        axes.set_xlabel("cells", loc="left", labelpad=2)
        text = "; ".join(
            f"{one.cells} cells: {percent(one.means['customers_1'].value)} % of customers" for one in panel
        )
        note = "▼ cells below the size rule, or sick before the trigger" if doubtful else ""
        colours = key(("errors", "dot", "customers above 1 %"), ("out", "dot", "servers out"))
        drawn.append(
            framed(
                name or grid.name, note, svg(figure, f"impact-{grid.name}-{name}", f"{grid.name} {name}", text), colours
            )
        )
    return drawn


def region(grid: GridMade, places: Sequence[Told]) -> list[str]:
    """P(stuck) over two numeric axes; a panel for all else."""
    numeric = [axis for axis in grid.axes if axis != CELLS and _numeric(places, axis)]
    if len(numeric) < 2:
        return []
    x_axis, y_axis = sorted(numeric[:2], key=lambda axis: axis != "share")
    drawn = []
    for name, panel in _panels(places, [axis for axis in grid.axes if axis not in (x_axis, y_axis)]):
        xs, ys = (sorted({float(one.labels[axis]) for one in panel}) for axis in (x_axis, y_axis))
        figure, (axes,) = sheet(40 + 24 * len(ys), left_pt=48, top_pt=6)
        axes.grid(False)
        for one in panel:
            x, y = xs.index(float(one.labels[x_axis])), ys.index(float(one.labels[y_axis]))
            share = one.stuck.value
            axes.fill_between(
                [x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=OUT, alpha=0.08 + 0.85 * share, linewidth=0
            )
            hits = round(share * one.stuck.n)
            axes.text(x, y, f"{hits}/{one.stuck.n}", ha="center", va="center", fontsize=FONT_PT - 1, color=INK)
        axes.set_xlim(-0.5, len(xs) - 0.5)
        axes.set_ylim(-0.5, len(ys) - 0.5)
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
        axes.set_xlabel(f"{_short(x_axis)} →   up: {_short(y_axis)}", loc="left", labelpad=2)
        note = "Runs that stuck, of all; the darker the more."
        drawn.append(
            framed(name or grid.name, note, svg(figure, f"region-{grid.name}-{name}", f"{grid.name} {name}", note))
        )
    return drawn


def survival(grid: GridMade, places: Sequence[Told]) -> list[str]:
    """The share of runs not yet recovered, over time; a line for each value of the grid's last axis."""
    *others, last = grid.axes
    drawn = []
    for name, panel in _panels(places, others):
        lives = [(one.labels[last], _lives(one)) for one in panel]
        lives = [(value, found) for value, found in lives if any(life.recovered and life.time_s > 0 for life in found)]
        if not lives:
            continue
        figure, (axes,) = sheet(170, top_pt=12)
        shown = lives if len(lives) <= len(SERIES) else lives[:: -(-len(lives) // len(SERIES))]
        end_s = max(life.time_s for _, found in lives for life in found)
        for (_, colour), (_, found) in zip(SERIES, shown, strict=False):
            steps = curve(found)
            x = [0.0, *(step.time_s for step in steps), end_s]
            y = [1.0, *(step.share for step in steps), steps[-1].share]
            axes.plot(x, y, color=colour, drawstyle="steps-post")
            low, high = (
                [1.0, *(getattr(step, side) for step in steps), getattr(steps[-1], side)] for side in ("low", "high")
            )
            axes.fill_between(x, low, high, color=colour, alpha=0.10, linewidth=0, step="post")
        percent_axis(axes)
        axes.set_xlim(0, end_s)
        axes.set_xlabel("seconds since the trigger was gone", loc="left", labelpad=2)
        medians = (
            f"{value}: {'not reached' if (m := median_s(found)) is None else f'{m:.0f} s'}" for value, found in shown
        )
        note = f"Not recovered yet; {_short(last)}. Median " + "; ".join(medians)
        colours = key(*((colour, "line", value) for (colour, _), (value, _) in zip(SERIES, shown, strict=False)))
        drawn.append(
            framed(
                name or grid.name,
                note,
                svg(figure, f"survival-{grid.name}-{name}", f"{grid.name} {name}", note),
                colours,
            )
        )
    return drawn


def boundaries(found: Sequence[Searched]) -> list[str]:
    """P(stuck) at the levels that were tried, with Wilson intervals, and the bracket that is left."""
    drawn = []
    for one in found:
        name = ", ".join(f"{_short(axis)} {value}" for axis, value in one.labels.items())
        figure, (axes,) = sheet(150, top_pt=10)
        for level in one.search.seen:
            axes.plot([level.at] * 2, [level.share.low, level.share.high], color=OUT, linewidth=2.4, alpha=0.4)
            axes.plot([level.at], [level.share.value], "o", color=OUT, markersize=4.5, markeredgecolor=PAPER)
        bracket = one.search.bracket()
        if bracket:
            axes.axvspan(bracket[0].at, bracket[1].at, color=CUT, alpha=0.35, linewidth=0, zorder=0)
        percent_axis(axes)
        axes.set_xlabel(_short(one.key), loc="left", labelpad=2)
        drawn.append(framed(name, told_boundary(one), svg(figure, f"boundary-{name}", name, told_boundary(one))))
    return drawn


def told_boundary(one: Searched) -> str:
    """Where it tips, in a sentence."""
    search, bracket = one.search, one.search.bracket()
    if bracket is None:
        seen = {"below": "tips everywhere asked for", "above": "tips nowhere asked for"}.get(
            search.where, "not finished"
        )
        return f"{seen}: {search.low:g} to {search.high:g}"
    text = f"tips between {bracket[0].at:.4g} and {bracket[1].at:.4g}"
    return text if search.monotone else f"{text}; not monotone: some level beyond it does the opposite"


def loops(found: Sequence[Looped]) -> list[str]:
    """Servers out as the load goes up and down again; a line a seed."""
    drawn = []
    order = sorted(found, key=lambda one: (one.grid, repr(one.labels), one.seed))
    for (_, _), group in itertools.groupby(order, key=lambda one: (one.grid, repr(one.labels))):
        seeds = list(group)
        name = ", ".join(f"{_short(axis)} {value}" for axis, value in seeds[0].labels.items())
        figure, (axes,) = sheet(170, top_pt=10)
        for one in seeds:
            for up, colour in ((True, ERRORS), (False, OUT)):
                way = sorted((r.level, r.share) for r in one.readings if r.up == up)
                axes.plot([x for x, _ in way], [y for _, y in way], color=colour, alpha=0.75, linewidth=1.2)
        percent_axis(axes)
        axes.set_xlabel("load, in units of the reference", loc="left", labelpad=2)
        made = [loop(one.readings, TIPPED_RATIO) for one in seeds]
        note = "Tips at " + ", ".join("never" if m.tips_at is None else f"{m.tips_at:.2f}" for m in made)
        note += "; recovers at " + ", ".join("never" if m.recovers_at is None else f"{m.recovers_at:.2f}" for m in made)
        colours = key(("errors", "line", "load going up"), ("out", "line", "coming down"))
        drawn.append(framed(name, note, svg(figure, f"loop-{name}", name, note), colours))
    return drawn


KINDS: tuple[tuple[str, Callable[[GridMade, Sequence[Told]], list[str]]], ...] = (
    ("Impact against the number of cells", impact),
    ("Where it sticks", region),
    ("Time to recover", survival),
)


def _panels(places: Sequence[Told], axes: Sequence[str]) -> Iterator[tuple[str, list[Told]]]:
    """The places that agree on these axes, under what they agree on."""
    found: dict[str, list[Told]] = {}
    for one in places:
        name = ", ".join(f"{_short(axis)} {one.labels[axis]}" for axis in axes)
        found.setdefault(name, []).append(one)
    yield from found.items()


def _lives(one: Told) -> list[Life]:
    return [
        Life(row["watched_s"], False) if row["recover_s"] is None else Life(row["recover_s"], True) for row in one.rows
    ]


def _numeric(places: Sequence[Told], axis: str) -> bool:
    def number(text: Any) -> bool:
        try:
            float(text)
        except ValueError:
            return False
        return True

    values = {one.labels[axis] for one in places}
    return len(values) >= 3 and all(number(value) for value in values)


def _short(axis: str) -> str:
    return "" if axis in ("strike", "fleet", "capacity") else axis.rpartition(".")[2].replace("_", " ")

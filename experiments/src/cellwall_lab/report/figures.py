"""The figures over time, one function each: a view of an arm in, a piece of HTML out.

Decides what each figure shows and what its caption says. Never reads a file and never derives a series
(that is `measure`); a figure whose data is missing says "not recorded" and nothing breaks. Whether
its traffic is open-loop or closed-loop stands above it (`page`). Invariant I5: no number that is not in
the view.
"""

from __future__ import annotations

from matplotlib.axes import Axes

from .canvas import ERRORS, HAIR, INK, MUTED, OK, OUT, count_axis, label, name_row, percent_axis, sheet
from .embed import framed, key, nothing, svg
from .view import ArmView, Points, percent, xy

LEVELS = 12  # steps of a heat strip's colour; equal neighbours become one rectangle


def outage(view: ArmView) -> str:
    """Share of servers out and share of customer requests failed, with everything done about it below."""
    title = "Servers out, requests failed."
    if not view.out and not view.errors:
        return framed(view.name, title, nothing(title))
    figure, (axes, lane) = sheet(188, (1, 0.14), top_pt=26)
    view.axis.dress(axes, names=True, x_label=False)
    axes.fill_between(*xy(view.out), color=OUT, alpha=0.13, linewidth=0, step="post")
    axes.plot(*xy(view.errors), color=ERRORS, linewidth=1.2)
    axes.plot(*xy(view.out), color=OUT, linewidth=1.8, drawstyle="steps-post")
    percent_axis(axes)
    view.axis.dress(lane, judged=False)
    view.axis.runbook(lane)
    out, failed = percent(view.out_stuck), percent(view.errors_stuck)
    note = f"In the judged window {out} of servers were out and {failed} of requests failed."
    colours = key(
        ("out", "area", f"servers out {out}"),
        ("errors", "line", f"requests failed {failed}"),
    )
    return framed(view.name, "", svg(figure, f"outage-{view.name}", f"{view.name}: {title}", note), colours)


def predicted(view: ArmView, prediction: ArmView) -> str:
    """The same arm and seed in simulation, dashed, under what was measured."""
    title = "Measured over predicted."
    if not view.out or not prediction.out:
        return framed(view.name, title, nothing(title))
    figure, (upper, lower) = sheet(206, (1, 1), top_pt=26)
    for axes, measured, foretold, text, colour in (
        (upper, view.out, prediction.out, "servers out", OUT),
        (lower, view.errors, prediction.errors, "requests failed", ERRORS),
    ):
        view.axis.dress(axes, names=axes is upper, x_label=axes is lower)
        axes.plot(*xy(measured), color=colour, linewidth=1.6)
        axes.plot(*xy(foretold), color=INK, linewidth=1.1, dashes=(3, 2))
        percent_axis(axes)
        axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        name_row(axes, text, colour)
    note = (
        f"Servers out: measured {percent(view.out_stuck)}, predicted {percent(prediction.out_stuck)}; "
        f"requests failed: measured {percent(view.errors_stuck)}, predicted {percent(prediction.errors_stuck)}."
    )
    return framed(view.name, note, svg(figure, f"predicted-{view.name}", f"{view.name}: {title}", note))


def cells(view: ArmView) -> str:
    """Cell by time; the darker, the larger the share of the cell's servers out."""
    title = "Share of each cell's servers out."
    if not view.out_by_cell:
        return framed(view.name, title, nothing(title))
    rows = sorted(view.out_by_cell)
    figure, (axes,) = sheet(60 + 15 * len(rows), top_pt=26, left_pt=44)
    view.axis.dress(axes, names=True)
    axes.grid(False)
    for row, cell in enumerate(rows):
        axes.axhspan(row + 0.04, row + 0.96, color=HAIR, alpha=0.35, linewidth=0, zorder=0.1)
        for start, end, level in _runs(view.out_by_cell[cell]):
            axes.broken_barh(
                [(start, end - start)], (row + 0.04, 0.92), facecolor=OUT, alpha=round(level / LEVELS, 2), linewidth=0
            )
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
    peaks = {cell: max((y for _, y in view.out_by_cell[cell]), default=0.0) for cell in rows}
    note = "Peak by cell: " + ", ".join(f"{cell} {percent(peak)}" for cell, peak in peaks.items()) + "."
    return framed(view.name, note, svg(figure, f"cells-{view.name}", f"{view.name}: {title}", note))


def _runs(points: Points) -> list[tuple[float, float, int]]:
    """Neighbours of the same colour as one: [from, to, level], the empty ones left out."""
    runs: list[tuple[float, float, int]] = []
    width_s = points[1][0] - points[0][0] if len(points) > 1 else 1.0
    for k, (x, y) in enumerate(points):
        until = points[k + 1][0] if k + 1 < len(points) else x + width_s
        level = 0 if y <= 0 else max(1, round(y * LEVELS))
        if runs and runs[-1][2] == level:
            runs[-1] = (runs[-1][0], until, level)
        else:
            runs.append((x, until, level))
    return [run for run in runs if run[2] and run[1] > run[0]]


def renewals(view: ArmView) -> str:
    """Renewals a second, by when they were asked: in time and too late, stacked; the rest found the door shut."""
    title = "Renewals a second."
    if not view.asked:
        return framed(view.name, title, nothing(title))
    figure, (axes,) = sheet(158, top_pt=26)
    view.axis.dress(axes, names=True)
    x, in_time = xy(view.in_time)
    served = [done + late for done, late in zip(in_time, xy(view.too_late)[1], strict=True)]
    asked = xy(view.asked)[1]
    axes.fill_between(x, in_time, color=OK, alpha=0.55, linewidth=0, step="post")
    axes.fill_between(x, in_time, served, color=OUT, alpha=0.5, linewidth=0, step="post")
    axes.plot(x, asked, color=INK, linewidth=1.0, drawstyle="steps-post")
    count_axis(axes, list(zip(x, served, strict=True)))
    top, peak = axes.get_ylim()[1], max(asked)
    if peak > top:
        label(axes, x[asked.index(peak)], top, f"to {peak:.0f}", INK, va="top", ha="left", dx_pt=3)
    note = (
        f"Asked a second: {_mean(view.asked, view.clean)} when healthy; in the judged window "
        f"{_mean(view.asked, view.stuck)}, of which {_mean(view.in_time, view.stuck)} answered in time."
    )
    colours = key(("ok", "area", "in time"), ("out", "area", "too late"), ("ink", "line", "asked"))
    return framed(view.name, note, svg(figure, f"renewals-{view.name}", f"{view.name}: {title}", note), colours)


def queue(view: ArmView) -> str:
    """Requests at the metadata nodes, and the age of the oldest against the time limit; the worst cell in ink."""
    title = "Queue length and age of the oldest request."
    if not any(view.queue.values()):
        return framed(view.name, title, nothing(title))
    figure, (upper, lower) = sheet(206, (1, 1), top_pt=26)
    worst = max(view.queue, key=lambda cell: max((y for _, y in view.queue[cell]), default=0.0))
    for axes, series, text in ((upper, view.queue, "requests queued"), (lower, view.oldest, "age of the oldest, s")):
        view.axis.dress(axes, names=axes is upper, x_label=axes is lower)
        for cell in sorted(series, key=lambda cell: cell == worst):
            axes.plot(*xy(series[cell]), color=INK if cell == worst else MUTED, linewidth=1.4 if cell == worst else 0.7)
        count_axis(axes, [p for points in series.values() for p in points])
        name_row(axes, text, INK)
    if view.time_limit_s:
        lower.set_ylim(0, max(lower.get_ylim()[1], view.time_limit_s * 1.25))
        _rule(lower, view, view.time_limit_s, f"time limit {view.time_limit_s:g} s")
    note = f"Longest in {worst}: {max((y for _, y in view.queue[worst]), default=0):.0f} requests at once"
    note += f"; the other {len(view.queue) - 1} cells in grey." if len(view.queue) > 1 else "."
    return framed(view.name, note, svg(figure, f"queue-{view.name}", f"{view.name}: {title}", note))


def cpu(view: ArmView) -> str:
    """Cores a metadata node used against its limit."""
    title = "Metadata CPU, share of the limit."
    if not any(view.cpu.values()):
        return framed(view.name, title, nothing(title))
    figure, (axes,) = sheet(150, top_pt=26)
    view.axis.dress(axes, names=True)
    worst = max(view.cpu, key=lambda node: _total(view.cpu[node], view.stuck))
    for node in sorted(view.cpu, key=lambda node: node == worst):
        axes.plot(*xy(view.cpu[node]), color=INK if node == worst else MUTED, linewidth=1.4 if node == worst else 0.7)
    top = max(y for points in view.cpu.values() for _, y in points) if view.cpu else 1.0
    percent_axis(axes)
    axes.set_ylim(0, max(1.18, min(top, 3.0) * 1.05))
    _rule(axes, view, 1.0, "limit")
    label(
        axes, view.axis.lo_s, 0.02, f"{worst}" + (", others grey" if len(view.cpu) > 1 else ""), INK, dx_pt=3, dy_pt=1
    )
    healthy, stuck = _share(view.cpu[worst], view.clean), _share(view.cpu[worst], view.stuck)
    note = f"{worst} spent {healthy} of its limit when healthy, {stuck} in the judged window."
    return framed(view.name, note, svg(figure, f"cpu-{view.name}", f"{view.name}: {title}", note))


def _rule(axes: Axes, view: ArmView, y: float, text: str) -> None:
    axes.axhline(y, color=INK, linewidth=0.8, dashes=(4, 2))
    label(axes, view.axis.hi_s, y, text, INK, ha="right")


def _within(points: Points, window: tuple[float, float] | None) -> list[float]:
    return [y for x, y in points if window and window[0] <= x < window[1]]


def _total(points: Points, window: tuple[float, float] | None) -> float:
    return sum(_within(points, window) or [y for _, y in points])


def _mean(points: Points, window: tuple[float, float] | None) -> str:
    values = _within(points, window)
    return f"{sum(values) / len(values):.0f}" if values else "(not recorded)"


def _share(points: Points, window: tuple[float, float] | None) -> str:
    values = _within(points, window)
    return percent(sum(values) / len(values) if values else None)

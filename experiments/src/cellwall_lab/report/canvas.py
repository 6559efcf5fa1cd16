"""What all figures share: paper, colours, the time axis with its shading, labels.

Decides panel width (400 units, so that 9-point text stays readable when a phone shows one panel a row),
palette, shading of faults and phases, and the marks of the runbook: the same on every time axis. Never
decides what a figure shows (`figures`, `distributions`) and computes no number.

Colours are drawn as light-theme hex values and become CSS variables on the way out, so the page may
be read in light, in dark and on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import msgspec
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH_PT = 400.0
FONT_PT = 9.0

# Okabe and Ito's colour-blind-safe palette, the text-bearing ones darkened to 4.5:1 on white.
INK, MUTED, HAIR, PAPER = "#1c2024", "#5f6670", "#d8dbe0", "#ffffff"
OUT, ERRORS, OK, PAUSED = "#bf4a00", "#0072b2", "#007a59", "#9c5b86"
CUT, CUT_TEXT = "#e69f00", "#8a5a00"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    HAIR: "hair",
    PAPER: "paper",
    OUT: "out",
    ERRORS: "errors",
    OK: "ok",
    CUT: "cut",
    CUT_TEXT: "cut-text",
    PAUSED: "paused",
}

RC: Any = {  # Any: matplotlib types its keys one by one
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": FONT_PT,
    "axes.edgecolor": HAIR,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT_PT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": HAIR,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": FONT_PT,
    "ytick.labelsize": FONT_PT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 4,
    "ytick.major.pad": 3,
}


class Mark(msgspec.Struct, frozen=True):
    """One step of the runbook at ``at_s``: a failed (cross) or done (tick) attempt, a pause, a resume."""

    at_s: float
    sign: str  # "failed", "done", "pause", "resume"


class TimeAxis(msgspec.Struct, frozen=True, kw_only=True):
    """What every time axis of an arm carries; seconds since the trigger was gone.

    ``lo_s``/``hi_s`` are common to all arms; ``judged`` is the window in which the outage is weighed."""

    lo_s: float
    hi_s: float
    cuts: Sequence[tuple[float, float]] = ()
    other_faults: Sequence[tuple[str, float, float]] = ()
    pauses: Sequence[tuple[float, float]] = ()
    phases: Sequence[tuple[str, float, float]] = ()
    trigger_gone_s: float | None = None
    judged: tuple[float, float] | None = None
    marks: Sequence[Mark] = ()

    def dress(self, axes: Axes, *, names: bool = False, x_label: bool = True, judged: bool = True) -> None:
        """Shade faults and pause, rule the phases off; with ``names`` say what they are, above the plot."""
        axes.set_xlim(self.lo_s, self.hi_s)
        for start, end in self.cuts:
            axes.axvspan(start, end, color=CUT, alpha=0.45, linewidth=0, zorder=0)
        for _, start, end in self.other_faults:
            axes.axvspan(start, end, color=CUT, alpha=0.2, linewidth=0, zorder=0)
        for start, end in self.pauses:
            axes.axvspan(start, end, color=PAUSED, alpha=0.14, linewidth=0, zorder=0)
        for _, start, _ in self.phases:
            if self.lo_s < start < self.hi_s:
                axes.axvline(start, color=HAIR, linewidth=0.6, zorder=0.5)
        if self.trigger_gone_s is not None:
            axes.axvline(self.trigger_gone_s, color=CUT, linewidth=1.1, zorder=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 3, 5, 6, 10], integer=True))
        if x_label:
            axes.set_xlabel("seconds since the trigger was gone", loc="left", labelpad=2)
        else:
            axes.tick_params(labelbottom=False)
        if names:
            self._name(axes)
        if self.judged and judged:
            span = axes.get_xaxis_transform()
            axes.plot(self.judged, (0, 0), color=INK, linewidth=2.6, transform=span, clip_on=False, zorder=5)

    def _name(self, axes: Axes) -> None:
        """Phase names above the plot, each only where it fits: about 4.6 units a letter at this size."""
        unit_s = (self.hi_s - self.lo_s) / (WIDTH_PT * 0.86)
        free_from = self.lo_s
        for name, start, end in self.phases:
            left, right = max(start, self.lo_s, free_from), min(end, self.hi_s)
            if name == "cut" or (right - left) / unit_s < 4.6 * len(name) + 2:
                continue
            _above(axes, left, 2, 4, name, MUTED)
            free_from = left + (4.6 * len(name) + 4) * unit_s
        if self.trigger_gone_s is not None:
            _above(axes, self.trigger_gone_s, 0, 14, "trigger gone", CUT_TEXT)

    def runbook(self, axes: Axes) -> None:
        """A lane below the plot: ✕ a failed attempt at adding capacity, ✓ one that was done, pause, resume."""
        shown = {"failed": ("✕", OUT), "done": ("✓", OK), "pause": ("‖", PAUSED), "resume": ("▸", PAUSED)}
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.grid(False)
        for mark in self.marks:
            sign, colour = shown[mark.sign]
            axes.text(
                mark.at_s, 0.45, sign, color=colour, ha="center", va="center", fontsize=FONT_PT + 2, weight="bold"
            )
        axes.text(
            self.lo_s,
            0.45,
            "runbook" if self.marks else "no runbook step",
            color=MUTED,
            va="center",
            fontsize=FONT_PT - 1,
        )


def _above(axes: Axes, x: float, dx_pt: float, dy_pt: float, text: str, colour: str) -> None:
    where = axes.get_xaxis_transform()
    axes.annotate(
        text, (x, 1), xycoords=where, xytext=(dx_pt, dy_pt), textcoords="offset points", color=colour, size=FONT_PT - 1
    )


def sheet(
    height_pt: float, rows: Sequence[float] = (1.0,), *, left_pt: float = 34, top_pt: float = 8
) -> tuple[Figure, list[Axes]]:
    """An empty panel of ``rows`` stacked axes (relative heights) over one x axis."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_PT / 72, height_pt / 72))
        FigureCanvasSVG(figure)
        axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=list(rows))[:, 0]
        figure.subplots_adjust(
            left=left_pt / WIDTH_PT,
            right=1 - 16 / WIDTH_PT,
            top=1 - top_pt / height_pt,
            bottom=30 / height_pt,
            hspace=0.22,
        )
        for each in axes:
            each.grid(axis="y")
        return figure, list(axes)


def percent_axis(axes: Axes, top: float = 1.0) -> None:
    """Shares from 0 to ``top`` as percent, with room above so that 100 % is not on the border."""
    axes.set_ylim(0, top * 1.04)
    ticks = [top * k / 4 for k in range(5)] if top >= 1 else [0, top / 2, top]
    axes.set_yticks(ticks, [f"{100 * tick:.0f}{' %' if tick == ticks[-1] else ''}" for tick in ticks])


def count_axis(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """From 0 with room for a name above the highest point."""
    top = max((y for _, y in points), default=0.0) or 1.0
    axes.set_ylim(0, top * 1.28)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=top > 3))


def label(
    axes: Axes, x: float, y: float, text: str, colour: str, *, dx_pt: float = 0, dy_pt: float = 0, **where: Any
) -> None:
    """A direct label, moved by so many units from its point; the page draws a halo of paper behind it."""
    placed = {"va": "bottom", "ha": "left", "weight": "bold", **where}
    axes.annotate(text, (x, y), xytext=(dx_pt, dy_pt), textcoords="offset points", color=colour, size=FONT_PT, **placed)


def name_row(axes: Axes, text: str, colour: str) -> None:
    """What one of several stacked plots shows, in its upper left corner."""
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "weight": "bold"}
    axes.annotate(text, (0, 1), xytext=(3, 0), color=colour, size=FONT_PT, **where)

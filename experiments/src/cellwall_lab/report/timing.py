"""When things were, for an arm's figures: the stretch shown, the windows spoken of, the time axis with its marks.

Decides windows from the history's own moments, as the judge does: clean to the cut, then from 2R after the
trigger was gone for 30 s or to the pause, then the last 2R. A window whose marks are missing, or
that is shorter than 5 s, is None; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import msgspec

from cellwall import series
from cellwall.moments import Moments, Run, Timed

from .canvas import Mark, TimeAxis
from .view import Window

BINS = 300  # points of a curve at most: about one per unit of a figure's width
STUCK_S = 30.0  # issue 3: the plateau is judged from 2R to 2R + 30 s
WINDOW_S = 5.0  # issue 3: in windows of 5 s


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Unix seconds. ``zero_s``: the trigger's removal, else its beginning, else the start."""

    at: Moments
    start_s: float
    end_s: float
    zero_s: float
    bin_s: float
    clean: Window | None
    stuck: Window | None
    watch: Window | None

    def since(self, t: float | None) -> float | None:
        return None if t is None else t - self.zero_s

    def shift(self, window: Window | None) -> Window | None:
        return (window[0] - self.zero_s, window[1] - self.zero_s) if window else None


def kinds(run: Run) -> tuple[Sequence[Timed], ...]:
    """Every list of records of an arm, but for the world."""
    telling = (run.phases, run.faults, run.steps, run.renewals, run.availability, run.requests)
    return (*telling, run.nodes, run.limits, run.processes, run.hosts, run.audits)


def timing(run: Run) -> Timing | None:
    """None if the history has no stretch of time to show: from the phase "clean", if any, to "end"."""
    times = [record.t for record in chain.from_iterable((*kind[:1], *kind[-1:]) for kind in kinds(run))]
    marks = {phase.name: phase.t for phase in run.phases}
    start_s = marks.get("clean", min(times, default=0.0))
    end_s = marks.get("end", max(times, default=0.0))
    if end_s <= start_s:
        return None
    at = series.moments(run)
    twice_s = 2 * run.renew_every_s
    clean = stuck = watch = None
    if at.clean_s is not None and at.cut_on_s is not None and at.clean_s < at.cut_on_s:
        clean = (at.clean_s, at.cut_on_s)
    if at.t0_s is not None and twice_s:
        from_s = at.t0_s + twice_s
        to_s = min(from_s + STUCK_S, end_s if at.stuck_end_s is None else at.stuck_end_s, end_s)
        stuck = (from_s, to_s) if to_s - from_s >= WINDOW_S else None
        watch = (end_s - twice_s, end_s) if end_s - twice_s > at.t0_s else None
    return Timing(
        at=at,
        start_s=start_s,
        end_s=end_s,
        zero_s=next((t for t in (at.t0_s, at.cut_on_s) if t is not None), start_s),
        bin_s=max(1.0, math.ceil((end_s - start_s) / BINS)),
        clean=clean,
        stuck=stuck,
        watch=watch,
    )


def axis(run: Run, when: Timing) -> TimeAxis:
    """Faults, pauses, phases and the runbook's steps; what never ended ends with the run."""
    zero_s = when.zero_s

    def span(on_s: float, off_s: float | None) -> Window:
        return on_s - zero_s, (when.end_s if off_s is None else off_s) - zero_s

    faults = [(fault.fault, *span(on_s, off_s)) for fault, on_s, off_s in series.fault_spans(run)]
    pauses = [(on_s, off_s) for fault, on_s, off_s in faults if fault == "pause"]
    if not pauses and when.at.pause_s is not None:
        pauses = [span(when.at.pause_s, when.at.resume_s)]
    return TimeAxis(
        lo_s=when.start_s - zero_s,
        hi_s=when.end_s - zero_s,
        cuts=[(on_s, off_s) for fault, on_s, off_s in faults if fault == "cut"],
        other_faults=[fault for fault in faults if fault[0] not in ("cut", "pause")],
        pauses=pauses,
        phases=[(name, *span(on_s, off_s)) for name, on_s, off_s in series.phase_spans(run)],
        trigger_gone_s=when.since(when.at.t0_s),
        judged=when.shift(when.stuck),
        marks=_marks(run, zero_s),
    )


def _marks(run: Run, zero_s: float) -> list[Mark]:
    """One mark for the same step in several cells at once."""
    marks: dict[Mark, None] = {}
    for step in run.steps:
        sign = step.step
        if sign == "add-capacity":
            sign = "done" if step.outcome == "done" else "failed"
        if sign in ("failed", "done", "pause", "resume") and not step.skipped:
            marks[Mark(round(step.t - zero_s, 1), sign)] = None
    return list(marks)

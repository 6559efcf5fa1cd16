"""What a report knows of a run, ready to be drawn: series, windows and counts.

Decides the form only, and how a number is written in words. Times are seconds since the trigger was gone,
as in the judge's evidence. `measure` fills it from a history, `folder` from a run folder; figures and
sentences read nothing else. A value that was not recorded is None or empty, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cellwall.history import Step
from cellwall.verdict import ArmVerdict, Bound

from .canvas import TimeAxis

Points = list[tuple[float, float]]
Window = tuple[float, float]
MISSING = "not recorded"
NBSP = "\u00a0"  # a number and its unit stay on one line


class ArmView(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. ``stuck`` is the window in which the judge weighs the outage: from 2R after the trigger's removal
    to the pause, 30 s at most; ``watch`` the last 2R. ``out_range`` and ``errors_range``: lowest and highest
    mean of 5 s in ``stuck``. ``size_cut``: the membership size that best parts the servers that got
    theirs from those that did not. ``lags``: process to p99 and worst of its loop lag samples."""

    name: str
    records: int = 0
    servers: int = 0
    cells: list[str] = []
    time_limit_s: float = 0.0
    renew_every_s: float = 0.0
    axis: TimeAxis = TimeAxis(lo_s=0.0, hi_s=1.0)
    clean: Window | None = None
    stuck: Window | None = None
    watch: Window | None = None
    cut_at_s: float | None = None
    cut_s: float | None = None
    targets: int = 0
    receipt: dict[str, Any] = {}
    pause_at_s: float | None = None
    resume_at_s: float | None = None
    # curves
    out: Points = []
    out_by_cell: dict[str, Points] = {}
    errors: Points = []
    asked: Points = []
    in_time: Points = []
    too_late: Points = []
    queue: dict[str, Points] = {}
    oldest: dict[str, Points] = {}
    cpu: dict[str, Points] = {}
    # sizes and customers
    sizes_clean: Points = []
    sizes_stuck: Points = []
    sizes_failed: list[int] = []
    size_cut: float | None = None  # records
    largest_records: int = 0  # of any membership, common to all arms
    customers: list[tuple[str, float, int]] = []
    # what was done, seconds since the trigger
    steps: list[tuple[float, Step]] = []
    # figures in sentences
    out_stuck: float | None = None
    out_range: Window | None = None
    errors_stuck: float | None = None
    errors_range: Window | None = None
    errors_pause_end: float | None = None
    errors_watch: float | None = None
    out_watch: float | None = None
    failed_renewals_clean: int | None = None
    slowest_clean_s: float | None = None
    cpu_clean: float | None = None
    cpu_after_pause: float | None = None
    dragged_in: int | None = None
    relapsed: int | None = None
    recovered_at_s: float | None = None
    audited: int = 0
    lost: int = 0
    # the machine
    steal_mean: float | None = None
    steal_worst: float | None = None
    late_p99_s: float | None = None
    late_worst_s: float | None = None
    lags: dict[str, tuple[float, float]] = {}


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """One run folder. ``predictions`` are arms of the same name, simulated before; ``voids`` says of an arm
    why its run does not count; ``verdicts`` may hold claims across arms beside the arms."""

    folder: str
    title: str
    experiment: str
    backend: str
    seed: int
    outcome: str
    question: str
    questions: Mapping[str, str]
    voids: Mapping[str, str]
    versions: Mapping[str, str]
    calibration: Mapping[str, float]
    verdicts: Sequence[ArmVerdict]
    arms: Sequence[ArmView]
    predictions: Mapping[str, ArmView]
    command: str


def xy(points: Points) -> tuple[list[float], list[float]]:
    """A curve as matplotlib wants it."""
    return [point[0] for point in points], [point[1] for point in points]


def percent(share: float | None) -> str:
    """57 %, 0.4 %, 0 %: one decimal only below 10, and never a rounded-away failure."""
    if share is None:
        return MISSING
    if 0 < share < 0.0005:
        return f"<{NBSP}0.1{NBSP}%"
    value = 100 * share
    return f"{value:.0f}{NBSP}%" if value >= 9.95 or value == 0 else f"{value:.1f}{NBSP}%"


def seconds(duration_s: float | None) -> str:
    """1.2 s, 40 ms."""
    if duration_s is None:
        return MISSING
    if 0 < duration_s < 0.1:
        return f"{1000 * duration_s:.{1 if duration_s < 0.01 else 0}f}{NBSP}ms"
    return f"{duration_s:.{1 if duration_s < 100 else 0}f}{NBSP}s"


def count(number: int, thing: str) -> str:
    """1 server, 200 servers."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def plain(value: Any, unit: str = "") -> str:
    """A value from a verdict, for a table: a "share of …" as percent, what is missing as a dash."""
    if value is None or value == "":
        return "—"
    if isinstance(value, Bound):
        low, high = (None if b is None else plain(b, unit) for b in (value.min, value.max))
        both = f"{low} to {high}" if low and high else None
        return both or (f"at least {low}" if low else f"at most {high}" if high else "—")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if unit.startswith("share of "):
            return percent(float(value))
        return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"
    return str(value)

"""From one arm's records to what the report shows of it.

Decides which series and counts a report needs; the derivations themselves are `cellwall.series`, so that
judge and report cannot differ (invariant I5). Whatever the history has no record for stays None or empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cellwall import series
from cellwall.history import Renewal
from cellwall.moments import Run

from .timing import WINDOW_S, Timing, axis, kinds, timing
from .view import ArmView, Points, Window

RECOVERED_RATIO = 0.005  # issue 3: errors < 0.5 %


def arm(name: str, run: Run) -> ArmView:
    """The whole view of one arm; an empty history gives an empty view."""
    when = timing(run)
    if run.world is None or when is None:
        return ArmView(name=name)
    at = when.at
    cut = next((f for f in reversed(run.faults) if f.fault == "cut" and f.state == "off"), None)
    view = ArmView(
        name=name,
        records=sum(len(kind) for kind in kinds(run)) + 1,
        servers=len(run.world.servers),
        cells=series.cells(run),
        largest_records=max((records for _, records in series.servers(run).values()), default=0),
        time_limit_s=run.time_limit_s,
        renew_every_s=run.renew_every_s,
        axis=axis(run, when),
        clean=when.shift(when.clean),
        stuck=when.shift(when.stuck),
        watch=when.shift(when.watch),
        cut_at_s=when.since(at.cut_on_s),
        cut_s=at.t0_s - at.cut_on_s if at.t0_s is not None and at.cut_on_s is not None else None,
        targets=len(at.targets),
        receipt=cut.receipt if cut else {},
        pause_at_s=when.since(at.pause_s),
        resume_at_s=when.since(at.resume_s),
        steps=[(step.t - when.zero_s, step) for step in run.steps],
        audited=len(run.audits),
        lost=sum(a.found < a.acknowledged for a in run.audits if a.outcome == "done"),
    )
    parts: dict[str, Any] = {}
    for part in (_servers, _requests, _renewals, _metadata, _machine):
        parts |= part(run, when)
    return msgspec.structs.replace(view, **parts)


def _servers(run: Run, when: Timing) -> dict[str, Any]:
    """Who was out, when, and who came back."""
    if not run.availability:
        return {}
    at, stuck = when.at, when.stuck
    curve = series.out_curve(run)
    # Before every server's state is on record the curve is only an upper bound.
    from_s = max(when.start_s, curve.known_s) if math.isfinite(curve.known_s) else when.start_s

    def bins(of: series.OutCurve) -> Points:
        return _since(when, series.out_bins(of, from_s, when.end_s, when.bin_s))

    found: dict[str, Any] = {
        "out": bins(curve),
        "out_by_cell": {cell: bins(series.out_curve(run, cell)) for cell in series.cells(run)},
        "recovered_at_s": when.since(_recovered(curve, at.t0_s, when.end_s)),
    }
    if stuck:
        found["out_stuck"] = curve.mean_share(*stuck)
        found["out_range"] = _range(share for _, share in series.out_bins(curve, *stuck, WINDOW_S))
    if when.watch:
        found["out_watch"] = curve.mean_share(*when.watch)
    if at.cut_on_s is not None and at.t0_s is not None:
        until_s = when.end_s if at.stuck_end_s is None else at.stuck_end_s
        found["dragged_in"] = len(series.dragged_in(run, at.targets, at.cut_on_s, until_s))
        found["relapsed"] = len(series.relapsed(run, at.targets, at.cut_on_s, at.t0_s, until_s))
    return found


def _recovered(curve: series.OutCurve, t0_s: float | None, end_s: float) -> float | None:
    """From when on at most 0.5 % were out, to the end; None if they never were."""
    if t0_s is None or curve.share(end_s) > RECOVERED_RATIO:
        return None
    step_s = 0.5
    bad = [t for t, share in series.out_bins(curve, t0_s, end_s, step_s) if share > RECOVERED_RATIO]
    return bad[-1] + step_s if bad else t0_s


def _requests(run: Run, when: Timing) -> dict[str, Any]:
    """What customers saw, and how late the load generator was."""

    def failed(window: Window | None) -> float | None:
        return series.failed_ratio(run, *window) if window else None

    bins = series.errors(run, when.start_s, when.end_s, when.bin_s)
    resume_s, stuck = when.at.resume_s, when.stuck
    late = [r.late_s for r in run.requests]
    found: dict[str, Any] = {
        "errors": _since(when, ((b.t, b.ratio) for b in bins if b.ratio is not None)),
        "errors_stuck": failed(stuck),
        "errors_watch": failed(when.watch),
        "errors_pause_end": failed(None if resume_s is None else (resume_s - WINDOW_S, resume_s)),
        "late_p99_s": series.quantile(late, 0.99),
        "late_worst_s": max(late, default=None),
    }
    if stuck:
        shares = (b.ratio for b in series.errors(run, *stuck, WINDOW_S))
        found["errors_range"] = _range(share for share in shares if share is not None)
        found["customers"] = [(c, bad / n, n) for c, (n, bad) in sorted(series.customers(run, *stuck).items())]
    return found


def _renewals(run: Run, when: Timing) -> dict[str, Any]:
    """Renewals a second, and what sizes got through."""
    if not run.renewals:
        return {}
    bins = series.renewals(run, when.start_s, when.end_s, when.bin_s)

    def rate(count: Callable[[series.RenewalBin], int]) -> Points:
        return _since(when, ((b.t, count(b) / when.bin_s) for b in bins))

    calm = series.between(run.renewals, *when.clean) if when.clean else []
    done = [r for r in calm if r.outcome == "done"]
    found: dict[str, Any] = {
        "asked": rate(lambda b: b.asked),
        "in_time": rate(lambda b: b.in_time),
        "too_late": rate(lambda b: b.too_late),
        "sizes_clean": [(float(r.records), r.waited_s) for r in done if r.records],
        "slowest_clean_s": series.quantile((r.waited_s for r in done), 0.99),
        "failed_renewals_clean": len(calm) - len(done) if when.clean else None,
    }
    if when.stuck:
        size = {server: records for server, (_, records) in series.servers(run).items()}
        found |= _sizes(series.between(run.renewals, *when.stuck), size)
    return found


def _sizes(stuck: Iterable[Renewal], size: dict[str, int]) -> dict[str, Any]:
    """In the stuck window: renewals done, sizes of servers that got none, and the size that parts the two.

    Only cells in which somebody timed out count: the cut-off is a property of an overloaded cell."""
    asked = list(stuck)
    sick = {r.cell for r in asked if r.reason == "time-out"} or {r.cell for r in asked}
    done = [r for r in asked if r.outcome == "done" and r.cell in sick]
    answered = {r.server for r in done}
    lost = sorted(size[s] for s in {r.server for r in asked if r.outcome != "done"} - answered if s in size)
    won = sorted(size[s] for s in answered if s in size)
    return {
        "sizes_stuck": [(float(r.records), r.waited_s) for r in done if r.records],
        "sizes_failed": lost,
        "size_cut": size_cut(won, lost),
    }


def size_cut(won: list[int], lost: list[int]) -> float | None:
    """The membership size that parts best those that got theirs (below) from those that did not (above)."""
    if not won or not lost:
        return None
    edges = sorted({*won, *lost})
    best = max(edges, key=lambda edge: sum(w < edge for w in won) + sum(x >= edge for x in lost))
    below = [edge for edge in edges if edge < best]
    return (below[-1] + best) / 2 if below else float(best)


def _metadata(run: Run, when: Timing) -> dict[str, Any]:
    """The metadata service's queue and CPU, by cell; a node's name starts with its cell's."""
    found: dict[str, Any] = {"queue": {}, "oldest": {}, "cpu": {}}
    for cell in series.cells(run):
        bins = series.queue(run, when.start_s, when.end_s, when.bin_s, cell) if run.nodes else []
        found["queue"][cell] = _since(when, ((b.t, b.queue) for b in bins if b.queue is not None))
        found["oldest"][cell] = _since(when, ((b.t, b.oldest_s) for b in bins if b.oldest_s is not None))
        limits = [sample for sample in run.limits if sample.node.startswith(f"{cell}-")]
        if limits:
            points = _cpu(msgspec.structs.replace(run, limits=limits), when, when.bin_s)
            found["cpu"][cell] = _since(when, points)
    whole = _cpu(run, when, 0.5) if run.limits else []
    pause_s, clean = when.at.pause_s, when.clean
    if clean:
        found["cpu_clean"] = _mean(ratio for t, ratio in whole if clean[0] <= t < clean[1])
    if pause_s is not None:
        until_s = pause_s + 2 * run.time_limit_s
        found["cpu_after_pause"] = min((ratio for t, ratio in whole if pause_s <= t < until_s), default=None)
    return found


def _cpu(run: Run, when: Timing, bin_s: float) -> Points:
    """Share of the limit used."""
    return [(b.t, b.ratio) for b in series.cpu(run, when.start_s, when.end_s, bin_s) if b.ratio is not None]


def _machine(run: Run, when: Timing) -> dict[str, Any]:
    """What was taken from the machine, and how late its processes' loops were."""
    steal = [sample.steal_ratio for sample in run.hosts]
    lags: dict[str, list[float]] = {}
    for sample in run.processes:
        lags.setdefault(sample.name, []).append(sample.lag_s)
    return {
        "steal_mean": _mean(steal),
        "steal_worst": max(steal, default=None),
        "lags": {name: (series.quantile(lag, 0.99) or 0.0, max(lag)) for name, lag in lags.items()},
    }


def _since(when: Timing, points: Iterable[tuple[float, float]]) -> Points:
    return [(round(t - when.zero_s, 2), round(y, 4)) for t, y in points]


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return sum(kept) / len(kept) if kept else None


def _range(values: Iterable[float]) -> Window | None:
    kept = list(values)
    return (min(kept), max(kept)) if kept else None

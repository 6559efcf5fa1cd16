"""Derived time series of one arm's history: what the judge weighs and the report draws.

Decides how records become curves, shares and counts; never what they mean (that is `judge`).
Invariant I5: computed from the history's records alone, so judge and report cannot differ.

Bins are half-open, [t, t + bin_s), and a bin without records has None where a share would be: an
empty window is unknown, not zero. Requests count at their due instant, renewals at the ask.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from .availability import OutCurve, dragged_in, relapsed
from .history import CpuLimit, Request
from .moments import Moments, Run, between, fault_spans, moments, phase_spans, read

__all__ = [
    "CpuBin",
    "ErrorBin",
    "Moments",
    "OutCurve",
    "QueueBin",
    "RenewalBin",
    "Run",
    "between",
    "cells",
    "cpu",
    "customers",
    "dragged_in",
    "errors",
    "failed_ratio",
    "fault_spans",
    "moments",
    "out_bins",
    "out_curve",
    "phase_spans",
    "quantile",
    "queue",
    "read",
    "relapsed",
    "renewals",
    "servers",
]


def quantile(values: Iterable[float], q: float) -> float | None:
    """Nearest-rank quantile; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def servers(run: Run) -> dict[str, tuple[str, int]]:
    """Server → its cell and the records of its membership."""
    return {row[0]: (row[1], int(row[5])) for row in run.world.servers} if run.world else {}


def cells(run: Run) -> list[str]:
    return sorted({cell for cell, _ in servers(run).values()})


def out_curve(run: Run, cell: str | None = None) -> OutCurve:
    """Servers out of the whole fleet, or of one cell."""
    return OutCurve(run, (s for s, (c, _) in servers(run).items() if cell in (None, c)))


def starts(from_s: float, to_s: float, bin_s: float) -> Iterator[float]:
    """The starts of the whole bins that fit."""
    # By multiplication: adding bin_s again and again would drift off the window's end.
    for i in range(math.floor((to_s - from_s) / bin_s + 1e-6)):
        yield from_s + i * bin_s


def out_bins(curve: OutCurve, from_s: float, to_s: float, bin_s: float = 1.0) -> list[tuple[float, float]]:
    """(bin start, mean share out)."""
    return [(t, curve.mean_share(t, t + bin_s)) for t in starts(from_s, to_s, bin_s)]


class ErrorBin(msgspec.Struct, frozen=True):
    """Customers' requests due in a bin. Everything but done is failed: refused, unknown, dropped at the cap."""

    t: float
    requests: int
    failed: int

    @property
    def ratio(self) -> float | None:
        return self.failed / self.requests if self.requests else None


def _failed(requests: Iterable[Request]) -> int:
    return sum(r.outcome != "done" for r in requests)


def errors(run: Run, from_s: float, to_s: float, bin_s: float = 1.0) -> list[ErrorBin]:
    bins = []
    for t in starts(from_s, to_s, bin_s):
        inside = between(run.requests, t, t + bin_s)
        bins.append(ErrorBin(t, len(inside), _failed(inside)))
    return bins


def failed_ratio(run: Run, from_s: float, to_s: float) -> float | None:
    """Share of the requests due in [from, to) that failed; None without requests."""
    inside = between(run.requests, from_s, to_s)
    return _failed(inside) / len(inside) if inside else None


def customers(run: Run, from_s: float, to_s: float) -> dict[str, tuple[int, int]]:
    """Customer → (requests, failed) due in [from, to)."""
    counts: dict[str, tuple[int, int]] = {}
    for r in between(run.requests, from_s, to_s):
        asked, failed = counts.get(r.customer, (0, 0))
        counts[r.customer] = (asked + 1, failed + (r.outcome != "done"))
    return counts


class RenewalBin(msgspec.Struct, frozen=True):
    """Renewals asked in a bin: answered in time, too late (time-out), or failed otherwise (unreachable, …)."""

    t: float
    asked: int
    in_time: int
    too_late: int
    other: int


def renewals(run: Run, from_s: float, to_s: float, bin_s: float = 1.0, cell: str | None = None) -> list[RenewalBin]:
    bins = []
    for t in starts(from_s, to_s, bin_s):
        inside = [r for r in between(run.renewals, t, t + bin_s) if cell in (None, r.cell)]
        done = sum(r.outcome == "done" for r in inside)
        late = sum(r.outcome != "done" and r.reason == "time-out" for r in inside)
        bins.append(RenewalBin(t, len(inside), done, late, len(inside) - done - late))
    return bins


class QueueBin(msgspec.Struct, frozen=True):
    """Requests in service and waiting, summed over nodes, and the age of the oldest; None without samples."""

    t: float
    queue: int | None
    oldest_s: float | None


def queue(run: Run, from_s: float, to_s: float, bin_s: float = 1.0, cell: str | None = None) -> list[QueueBin]:
    """Each node's last sample of the bin counts. Samples come about every second: shorter bins have gaps."""
    bins = []
    for t in starts(from_s, to_s, bin_s):
        last = {n.node: n for n in between(run.nodes, t, t + bin_s) if cell in (None, n.cell)}.values()
        waiting = sum(n.in_service + n.waiting for n in last) if last else None
        bins.append(QueueBin(t, waiting, max((n.oldest_s for n in last), default=None)))
    return bins


class CpuBin(msgspec.Struct, frozen=True):
    """Metadata CPU spent in a bin and its limit, cores, summed over limited nodes; None where samples do not reach."""

    t: float
    cores: float | None
    limit_cores: float | None

    @property
    def ratio(self) -> float | None:
        return self.cores / self.limit_cores if self.cores is not None and self.limit_cores else None


def cpu(run: Run, from_s: float, to_s: float, bin_s: float = 1.0) -> list[CpuBin]:
    """CPU used per interval, from the limiter's cumulative readings, interpolated between samples.

    The limiter samples all nodes at once, so a node that is missing from its later samples has ended (an
    attempt to add one that failed); bins that no sample reaches are unknown, not idle.
    """
    nodes: dict[str, list[CpuLimit]] = {}
    for sample in run.limits:
        nodes.setdefault(sample.node, []).append(sample)
    last_s = run.limits[-1].t if run.limits else -math.inf
    bins = []
    for t in starts(from_s, to_s, bin_s):
        spent = [_spent(samples, t, t + bin_s) for samples in nodes.values() if _lives(samples, t, t + bin_s)]
        if not spent or t + bin_s > last_s + REACH_S:
            bins.append(CpuBin(t, None, None))
        else:
            bins.append(CpuBin(t, sum(c for c, _ in spent) / bin_s, sum(limit for _, limit in spent)))
    return bins


# Samples are about a second apart: one that came a little before a bin's end still reaches it (guess).
REACH_S = 1.5


def _lives(samples: Sequence[CpuLimit], from_s: float, to_s: float) -> bool:
    return samples[0].t < to_s and from_s < samples[-1].t + REACH_S


def _spent(samples: Sequence[CpuLimit], from_s: float, to_s: float) -> tuple[float, float]:
    """CPU-seconds in [from, to) and the limit; nothing before the first sample."""
    limit = samples[max(0, bisect_right(samples, from_s, key=lambda s: s.t) - 1)].limit_cores
    return _cpu_at(samples, to_s) - _cpu_at(samples, from_s), limit


def _cpu_at(samples: Sequence[CpuLimit], t: float) -> float:
    i = bisect_right(samples, t, key=lambda s: s.t)
    if i == 0:
        return samples[0].cpu_s
    if i == len(samples):
        if i == 1:
            return samples[0].cpu_s
        i -= 1  # beyond the last sample: as fast as before it
    a, b = samples[i - 1], samples[i]
    return a.cpu_s + (b.cpu_s - a.cpu_s) * (t - a.t) / (b.t - a.t) if b.t > a.t else b.cpu_s

"""Which servers are out of service when: the curve, the servers dragged in, the servers that relapsed.

Decides from the availability records alone; never from renewals, and never what a share means. Invariant
I5: computed from records only; a server of which none tells is not taken to be in service.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from .moments import Run, between


class OutCurve:
    """How many of some servers are out of service, over time.

    A server is out until its first record says otherwise; ``known_s`` is the time from which every one
    has a record (infinite if some never has): before it the curve is an upper bound.
    """

    def __init__(self, run: Run, of: Iterable[str]) -> None:
        state = dict.fromkeys(of, False)  # available?
        unseen = set(state)
        self.total = out = len(state)
        self._t = [-math.inf]
        self._out = [out]
        self._area = [0.0]  # server-seconds out since the first record
        self.known_s = -math.inf if not unseen else math.inf
        for record in run.availability:
            if record.server not in state:
                continue
            if record.server in unseen:
                unseen.discard(record.server)
                if not unseen:
                    self.known_s = record.t
            if state[record.server] == record.available:
                continue
            state[record.server] = record.available
            span_s = record.t - self._t[-1]
            before, out = out, out + (-1 if record.available else 1)
            if span_s == 0.0:  # changes at one instant are one: nobody is out for no time at all
                self._out[-1] = out
                continue
            self._area.append(self._area[-1] + (before * span_s if math.isfinite(span_s) else 0.0))
            self._t.append(record.t)
            self._out.append(out)

    def at(self, t: float) -> int:
        """Servers out at an instant, changes at that very instant included."""
        return self._out[bisect_right(self._t, t) - 1]

    def share(self, t: float) -> float:
        return self.at(t) / self.total if self.total else 0.0

    def mean_share(self, from_s: float, to_s: float) -> float:
        """Time-weighted mean share out over [from, to)."""
        if not self.total:
            return 0.0
        if to_s <= from_s:
            return self.share(from_s)
        return (self._area_to(to_s) - self._area_to(from_s)) / (to_s - from_s) / self.total

    def most(self, from_s: float, to_s: float) -> int:
        """Most servers out at any instant of [from, to)."""
        first = bisect_right(self._t, from_s) - 1
        return max(n for t, n in zip(self._t[first:], self._out[first:], strict=True) if t <= from_s or t < to_s)

    def _area_to(self, t: float) -> float:
        i = bisect_right(self._t, t) - 1
        if i == 0:  # before the first record: all out, measured backwards from it
            anchor = self._t[1] if len(self._t) > 1 else 0.0
            return self._out[0] * (t - anchor)
        return self._area[i] + self._out[i] * (t - self._t[i])


def dragged_in(run: Run, targets: frozenset[str], from_s: float, to_s: float) -> set[str]:
    """Servers the cut never touched that left service in [from, to)."""
    return {a.server for a in between(run.availability, from_s, to_s) if not a.available and a.server not in targets}


def relapsed(run: Run, targets: frozenset[str], cut_on_s: float, t0_s: float, to_s: float) -> set[str]:
    """Servers that came back into service after the trigger and left it again before ``to_s``.

    A cut server's return counts from the cut's end, an untouched one's (out, in, out) from its start.
    """
    back: set[str] = set()
    found: set[str] = set()
    for a in between(run.availability, cut_on_s, to_s):
        if a.available:
            if a.t >= t0_s or a.server not in targets:
                back.add(a.server)
        elif a.server in back:
            found.add(a.server)
    return found

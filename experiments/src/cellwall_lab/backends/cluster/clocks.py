"""How far the pods' clocks are from this machine's, from the dates of their answers.

Decides bounds and when they are too far apart for one history; corrects nothing. A date tells whole seconds, so many
answers, each at another part of a second, narrow it down. Invariant: the true offset lies within the bounds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cellwall.errors import Unavailable

OFFSET_MAX_S = 0.25  # guess: a sixteenth of an administrative deadline; the judge's own edges are wider
ASKS = 12  # at instants a fraction of a second apart: bounds of about a tenth of a second


class Bounds(msgspec.Struct, frozen=True):
    """The other clock minus this one, seconds."""

    least_s: float
    most_s: float

    @property
    def middle_s(self) -> float:
        return (self.least_s + self.most_s) / 2


def bounds(told: Iterable[tuple[float, float, float]]) -> Bounds:
    """From (asked at, date, answered at): the other clock showed something in [date, date + 1) in between.

    If a clock was set meanwhile the bounds may cross: nothing can be said then, so they count as too far apart."""
    least_s, most_s = float("-inf"), float("inf")
    for asked_s, date_s, answered_s in told:
        least_s, most_s = max(least_s, date_s - answered_s), min(most_s, date_s + 1.0 - asked_s)
    return Bounds(least_s, most_s)


def refuse_apart(of: str, found: Bounds) -> None:
    """Raises if records of both clocks cannot stand in one history."""
    if found.least_s > OFFSET_MAX_S or found.most_s < -OFFSET_MAX_S or found.least_s > found.most_s:
        raise Unavailable(
            f"the clock of Kubernetes node {of} is {found.middle_s:+.2f} s from this machine's; "
            f"it must be within {OFFSET_MAX_S:g} s: synchronise both (NTP)"
        )

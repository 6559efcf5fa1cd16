"""Where a system tips: bisection of a setting with repeats at each level.

Decides which level is tried next and when it is enough; runs nothing. State in, state out, so that a search goes on
where a kill left it. Invariant: of the bracket's two ends one is seen to tip in at least half of its runs, the other
in less; where the ends that were asked for do not differ, there is no bracket and the boundary is outside.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import msgspec

from .intervals import Interval, wilson

Where = Literal["searching", "found", "below", "above"]


class Level(msgspec.Struct, frozen=True):
    """What was seen at one level: so many of so many runs tipped."""

    at: float
    tipped: int
    runs: int

    @property
    def tips(self) -> bool:
        return 2 * self.tipped >= self.runs

    @property
    def share(self) -> Interval:
        return wilson(self.tipped, self.runs)


class Search(msgspec.Struct, frozen=True):
    """A search between ``low`` and ``high`` to within ``tolerance`` (in the setting's unit)."""

    low: float
    high: float
    tolerance: float
    seen: tuple[Level, ...] = ()

    def next_level(self) -> float | None:
        """The level to try now; None when it is enough. Both ends first."""
        tried = {level.at for level in self.seen}
        for end in (self.low, self.high):
            if end not in tried:
                return end
        ends = self.bracket()
        if ends is None or ends[1].at - ends[0].at <= self.tolerance:
            return None
        middle = (ends[0].at + ends[1].at) / 2
        return middle if middle not in tried else None  # neighbours in floating point

    def having_seen(self, level: Level) -> Search:
        return msgspec.structs.replace(self, seen=(*self.seen, level))

    def bracket(self) -> tuple[Level, Level] | None:
        """The two neighbouring levels between which it tips, lower first; None if both ends do the same."""
        at = {level.at: level for level in self.seen}
        if self.low not in at or self.high not in at or at[self.low].tips == at[self.high].tips:
            return None
        low, high = at[self.low], at[self.high]
        for level in self.seen:  # in the order they were tried: each halves the bracket
            if low.at < level.at < high.at:
                if level.tips == low.tips:
                    low = level
                else:
                    high = level
        return low, high

    @property
    def where(self) -> Where:
        """Found once the bracket is narrow. Below: it tips at both ends; above: at neither."""
        if self.next_level() is not None:
            return "searching"
        if self.bracket() is not None:
            return "found"
        return "below" if self.seen[0].tips else "above"

    @property
    def estimate(self) -> float | None:
        """The middle of the bracket: known to within half its width, given that it tips on one side only."""
        ends = self.bracket()
        return None if ends is None else (ends[0].at + ends[1].at) / 2

    @property
    def monotone(self) -> bool:
        """Whether no level on the healthy side tips, and none on the other heals."""
        tips = [level.tips for level in sorted(self.seen, key=lambda level: level.at)]
        return sum(a != b for a, b in pairwise(tips)) <= 1

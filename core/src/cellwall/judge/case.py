"""What a claim's function is given: one arm's run, its moments, the claim; and what it gives back.

Decides nothing about claims. Keeps I11: whatever is missing (an instant, a server's state, requests in a
window) is raised as `Unknown` with what is missing, so that no function can take emptiness for success.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import msgspec

from .. import series
from ..errors import Unknown
from ..history import Renewal, Step
from ..moments import Run, between
from ..verdict import Outcome
from .spec import ClaimSpec

# Marks are written by one process and records by others, each with its own rounding (guess).
EDGE_S = 0.05

_MARKS = {
    "clean_s": "the phase 'clean'",
    "cut_on_s": "the cut's beginning",
    "t0_s": "the end of every cut",
    "stuck_end_s": "the end of the stuck window (a pause, or the end of the phase 'stuck')",
    "pause_s": "a pause",
    "resume_s": "the resume after the pause",
    "end_s": "the phase 'end'",
}


class Finding(msgspec.Struct, frozen=True):
    outcome: Outcome
    value: float | None
    evidence: str


def weigh(holds: bool, value: float | None, evidence: str) -> Finding:
    return Finding("held" if holds else "broken", value, evidence)


class Case:
    """One arm's run, with what several claims need of it computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.at = series.moments(run)

    @cached_property
    def servers(self) -> dict[str, tuple[str, int]]:
        found = series.servers(self.run)
        if not found or self.run.spec is None:
            raise Unknown("no world with servers is on record")
        return found

    @cached_property
    def _out(self) -> series.OutCurve:
        return series.out_curve(self.run)

    @property
    def period_s(self) -> float:
        """R."""
        return self.need_spec_s(self.run.renew_every_s)

    @property
    def limit_s(self) -> float:
        """T."""
        return self.need_spec_s(self.run.time_limit_s)

    def need_spec_s(self, value_s: float) -> float:
        if value_s <= 0:
            raise Unknown("no world is on record")
        return value_s

    def need(self, name: str) -> float:
        """An instant, by its name in `Moments`."""
        found: float | None = getattr(self.at, name)
        if found is None:
            raise Unknown(f"the history does not show {_MARKS[name]}")
        if name in self.at.contradicted:
            raise Unknown(f"the history's marks of {_MARKS[name]} contradict each other")
        return found

    def targets(self) -> frozenset[str]:
        if not self.at.targets:
            raise Unknown("the history does not say which servers were cut")
        return self.at.targets

    def out(self, since_s: float, cell: str | None = None) -> series.OutCurve:
        """The curve of servers out, whose every server's state must be on record by ``since_s``."""
        curve = self._out if cell is None and self.servers else series.out_curve(self.run, cell)
        if not curve.total:
            raise Unknown(f"no servers of {cell or 'the fleet'} are on record")
        if curve.known_s > since_s:
            raise Unknown(f"not every server's availability is on record by {self.when(since_s)}")
        return curve

    def clean(self) -> tuple[float, float]:
        from_s, to_s = self.need("clean_s"), self.need("cut_on_s")
        if to_s <= from_s:
            raise Unknown("the clean window is empty: the cut came before the phase 'clean'")
        return from_s, to_s

    def stuck(self) -> tuple[float, float]:
        """From the removal of the trigger to the end of the stuck window."""
        from_s, to_s = self.need("t0_s"), self.need("stuck_end_s")
        if to_s <= from_s:
            raise Unknown("the stuck window is empty")
        return from_s, to_s

    def throughout(self) -> tuple[float, float]:
        """From the trigger's beginning to the end of the stuck window."""
        return self.need("cut_on_s"), self.stuck()[1]

    def plateau(self, claim: ClaimSpec) -> tuple[float, float]:
        """The window in which the plateau is judged; never truncated."""
        from_s = self.need("t0_s") + claim["from_periods"] * self.period_s
        to_s = from_s + claim["for_s"]
        if self.stuck()[1] < to_s - EDGE_S:
            raise Unknown(
                f"the stuck window ended at {self.when(self.stuck()[1])}, before {self.when(to_s)}: wait longer"
            )
        return from_s, to_s

    def last(self, periods: float) -> tuple[float, float]:
        """The last so many periods before the end; they must lie after the trigger."""
        end_s = self.need("end_s")
        from_s = end_s - periods * self.period_s
        if from_s < self.need("t0_s") - EDGE_S:
            raise Unknown(f"watched for {end_s - self.need('t0_s'):.0f} s after the trigger; {periods:g} R are needed")
        return from_s, end_s

    def failed(self, from_s: float, to_s: float) -> float:
        """Share of requests failed in a window, which must have some."""
        ratio = series.failed_ratio(self.run, from_s, to_s)
        if ratio is None:
            raise Unknown(f"no customer request is on record in {self.span(from_s, to_s)}")
        return ratio

    def steps(self, name: str, from_s: float = float("-inf"), to_s: float = float("inf")) -> list[Step]:
        """Steps taken, not those skipped."""
        return [s for s in between(self.run.steps, from_s, to_s) if s.step == name and not s.skipped]

    def probe(self) -> tuple[bool, str]:
        """Whether in each cell some administrative request before the trigger was done within T."""
        steps = self.steps("admin-probe", to_s=self.need("cut_on_s"))
        best: dict[str, Step] = {}
        for step in sorted(steps, key=_badness, reverse=True):
            best[step.cell] = step
        if not best:
            raise Unknown("no administrative request before the trigger is on record")
        slowest = max(best.values(), key=_badness)
        text = f"the administrative request before the trigger: {slowest.outcome} in {slowest.took_s:.2f} s"
        return slowest.outcome == "done" and slowest.took_s <= self.limit_s, f"{text} (T = {self.limit_s:g} s)"

    def ended_in(self, from_s: float, to_s: float) -> Iterable[Renewal]:
        """Renewals asked and ended within a window: those a later fault met are not the window's."""
        return (r for r in between(self.run.renewals, from_s, to_s) if r.t + r.waited_s < to_s)

    def when(self, t: float) -> str:
        base_s = self.at.t0_s
        return f"t0{t - base_s:+.1f} s" if base_s is not None else f"{t:.1f} s"

    def span(self, from_s: float, to_s: float) -> str:
        return f"{self.when(from_s)} … {self.when(to_s)}"


def _badness(step: Step) -> tuple[bool, float]:
    return step.outcome != "done", step.took_s


def percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"

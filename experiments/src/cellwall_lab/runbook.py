"""The operators' hand: which verbs an arm's runbook calls, in which order, and what it leaves out.

Decides the next verb from the answers so far; never calls the world, waits or reads a clock itself: each
runbook is a generator that yields verbs and is sent their answers (`chaos.actions.follow_runbook` carries
them out). Invariant: a step that is not taken is yielded as `Skip` with its reason, never dropped.

    none           nobody helps; the same observation time passes
    by-hand-2015   attempts at capacity under load, pause all that is sick, add capacity, let in by waves
    automatic      the same cure, started by detection and without fixed waits
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Literal, get_args

import msgspec

from cellwall.errors import Refused
from cellwall.spec import RenewalPolicy

from .verbs import AddCapacity, MarkPhase, Pause, Resume, Skip, StepResult, Wait, Window, WindowStats

RunbookName = Literal["none", "by-hand-2015", "automatic"]
RUNBOOKS: tuple[RunbookName, ...] = get_args(RunbookName)
Steps = Generator[Any, Any, None]

# Minutes of the event after its trigger (sources/aws-message-5467D2.txt: 2:19, 2:37, 5:06, 5:45, 7:10).
SETTLED_MIN, PAUSED_MIN, CAPACITY_MIN, NORMAL_MIN = 18, 167, 206, 291
CUT_S = 3.0  # research 07, set R2
STUCK_S = 30.0
ATTEMPTS = 3
ATTEMPT_EVERY_MIN = 30  # guess: "several" attempts in 149 minutes
SICK_RATIO = 0.10  # guess: a sick cell of set R2 has 60 % out, a healthy one none (research 07)
WINDOW_S = 5.0
GROW_TRIES = 3  # guess: how often a human tries again once the load is gone
DRAINED_POLL_S = 0.5
REENTRY_PERIODS = 3.0  # guess: 1.5 × the time to serve everybody is under one period when healthy


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """How long each phase lasts. ``attempts`` at capacity are spread over ``stuck_s``.

    A pause lasts ``pause_s`` at least: R + T, by when the renewals of all but a few per cent (the jitter) have lapsed,
    and a window more, in which that shows. Capacity is added in it, ``drain_s`` after its begin."""

    warm_up_s: float
    cut_s: float
    settle_s: float
    stuck_s: float
    attempts: int
    drain_s: float
    pause_s: float
    reentry_s: float  # a deadline, not a wait
    watch_s: float

    def expected_s(self, runbook: RunbookName) -> float:
        """About how long a run of this arm takes from clean to end, without the start-up."""
        helped = {"none": self.stuck_s + self.pause_s, "by-hand-2015": self.stuck_s + self.pause_s}
        hands = helped.get(runbook, 0.0) + (0.0 if runbook == "none" else self.reentry_s / REENTRY_PERIODS)
        return self.warm_up_s + self.cut_s + self.settle_s + hands + self.watch_s


def timeline(renewal: RenewalPolicy, pace: float | None = None) -> Timeline:
    """The demo's pace, or the event's own timeline with ``pace`` of its seconds in one second."""
    period_s, limit_s = renewal.renew_every_s, renewal.time_limit_s
    lapsed_s = period_s + limit_s
    common: dict[str, Any] = {
        "warm_up_s": period_s,  # everybody is asked for once; 30 s would carry the demo over seven minutes
        "cut_s": CUT_S,
        "reentry_s": REENTRY_PERIODS * period_s,
    }
    if pace is None:
        return Timeline(
            **common,
            settle_s=2 * period_s,
            stuck_s=STUCK_S,
            attempts=ATTEMPTS,
            drain_s=3 * limit_s,  # work in hand ends with its callers, after T; the rest shows that it stays so
            pause_s=lapsed_s + WINDOW_S,
            watch_s=2 * period_s,
        )
    minute_s = 60 / pace
    pause_s = (CAPACITY_MIN - PAUSED_MIN) * minute_s
    if pause_s < lapsed_s:
        most = (CAPACITY_MIN - PAUSED_MIN) * 60 / lapsed_s
        raise Refused(
            f"--set: pace: {pace:g} is not allowed; "
            f"it must be <= {most:.0f}, or the pause of 39 minutes ends before R + T"
        )
    return Timeline(
        **common,
        settle_s=max(0.0, SETTLED_MIN * minute_s - CUT_S),
        stuck_s=(PAUSED_MIN - SETTLED_MIN) * minute_s,
        attempts=max(ATTEMPTS, (PAUSED_MIN - SETTLED_MIN) // ATTEMPT_EVERY_MIN),
        drain_s=pause_s,  # in 2015 traffic was disabled first, then capacity added
        pause_s=pause_s,
        watch_s=max(2 * period_s, (NORMAL_MIN - CAPACITY_MIN) * minute_s),
    )


def follow(name: RunbookName, line: Timeline, renewal: RenewalPolicy) -> Steps:
    """The runbook of that name."""
    match name:
        case "none":
            return _none(line)
        case "by-hand-2015":
            return _by_hand(line, 2 * renewal.time_limit_s)
        case "automatic":
            return _automatic(line, 2 * renewal.time_limit_s)


def sick_cells(window: WindowStats) -> list[str]:
    """Cells with so many servers out that somebody should act."""
    return sorted(c for c, w in window.cells.items() if w.servers and w.servers_out / w.servers > SICK_RATIO)


def _none(line: Timeline) -> Steps:
    for step in ("add-capacity", "pause", "resume"):
        yield Skip(step=step, reason="this arm has no runbook: nobody helps")
    yield Wait(for_s=line.stuck_s + line.pause_s)


def _by_hand(line: Timeline, deadline_s: float) -> Steps:
    window: WindowStats = yield Window(last_s=WINDOW_S)
    gap_s = line.stuck_s / line.attempts
    added_at = 0
    for attempt in range(1, line.attempts + 1):
        took_s = 0.0
        if not sick_cells(window):
            yield Skip(step="add-capacity", reason=f"attempt {attempt}: {_health(window)}")
        elif added_at:
            yield Skip(step="add-capacity", reason=f"attempt {attempt}: attempt {added_at} has added it")
        else:
            result: StepResult = yield AddCapacity(deadline_s=deadline_s)
            added_at, took_s = (attempt if result.outcome == "done" else 0), result.took_s
        if took_s < gap_s:
            yield Wait(for_s=gap_s - took_s)
        window = yield Window(last_s=WINDOW_S)
    if not sick_cells(window):
        yield from _leave_alone(window)
        yield Wait(for_s=line.pause_s)
        return
    cells = yield from _pause(window)
    yield Wait(for_s=line.drain_s)
    took_s = yield from _grow(cells, f"attempt {added_at} has added it" if added_at else "")
    if (left_s := line.pause_s - line.drain_s - took_s) > 0:
        yield Wait(for_s=left_s)
    yield from _let_in(cells, line)


def _automatic(line: Timeline, deadline_s: float) -> Steps:
    yield Wait(until="stuck", deadline_s=line.stuck_s)
    window: WindowStats = yield Window(last_s=WINDOW_S)
    if not sick_cells(window):
        yield from _leave_alone(window)
        return
    cells = yield from _pause(window)
    # The cure works on an idle cell only: wait for the work in hand, which ends with its callers' time limit.
    waited_s = 0.0
    while waited_s < deadline_s:
        window = yield Window(last_s=WINDOW_S)
        if not any(w.queue for c, w in window.cells.items() if "*" in cells or c in cells):
            break
        yield Wait(for_s=DRAINED_POLL_S)
        waited_s += DRAINED_POLL_S
    yield from _grow(cells, "")
    yield from _let_in(cells, line)


def _pause(window: WindowStats) -> Generator[Any, Any, list[str]]:
    """Pause what is sick and only that; returns the cells concerned, "*" for all."""
    sick = sick_cells(window)
    yield MarkPhase(name="paused")
    if len(sick) == len(window.cells):
        yield Pause()
        return ["*"]
    for cell in sick:
        yield Pause(cell=cell)
    for cell in sorted(set(window.cells) - set(sick)):
        w = window.cells[cell]
        yield Skip(step="pause", cell=cell, reason=f"healthy: {w.servers_out} of {w.servers} servers out")
    return sick


def _grow(cells: list[str], grown: str) -> Generator[Any, Any, float]:
    """Add capacity to these cells; returns how long that took, seconds."""
    yield MarkPhase(name="capacity")
    took_s = 0.0
    for cell in cells:
        if grown:
            yield Skip(step="add-capacity", cell=cell, reason=grown)
            continue
        for _ in range(GROW_TRIES):
            result: StepResult = yield AddCapacity(cell=cell)
            took_s += result.took_s
            if result.outcome == "done":
                break
    return took_s


def _let_in(cells: list[str], line: Timeline) -> Steps:
    yield MarkPhase(name="re-entry")
    for cell in cells:
        yield Resume(cell=cell)  # over_s None: paced by the rule
    yield Wait(until="recovered", deadline_s=line.reentry_s)


def _leave_alone(window: WindowStats) -> Iterator[Skip]:
    for step in ("pause", "add-capacity", "resume"):
        yield Skip(step=step, reason=_health(window))


def _health(window: WindowStats) -> str:
    return f"no cell is sick: {window.servers_out} of {window.servers} servers out"

"""The runbooks, step by step: what is called, in which order, and what is skipped with its reason."""

import pytest

from cellwall.spec import RenewalPolicy
from cellwall_lab import runbook
from cellwall_lab.verbs import (
    AddCapacity,
    CellWindow,
    MarkPhase,
    Pause,
    Resume,
    Skip,
    StepResult,
    Wait,
    Waited,
    Window,
    WindowStats,
)

POLICY = RenewalPolicy()
LINE = runbook.timeline(POLICY)


def window(*out, queue=0):
    """One cell of 100 servers for each number of servers out."""
    cells = {f"cell-{i}": CellWindow(100, n, queue, 0.0) for i, n in enumerate(out)}
    return WindowStats(0.0, "", 100 * len(out), sum(out), 100, 0, 0, 0, 0.0, 0.0, cells)


def play(name, windows, grow=("unknown",), stuck=True):
    """Follow a runbook against prepared answers, the last one of each kind for ever; returns the verbs."""
    windows, grow = list(windows), list(grow)
    steps = runbook.follow(name, LINE, POLICY)
    verbs, answer = [], None
    while True:
        try:
            verb = steps.send(answer)
        except StopIteration:
            return verbs
        assert len(verbs) < 200, "the runbook does not end"
        verbs.append(verb)
        match verb:
            case Window():
                answer = windows.pop(0) if len(windows) > 1 else windows[0]
            case AddCapacity():
                answer = StepResult(grow.pop(0) if len(grow) > 1 else grow[0], 4.0)
            case Wait():
                answer = Waited(stuck if verb.until == "stuck" else True, 1.0)
            case _:
                answer = StepResult("done", 0.1)


def only(verbs, *kinds):
    return [v for v in verbs if isinstance(v, kinds)]


def test_by_hand_three_attempts_then_pause_grow_and_resume():
    verbs = play("by-hand-2015", [window(57)], ["unknown", "unknown", "unknown", "done"])
    assert only(verbs, MarkPhase, AddCapacity, Pause, Resume, Skip) == [
        AddCapacity(deadline_s=2 * POLICY.time_limit_s),
        AddCapacity(deadline_s=2 * POLICY.time_limit_s),
        AddCapacity(deadline_s=2 * POLICY.time_limit_s),
        MarkPhase(name="paused"),
        Pause(),
        MarkPhase(name="capacity"),
        AddCapacity(),
        MarkPhase(name="re-entry"),
        Resume(),
    ]


def test_by_hand_attempts_fill_the_stuck_phase_and_the_pause_outlasts_every_renewal():
    waits = [v.for_s for v in only(play("by-hand-2015", [window(57)], ["unknown"] * 3 + ["done"]), Wait) if v.for_s]
    assert sum(waits[:3]) + 3 * 4.0 == pytest.approx(LINE.stuck_s)
    lapsed_s = POLICY.renew_every_s + POLICY.time_limit_s
    assert waits[3] == LINE.drain_s
    assert waits[3] + 4.0 + waits[4] == pytest.approx(lapsed_s + 5.0)


def test_by_hand_only_the_sick_cell_is_paused_and_the_healthy_ones_say_why():
    verbs = play("by-hand-2015", [window(58, 0, 1, 0)], ["unknown"] * 3 + ["done"])
    assert only(verbs, Pause, Resume) == [Pause(cell="cell-0"), Resume(cell="cell-0")]
    skipped = only(verbs, Skip)
    assert [s.cell for s in skipped] == ["cell-1", "cell-2", "cell-3"]
    assert all("of 100 servers out" in s.reason for s in skipped)
    assert only(verbs, AddCapacity)[-1].cell == "cell-0"


def test_by_hand_capacity_that_was_added_is_not_added_again():
    verbs = play("by-hand-2015", [window(57)], ["done"])
    assert len(only(verbs, AddCapacity)) == 1
    # two attempts that were not needed, and the growth under pause
    assert [s.reason for s in only(verbs, Skip)] == [
        "attempt 2: attempt 1 has added it",
        "attempt 3: attempt 1 has added it",
        "attempt 1 has added it",
    ]
    assert only(verbs, Pause, Resume) == [Pause(), Resume()]


def test_by_hand_growth_under_pause_is_tried_again_but_not_for_ever():
    verbs = play("by-hand-2015", [window(57)], ["unknown"])
    assert len(only(verbs, AddCapacity)) == LINE.attempts + runbook.GROW_TRIES
    assert only(verbs, Resume) == [Resume()]


def test_by_hand_a_fleet_that_heals_is_left_alone_and_every_step_is_accounted_for():
    verbs = play("by-hand-2015", [window(0)])
    assert only(verbs, AddCapacity, Pause, Resume) == []
    assert {s.step for s in only(verbs, Skip)} == {"add-capacity", "pause", "resume"}
    assert sum(v.for_s for v in only(verbs, Wait)) == pytest.approx(LINE.stuck_s + LINE.pause_s)


def test_by_hand_a_fleet_that_heals_during_the_attempts_is_not_paused():
    verbs = play("by-hand-2015", [window(57), window(57), window(3)])
    assert len(only(verbs, AddCapacity)) == 2
    assert only(verbs, Pause) == []
    assert {s.step for s in only(verbs, Skip)} == {"add-capacity", "pause", "resume"}


def test_none_helps_nobody_says_so_and_watches_as_long():
    verbs = play("none", [window(57)])
    assert {s.step for s in only(verbs, Skip)} == {"add-capacity", "pause", "resume"}
    assert only(verbs, AddCapacity, Pause, Resume) == []
    assert sum(v.for_s for v in only(verbs, Wait)) == LINE.stuck_s + LINE.pause_s >= 2 * POLICY.renew_every_s


def test_automatic_waits_for_conditions_only():
    verbs = play("automatic", [window(57, queue=30), window(57, queue=30), window(57)], ["done"])
    assert only(verbs, Pause, AddCapacity, Resume) == [Pause(), AddCapacity(), Resume()]
    fixed = [v.for_s for v in only(verbs, Wait) if v.for_s]
    assert fixed == [runbook.DRAINED_POLL_S]  # one poll while the queue drained
    assert [v.until for v in only(verbs, Wait) if v.until] == ["stuck", "recovered"]


def test_automatic_gives_up_waiting_for_a_queue_that_does_not_drain():
    verbs = play("automatic", [window(57, queue=30)], ["done"])
    assert sum(v.for_s or 0 for v in only(verbs, Wait)) <= 2 * POLICY.time_limit_s + runbook.DRAINED_POLL_S
    assert only(verbs, Resume) == [Resume()]


def test_automatic_does_nothing_to_a_healthy_fleet():
    verbs = play("automatic", [window(0)], stuck=False)
    assert only(verbs, Pause, AddCapacity, Resume) == []
    assert {s.step for s in only(verbs, Skip)} == {"add-capacity", "pause", "resume"}

"""The simulated operators: locked out, pause, capacity, re-entry in waves, and what an unpaced resume does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellwall import history
from cellwall_lab import verbs
from cellwall_lab.backends.engine import DELAY_S

from .simulated_arms import FULL, R_MAX, SCALED, STEP_S, Arm, R, T, make_spec, sizes


class Cure:
    """A stuck monolith, three attempts at capacity, then a pause. What each step saw."""

    def __init__(self, out: Path, size: dict[str, Any], *, capacity: bool, over_s: float | None, **more: Any) -> None:
        arm = self.arm = Arm(make_spec(size, **more), out)
        arm.strike()
        arm.wait(2 * R)
        self.attempts = [arm.do(verbs.AddCapacity()) for _ in range(3)]
        self.nodes_stuck = {n.node for n in arm.world._live._nodes.values()}
        self.stuck = arm.out_ratio()
        self.pause_s = arm.window().now_s
        self.pause = arm.do(verbs.Pause())
        self.at_pause = arm.out_ratio()
        arm.wait(R + T)
        self.after_period, self.failed_after_period = arm.out_ratio(), arm.failed_ratio()
        arm.wait(R_MAX + T + 0.1 - (R + T))
        self.after_longest = arm.out_ratio()
        arm.wait(STEP_S)
        self.failed_at_end = arm.failed_ratio()
        self.added = arm.do(verbs.AddCapacity(deadline_s=2 * T)) if capacity else None
        arm.wait(1.0)
        self.resume_s = arm.window().now_s
        arm.do(verbs.Resume(over_s=over_s))
        self.watched = arm.watch(4 * R)

    @property
    def recovered(self) -> bool:
        return all(out <= 0.005 and failed <= 0.005 for out, failed in self.watched[-8:])


@pytest.fixture(scope="module")
def cured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    built: dict[str, Cure] = {}

    def build(size: dict[str, Any], **options: Any) -> Cure:
        key = repr((size, options))
        if key not in built:
            built[key] = Cure(tmp_path_factory.mktemp("cure"), size, **options)
        return built[key]

    return build


@sizes
def test_the_request_that_succeeds_when_healthy_times_out_while_stuck(cured, size):
    cure = cured(size, capacity=True, over_s=None)
    assert cure.arm.probe.outcome == "done" and cure.arm.probe.took_s < T
    assert [(a.outcome, a.took_s) for a in cure.attempts] == [("unknown", pytest.approx(2 * T))] * 3
    assert all(a.reason.startswith("time-out") for a in cure.attempts)
    assert cure.nodes_stuck == {"cell-0-node-0"}, "a failed attempt added a node"
    steps = [s for s in cure.arm.of(history.Step) if s.step == "add-capacity"]
    assert [s.outcome for s in steps] == ["unknown"] * 3 + ["done"]


@sizes
def test_a_pause_relieves_at_once_and_takes_everybody_out(cured, size):
    cure = cured(size, capacity=True, over_s=None)
    assert cure.pause.outcome == "done" and cure.pause.took_s == 0
    assert cure.at_pause == cure.stuck, "the pause itself takes nobody out"
    assert cure.after_period >= 0.95 > cure.at_pause
    # R + T is not quite everybody: a renewal's jitter and one that was under way at the pause come on top.
    assert cure.after_longest == 1.0
    assert cure.failed_at_end >= 0.97
    samples = [s for s in cure.arm.of(history.NodeSample) if s.node == "cell-0-node-0"]
    relieved = [s.cpu_s for s in samples if cure.pause_s + 2 * T <= s.t <= cure.pause_s + R]
    limit = cure.arm.of(history.World)[0].calibration["total_cores"]
    assert max(relieved) - min(relieved) <= 0.01 * limit * (R - 2 * T), "the load is gone within 2T"
    assert not [
        r
        for r in cure.arm.of(history.Renewal)
        if r.outcome == "done" and cure.pause_s + T + 2 * DELAY_S < r.t + r.waited_s < cure.resume_s
    ]


@sizes
def test_capacity_can_be_added_during_the_pause_and_is_used_afterwards(cured, size):
    cure = cured(size, capacity=True, over_s=None)
    assert cure.added.outcome == "done"
    limits = {limit.node: limit.limit_cores for limit in cure.arm.of(history.CpuLimit) if limit.t > cure.resume_s}
    assert set(limits) == {"cell-0-node-0", "cell-0-node-1"}
    assert limits["cell-0-node-0"] == pytest.approx(limits["cell-0-node-1"])
    answered = {n.node: n.answered for n in cure.arm.of(history.NodeSample)}
    assert answered["cell-0-node-1"] > 100


@pytest.mark.parametrize(
    "size, capacity", [(FULL, True), (SCALED, True), (SCALED, False)], ids=["full-more", "scaled-more", "scaled-same"]
)
def test_paced_re_entry_recovers_with_or_without_more_cpu(cured, size, capacity):
    cure = cured(size, capacity=capacity, over_s=None)
    assert cure.recovered, cure.watched
    paced_s = cure.resume_s + 1.0
    relapsed = [a for a in cure.arm.of(history.Availability) if not a.available and a.t > paced_s]
    assert len(relapsed) <= 0.05 * cure.arm.spec.fleet.servers, "nearly nobody who came in fell out again"


@pytest.mark.parametrize(
    "size, capacity", [(FULL, True), (SCALED, True), (SCALED, False)], ids=["full-more", "scaled-more", "scaled-same"]
)
def test_unpaced_resume_relapses_even_with_twice_the_cpu(cured, size, capacity):
    """True of the reference set: everybody at once is a cut of 100 %, and that sticks where 25 % would heal."""
    cure = cured(size, capacity=capacity, over_s=0.0)
    assert all(0.40 <= out <= 0.65 for out, _ in cure.watched[-8:]), cure.watched
    assert not cure.recovered


def test_half_the_membership_survives_an_unpaced_resume(cured):
    """Unlike research 07, where c0 was not in the limit and a cold start stuck even at half (.52)."""
    assert cured(FULL, capacity=False, over_s=0.0, fleet={"indexes": False}).recovered


def test_every_acknowledged_write_is_read_again(cured):
    arm = cured(SCALED, capacity=True, over_s=None).arm
    written = {
        (q.customer, q.table, q.key): q.value
        for q in sorted(arm.of(history.Request), key=lambda q: q.t)
        if q.op == "put" and q.outcome == "done"
    }
    assert written
    assert {(a.customer, a.table, a.key): a.found for a in arm.of(history.Audit)} == written

"""The kernel is a second copy of the core: on the same input both do the same, line by line, at the same nanosecond.

60 random worlds in an ordinary run; CELLWALL_KERNEL_WORLDS=1000 for all that the claim rests on.
"""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from cellwall import history
from cellwall_lab import verbs
from cellwall_lab.backends.timeline import to_ns
from cellwall_lab.kernel.build import kernel_input
from cellwall_lab.kernel.model import KernelInput, Outcome, Resume, Trace
from cellwall_lab.kernel.reference import Reference
from cellwall_lab.kernel.run import run

from .kernel_worlds import random_world
from .simulated_arms import DEAR, SCALED, Arm, R, layout_of, make_spec

WORLDS = int(os.environ.get("CELLWALL_KERNEL_WORLDS", "60"))


def lines(trace: Trace | None) -> list[tuple[int, int, int]]:
    assert trace is not None
    return list(zip(trace.t_ns.tolist(), trace.server.tolist(), trace.outcome.tolist(), strict=True))


def assert_equal_traces(given: KernelInput) -> list[tuple[int, int, int]]:
    core = Reference(given)
    expected = lines(core.run())
    result = run(given)
    found = lines(result.trace)
    for number, (line, other) in enumerate(zip(expected, found, strict=False)):
        assert line == other, f"line {number} of {len(expected)}"
    assert len(found) == len(expected)
    assert (result.available == core.available).all()
    # Both schedule the same events; only the core's end of a cut is one more in either.
    assert result.events == core.events + sum(a.at_ns <= given.until_ns for a in given.actions)
    return found


@pytest.mark.parametrize("number", range(WORLDS))
def test_kernel_and_core_do_the_same_at_the_same_nanosecond(number: int) -> None:
    assert_equal_traces(random_world(number))


def test_the_worlds_that_are_compared_have_everything_in_them() -> None:
    """Equal silence would prove nothing."""
    seen, ties, policies = {outcome: 0 for outcome in Outcome}, 0, set()
    for number in range(60):
        given = random_world(number)
        trace = run(given).trace
        assert trace is not None
        for outcome in Outcome:
            seen[outcome] += int((trace.outcome == outcome).sum())
        same = (np.diff(trace.t_ns) == 0) & (np.diff(trace.server) != 0)
        ties += int(same.sum())
        policies.add((given.metadata.discipline, given.metadata.drop_abandoned, given.cores.shape[1] > 1))
        policies |= {type(action).__name__ for action in given.actions}
    assert min(seen.values()) > 1000, seen
    assert ties > 1000
    assert {"Cut", "Limit", "Pause", "Resume", "Weight"} <= policies
    assert len(policies) == 5 + 3 * 2 * 2, policies


def test_memory_grows_while_the_kernel_runs_and_nothing_changes() -> None:
    """Abandoned work that is not dropped piles up without end, and so do the lines of a trace."""
    given = random_world(1)
    servers = len(given.cell)
    given = msgspec.structs.replace(
        given,
        metadata=msgspec.structs.replace(given.metadata, drop_abandoned=False, discipline="processor-sharing"),
        cores=np.full_like(given.cores, 1e-4),
        actions=tuple(action for action in given.actions if isinstance(action, Resume)),
        until_ns=10 * given.until_ns,
    )
    assert len(assert_equal_traces(given)) > 16 * (servers + 8), "room for these was there from the start"


def test_the_simulated_world_itself_is_what_the_kernel_computes(tmp_path) -> None:
    """Not only the engine: spec, layout, calibration and verbs in, the records of the history out."""
    spec = make_spec(SCALED, seed=3)
    arm = Arm(spec, tmp_path)
    start_s = arm.window().now_s
    script = [
        (start_s + R, verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)),
        (start_s + 2 * R, verbs.LimitCpu(factor=1.5)),
        (start_s + 3 * R, verbs.Pause()),
        (start_s + 4.5 * R, verbs.Weight(cell="cell-0", partition=2, percent=50)),
        (start_s + 4.5 * R, verbs.Resume()),
    ]
    for at_s, verb in script:
        arm.wait(at_s - arm.window().now_s)
        arm.do(verb)
    arm.wait(R)
    until_s = arm.window().now_s
    given = kernel_input(spec, layout_of(spec), DEAR, script, until_s=until_s, trace=True)
    trace = run(given).trace
    assert trace is not None
    names = {row[0]: number for number, row in enumerate(arm.of(history.World)[0].servers)}
    changes = [
        (to_ns(a.t), names[a.server], Outcome.IN if a.available else Outcome.OUT)
        for a in arm.of(history.Availability)
        if a.reason != "start"
    ]
    found = [line for line in lines(trace) if line[2] >= Outcome.IN]
    assert found == changes
    assert len(found) > 300
    renewals = sorted((to_ns(r.t + r.waited_s), names[r.server]) for r in arm.of(history.Renewal))
    assert sorted((t, server) for t, server, outcome in lines(trace) if outcome < Outcome.IN) == renewals


def test_the_same_input_gives_the_same_result() -> None:
    given = random_world(5)
    first, second = run(given), run(given)
    for name in ("out_ns", "renewals", "left", "no_quorum", "no_replica", "available", "cpu_s"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert lines(first.trace) == lines(second.trace)


def test_a_trace_is_kept_only_when_asked_for_and_changes_nothing() -> None:
    with_trace, without = run(random_world(7)), run(random_world(7, trace=False))
    assert without.trace is None
    assert without.events == with_trace.events
    assert (without.renewals == with_trace.renewals).all()

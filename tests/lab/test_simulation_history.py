"""A simulated world's history and verbs: the same bytes every time, in order, and no verb that makes no sense."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from cellwall import history
from cellwall.errors import Refused
from cellwall.spec import WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.calibrate import costs_of

from .simulated_arms import HALF, R_MAX, SCALED, Arm, R, T, make_spec

# ---------------------------------------------------------------- the same bytes


def story_bytes(spec: WorldSpec, out: Path) -> bytes:
    out.mkdir()
    arm = Arm(spec, out)
    arm.strike()
    arm.wait(R)
    arm.do(verbs.AddCapacity())
    arm.do(verbs.Pause())
    arm.wait(R)
    arm.do(verbs.Resume())
    arm.wait(R)
    assert arm.records
    return (out / "history.ndjson").read_bytes()


def test_the_same_spec_and_seed_give_the_same_bytes_and_another_seed_others(tmp_path):
    spec = make_spec(SCALED, seed=7)
    first = story_bytes(spec, tmp_path / "a")
    assert first == story_bytes(spec, tmp_path / "b")
    assert first != story_bytes(msgspec.structs.replace(spec, seed=8), tmp_path / "c")


def test_a_cut_spread_by_chance_strikes_the_same_servers_in_every_arm(struck):
    """Chance comes from the seed and the fault's name; the cell count is not in it."""
    targets = verbs.Targets(spread=0.1)
    monolith = struck(SCALED, targets=targets, seed=1)
    half = struck(SCALED, HALF, targets=targets, seed=1)
    assert monolith.of(history.Fault)[0].targets == half.of(history.Fault)[0].targets


# ---------------------------------------------------------------- the history itself


def test_a_history_is_in_order_and_no_renewal_waits_longer_than_the_limit(struck):
    arm = struck(SCALED, seed=1)
    assert isinstance(arm.records[0], history.World)
    assert all(a.t <= b.t for a, b in itertools.pairwise(arm.records[1:]))
    assert all(0 <= r.waited_s <= T + 1e-9 for r in arm.of(history.Renewal))
    spent = [s.cpu_s for s in arm.of(history.NodeSample)]
    assert spent == sorted(spent)
    limit = arm.of(history.World)[0].calibration["total_cores"]
    # A page's CPU is booked when it begins, so one page may be ahead; accepted requests add to a page.
    assert all(b - a <= 1.1 * limit for a, b in itertools.pairwise(spent)), "more CPU than its limit"
    assert spent[-1] - spent[-11] >= 9.9 * limit, "stuck, and the node is not at its limit"


def test_a_servers_state_follows_from_its_renewals(struck):
    """I3: it comes into service with an answered renewal and in no other way."""
    arm = struck(SCALED, seed=1)
    answers = {(r.server, round(r.t + r.waited_s, 9)) for r in arm.of(history.Renewal) if r.outcome == "done"}
    entered = [a for a in arm.of(history.Availability) if a.available]
    assert entered and all((a.server, round(a.t, 9)) in answers for a in entered)
    state: dict[str, bool] = {}
    for change in arm.of(history.Availability):
        assert state.get(change.server) is not change.available, "a change that is none"
        state[change.server] = change.available


# ---------------------------------------------------------------- verbs


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    return Arm(make_spec(SCALED, HALF), tmp_path_factory.mktemp("healthy"))


@pytest.mark.parametrize(
    "verb, field",
    [
        (verbs.Wait(until="clean"), "deadline_s"),
        (verbs.Cut(targets=verbs.Targets(), for_s=3.0), "cut.targets"),
        (verbs.Cut(targets=verbs.Targets(domain=4), for_s=3.0), "cut.targets"),
        (verbs.Cut(targets=verbs.Targets(spread=1.5), for_s=3.0), "spread"),
        (verbs.LimitCpu(factor=0.0), "factor"),
        (verbs.LimitCpu(factor=0.5, for_s=3.0), "expires"),
        (verbs.Pause(cell="cell-9"), "cell-9"),
        (verbs.Weight(cell="cell-0", partition=16, percent=50), r"weight\.partition: 16"),
        (verbs.Weight(cell="cell-0", partition=-1, percent=50), r"weight\.partition: -1"),
        (verbs.Weight(cell="cell-0", partition=0, percent=101), r"weight\.percent: 101"),
        (verbs.Targets(domain=0), "no such verb"),
    ],
)
def test_a_verb_that_makes_no_sense_is_refused_by_name_and_does_nothing(healthy, verb, field):
    before = healthy.window().now_s
    with pytest.raises(Refused, match=field):
        healthy.do(verb)
    assert healthy.window().now_s == before
    assert healthy.do(verbs.Faults()) == []


def test_a_wait_ends_at_its_condition_or_at_its_deadline(healthy):
    before = healthy.window().now_s
    waited = healthy.do(verbs.Wait(until="stuck", deadline_s=4.0))
    assert not waited.met and 4.0 <= waited.took_s <= 4.5
    assert healthy.window().now_s == before + waited.took_s
    assert healthy.do(verbs.Wait(until="faults-off", deadline_s=4.0)) == verbs.Waited(True, 0.0)
    assert healthy.do(verbs.Wait(for_s=1.25)) == verbs.Waited(True, 1.25)


def test_the_load_is_what_was_asked_for_and_stops(healthy):
    healthy.wait(20.0)
    assert healthy.window(20.0).requests == pytest.approx(2000, abs=5 * 2000**0.5)
    healthy.do(verbs.Load(rps=10.0))
    healthy.wait(20.0)
    assert healthy.window(20.0).requests == pytest.approx(200, abs=5 * 200**0.5)
    healthy.do(verbs.Load(rps=0.0))
    healthy.wait(5.0)
    assert healthy.window(5.0).requests == 0


def test_a_weight_of_zero_starves_one_metadata_partition_and_no_other(tmp_path):
    arm = Arm(make_spec(SCALED, HALF), tmp_path)
    arm.do(verbs.Weight(cell="cell-0", partition=3, percent=0))
    arm.wait(R_MAX + T + 1.0)
    arm.do(verbs.Weight(cell="cell-0", partition=3, percent=100))
    assert arm.do(verbs.Wait(until="recovered", deadline_s=5 * T)).met
    partition = {row[0]: row[2] for row in arm.of(history.World)[0].servers}
    left = {a.server for a in arm.of(history.Availability) if a.reason == "time-out"}
    assert left == {server for server, p in partition.items() if p == 3}


def test_a_calibration_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(Refused, match="calibration"):
        costs_of(str(tmp_path / "none.json"))

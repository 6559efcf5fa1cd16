"""The simulated world: the reference set's story with margins on both sides, and the same bytes every time.

Two sizes. FULL is the reference set. SCALED has a quarter of the servers and records and requests four times
as dear: the same CPU limit, load factor L, pages and share of the limit per renewal, so the same story in
0.2 s; the size rule lets it have one cell only. All figures are read from histories, but for the verbs' answers.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellwall import history
from cellwall.capacity import TYPICAL, Costs
from cellwall.errors import Refused
from cellwall.placement import domain_servers, make_fleet, server_id
from cellwall.spec import RenewalPolicy, WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.calibrate import costs_of
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.engine import DELAY_S
from cellwall_lab.backends.simulation import SimulatedWorld

RENEWAL = RenewalPolicy()
R, T = RENEWAL.renew_every_s, RENEWAL.time_limit_s
R_MAX = R * (1 + RENEWAL.jitter_ratio)
CUT_S = 3.0
STEP_S = 5.0
DEAR = Costs(4 * TYPICAL.c_record_s, 4 * TYPICAL.c_request_s)
QUARTER = verbs.Targets(domain=0)
HALF_SPREAD = verbs.Targets(spread=0.5)
FULL: dict[str, Any] = {}
SCALED: dict[str, Any] = {"fleet": {"servers": 200}}
SEEDS = (1, 2)


def make_spec(*settings: dict[str, Any], **more: Any) -> WorldSpec:
    """Settings of nested dicts over the reference set; later ones win key by key."""
    merged: dict[str, Any] = {}
    for setting in (*settings, more):
        for key, value in setting.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return msgspec.convert(merged, WorldSpec)


class Arm:
    """A world, its verbs, and what its history says. Written to ``out`` on close."""

    def __init__(self, spec: WorldSpec, out: Path = Path(), *, check: bool = True) -> None:
        if check:
            assert spec.check() == []
        self.spec, self.out = spec, out
        costs = DEAR if spec.fleet.servers == 200 else TYPICAL
        config = ArmConfig(arm="arm", backend="simulation", seed=spec.seed, spec=spec, out=str(out))
        self.world = SimulatedWorld(config, costs)
        self.world.start()

    def do(self, verb: Any) -> Any:
        return asyncio.run(self.world.carry_out(verb))

    def wait(self, for_s: float) -> None:
        self.do(verbs.Wait(for_s=for_s))

    def window(self, last_s: float = STEP_S) -> verbs.WindowStats:
        return self.do(verbs.Window(last_s=last_s))

    def out_ratio(self) -> float:
        window = self.window()
        return window.servers_out / window.servers

    def failed_ratio(self) -> float:
        window = self.window()
        return window.requests_failed / window.requests

    def watch(self, for_s: float) -> list[tuple[float, float]]:
        """(share of servers out, share of requests failed) of every 5 s window."""
        seen = []
        for _ in range(round(for_s / STEP_S)):
            self.wait(STEP_S)
            seen.append((self.out_ratio(), self.failed_ratio()))
        return seen

    def strike(self, targets: verbs.Targets = QUARTER) -> None:
        """Clean, then the trigger, then on until it is gone. `cut_s` and `off_s` are its begin and end."""
        assert self.do(verbs.Wait(until="clean", deadline_s=3 * R)).met, "not healthy before"
        self.probe = self.do(verbs.AdminProbe())
        self.cut_s = self.window().now_s
        self.cut_servers = self.do(verbs.Cut(targets=targets, for_s=CUT_S)).servers
        assert self.do(verbs.Wait(until="faults-off", deadline_s=2 * CUT_S)).met
        self.off_s = self.window().now_s

    @functools.cached_property
    def records(self) -> list[history.Record]:
        self.do(verbs.Stop())
        asyncio.run(self.world.close())
        with (self.out / "history.ndjson").open("rb") as file:
            return list(history.decode(file))

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Arms after the trigger and 2R + 30 s of watching: struck(settings…, seed=…). Built once each."""
    built: dict[str, Arm] = {}

    def build(*settings: dict[str, Any], targets: verbs.Targets = QUARTER, **more: Any) -> Arm:
        spec = make_spec(*settings, **more)
        key = repr((spec, targets))
        if key not in built:
            arm = built[key] = Arm(spec, tmp_path_factory.mktemp("arm"))
            arm.strike(targets)
            arm.settled = arm.watch(2 * R)
            arm.plateau = arm.watch(30.0)
        return built[key]

    return build


def settled_and_stuck(arm: Arm, low: float = 0.45, high: float = 0.65) -> bool:
    """Servers out in every window, failed requests over all six (3,000 requests: ± 1 %)."""
    failed = [failed for _, failed in arm.plateau]
    return all(low <= out <= high for out, _ in arm.plateau) and low <= sum(failed) / len(failed) <= high


HALF = {"fleet": {"indexes": False}}
ZOMBIES = {"metadata": {"drop_abandoned": False}}


def cpu(factor: float) -> dict[str, Any]:
    return {"cpu": {"factor": factor}}


# ---------------------------------------------------------------- the event, at both sizes

sizes = pytest.mark.parametrize("size", [FULL, SCALED], ids=["full", "scaled"])
seeds = pytest.mark.parametrize("seed", SEEDS)


@sizes
@seeds
def test_the_monolith_sticks_at_about_half_long_after_the_trigger(struck, size, seed):
    arm = struck(size, seed=seed)
    assert settled_and_stuck(arm), arm.plateau
    if size is FULL:  # the claim itself; a quarter of the groups are too few for it
        assert all(0.45 <= failed <= 0.65 for _, failed in arm.plateau), arm.plateau
    assert arm.cut_servers == arm.spec.fleet.servers // 4
    assert max(out for out, _ in arm.plateau) > 2 * 0.25, "more than was ever cut"


@sizes
@seeds
def test_servers_never_cut_are_dragged_in_and_some_relapse(struck, size, seed):
    arm = struck(size, seed=seed)
    (fault,) = [f for f in arm.of(history.Fault) if f.state == "on"]
    changes = [a for a in arm.of(history.Availability) if a.t >= arm.cut_s]
    dragged = {a.server for a in changes if not a.available} - set(fault.targets)
    assert len(dragged) > 0.2 * arm.spec.fleet.servers
    assert {a.reason for a in changes if not a.available and a.server in dragged} == {"time-out"}
    times_out = Counter(a.server for a in changes if not a.available and a.t < arm.off_s + 2 * R + 30.0)
    if size is FULL:  # a fleet of 200 has one group of mid-sized memberships, and it may lie on one side of the cut
        assert sum(count > 1 for count in times_out.values()) > 0, "nobody relapsed"


@sizes
@seeds
@pytest.mark.parametrize("control", [HALF, cpu(2.0)], ids=["half-membership", "double-cpu"])
def test_the_same_cut_heals_by_itself(struck, size, seed, control):
    arm, monolith = struck(size, control, seed=seed), struck(size, seed=seed)
    assert all(out <= 0.005 and failed <= 0.005 for out, failed in [*arm.settled[-4:], *arm.plateau])
    on, _ = arm.of(history.Fault)
    assert on.targets == monolith.of(history.Fault)[0].targets, "unlike triggers prove nothing"


@sizes
def test_work_for_callers_that_have_gone_takes_everybody_out(struck, size):
    arm = struck(size, ZOMBIES, seed=1)
    assert arm.out_ratio() >= 0.99
    assert arm.failed_ratio() >= 0.98
    assert arm.out_ratio() > struck(size, seed=1).out_ratio() + 0.3


# ---------------------------------------------------------------- cells


@pytest.mark.parametrize("factor, seed", [(1.0, 1), (1.0, 2), (0.95, 1)])
def test_four_cells_contain_the_cut_to_the_struck_one(struck, seed, factor):
    arm = struck(cpu(factor), seed=seed, cells=4)
    struck_cell = "cell-0"
    (on, _) = arm.of(history.Fault)
    assert {row[0] for row in arm.of(history.World)[0].servers if row[1] == struck_cell} == set(on.targets)
    cells = {c: w.servers_out / w.servers for c, w in arm.window().cells.items()}
    assert 0.45 <= cells[struck_cell] <= 0.68
    assert all(out <= 0.68 / 4 and failed <= 0.3 for out, failed in arm.plateau)
    elsewhere = [r for r in arm.of(history.Renewal) if r.cell != struck_cell and r.t >= arm.cut_s]
    assert len(elsewhere) > 600 * 3, "the others went on renewing"
    assert Counter(r.outcome for r in elsewhere) == {"done": len(elsewhere)}
    assert max(r.waited_s for r in elsewhere) < T
    left = {a.cell for a in arm.of(history.Availability) if not a.available and a.t >= arm.cut_s}
    assert left == {struck_cell}
    homes = arm.of(history.World)[0].customers
    failed = {q.customer for q in arm.of(history.Request) if q.t >= arm.cut_s and q.outcome != "done"}
    assert failed and all(homes[customer] == [struck_cell] for customer in failed)


@seeds
def test_a_cut_spread_over_all_cells_hits_all(struck, seed):
    arm = struck(targets=HALF_SPREAD, seed=seed, cells=4)
    assert settled_and_stuck(arm), arm.plateau
    for cell in arm.window().cells.values():
        assert cell.servers_out / cell.servers >= 0.4


def test_every_arm_of_a_seed_loses_the_same_servers_and_has_the_same_cpu(struck):
    arms = [struck(seed=1), struck(seed=1, cells=4), struck(HALF, seed=1), struck(ZOMBIES, seed=1)]
    fleet = make_fleet(arms[0].spec.fleet, arms[0].world._rng)
    expected = [server_id(s) for s in domain_servers(fleet, 0)]
    for arm in arms:
        assert arm.of(history.Fault)[0].targets == expected
    assert len({arm.of(history.World)[0].calibration["total_cores"] for arm in arms}) == 1
    limits = [limit for limit in arms[1].of(history.CpuLimit) if limit.t == 10.0]
    assert sum(limit.limit_cores for limit in limits) == pytest.approx(
        arms[0].of(history.World)[0].calibration["total_cores"]
    )


def test_the_size_rule_refuses_the_scaled_fleet_in_four_cells():
    with pytest.raises(Refused, match="cells: 4 cells are too small for 200 servers"):
        make_spec(SCALED, cells=4).check()


# ---------------------------------------------------------------- margins


@pytest.mark.parametrize("factor, seed", [(1.1, 1), (1.1, 2), (0.8, 1)])
def test_the_monolith_is_still_stuck_with_more_or_less_cpu(struck, seed, factor):
    arm = struck(cpu(factor), seed=seed)
    assert settled_and_stuck(arm), arm.plateau


@sizes
def test_half_the_membership_heals_even_with_less_cpu(struck, size):
    factor = 0.8 if size is FULL else 0.95  # with less, the size rule refuses a fleet of 200
    arm = struck(size, HALF, cpu(factor), seed=1)
    assert all(out <= 0.005 for out, _ in arm.plateau)


@sizes
def test_a_small_cut_heals(struck, size):
    arm = struck(size, targets=verbs.Targets(spread=0.1), seed=1)
    assert all(out <= 0.005 for out, _ in arm.plateau)


# ---------------------------------------------------------------- faults


@sizes
def test_no_fault_is_active_after_the_trigger_is_off(struck, size):
    arm = struck(size, seed=1)
    assert arm.do(verbs.Faults()) == []
    on, off = arm.of(history.Fault)
    assert (on.state, off.state, on.id, on.targets) == ("on", "off", off.id, off.targets)
    assert off.t == pytest.approx(on.t + CUT_S)
    assert off.receipt["refused"] > len(on.targets), "the cut bit every server"
    unreachable = [r for r in arm.of(history.Renewal) if r.reason == "unreachable"]
    assert {r.server for r in unreachable} == set(on.targets)
    assert all(r.t + r.waited_s <= off.t + 2 * DELAY_S for r in unreachable), "refused after the trigger was off"
    prevented = [r for r in unreachable if r.t >= on.t]
    assert len(prevented) == off.receipt["refused"]
    link_lost = [a for a in arm.of(history.Availability) if a.reason == "link-lost"]
    assert {a.t for a in link_lost} == {on.t}
    # From then on whoever fails, fails by the limit: it waited T and no answer came.
    after = [r for r in arm.of(history.Renewal) if r.t >= off.t and r.outcome != "done"]
    assert after and all(r.reason == "time-out" and r.waited_s == pytest.approx(T) for r in after)


def test_cuts_that_overlap_end_each_for_itself(tmp_path):
    arm = Arm(make_spec(SCALED, HALF), tmp_path)
    names = [server_id(s) for s in range(6)]
    arm.do(verbs.Cut(targets=verbs.Targets(servers=names[:4]), for_s=3.0))
    arm.wait(1.0)
    arm.do(verbs.Cut(targets=verbs.Targets(servers=names[2:]), for_s=10.0))
    arm.wait(6.0)
    assert [fault.id for fault in arm.do(verbs.Faults())] == ["cut-2"]
    assert arm.window().servers_out == 4, "the end of the first cut ended the second"
    assert arm.do(verbs.Wait(until="recovered", deadline_s=20.0)).met


# ---------------------------------------------------------------- operators


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

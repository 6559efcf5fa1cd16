"""Actions and probes over a real socket, against a world server that is not a world."""

import tempfile
from pathlib import Path

import msgspec
import pytest

from cellwall.errors import Refused, Unavailable, Unknown
from cellwall.spec import RenewalPolicy
from cellwall_lab import chaos, runbook, verbs
from cellwall_lab.chaos import actions, probes

from . import fake_world


@pytest.fixture
def world():
    """A function that starts a fake world and returns (state, configuration)."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder:  # short: a unix socket's path is limited
        started = []

        def start(cells=1, tweak="", runbook_name="by-hand-2015"):
            path = Path(folder) / f"{len(started)}.sock"
            state = fake_world.State(cells=cells, tweak=tweak)
            context = fake_world.serving(path, state)
            context.__enter__()
            started.append(context)
            line = msgspec.to_builtins(runbook.timeline(RenewalPolicy()))
            renewal = msgspec.to_builtins(RenewalPolicy())
            return state, {
                actions.WORLD: str(path),
                actions.LINE: line,
                actions.RUNBOOK: runbook_name,
                actions.RENEWAL: renewal,
            }

        yield start
        for context in started:
            context.__exit__(None, None, None)


def test_actions_are_their_verbs(world):
    state, configuration = world()
    actions.wait(configuration, for_s=3)
    actions.wait(configuration, until="clean", deadline_s=60)
    actions.phase("cut", configuration)
    actions.cut({"domain": 0}, 3.0, configuration)
    actions.load(50, configuration)
    actions.limit_cpu(0.5, configuration, for_s=3)
    actions.weight("cell-0", 3, 40, configuration)
    actions.pause(configuration)
    actions.resume(configuration, over_s=0)
    assert state.calls == [
        verbs.Wait(for_s=3),
        verbs.Wait(until="clean", deadline_s=60),
        verbs.MarkPhase(name="cut"),
        verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0),
        verbs.Load(rps=50),
        verbs.LimitCpu(factor=0.5, for_s=3),
        verbs.Weight(cell="cell-0", partition=3, percent=40),
        verbs.Pause(),
        verbs.Resume(over_s=0),
    ]


def test_probes_return_numbers(world):
    _state, configuration = world()
    assert (probes.servers_out_ratio(configuration), probes.faults_on(configuration)) == (0.0, 0)
    actions.cut({"domain": 0}, 3.0, configuration)
    assert probes.servers_out_ratio(configuration) == pytest.approx(0.6)
    assert probes.requests_failed_ratio(configuration) == pytest.approx(0.6)
    assert probes.queue_oldest_s(configuration) == 1.5
    assert probes.large_renewal_p99_s(configuration) == 0.9
    assert probes.faults_on(configuration) == 1


def test_a_probe_without_evidence_raises_instead_of_returning_nothing(world):
    state, configuration = world()
    empty = verbs.WindowStats(0.0, "", 0, 0, 0, 0, 0, 0, 0.0, 0.0, {})
    state.window = lambda: empty
    with pytest.raises(Unknown, match="no customer request"):
        probes.requests_failed_ratio(configuration)
    with pytest.raises(Unknown, match="no storage server"):
        probes.servers_out_ratio(configuration)


def test_a_condition_that_is_not_met_raises(world):
    _, configuration = world(tweak="never-clean")
    with pytest.raises(Unavailable, match="not clean within 60"):
        actions.wait(configuration, until="clean", deadline_s=60)


def test_a_step_that_is_not_done_raises_but_an_attempt_does_not(world):
    _, configuration = world(tweak="refuses")
    with pytest.raises(Unavailable, match="limit-cpu: refused"):
        actions.limit_cpu(2.0, configuration)
    actions.cut({"domain": 0}, 3.0, configuration)
    assert actions.add_capacity(configuration, deadline_s=4)["outcome"] == "unknown"
    assert actions.admin_probe(configuration)["outcome"] == "unknown"


def test_an_administrative_request_is_tried_again_only_where_it_was_late(monkeypatch):
    took_s = {"cell-0": [0.5], "cell-1": [2.5, 1.0], "cell-2": [2.1, 2.2]}
    asked = []

    def attempt(_, verb):
        names = list(took_s) if verb.cell == "*" else verb.cell.split(",")
        asked.append(names)
        cells = {name: verbs.StepResult("done", took_s[name].pop(0)) for name in names}
        return verbs.StepResult("done", max(r.took_s for r in cells.values()), cells=cells)

    monkeypatch.setattr(actions, "attempt", attempt)
    actions.admin_probe({"time_limit_s": 2.0}, tries=2)
    assert asked == [["cell-0", "cell-1", "cell-2"], ["cell-1", "cell-2"]]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda c: actions.wait(c, until="better", deadline_s=3), "better"),
        (lambda c: actions.wait(c, for_s="long"), "for_s"),
        (lambda c: actions.cut({"domian": 0}, 3, c), "domian"),
        (lambda c: actions.cut({"servers": ["s-none"]}, 3, c), "s-none"),
        (lambda c: actions.load("fast", c), "rps"),
    ],
)
def test_wrong_arguments_are_refused(world, call, word):
    _, configuration = world()
    with pytest.raises(Refused, match=word) as refusal:
        call(configuration)
    assert "\n" not in str(refusal.value)


def test_without_the_control_every_activity_says_what_is_missing():
    with pytest.raises(Refused, match=r"cellwall_lab\.chaos\.control"):
        probes.servers_out_ratio({})


def test_a_world_that_is_gone_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="no world is running"):
        actions.wait({actions.WORLD: str(tmp_path / "none.sock")}, for_s=1)


def test_the_runbook_by_hand_end_to_end(world):
    state, configuration = world(cells=4)
    actions.cut({"domain": 0}, 3.0, configuration)
    log = actions.follow_runbook(configuration)
    taken = [c for c in state.calls if isinstance(c, verbs.AddCapacity | verbs.Pause | verbs.Resume)]
    assert [type(c).__name__ for c in taken] == ["AddCapacity"] * 3 + ["Pause", "AddCapacity", "Resume"]
    assert {c.cell for c in taken[3:]} == {"cell-0"}
    assert len([c for c in state.calls if isinstance(c, verbs.Skip)]) == 3
    assert probes.servers_out_ratio(configuration) == 0.0
    assert log[0]["answer"]["outcome"] == "unknown"
    assert msgspec.json.encode(log)  # it goes into the journal


def test_a_runbook_step_that_cannot_be_taken_now_is_an_outcome(world):
    state, configuration = world()
    original = state.carry_out

    def busy(verb):
        return (409, "the node is starting") if isinstance(verb, verbs.AddCapacity) else original(verb)

    state.carry_out = busy
    result = actions.attempt(configuration, verbs.AddCapacity())
    assert (result.outcome, result.reason) == ("refused", "the node is starting")


def test_make_safe_opens_what_is_paused_and_touches_nothing_else(world):
    state, configuration = world()
    assert actions.make_safe(configuration) == []
    assert state.calls == [verbs.Faults()]
    actions.cut({"domain": 0}, 3.0, configuration)
    actions.pause(configuration)
    assert actions.make_safe(configuration) == ["cut-1", "pause-*"]
    assert probes.faults_on(configuration) == 0
    assert actions.make_safe(configuration) == []  # idempotent


def test_discovery_finds_every_exported_activity():
    found = {activity["name"] for activity in chaos.discover()["activities"]}
    assert found == {*actions.__all__, *probes.__all__}

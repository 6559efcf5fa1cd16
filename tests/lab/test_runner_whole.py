"""Whole runs that go well: every claim is judged, alone and in the demo, and arms side by side lose nothing."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cellwall import verdict as verdicts
from cellwall_lab import cli, experiment, triggers

from .runs import ARM, BACKEND, DEADLINE_S, chaos, gone, verdict


@pytest.mark.usefixtures("home")  # judging again draws no report either
def test_undisturbed_every_claim_holds(undisturbed):
    found, folder = verdict(undisturbed), undisturbed / "r" / ARM
    assert (found["outcome"], found["seed"], found["backend"]) == ("held", 5, BACKEND)
    assert found["versions"] == {"cellwall": "test"}
    calls = [verb for verb, _ in json.loads((folder / "calls.json").read_text())]
    assert [c for c in calls if c in ("cut", "admin-probe", "stop")] == ["admin-probe", "cut", "stop"]
    phases = [v["name"] for verb, v in json.loads((folder / "calls.json").read_text()) if verb == "phase"]
    assert phases == ["start", "clean", "cut", "settle", "stuck", "watch", "end"]
    assert cli.call(["report", str(undisturbed / "r")]) == 0  # judged again from what was recorded
    config = json.loads((folder / "arm.json").read_text())
    assert (config["seed"], config["spec"]["cpu"]["factor"]) == (5, 2.0)
    assert gone(int((folder / "pid").read_text()))


def test_chaos_run_alone_makes_the_same_verdict(home, undisturbed):
    source = experiment.FOLDER / "september-2015.yaml"
    process = chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "seed:int=5")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output.decode()
    folder = next((home / "runs").iterdir())
    assert folder.name.endswith("-september-2015-fake_world-s5")
    alone = json.loads((folder / "verdict.json").read_text())
    assert alone == verdict(undisturbed)


def test_the_demo_predicts_first_and_keeps_both_verdicts(home, monkeypatch):
    real, asked = cli.prepare, []

    def fake(name, backend, arms, *rest, **named):
        asked.append((backend, tuple(arms)))
        return real(name, BACKEND, [ARM], *rest, **named)

    monkeypatch.setattr(cli, "prepare", fake)
    assert cli.call(["demo", "--seed", "2", "--out", str(home / "r")]) == 0
    assert asked == [("local", ("monolith", "cells-4")), ("simulation", ("monolith", "cells-4"))]
    assert [verdict(home, out)["outcome"] for out in ("r", "r/prediction")] == ["held", "held"]
    assert [verdict(home, out)["seed"] for out in ("r", "r/prediction")] == [2, 2]


def test_the_shipped_experiment_runs_on_the_simulation(home):
    """The whole way once, without fakes: the event sticks, its operators' steps end it, every claim is judged."""
    out = home / "s"
    assert cli.call(["run", "september-2015", "--backend", "simulation", "--arm", "monolith", "--out", str(out)]) == 0
    claims = {claim["id"]: claim["outcome"] for claim in verdict(home, "s")["arms"][0]["claims"]}
    assert set(claims.values()) == {"held"}
    assert {"stuck", "capacity-locked-out", "recovered"} <= claims.keys()
    journal = json.loads((out / "monolith" / "journal.json").read_text())
    assert (journal["status"], journal["deviated"]) == ("completed", False)


TRIGGERS = {
    ("cell-failures", "bad-release-crash"): ["release", {"cell": "cell-0", "mode": "crash", "for_s": 40.0}],
    ("cell-failures", "zone-lost"): ["kill", {"what": "zone", "of": "b", "for_s": 30.0}],
    ("cell-failures", "poison-table"): ["poison", {"cell": "cell-0", "indexes": 10, "deadline_s": 180.0}],
    ("shared-fate", "shared-store"): ["kill", {"what": "store", "of": "cell-0", "for_s": 25.0}],
}


@pytest.mark.parametrize(("name", "arm"), TRIGGERS)
def test_an_arms_trigger_strikes_once_and_is_waited_for(home, name, arm):
    assert cli.call(["run", name, "--backend", BACKEND, "--arm", arm, "--out", str(home / "r")]) != 3
    calls = json.loads((home / "r" / arm / "calls.json").read_text())
    assert [call for call in calls if call[0] in triggers.STRIKES] == [TRIGGERS[name, arm]]
    struck = calls.index(TRIGGERS[name, arm])
    assert [c[1]["until"] for c in calls[struck:] if c[0] == "wait" and c[1].get("until")] == ["faults-off"]
    journal = json.loads((home / "r" / arm / "journal.json").read_text())
    assert all(activity["status"] == "succeeded" for activity in journal["run"])


def test_arms_that_end_at_once_keep_each_others_verdicts(home):
    prepared, runs = cli.prepare("september-2015", "simulation", (), "5", [], home / "r", False)
    names = [each.arm for each in runs]

    def put(arm):
        for _ in range(10):
            prepared.put([verdicts.ArmVerdict(name=arm, outcome="held", claims=[])])

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(put, names))
    assert {arm["name"]: arm["outcome"] for arm in verdict(home)["arms"]} == dict.fromkeys(names, "held")

"""Runs that go wrong: each must end with a non-zero status AND a verdict that says unknown and why.

Chaos Toolkit 1.44 alone ends with status 0 in six of these seven (research 02 §1.3). The worlds are fake
processes (`fake_world.py`) whose undisturbed history holds every claim, so only the sabotage can make the difference.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from cellwall_lab import cli, experiment, runner

TESTS = Path(__file__).resolve().parents[1]
BACKEND = "lab.fake_world"
ARM = "double-cpu"
DEADLINE_S = 30.0


@pytest.fixture
def home(monkeypatch):
    """A short folder, the fake backend importable, no report drawn."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder:
        monkeypatch.setenv("PYTHONPATH", str(TESTS))
        monkeypatch.setenv("FAKE_WORLD", "heals")
        monkeypatch.setattr(runner, "render", lambda path: None)
        yield Path(folder)


def run(home, *more, source="september-2015"):
    return cli.call(["run", str(source), "--backend", BACKEND, "--arm", ARM, "--out", str(home / "r"), *more])


def verdict(home, out="r"):
    return json.loads((home / out / "verdict.json").read_text())


def reasons(home, arm=ARM):
    found = next(a for a in verdict(home)["arms"] if a["name"] == arm)
    return {claim["evidence"] for claim in found["claims"]}


def changed(home, change):
    """A copy of the shipped experiment with one thing wrong."""
    document = experiment.read(experiment.FOLDER / "september-2015.yaml")
    change(document)
    path = home / "september-2015.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def gone(pid):
    """Whether a process has ended, within the deadline."""
    give_up = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def until(condition):
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true in time"
        time.sleep(0.05)


def test_undisturbed_every_claim_holds(home):
    assert run(home, "--seed", "5") == 0
    found = verdict(home)
    assert (found["outcome"], found["seed"], found["backend"]) == ("held", 5, BACKEND)
    assert found["versions"] == {"cellwall": "test"}
    calls = [verb for verb, _ in json.loads((home / "r" / ARM / "calls.json").read_text())]
    assert [c for c in calls if c in ("cut", "admin-probe", "stop")] == ["admin-probe", "cut", "stop"]
    phases = [v["name"] for verb, v in json.loads((home / "r" / ARM / "calls.json").read_text()) if verb == "phase"]
    assert phases == ["start", "clean", "cut", "settle", "stuck", "watch", "end"]
    assert cli.call(["report", str(home / "r")]) == 0  # judged again from what was recorded
    config = json.loads((home / "r" / ARM / "arm.json").read_text())
    assert (config["seed"], config["spec"]["cpu"]["factor"]) == (5, 2.0)
    assert gone(int((home / "r" / ARM / "pid").read_text()))


def _strike_nobody(document):
    document["extensions"][0]["arms"][ARM]["targets"] = {"servers": ["s-none"]}


def _probe_nothing(document):
    document["steady-state-hypothesis"]["probes"][0]["provider"] = {
        "type": "python",
        "module": BACKEND,
        "func": "nothing",
    }


@pytest.mark.parametrize(
    ("world", "change", "reason"),
    [
        pytest.param("heals", _strike_nobody, "cut: ", id="action raises"),
        pytest.param("unhealthy", None, "not healthy at the start: servers-out was 0.6", id="bad start"),
        pytest.param("never-clean", None, "wait-until-clean: ", id="never clean"),
        pytest.param("rollback-raises", None, "make-safe: ", id="rollback raises"),
        pytest.param("heals", _probe_nothing, "chaos run ended with exit status 1", id="probe returns None"),
        pytest.param("dies", None, "ended with exit status 9: no memory left", id="world dies at once"),
    ],
)
def test_sabotage_is_unknown_with_its_reason(home, monkeypatch, world, change, reason):
    monkeypatch.setenv("FAKE_WORLD", world)
    source = changed(home, change) if change else "september-2015"
    assert run(home, source=source) == 2
    assert verdict(home)["outcome"] == "unknown"
    assert len(reasons(home)) == 1
    assert reason in next(iter(reasons(home)))
    assert cli.call(["report", str(home / "r")]) == 2  # judging again does not forget it


def test_a_world_that_the_backend_refuses_is_the_users_to_correct(home, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_WORLD", "refuses-world")
    assert run(home) == 3
    error = capsys.readouterr().err.strip()
    assert error == "cellwall: fleet.servers: 7 is not allowed; it must be a multiple of 25"
    assert verdict(home)["outcome"] == "unknown"


def _chaos(home, source, *variables, stdout=subprocess.PIPE):
    words = [word for variable in variables for word in ("--var", variable)]
    return subprocess.Popen(
        [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", "run", *words, str(source)],
        cwd=home,
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )


def test_chaos_run_alone_makes_the_same_verdict(home):
    source = experiment.FOLDER / "september-2015.yaml"
    process = _chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "seed:int=5")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output.decode()
    folder = next((home / "runs").iterdir())
    assert folder.name.endswith("-september-2015-fake_world-s5")
    alone = json.loads((folder / "verdict.json").read_text())
    assert run(home, "--seed", "5") == 0
    assert alone == verdict(home)


def test_a_typo_that_chaos_toolkit_accepts_ends_the_run_before_it_starts(home):
    source = changed(home, lambda document: document.__setitem__("rollback", document.pop("rollbacks")))
    process = _chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "out=r")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert b"rollback: unknown key; did you mean rollbacks?" in output
    assert verdict(home)["outcome"] == "unknown"
    assert not (home / "r" / ARM / "pid").exists()
    assert cli.call(["lint", str(source)]) == 3


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_a_verdict_and_no_process(home, monkeypatch, signum):
    monkeypatch.setenv("FAKE_WORLD", "slow")
    source = "september-2015"
    code = "import sys; from cellwall_lab.cli import call; sys.exit(call())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", source, "--backend", BACKEND, "--arm", ARM, "--out", str(home / "r")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log = home / "r" / ARM / "logs" / "chaos.out"
    until(lambda: log.exists() and b"warm-up" in log.read_bytes())
    world = int((home / "r" / ARM / "pid").read_text())
    process.send_signal(signum)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 2), output.decode()
    assert gone(world)
    until(lambda: reasons(home))  # after SIGKILL the arm's own process writes it
    assert verdict(home)["outcome"] == "unknown"
    assert all("interrupted" in reason for reason in reasons(home))


def test_sigterm_to_chaos_run_during_an_action_is_not_swallowed(home, monkeypatch):
    monkeypatch.setenv("FAKE_WORLD", "slow")
    source = experiment.FOLDER / "september-2015.yaml"
    log = home / "chaos.out"
    with log.open("wb") as stdout:
        process = _chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "out=r", stdout=stdout)
    pid = home / "r" / ARM / "pid"
    until(lambda: pid.exists() and pid.read_text())
    until(lambda: b"warm-up" in log.read_bytes())  # `slow` holds it there for 30 s
    process.send_signal(signal.SIGTERM)
    process.wait(DEADLINE_S)
    assert process.returncode == 1
    assert verdict(home)["outcome"] == "unknown"
    assert gone(int(pid.read_text()))


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

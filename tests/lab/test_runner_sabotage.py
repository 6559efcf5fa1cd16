"""Runs that go wrong: each must end with a non-zero status AND a verdict that says unknown and why.

Chaos Toolkit 1.44 alone ends with status 0 in six of these seven (research 02 §1.3). The worlds are fake
processes (`fake_world.py`) whose undisturbed history holds every claim, so only the sabotage can make the difference.
"""

import pytest

from cellwall_lab import cli

from .runs import ARM, BACKEND, DEADLINE_S, changed, chaos, reasons, run, verdict


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
        pytest.param(
            "crashes",
            None,
            "the world ended with exit status 1: limiter ended unasked (killed by SIGKILL)",
            id="world dies during a step",
        ),
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


def test_a_typo_that_chaos_toolkit_accepts_ends_the_run_before_it_starts(home):
    source = changed(home, lambda document: document.__setitem__("rollback", document.pop("rollbacks")))
    process = chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "out=r")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert b"rollback: unknown key; did you mean rollbacks?" in output
    assert verdict(home)["outcome"] == "unknown"
    assert not (home / "r" / ARM / "pid").exists()
    assert cli.call(["lint", str(source)]) == 3

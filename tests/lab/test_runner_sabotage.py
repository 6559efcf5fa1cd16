"""Worlds that fail their run: each ends with a non-zero status AND a verdict that says unknown and why, also when it is
judged again. What others do to a run (ten sabotages, by three ways to run them) is in test_sabotage.
"""

import pytest

from cellwall_lab import cli

from .runs import ARM, BACKEND, DEADLINE_S, changed, chaos, reasons, run, verdict


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        pytest.param("never-clean", "wait-until-clean: ", id="never clean"),
        pytest.param("dies", "ended with exit status 9: no memory left", id="world dies at once"),
        pytest.param(
            "crashes",
            "the world ended with exit status 1: limiter ended unasked (killed by SIGKILL)",
            id="world dies during a step",
        ),
    ],
)
def test_a_world_that_fails_is_unknown_with_its_reason(home, monkeypatch, world, reason):
    monkeypatch.setenv("FAKE_WORLD", world)
    assert run(home) == 2
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

"""Runs that get a signal: each ends with a verdict that says unknown and why, and leaves no process."""

import signal
import subprocess
import sys

import pytest

from cellwall_lab import experiment

from .runs import ARM, BACKEND, DEADLINE_S, chaos, gone, reasons, until, verdict


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
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


def test_arms_side_by_side_all_end_with_a_signal(home, monkeypatch):
    monkeypatch.setenv("FAKE_WORLD", "slow")
    arms = (ARM, "half-membership")
    code = (
        "import os, sys; from cellwall_lab import cli, runner;"
        f"os.cpu_count = lambda: 2; runner.SIDE_BY_SIDE = ({BACKEND!r},); sys.exit(cli.call())"
    )
    words = [word for arm in arms for word in ("--arm", arm)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "september-2015", "--backend", BACKEND, *words, "--out", str(home / "r")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    logs = [home / "r" / arm / "logs" / "chaos.out" for arm in arms]
    until(lambda: all(log.exists() and b"warm-up" in log.read_bytes() for log in logs))  # `slow` holds them there
    worlds = [int((home / "r" / arm / "pid").read_text()) for arm in arms]
    process.terminate()
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2, output.decode()
    assert all(map(gone, worlds))
    assert all("interrupted" in reason for arm in arms for reason in reasons(home, arm))


def test_sigterm_to_chaos_run_during_an_action_is_not_swallowed(home, monkeypatch):
    monkeypatch.setenv("FAKE_WORLD", "slow")
    source = experiment.FOLDER / "september-2015.yaml"
    log = home / "chaos.out"
    with log.open("wb") as stdout:
        process = chaos(home, source, f"arm={ARM}", f"backend={BACKEND}", "out=r", stdout=stdout)
    pid = home / "r" / ARM / "pid"
    until(lambda: pid.exists() and pid.read_text())
    until(lambda: b"warm-up" in log.read_bytes())  # `slow` holds it there for 30 s
    process.send_signal(signal.SIGTERM)
    process.wait(DEADLINE_S)
    assert process.returncode == 1
    assert verdict(home)["outcome"] == "unknown"
    assert gone(int(pid.read_text()))

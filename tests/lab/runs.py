"""Whole runs over fake worlds: started as a user starts them, and what they leave behind. Fixtures: conftest."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from cellwall_lab import cli, experiment

TESTS = Path(__file__).resolve().parents[1]
BACKEND = "lab.fake_world"
ARM = "double-cpu"
DEADLINE_S = 30.0


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


def chaos(home, source, *variables, stdout=subprocess.PIPE):
    words = [word for variable in variables for word in ("--var", variable)]
    return subprocess.Popen(
        [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", "run", *words, str(source)],
        cwd=home,
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )

"""`cellwall predict`: against the simulation either side of a border, from its three sources, and on wrong input."""

import json
import shutil

import pytest

from cellwall import forecast
from cellwall_lab import cli, experiment
from cellwall_lab.predict.sources import of_experiment
from cellwall_lab.runfolder import RunFolder, RunInfo

from .simulated_arms import CUT_S, FULL, HALF_SPREAD, QUARTER, cpu

NAME = "september-2015"
NUMBERS = {"--servers": 800, "--large-share": 0.5, "--large-ms": 9.35, "--renew": 20, "--timeout": 2, "--cpu": 0.37}


@pytest.fixture
def quick(monkeypatch):
    """Without what each remedy buys, which takes three seconds."""
    monkeypatch.setattr(forecast, "remedies", lambda cell, cut_s: [])


def told(capsys, *args):
    assert cli.call(["predict", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def numbers(**changes):
    given = NUMBERS | {f"--{key.replace('_', '-')}": value for key, value in changes.items()}
    return [word for option, value in given.items() if value is not None for word in (option, value)]


@pytest.mark.parametrize(("arm", "stuck"), [("monolith", 1), ("double-cpu", 0), ("half-membership", 0), ("cells-4", 1)])
def test_an_experiments_arms_come_out_as_they_do(capsys, quick, arm, stuck):
    found = told(capsys, NAME, "--arm", arm)
    assert sum(each["stuck"] for each in found["cells"].values()) == stuck
    shares = {"monolith": (0.5, 0.6), "cells-4": (0.125, 0.15)}
    low, high = shares.get(arm, (0, 0))
    assert low <= found["out_ratio"] <= high


@pytest.mark.parametrize(("cut", "targets"), [(0.25, QUARTER), (0.5, HALF_SPREAD)])
def test_the_simulation_heals_with_more_cpu_than_predicted_and_sticks_with_less(struck, cut, targets):
    """A fifth off the border, either way; docs/predict.md says how far off it is."""
    cell = of_experiment(NAME, "monolith", [], 1).cells["cell-0"]
    border = 1 / forecast.growth(forecast.struck(cell, cut), CUT_S)
    heals = struck(FULL, cpu(1.2 * border), targets=targets, seed=1)
    sticks = struck(FULL, cpu(border / 1.2), targets=targets, seed=1)
    assert heals.plateau[-1][0] == 0
    assert sticks.plateau[-1][0] > 0.45


def test_a_run_folder_is_predicted_from_what_it_was_before_its_cut(capsys, quick, tmp_path, struck):
    info = RunInfo(experiment=NAME, backend="simulation", seed=1, arms=["monolith"])
    folder = RunFolder.create(experiment.load(NAME), info, tmp_path / "r")
    arm = struck(FULL, seed=1)
    assert arm.records  # which writes them
    (tmp_path / "r" / "monolith").mkdir()
    shutil.copy(arm.out / "history.ndjson", folder.arm("monolith"))
    found = told(capsys, tmp_path / "r")
    assert found["out_ratio"] == pytest.approx(arm.plateau[-1][0], abs=0.03)
    assert found["outlook"]["cut_ratio"] == pytest.approx(0.25, abs=0.01)
    assert any(note.startswith("measured from 2R") for note in found["notes"])
    cut_short = folder.arm("monolith") / "history.ndjson"
    lines = [line for line in cut_short.read_text().splitlines(keepends=True) if json.loads(line)["t"] < arm.off_s + 5]
    cut_short.write_text("".join(lines))
    assert not [note for note in told(capsys, tmp_path / "r")["notes"] if note.startswith("measured from 2R")]
    use = next(int(note.split()[4]) for note in found["notes"] if note.startswith("measured before"))
    assert found["outlook"]["use"] == pytest.approx(use / 100, abs=0.08)


def test_plain_numbers(capsys, quick):
    whole = told(capsys, *numbers())
    assert whole["outlook"]["course"]["stuck"]
    assert whole["outlook"]["load_factor"] == pytest.approx(400 * 9.35e-3 / 0.37 / 2)
    cells = told(capsys, *numbers(cells=4))
    assert [each["stuck"] for each in cells["cells"].values()] == [True, False, False, False]
    assert cells["out_ratio"] == pytest.approx(whole["out_ratio"] / 4, abs=0.02)
    spread = [each["stuck"] for each in told(capsys, *numbers(cells=4), "--spread")["cells"].values()]
    assert spread == [True] * 4  # cells do not help against a cut of all of them alike
    assert not told(capsys, *numbers(cpu=0.8))["outlook"]["course"]["stuck"]
    assert not told(capsys, *numbers(cut=0.05))["outlook"]["course"]["stuck"]


def test_it_says_it_in_words(capsys):
    assert cli.call(["predict", *map(str, numbers())]) == 0
    text = capsys.readouterr().out
    for word in (
        "healthy",
        "load factor",
        "keeps itself alive",
        "smallest cut",
        "smallest cell",
        "time to drain",
        "twice",
    ):
        assert word in text
    assert cli.call(["predict", *map(str, numbers(cpu=0.8))]) == 0
    assert "it heals" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["--servers", "missing"]),
        (numbers(cpu=None), ["--cpu", "missing"]),
        (numbers(cpu=0), ["--cpu", "'0'", "> 0"]),
        (numbers(large_share=1.5), ["--large-share", "1.5", "0..1"]),
        (numbers(servers=0.5), ["--servers", "0.5", "whole"]),
        (numbers(timeout=10), ["--renew", "20", "timing rule"]),
        (numbers(wait=20), ["--wait", "renewal period"]),
        ([NAME, "--cpu", 1], ["--cpu", NAME, "--set"]),
        ([NAME, "--arm", "duolith"], ["--arm", "'duolith'", "monolith"]),
        ([NAME, "--arm", "zombies"], ["metadata.drop_abandoned", "not modelled", "simulation"]),
        ([NAME, "--set", "metadata.discipline=fifo"], ["metadata.discipline", "fifo", "not modelled"]),
        ([NAME, "--seed", "one"], ["--seed", "'one'"]),
        (["nowhere"], ["'nowhere'"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_wrong_usage(capsys, args, words):
    assert cli.call(["predict", *map(str, args)]) == cli.USAGE
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "cannot be read"),
        ("", "names no world"),
        ('{"kind": "phase", "t": 1, "name": "x"}\n', "names no world"),
    ],
)
def test_a_run_that_did_not_come_far_is_refused(capsys, tmp_path, content, word):
    info = RunInfo(experiment=NAME, backend="simulation", seed=1, arms=["monolith"])
    folder = RunFolder.create(experiment.load(NAME), info, tmp_path / "r")
    folder.arm("monolith").mkdir()
    if content is not None:
        (folder.arm("monolith") / "history.ndjson").write_text(content)
    assert cli.call(["predict", str(tmp_path / "r")]) == cli.USAGE
    assert word in capsys.readouterr().err

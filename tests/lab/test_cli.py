"""The command line on wrong input: exit status 3, one line that says what would be right, nothing left behind."""

import json
import tempfile
from pathlib import Path

import pytest

from cellwall.errors import Refused
from cellwall_lab import cli, doctor, experiment
from cellwall_lab.runfolder import RunFolder, RunInfo

SHIPPED = "september-2015"


@pytest.fixture
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="cw") as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], ["EXPERIMENT"]),
        (["run", "nowhere"], ["'nowhere'", "cellwall list"]),
        (["run", "nowhere.yaml"], ["'nowhere.yaml'"]),
        (["run", SHIPPED, "--arm", "duolith"], ["--arm", "'duolith'", "monolith, cells-4"]),
        (["run", SHIPPED, "--backend", "cloud"], ["backend", "'cloud'", "local, simulation, kubernetes"]),
        (["run", SHIPPED, "--backend", "kubernetes"], ["--context", "missing"]),
        (["run", SHIPPED, "--context", "kind-a"], ["--context", "'kind-a'", "--backend local"]),
        (["run", SHIPPED, "--seed", "one"], ["--seed", "'one'"]),
        (["run", SHIPPED, "--seed", "-1"], ["--seed", "-1"]),
        (["run", SHIPPED, "--sed", "1"], ["--sed"]),
        (["run", SHIPPED, "--set", "cells"], ["--set", "'cells'", "path=value"]),
        (["run", SHIPPED, "--set", "cels=4"], ["cels", "did you mean cells?"]),
        (["run", SHIPPED, "--set", "cells=x"], ["cells", "'x'", "whole number"]),
        (["run", SHIPPED, "--set", "renewal.time_limit_s=30"], ["renewal.renew_every_s", "timing rule"]),
        (["run", SHIPPED, "--set", "fleet.zones=2"], ["fleet.zones", "2", "three zones"]),
        (["run", SHIPPED, "--arm", "cells-4", "--set", "fleet.servers=100"], ["cells", "4", "--force"]),
        (["run", SHIPPED, "--set", "pace=500"], ["pace", "500"]),
        (["run", SHIPPED, "--out", "/proc/none"], ["--out", "/proc/none"]),
        (["run", SHIPPED, "--out", "a" * 120], ["--out", "too long"]),
        (["demo", "--arm", "monolith"], ["--arm"]),
        (["report"], ["DIR"]),
        (["report", "nowhere"], ["run folder", "'nowhere'"]),
        (["report", "."], ["run folder", "run.json"]),
        (["lint", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
        (["rnu"], ["rnu"]),
    ],
    ids=" ".join,
)
def test_wrong_usage(home, capsys, args, words):
    assert cli.call(args) == cli.USAGE
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    assert len(lines) == 1, captured.err
    assert all(word in lines[0] for word in words), lines[0]
    assert list(home.iterdir()) == []


def test_a_folder_that_holds_a_run_is_not_overwritten(home, capsys):
    run = home / "r"
    loaded = experiment.load(SHIPPED)
    RunFolder.create(loaded, RunInfo(experiment=SHIPPED, backend="local", seed=1, arms=["monolith"]), run)
    before = (run / "verdict.json").read_bytes()
    assert cli.call(["run", SHIPPED, "--out", str(run)]) == cli.USAGE
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "verdict.json").read_bytes() == before


def test_the_verdict_is_complete_and_unknown_from_the_start(home):
    loaded = experiment.load(SHIPPED)
    info = RunInfo(experiment=SHIPPED, backend="simulation", seed=4, arms=["monolith", "cells-4"])
    folder = RunFolder.create(loaded, info, home / "r")
    verdict = json.loads((home / "r" / "verdict.json").read_text())
    assert (verdict["outcome"], verdict["seed"], verdict["schema"]) == ("unknown", 4, 1)
    assert [(a["name"], a["outcome"]) for a in verdict["arms"]] == [("monolith", "unknown"), ("cells-4", "unknown")]
    assert RunFolder.open(home / "r").info == folder.info
    assert not list((home / "r").glob(".*"))  # no temporary file stays


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.json", "{", ["run.json", "not a run's description"]),
        ("run.json", '{"experiment": 3}', ["run.json"]),
        ("verdict.json", "[]", ["verdict.json"]),
        ("verdict.json", None, ["verdict.json", "cannot be read"]),
        ("experiment.yaml", "a: [", ["experiment.yaml", "not YAML"]),
        ("experiment.yaml", "title: x", ["missing"]),
    ],
)
def test_an_unreadable_run_folder(home, capsys, name, content, words):
    info = RunInfo(experiment=SHIPPED, backend="simulation", seed=4, arms=["monolith"])
    RunFolder.create(experiment.load(SHIPPED), info, home / "r")
    path = home / "r" / name
    path.unlink() if content is None else path.write_text(content)
    assert cli.call(["report", str(home / "r")]) == cli.USAGE
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert all(word in line for word in words), line


def test_help_teaches(capsys):
    assert cli.call(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("run", "demo", "report", "list", "lint", "doctor", "0 all claims held"):
        assert word in text
    assert cli.call(["run", "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_no_arguments_show_the_help(capsys):
    assert cli.call([]) == cli.USAGE
    assert "demo" in capsys.readouterr().out


def test_list_names_experiments_arms_and_questions(capsys):
    assert cli.call(["list"]) == 0
    text = capsys.readouterr().out
    for word in (SHIPPED, "monolith", "cells-4", "half-membership", "double-cpu", "cells-4-spread", "zombies", "?"):
        assert word in text


def test_lint_names_every_problem(home, capsys):
    path = home / f"{SHIPPED}.yaml"
    text = (experiment.FOLDER / path.name).read_text()
    path.write_text(text.replace("rollbacks:\n  - type", "rollback:\n  - type").replace("tags:", "tag:"))
    assert cli.call(["lint", str(path)]) == cli.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == ["did you mean tags?", "did you mean rollbacks?"]
    assert cli.call(["lint", str(experiment.FOLDER / path.name)]) == 0


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(doctor, "WATCH_S", 0.1)
    monkeypatch.setattr(doctor, "SLEEPS", 10)


def test_doctor_measures_and_says_which_faults_it_can_do(brief, capsys):
    status = cli.call(["doctor"])
    text = capsys.readouterr().out
    for word in ("cores", "memory", "disk", "loopback", "store", "cpu-clock", "stop-continue", "host", "limit-cpu"):
        assert word in text
    assert status == (2 if "\nbad " in f"\n{text}" else 0)


def test_doctor_does_not_pass_a_machine_without_a_store(brief, monkeypatch, capsys):
    def missing():
        raise Refused("store: no valkey-server or redis-server on PATH")

    monkeypatch.setattr(doctor, "store_binary", missing)
    assert cli.call(["doctor"]) == 2
    assert "cannot hold a verdict" in capsys.readouterr().out

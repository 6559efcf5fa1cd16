"""`cellwall sweep` and `compare` as they are typed: what is refused, what a kill leaves, and that the rest goes on."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from cellwall_lab import cli
from cellwall_lab.sweep.search import boundaries, loops
from cellwall_lab.sweep.store import Store

from ..waiting import until

SHIPPED = "september-2015"
SMALL = ["--set", "fleet.servers=100", "--watch-s", "45", "--jobs", "1"]
CELLS = ["--grid", "cells=1,2", "--grid", "trigger=cell,spread"]


@pytest.fixture
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="cw") as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sweep"], ["EXPERIMENT"]),
        (["sweep", "nowhere"], ["'nowhere'"]),
        (["sweep", SHIPPED], ["no grids", "--grid"]),
        (["sweep", "segmentation", "--only", "placements"], ["--only", "'placements'", "placement"]),
        (["sweep", "segmentation", "--only", "price", "--grid", "cells=1"], ["--only", "--grid"]),
        (["sweep", SHIPPED, "--grid", "cells="], ["--grid", "cells=1,2,4"]),
        (["sweep", SHIPPED, "--grid", "cells"], ["--grid", "key=value"]),
        (["sweep", SHIPPED, "--grid", "cels=1"], ["did you mean cells"]),
        (["sweep", SHIPPED, "--grid", "cells=0"], ["cells", "0"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--seeds", "3-1"], ["--seeds", "'3-1'"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--budget", "soon"], ["--budget", "'soon'", "30m"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--jobs", "0"], ["--jobs", "0"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--boundary", "share"], ["--boundary", "key=low:high"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--boundary", "cells=1:4"], ["--boundary", "whole numbers"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--boundary", "placement=1:4"], ["--boundary", "not a number"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--boundary", "share=0.1:1", "--hysteresis", "1:2"], ["one of them"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--hysteresis", "0:2"], ["--hysteresis", "> 0"]),
        (["sweep", SHIPPED, "--grid", "fleet.large_records=20"], ["fleet.large_records", "too few"]),
        (["sweep", SHIPPED, "--grid", "cells=1", "--calibration", "nowhere"], ["--calibration", "nowhere"]),
        (
            ["sweep", SHIPPED, "--grid", "cells=1", *SMALL, "--seeds", "1-9999", "--budget", "1s"],
            ["--budget", "--only"],
        ),
        (["compare", "a", "b"], ["a/sweep.json"]),
        (["compare", "a"], ["B"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_leaves_nothing(home, capsys, args, words):
    assert cli.call(args) == cli.USAGE
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines[0]
    assert list(home.iterdir()) == []


def sweep(*args: str) -> list[str]:
    return [str(Path(sys.executable).parent / "cellwall"), "sweep", SHIPPED, *SMALL, *args]


def test_a_sweep_that_is_killed_goes_on_and_runs_nothing_twice(home):
    out = home / "s"
    args = [*CELLS, "--seeds", "1-12", "--out", str(out)]
    process = subprocess.Popen(
        sweep(*args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until("two parts", lambda: len(list(out.glob("parts/*.parquet"))) >= 2, 60)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until("the worker is gone with it", lambda: not group(process.pid), 30)
    before = {(row["point"], row["seed"]) for row in Store(out).read()[0]}
    assert 0 < len(before) < 48
    parts = {path: path.read_bytes() for path in out.glob("parts/*.parquet")}
    assert cli.call(["sweep", SHIPPED, *SMALL, *args]) == 0
    rows, unreadable = Store(out).read()
    assert unreadable == []
    assert len(rows) == len({(row["point"], row["seed"]) for row in rows}) == 48
    assert {path: path.read_bytes() for path in parts} == parts, "what was there stays as it was"
    first = len(list(out.glob("parts/*")))
    page = (out / "report.html").read_bytes()
    assert cli.call(["sweep", SHIPPED, *SMALL, *args]) == 0
    assert len(list(out.glob("parts/*"))) == first, "nothing is left to do"
    assert (out / "report.html").read_bytes() == page, "same results, same page"


def group(leader: int) -> list[int]:
    """Processes of a session that still live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_a_sweep_says_and_keeps_what_it_is_made_of(home, capsys):
    assert cli.call(["sweep", SHIPPED, *SMALL, *CELLS, "--seeds", "1-2", "--out", "a"]) == 0
    said = capsys.readouterr()
    assert "4 points × 2 seeds" in said.out or "points × 2 seeds" in said.out
    assert "report: " in said.out
    page = Path("a/report.html").read_text()
    assert "Impact against the number of cells" in page and "1/N" in page
    assert "cellwall" in page and "--out" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    rows, _ = Store(Path("a")).read()
    assert {row["cells"] for row in rows} == {1, 2}
    assert cli.call(["compare", "a", "a"]) == 0
    assert "0 differ" in capsys.readouterr().out


def test_another_setting_makes_a_difference_that_compare_names(home, capsys):
    grid = ["--grid", "cells=1", "--grid", "trigger=spread", "--seeds", "1-4"]
    assert cli.call(["sweep", SHIPPED, *SMALL, *grid, "--out", "a"]) == 0
    assert cli.call(["sweep", SHIPPED, *SMALL, *grid, "--set", "cpu.factor=4", "--out", "b"]) == 0
    capsys.readouterr()
    assert cli.call(["compare", "a", "b", "--measure", "servers_out"]) == 1
    assert "1 differ" in capsys.readouterr().out
    assert cli.call(["compare", "a", "b", "--measure", "joy"]) == cli.USAGE


def test_a_boundary_is_bracketed_and_a_finished_search_runs_nothing(home, capsys):
    args = ["sweep", SHIPPED, *SMALL, "--grid", "cells=1", "--seeds", "1-2", "--out", "b"]
    args += ["--boundary", "share=0.02:0.9", "--tolerance", "0.2"]
    assert cli.call(args) == 0
    (found,) = boundaries(Store(Path("b")))
    assert found.search.where == "found", found
    low, high = found.search.bracket()
    assert high.at - low.at <= 0.2 and not low.tips and high.tips
    parts = len(list(Path("b/parts").iterdir()))
    assert cli.call(args) == 0
    assert len(list(Path("b/parts").iterdir())) == parts
    assert "tips between" in Path("b/report.html").read_text()


def test_a_loop_is_wider_up_than_down(home, capsys):
    args = ["sweep", SHIPPED, *SMALL, "--grid", "cells=1", "--seeds", "1", "--hysteresis", "0.1:2.0", "--out", "h"]
    assert cli.call(args) == 0
    (found,) = loops(Store(Path("h")))
    ups = {r.level: r.share for r in found.readings if r.up}
    downs = {r.level: r.share for r in found.readings if not r.up}
    assert ups[0.1] == downs[0.1] == 0
    assert max(ups.values()) > 0.3
    assert all(downs[level] >= share - 0.05 for level, share in ups.items()), "the way down is never the better one"
    assert any(downs[level] > share + 0.2 for level, share in ups.items()), "a loop"
    assert msgspec.json.decode(Path("h/loops.json").read_bytes())[0]["seed"] == 1

"""A world that people walk around in, from `cellwall up` to Ctrl-C: a small one, of real processes, by its commands."""

from __future__ import annotations

import json
import os
import signal
import urllib.request

from cellwall import history
from cellwall_lab import children

from ..waiting import until
from .conftest import CELLWALL, GONE_S, READY_S, SETTINGS, processes_of


def test_a_walk_from_up_to_ctrl_c(walk):
    process, said = walk.up("--name", "small", "--cells", "2", "--out", "run")
    text = said.read_text()
    for words in ("front end", "live page", "run folder", "endpoint_url=", "/metrics", "cellwall cut --domain 0"):
        assert words in text, text
    home = walk.folder / "run" / "monolith"
    assert f"run folder      {home}" in text

    state = walk.state()
    assert (state["name"], state["phase"], len(state["servers"])) == ("small", "by-hand", 50)
    assert set(state["cells"]) == {"cell-0", "cell-1"}

    def retrieved() -> bool:
        return all(cell["largest_retrieval_s"] is not None for cell in walk.state()["cells"].values())

    until("the nodes say how long the largest memberships took", retrieved, 20.0)

    # Cut, watched and explained.
    cut = walk.run("cut", "--domain", "0", "--for-s", "20")
    assert cut.returncode == 0 and "25 servers are unreachable for 20 s" in cut.stdout, cut.stderr
    shown = walk.run("watch", "--once").stdout
    assert "fault cut-1: cut of 25 servers, ends in" in shown
    struck = [server["id"] for server in walk.state()["servers"] if server["state"] == "cut"]
    assert len(struck) == 25
    told = walk.run("explain", struck[0]).stdout
    assert f"{struck[0]} (cell-" in told and "its network was cut" in told and "nobody reaches it" in told
    nobody = walk.run("explain", "s-9999")
    assert nobody.returncode == 3 and "s-9999" in nobody.stderr and "s-0000" in nobody.stderr
    page = text.partition("live page")[2].split()[0]
    with urllib.request.urlopen(f"{page}explain/{struck[0]}", timeout=10) as explained:
        assert "its network was cut" in json.load(explained)["story"][0]  # the page says so too

    # A pause shows, and so does a weight.
    assert walk.run("pause", "--cell", "cell-1").returncode == 0
    assert walk.state()["cells"]["cell-1"]["paused"]
    assert walk.run("weight", "cell-0", "1", "50").returncode == 0
    assert "weight: cell-0, metadata partition 1: 50 %" in walk.run("watch", "--once").stdout
    assert walk.run("resume", "--cell", "cell-1").returncode == 0
    assert walk.run("limit-cpu", "0.5", "--cell", "cell-0").returncode == 0
    assert walk.run("grow", "--cell", "cell-0", "--deadline-s", "10").returncode == 0
    assert walk.state()["cells"]["cell-0"]["nodes"] == 2

    process.send_signal(signal.SIGINT)
    assert process.wait(GONE_S) == 0, said.read_text()
    until("every process is gone", lambda: not processes_of(walk.folder), GONE_S)
    assert f"ended; history: {home / 'history.ndjson'}" in said.read_text()
    with (home / "history.ndjson").open("rb") as file:
        records = list(history.decode(file))
    assert {r.step for r in records if isinstance(r, history.Step)} >= {"pause", "resume", "weight", "add-capacity"}
    assert any(isinstance(r, history.Request) and r.outcome == "done" for r in records)
    drawn = walk.run("report", "run")
    assert drawn.returncode == 2 and "report.html" in drawn.stdout, drawn.stderr  # nobody claimed anything
    gone = walk.run("watch", "--once")
    assert gone.returncode == 3 and "no world is running" in gone.stderr


def test_two_worlds_are_told_apart_and_a_killed_one_is_forgotten(walk):
    first, _ = walk.up("--name", "one", "--out", "one")
    second, _ = walk.up("--name", "two", "--out", "two")
    which = walk.run("watch", "--once")
    assert which.returncode == 3 and "must be one of one, two" in which.stderr
    assert walk.state("--world", "two")["name"] == "two"
    again = walk.run("up", "--name", "two")
    assert again.returncode == 3 and "'two' is running already; running are one, two" in again.stderr

    first.kill()
    first.wait()
    until("the children of a killed world are gone", lambda: not processes_of(walk.folder / "one"), GONE_S)
    assert walk.state()["name"] == "two"
    second.terminate()
    assert second.wait(GONE_S) == 0


def test_a_world_that_loses_a_process_ends_and_says_which(walk):
    process, said = walk.up("--out", "run")
    (line,) = [line for line in processes_of(walk.folder / "run") if "frontend.json" in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
    assert process.wait(GONE_S) != 0
    assert "frontend ended unasked (killed by SIGKILL)" in said.read_text()
    until("every process is gone", lambda: not processes_of(walk.folder), GONE_S)


def test_ctrl_c_during_the_start_leaves_nothing(walk):
    said = (walk.folder / "up.txt").open("wb")
    with said:
        process = children.start(
            [CELLWALL, "up", "--out", "run", *SETTINGS], stdout=said, stderr=said, env=walk.env, cwd=walk.folder
        )
        try:
            until("its world starts", lambda: len(processes_of(walk.folder / "run")) >= 3, READY_S)
            process.send_signal(signal.SIGINT)
            assert process.wait(GONE_S) == 0
        finally:
            children.end(process, GONE_S)
    until("every process is gone", lambda: not processes_of(walk.folder), GONE_S)
    assert list((walk.folder / "runtime" / "cellwall").iterdir()) == []

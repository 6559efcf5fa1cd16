"""Failures in simulation: each bites where it strikes, ends by itself, and cells hold it; a shared store does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellwall import history
from cellwall.errors import Refused
from cellwall_lab import verbs

from .simulated_arms import FULL, Arm, R, make_spec

CELLS = {"cells": 4}
LASTS_S = 2 * R


class Played:
    """A world of four cells that was clean, struck, and watched until the failure was over and one period more."""

    def __init__(self, out: Path, verb: Any, **more: Any) -> None:
        arm = self.arm = Arm(make_spec(FULL, CELLS, **more), out)
        assert arm.do(verbs.Wait(until="clean", deadline_s=3 * R)).met
        self.on = arm.do(verb)
        arm.wait(R)
        self.during = arm.window(R)
        assert arm.do(verbs.Wait(until="faults-off", deadline_s=3 * LASTS_S)).met
        arm.wait(R)
        self.after = arm.window(R)

    @property
    def fault(self) -> list[history.Fault]:
        found: list[history.Fault] = self.arm.of(history.Fault)
        return found

    def out(self, window: verbs.WindowStats, *cells: str) -> int:
        return sum(window.cells[cell].servers_out for cell in cells)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Any:
    built: dict[str, Played] = {}

    def play(verb: Any, **more: Any) -> Played:
        key = repr((verb, more))
        if key not in built:
            built[key] = Played(tmp_path_factory.mktemp("failure"), verb, **more)
        return built[key]

    return play


STORE = verbs.Kill(what="store", of="cell-0", for_s=LASTS_S)
CONFINED = {
    "store": STORE,
    "node": verbs.Kill(what="node", of="cell-0", for_s=LASTS_S),
    "slow": verbs.Release(cell="cell-0", mode="slow", for_s=LASTS_S),
    "crash": verbs.Release(cell="cell-0", mode="crash", for_s=LASTS_S),
    "epochs": verbs.Release(cell="cell-0", mode="epochs", for_s=LASTS_S),
    "poison": verbs.Poison(cell="cell-0", indexes=20),
}
OTHERS = ("cell-1", "cell-2", "cell-3")


@pytest.mark.parametrize("name", CONFINED)
def test_a_failure_of_one_cell_bites_there_and_nowhere_else(played: Any, name: str) -> None:
    run = played(CONFINED[name])
    least = 10 if name == "poison" else 0.5 * run.during.cells["cell-0"].servers
    assert run.out(run.during, "cell-0") >= least
    assert run.out(run.during, *OTHERS) == run.out(run.after, *OTHERS) == 0
    on, off = run.fault
    assert (on.state, off.state, on.id, off.targets) == ("on", "off", run.on.id, on.targets)
    assert off.receipt and len(on.targets) == run.on.servers


def test_a_node_that_comes_back_lets_its_servers_in_by_waves(played: Any) -> None:
    run = played(CONFINED["node"])
    assert run.out(run.after, "cell-0") == 0, "healed: the design's paced re-entry"
    assert played(STORE).out(played(STORE).after, "cell-0") > 100, "all at once, as after a cut: it sticks"


def test_a_crashing_release_crashes_again_and_again(played: Any) -> None:
    assert played(CONFINED["crash"]).fault[1].receipt["crashes"] >= 3


def test_wrong_epochs_are_refused_by_the_agents_themselves(played: Any) -> None:
    run = played(CONFINED["epochs"])
    on, off = run.fault
    struck = [r for r in run.arm.of(history.Renewal) if r.cell == "cell-0" and on.t < r.t and r.t + r.waited_s < off.t]
    assert "done" not in {r.outcome for r in struck}
    assert sum(r.reason == "stale-epoch" for r in struck) > 100


def test_a_zone_strikes_every_cell_and_no_customer(played: Any) -> None:
    run = played(verbs.Kill(what="zone", of="b", for_s=LASTS_S))
    assert run.during.servers_out == run.on.servers == pytest.approx(800 / 3, abs=1)
    assert all(cell.servers_out > 0.3 * cell.servers for cell in run.during.cells.values())
    assert run.during.requests_failed == run.after.requests_failed == 0
    assert run.after.servers_out == 0


def test_a_shared_store_takes_every_cell_along(played: Any) -> None:
    run = played(STORE, shared_store=True)
    assert all(cell.servers_out > 0.5 * cell.servers for cell in run.during.cells.values())
    assert run.fault[0].targets == played(STORE).fault[0].targets, "aimed at one cell all the same"


def test_what_is_not_simulated_is_refused(tmp_path: Path) -> None:
    arm = Arm(make_spec({"fleet": {"servers": 200}}), tmp_path)
    for verb in (verbs.NodeLoss(node="n", for_s=1.0), verbs.Kill(what="host", of="host-a")):
        with pytest.raises(Refused, match="not simulated; it must be --backend local"):
            arm.do(verb)

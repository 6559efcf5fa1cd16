"""Both engines give one trace of one world, so that a sweep's figures do not depend on what played it."""

import pytest

from cellwall.capacity import TYPICAL
from cellwall_lab.sweep import engines
from cellwall_lab.sweep.points import point
from cellwall_lab.sweep.simulate import row, simulate
from cellwall_lab.sweep.world import place

pytest.importorskip("numba", reason="the kernel is compiled by numba")

BASE = {"fleet.servers": 200, "cpu.load_factor": 6.0}
WORLDS = [
    {"cells": 1, "trigger": "packed", "share": 0.25},
    {"cells": 4, "trigger": "cell", "share": 1.0},  # below the size rule: some are sick before
    {"cells": 8, "trigger": "spread", "share": 0.1},
    {"cells": 2, "placement": "striped", "trigger": "zone", "share": 1.0},
    {"cells": 2, "metadata.discipline": "fifo", "trigger": "packed", "share": 0.5},
    {"cells": 1, "fleet.indexes": False, "cut_s": 5.0},
    {"cells": 1, "cpu.load_factor": 11.0},  # never in: the start gives up
]


@pytest.mark.parametrize("settings", WORLDS, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_kernel_gives_the_cores_trace(settings, seed):
    placed = place(point(BASE | settings, 50.0), seed, TYPICAL)
    assert engines.kernel(placed, TYPICAL) == engines.core(placed, TYPICAL)


def test_a_row_says_which_engine_made_it_and_the_measures_are_the_same():
    one = point(BASE | {"cells": 2, "trigger": "cell", "share": 1.0}, 70.0)
    fast, slow = (simulate(one, 1, TYPICAL, engine) for engine in ("kernel", "core"))
    assert fast.impact == slow.impact
    assert (row(fast, ["cells"], {})["engine"], row(slow, ["cells"], {})["engine"]) == ("kernel", "core")
    assert simulate(one, 1, TYPICAL).engine == "kernel", "the faster one, where there is a choice"

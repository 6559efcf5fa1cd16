"""The event for real, at full size: it sticks and is recovered, and its control heals by itself.

Minutes each, so two arms only; the others are played in the simulation (`tests/lab/test_simulation_event.py`) and
for real by `make demo`. A run that its own record shows was disturbed is void, and is played again, at most twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRIES = 3
ARMS = ("monolith", "half-membership")
ARM_S = 420.0  # twice what an arm takes on a quiet machine
CELLWALL = Path(sys.executable).with_name("cellwall")

Claims = dict[str, dict[str, Any]]  # by id


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Claims]:
    """The claims of a valid run of each arm, under the one CPU limit that the first run calibrated."""
    valid: dict[str, Claims] = {}
    why, limit = [], ""
    for _ in range(TRIES):
        folder = tmp_path_factory.mktemp("event") / "run"
        todo = [arm for arm in ARMS if arm not in valid]
        command = [CELLWALL, "run", "september-2015", "--out", folder, *(w for arm in todo for w in ("--arm", arm))]
        if limit:
            command += ["--set", f"cpu.total_cores={limit}"]
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=len(todo) * ARM_S, check=False
        )
        assert ran.returncode in (0, 1, 2), ran.stdout.decode()
        assert (folder / "report.html").stat().st_size < 1_000_000
        verdict = json.loads((folder / "verdict.json").read_text())
        for arm in (a for a in verdict["arms"] if a["name"] in todo):
            found = {claim["id"]: claim for claim in arm["claims"]}
            print(arm["name"], verdict["calibration"], found["clean"]["evidence"])  # read after a failure
            if found["clean"]["outcome"] == "held":
                valid[arm["name"]] = found
            else:
                why.append(f"{arm['name']}: {found['clean']['evidence']}")
        if valid.keys() == set(ARMS):
            return valid
        limit = f"{verdict['calibration']['total_cores']:.5f}" if "monolith" in valid else ""
    pytest.fail(f"{TRIES} runs, not every arm valid: {why}")


def held(claims: Claims, *ids: str) -> None:
    assert {i: (claims[i]["outcome"], claims[i]["evidence"]) for i in ids if claims[i]["outcome"] != "held"} == {}


@pytest.mark.timeout(TRIES * len(ARMS) * ARM_S)
def test_the_monolith_sticks_locks_its_operators_out_and_is_recovered(claims):
    found = claims["monolith"]
    held(found, "healthy-before", "trigger-bit", "no-fault-active", "dragged-in", "relapsed", "stuck")
    held(found, "capacity-locked-out", "paused", "load-relieved", "cure-hurts", "capacity-added", "recovered")
    held(found, "no-write-lost")
    # Each 5 s window is what evidence runs are held to (DESIGN.md); the mean has a margin for a busy machine.
    assert 0.45 <= found["servers-out"]["value"] <= 0.65, found["servers-out"]
    assert 0.45 <= found["requests-failed"]["value"] <= 0.65, found["requests-failed"]


def test_half_the_membership_heals_by_itself(claims):
    held(claims["half-membership"], "healthy-before", "trigger-bit", "no-fault-active", "healed", "no-write-lost")

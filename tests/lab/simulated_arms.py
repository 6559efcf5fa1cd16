"""Simulated arms under test, in two sizes, and what their histories say.

FULL is the reference set. SCALED has a quarter of the servers and records and requests four times as dear: the
same CPU limit, load factor L, pages and share of the limit per renewal, so the same story in 0.2 s; the size
rule lets it have one cell only.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cellwall import history
from cellwall.capacity import TYPICAL, Costs
from cellwall.placement import Layout, make_layout
from cellwall.spec import RenewalPolicy, WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.simulation import SimulatedWorld

RENEWAL = RenewalPolicy()
R, T = RENEWAL.renew_every_s, RENEWAL.time_limit_s
R_MAX = R * (1 + RENEWAL.jitter_ratio)
CUT_S = 3.0
STEP_S = 5.0
DEAR = Costs(4 * TYPICAL.c_record_s, 4 * TYPICAL.c_request_s)
QUARTER = verbs.Targets(domain=0)
HALF_SPREAD = verbs.Targets(spread=0.5)
FULL: dict[str, Any] = {}
SCALED: dict[str, Any] = {"fleet": {"servers": 200}}
SEEDS = (1, 2)


def make_spec(*settings: dict[str, Any], **more: Any) -> WorldSpec:
    """Settings of nested dicts over the reference set; later ones win key by key."""
    merged: dict[str, Any] = {}
    for setting in (*settings, more):
        for key, value in setting.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return msgspec.convert(merged, WorldSpec)


LAYOUTS: dict[str, Layout] = {}


def layout_of(spec: WorldSpec) -> Layout:
    """The spec's layout: a third of an arm's time, and the same for all arms that differ in policies only."""
    placed_by = (spec.seed, spec.cells, spec.fleet, spec.placement, spec.shuffle_cells, spec.metadata.partitions)
    key = repr(placed_by)
    if key not in LAYOUTS:
        LAYOUTS[key] = make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    return msgspec.structs.replace(LAYOUTS[key], spec=spec)


class Arm:
    """A world, its verbs, and what its history says. Written to ``out`` on close."""

    def __init__(self, spec: WorldSpec, out: Path = Path(), *, check: bool = True) -> None:
        if check:
            assert spec.check() == []
        self.spec, self.out = spec, out
        costs = DEAR if spec.fleet.servers == 200 else TYPICAL
        config = ArmConfig(arm="arm", backend="simulation", seed=spec.seed, spec=spec, out=str(out))
        self.world = SimulatedWorld(config, costs, layout_of(spec))
        self.world.start()

    def do(self, verb: Any) -> Any:
        return asyncio.run(self.world.carry_out(verb))

    def wait(self, for_s: float) -> None:
        self.do(verbs.Wait(for_s=for_s))

    def window(self, last_s: float = STEP_S) -> verbs.WindowStats:
        return self.do(verbs.Window(last_s=last_s))

    def out_ratio(self) -> float:
        window = self.window()
        return window.servers_out / window.servers

    def failed_ratio(self) -> float:
        window = self.window()
        return window.requests_failed / window.requests

    def watch(self, for_s: float) -> list[tuple[float, float]]:
        """(share of servers out, share of requests failed) of every 5 s window."""
        seen = []
        for _ in range(round(for_s / STEP_S)):
            self.wait(STEP_S)
            seen.append((self.out_ratio(), self.failed_ratio()))
        return seen

    def strike(self, targets: verbs.Targets = QUARTER) -> None:
        """Clean, then the trigger, then on until it is gone. `cut_s` and `off_s` are its begin and end."""
        assert self.do(verbs.Wait(until="clean", deadline_s=3 * R)).met, "not healthy before"
        self.probe = self.do(verbs.AdminProbe())
        self.cut_s = self.window().now_s
        self.cut_servers = self.do(verbs.Cut(targets=targets, for_s=CUT_S)).servers
        assert self.do(verbs.Wait(until="faults-off", deadline_s=2 * CUT_S)).met
        self.off_s = self.window().now_s

    @functools.cached_property
    def records(self) -> list[history.Record]:
        self.do(verbs.Stop())
        asyncio.run(self.world.close())
        with (self.out / "history.ndjson").open("rb") as file:
            return list(history.decode(file))

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


class Struck:
    """Arms after the trigger and 2R + 30 s of watching: struck(settings…, seed=…). Built once each."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._built: dict[str, Arm] = {}

    def __call__(self, *settings: dict[str, Any], targets: verbs.Targets = QUARTER, **more: Any) -> Arm:
        spec = make_spec(*settings, **more)
        key = repr((spec, targets))
        if key not in self._built:
            arm = self._built[key] = Arm(spec, self._folder("arm"))
            arm.strike(targets)
            arm.settled = arm.watch(2 * R)
            arm.plateau = arm.watch(30.0)
        return self._built[key]


def settled_and_stuck(arm: Arm, low: float = 0.45, high: float = 0.65) -> bool:
    """Servers out in every window, failed requests over all six (3,000 requests: ± 1 %)."""
    failed = [failed for _, failed in arm.plateau]
    return all(low <= out <= high for out, _ in arm.plateau) and low <= sum(failed) / len(failed) <= high


HALF = {"fleet": {"indexes": False}}
ZOMBIES = {"metadata": {"drop_abandoned": False}}


def cpu(factor: float) -> dict[str, Any]:
    return {"cpu": {"factor": factor}}


sizes = pytest.mark.parametrize("size", [FULL, SCALED], ids=["full", "scaled"])
seeds = pytest.mark.parametrize("seed", SEEDS)

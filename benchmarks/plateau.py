"""What sets the plateau: the simulated share of servers out and requests failed, one setting changed at a time.

`python benchmarks/plateau.py [SEED …]` prints the table of DESIGN.md ("What sets the plateau"): every arm gets
the base arm's CPU limit, the same trigger, and no help; figures are means over the window 2R … 2R + 30 s after it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from random import Random
from typing import Any

import msgspec

from cellwall.capacity import TYPICAL, total_cores
from cellwall.placement import make_fleet
from cellwall.spec import WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.simulation import SimulatedWorld

PARTITIONS = 40  # as in september-2015.yaml

ROWS: list[tuple[str, dict[str, Any]]] = [
    ("base (set R2)", {}),
    ("40 % of servers large", {"fleet": {"large_share": 0.4}}),
    ("60 % of servers large", {"fleet": {"large_share": 0.6}}),
    ("sizes × 0.5 (half membership)", {"fleet": {"indexes": False}}),
    ("sizes × 0.75", {"fleet": {"large_records": 1275}}),
    ("sizes × 1.15", {"fleet": {"large_records": 1955}}),
    ("retry wait × 0.5", {"renewal": {"retry": {"wait_min_s": 0.075, "wait_max_s": 0.225}}}),
    ("retry wait × 4", {"renewal": {"retry": {"wait_min_s": 0.6, "wait_max_s": 1.8}}}),
    ("time limit × 0.75", {"renewal": {"time_limit_s": 1.5}}),
    ("time limit × 2", {"renewal": {"time_limit_s": 4.0}}),
    ("renewal period × 2", {"renewal": {"renew_every_s": 40.0}}),
    ("CPU × 0.8", {"cpu": {"factor": 0.8}}),
    ("CPU × 1.25", {"cpu": {"factor": 1.25}}),
    ("CPU × 2", {"cpu": {"factor": 2.0}}),
    ("FIFO, 8 at once", {"metadata": {"discipline": "fifo"}}),
    ("LIFO, 8 at once", {"metadata": {"discipline": "lifo"}}),
    ("pages of 200 records", {"metadata": {"page_records": 200}}),
    ("abandoned work not dropped", {"metadata": {"drop_abandoned": False}}),
    ("FIFO, not dropped", {"metadata": {"discipline": "fifo", "drop_abandoned": False}}),
]


def spec_of(changes: dict[str, Any], seed: int) -> WorldSpec:
    """The base world with changes, under the CPU limit that the base world has."""
    base = WorldSpec(seed=seed)
    changes = {**changes, "metadata": {"partitions": PARTITIONS, **changes.get("metadata", {})}}
    fleet = make_fleet(base.fleet, lambda name: Random(f"{seed}/{name}"))
    cores = total_cores(base, fleet, TYPICAL)
    factor = changes.get("cpu", {}).get("factor", 1.0)
    return msgspec.convert({**changes, "seed": seed, "cpu": {"total_cores": cores, "factor": factor}}, WorldSpec)


async def measure(spec: WorldSpec) -> tuple[float, float, int]:
    """(share of servers out, share of requests failed, servers out before the trigger)."""
    with tempfile.TemporaryDirectory() as folder:
        config = ArmConfig(arm="plateau", backend="simulation", seed=spec.seed, spec=spec, out=folder)
        world = SimulatedWorld(config, TYPICAL)
        world.start()
        period_s = spec.renewal.renew_every_s
        await world.carry_out(verbs.Wait(for_s=period_s))
        before = (await world.carry_out(verbs.Window())).servers_out
        await world.carry_out(verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0))
        await world.carry_out(verbs.Wait(until="faults-off", deadline_s=10.0))
        await world.carry_out(verbs.Wait(for_s=2 * period_s))
        out, failed = [], []
        for _ in range(6):
            await world.carry_out(verbs.Wait(for_s=5.0))
            window = await world.carry_out(verbs.Window(last_s=5.0))
            out.append(window.servers_out / window.servers)
            failed.append(window.requests_failed / max(1, window.requests))
    return sum(out) / len(out), sum(failed) / len(failed), before


def main(seeds: list[int]) -> None:
    print(f"| setting | servers out | requests failed | out before | (simulated, seeds {', '.join(map(str, seeds))})")
    print("|---|---|---|---|")
    for name, changes in ROWS:
        results = [asyncio.run(measure(spec_of(changes, seed))) for seed in seeds]
        out, failed, before = (" ".join(f"{r[i]:.2f}" for r in results) for i in range(3))
        print(f"| {name} | {out} | {failed} | {before} |", flush=True)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1, 2])

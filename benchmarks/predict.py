"""How right `cellwall predict` is: its borders against those of the simulation, on systems drawn at random.

`python benchmarks/predict.py COUNT [FIRST] [FILE]` draws systems FIRST … FIRST + COUNT - 1, finds in the simulation, by
bisection, the smallest cut that sticks and the growth of memberships at which a cut of a quarter sticks (about 7 s of
CPU a system), and adds a line of JSON per system to FILE. `python benchmarks/predict.py --table FILE …` prints the
table of docs/predict.md. Nothing in the model was fitted to any of these systems.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cellwall import forecast
from cellwall.capacity import TYPICAL, Costs, total_cores
from cellwall.errors import Refused
from cellwall.meanfield import STUCK_SHARE, SURE_SHARE, Cell, classes, course, large_of
from cellwall.placement import Layout, make_layout, server_id
from cellwall.spec import CpuSpec, WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.simulation import SimulatedWorld

CUT = 0.25
USE_MOST = 0.8  # of the CPU limit when healthy: above, chance alone tips it
ABOVE, BELOW = 4 / 3, 2 / 3  # of the smallest cut that sticks, where a course is looked at
FINE = 1.04  # simulated borders are found to 4 %
LEAST = 0.01  # of the servers, or of the memberships: below, it sticks without any cut
LOOK_S = 0.5  # how often the simulation is looked at for "nobody out"


class System(msgspec.Struct):
    """One system drawn: its world, its costs, and for how long servers are cut."""

    number: int
    layout: Layout
    costs: Costs
    cores: float
    cut_s: float
    order: list[int]  # servers by when they are struck: a larger cut strikes those of a smaller one too

    def cell(self, growth: float = 1.0) -> Cell:
        works = [records * self.costs.c_record_s * growth for records in self.layout.records]
        sizes = classes(works, [False] * len(works))
        policy, c0_s = self.layout.spec.renewal, self.costs.c_request_s
        return Cell(sizes=sizes, cores=self.cores, request_s=c0_s, policy=policy)


class Simulated(msgspec.Struct):
    """What the simulation says of a system; None where there is no border."""

    number: int
    cut: float | None
    growth: float | None
    out: float | None  # share out 3R after a cut a third above the border
    healed_s: float | None  # after a cut a third below it


def draw(number: int) -> System:
    """A system that keeps the size rule and is healthy; draws again until it does."""
    rng = Random(f"predict/{number}")
    while True:
        try:
            system = _draw(number, rng)
        except Refused:
            continue
        if forecast.use(system.cell()) <= USE_MOST:
            return system


def _draw(number: int, rng: Random) -> System:
    limit_s, wait_s = rng.uniform(1.2, 3.5), rng.uniform(0.1, 0.8)
    low = rng.uniform(0.5, 1.0)
    settings: dict[str, Any] = {
        "seed": rng.randrange(1000),
        "fleet": {
            "servers": 25 * rng.randint(8, 48),
            "large_share": rng.uniform(0.3, 0.8),
            "mid_share": rng.uniform(0.0, 0.1),
            "large_records": rng.randint(1000, 2200),
            "large_range": (low, 2 - low),
        },
        "renewal": {
            "renew_every_s": limit_s * rng.uniform(7, 16),
            "jitter_ratio": rng.uniform(0.05, 0.2),
            "time_limit_s": limit_s,
            "retry": {"wait_min_s": 0.5 * wait_s, "wait_max_s": 1.5 * wait_s},
        },
        "cpu": {"load_factor": rng.uniform(2.5, 8.0)},
        "load": {"rps": 0},
    }
    # As dear as makes the limit like the reference set's, whose pages and limits the simulation knows.
    scale = 800 / settings["fleet"]["servers"] * rng.uniform(0.8, 1.3)
    costs = Costs(scale * TYPICAL.c_record_s, scale * TYPICAL.c_request_s * rng.uniform(0.2, 1.2))
    cut_s = rng.uniform(0.5, 3.0) * limit_s
    spec = msgspec.convert(settings, WorldSpec)
    spec.check()
    layout = make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    order = rng.sample(range(layout.fleet.servers), layout.fleet.servers)
    return System(number, layout, costs, total_cores(spec, layout.fleet, costs), cut_s, order)


async def play(system: System, share: float, growth: float = 1.0, sure: float = math.inf) -> tuple[float, float]:
    """(share of servers out 3R after the cut, seconds after it until nobody is). Half-way it ends if nobody is out, or
    more than a share ``sure``."""
    spec = msgspec.structs.replace(system.layout.spec, cpu=CpuSpec(total_cores=system.cores))
    costs = Costs(system.costs.c_record_s * growth, system.costs.c_request_s)
    config = ArmConfig(arm="predict", backend="simulation", seed=spec.seed, spec=spec, out="")
    world = SimulatedWorld(config, costs, msgspec.structs.replace(system.layout, spec=spec))
    world.start()
    period_s, servers = spec.renewal.renew_every_s, system.layout.fleet.servers
    await world.carry_out(verbs.Wait(for_s=period_s))
    struck = [server_id(s) for s in sorted(system.order[: max(1, round(share * servers))])]
    await world.carry_out(verbs.Cut(targets=verbs.Targets(servers=struck), for_s=system.cut_s))
    await world.carry_out(verbs.Wait(for_s=system.cut_s))
    last_s, out = 0.0, 0
    for look in range(math.ceil(3 * period_s / LOOK_S)):
        await world.carry_out(verbs.Wait(for_s=LOOK_S))
        out = (await world.carry_out(verbs.Window(last_s=LOOK_S))).servers_out
        last_s = (look + 1) * LOOK_S if out > 0.005 * servers else last_s
        if (look + 1) * LOOK_S > 1.5 * period_s and not 0 < out < sure * servers:
            break
    return out / servers, last_s


def border(sticks: Callable[[float], bool], guess: float, most: float) -> float | None:
    """Where it begins to stick, by bisection from both sides of a guess; None if it does nowhere up to ``most``, 0 if
    it does everywhere (one that is sick by itself)."""
    low, high = guess / 1.2, min(most, guess * 1.2)
    while sticks(low):
        low, high = low / 1.5, low
        if low < LEAST:
            return 0.0
    while not sticks(high):
        if high >= most:
            return None
        low, high = high, min(most, high * 1.5)
    while high / low > FINE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if sticks(middle) else (middle, high)
    return math.sqrt(low * high)


def simulate(system: System) -> Simulated:
    cell = system.cell()
    large = large_of(cell)[0] / system.layout.fleet.servers

    def sticks(share: float, growth: float) -> bool:
        return asyncio.run(play(system, share, growth, SURE_SHARE * large))[0] > STUCK_SHARE * large

    # The model's borders are where the search begins, not what it finds: it goes on until both sides are known.
    first = forecast.least_cut(cell, system.cut_s), forecast.growth(forecast.struck(cell, CUT), system.cut_s)
    cut = border(lambda share: sticks(share, 1.0), first[0] or 1.0, 1.0)
    growth = border(lambda factor: sticks(CUT, factor), first[1] or 1.0, forecast.GROWTH_MOST)
    out = asyncio.run(play(system, cut * ABOVE))[0] if cut and cut * ABOVE <= 1 else None
    healed_s = asyncio.run(play(system, cut * BELOW))[1] if cut else None
    return Simulated(system.number, cut, growth, out, healed_s)


def main(count: int, first: int, path: Path) -> None:
    for number in range(first, first + count):
        found = simulate(draw(number))
        with path.open("ab") as file:
            file.write(msgspec.json.encode(found) + b"\n")
        print(found, flush=True)


def table(paths: list[Path]) -> None:
    """Simulated against what the model says now."""
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    found = {s.number: s for s in (msgspec.json.decode(line, type=Simulated) for line in lines)}
    rows, cuts, growths, outs, heals = [], [], [], [], []
    healthy = {number: seen for number, seen in found.items() if seen.cut != 0}
    for number, seen in sorted(healthy.items()):
        system = draw(number)
        cell, cut_s = system.cell(), system.cut_s
        told = forecast.outlook(forecast.struck(cell, CUT), cut_s)
        cuts.append((seen.cut, told.least_cut))
        growths.append((seen.growth, told.growth))
        if seen.cut and seen.out is not None:
            outs.append(abs(seen.out - course(forecast.struck(cell, seen.cut * ABOVE), cut_s).out_ratio))
        if seen.cut and seen.healed_s is not None:
            healed_s = course(forecast.struck(cell, seen.cut * BELOW), cut_s).healed_s
            heals.append(abs(seen.healed_s - healed_s) if healed_s is not None else math.inf)
        figures = " | ".join("none" if a is None else f"{a:.3f}" for pair in (cuts[-1], growths[-1]) for a in pair)
        rows.append(f"| {number} | {told.servers:g} | {told.load_factor:.2f} | {told.use:.2f} | {figures} |")
    print(f"{len(healthy)} systems; {len(found) - len(healthy)} more were never healthy, whatever was cut\n")
    print("| border | systems | within 5 % | 10 % | 20 % | median error | largest |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, pairs in (("smallest cut", cuts), ("growth", growths)):
        errors = sorted(b / a - 1 for a, b in pairs if a and b)
        within = " | ".join(str(sum(abs(e) <= bound for e in errors)) for bound in (0.05, 0.1, 0.2))
        middle, largest = errors[len(errors) // 2], max(errors, key=abs)
        print(f"| {name} | {len(errors)} | {within} | {100 * middle:+.1f} % | {100 * largest:+.1f} % |")
        one = sum((a is None) != (b is None) for a, b in pairs)
        if one:
            print(f"| found by one of the two only | {one} | | | | | |")
    for name, errors in (("share out, a third above it", outs), ("seconds to heal, a third below it", heals)):
        ordered = sorted(errors)
        print(f"\n{name}: {len(ordered)}, median error {ordered[len(ordered) // 2]:.3f}, largest {ordered[-1]:.3f}")
    print("\n| system | servers | L | use | smallest cut: simulated | predicted | growth: simulated | predicted |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--table"]:
        table([Path(name) for name in sys.argv[2:]])
    else:
        words = [*sys.argv[1:], *("50", "1", "predict.ndjson")[len(sys.argv) - 1 :]]
        main(int(words[0]), int(words[1]), Path(words[2]))

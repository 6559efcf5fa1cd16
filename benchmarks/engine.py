"""How fast the simulation is: the kernel, the core's engine and SimPy on one world; and how far the kernel reaches.

    python benchmarks/engine.py [speed]       events per second of all three, on the same world
    python benchmarks/engine.py scale         the kernel alone: cost against servers and cells, and memory
    python benchmarks/engine.py equal [1000]  traces of kernel and core on so many random worlds
    python benchmarks/engine.py digest        a hash of one simulated history: the same on every Python

CPU seconds of this process, not elapsed ones: other work on the machine disturbs them less.
"""

from __future__ import annotations

import gc
import hashlib
import platform
import resource
import sys
import time
from collections.abc import Callable
from random import Random

import msgspec
import numpy as np

from cellwall.capacity import TYPICAL, total_cores
from cellwall.cells import assign_groups
from cellwall.placement import make_fleet
from cellwall.renewal import reentry_over_s
from cellwall.spec import FleetSpec, MetadataPolicy, RenewalPolicy, WorldSpec
from cellwall_lab.backends.chance import Stream, beginnings
from cellwall_lab.backends.timeline import NS, to_ns
from cellwall_lab.kernel.build import whole_parts
from cellwall_lab.kernel.model import Accounts, Cut, KernelInput, Resume

CUT_AT_S, CUT_S = 60.0, 3.0
TARGETS = 8  # keys of an account, in benchmarks/engine.py's worlds


def make_input(servers: int, cells: int, until_s: float, *, sick: bool = True, seed: int = 1) -> KernelInput:
    """A fleet of the reference set's sizes and CPU limit, cut where it hurts (``sick``) or left alone.

    Sizes and cells are the placement's own; metadata partitions go round, and each placement group has four
    accounts of eight keys on servers drawn from it: at 100,000 servers the placement of every single partition
    would take more memory than everything else together.
    """
    spec = WorldSpec(seed=seed, cells=cells, fleet=FleetSpec(servers=servers))
    fleet = make_fleet(spec.fleet, lambda name: Random(f"{seed}/{name}"))
    group_cell = assign_groups(fleet.group_records(), cells)
    cell, records = np.array([group_cell[g] for g in fleet.group]), np.array(fleet.target)
    cores = total_cores(spec, fleet, TYPICAL) / cells
    actions: list[Resume | Cut] = []
    for number in range(cells):
        mine = records[cell == number]
        over_s = reentry_over_s(int(mine.sum()), len(mine), TYPICAL.c_record_s, TYPICAL.c_request_s, cores)
        actions.append(Resume(0, number, to_ns(over_s)))
    if sick:
        struck = np.flatnonzero(cell % max(1, cells // 4) == 0) if cells > 1 else np.arange(servers // 4)
        actions.append(Cut(to_ns(CUT_AT_S), to_ns(CUT_S), tuple(struck.tolist())))
    return KernelInput(
        cell=cell,
        partition=np.arange(servers) % spec.metadata.partitions,
        records=records,
        chance=np.array(beginnings(seed, servers), np.uint64),
        cores=np.full((cells, 1), cores),
        renewal=RenewalPolicy(),
        metadata=MetadataPolicy(),
        costs=TYPICAL,
        accounts=_accounts(fleet.groups(), Random(seed)),
        actions=tuple(actions),
        until_ns=to_ns(until_s),
        window_ns=5 * NS,
    )


def _accounts(groups: list[list[int]], rng: Random) -> Accounts:
    count = 4 * len(groups)
    return Accounts(
        servers=np.array([rng.sample(groups[a // 4], 3) for a in range(count) for _ in range(TARGETS)]),
        account=np.repeat(np.arange(count), TARGETS),
        parts=np.array(whole_parts([1 / TARGETS] * TARGETS) * count),
        weight=np.ones(count),
    )


# ---------------------------------------------------------------- who runs it


def cpu_of(work: Callable[[], tuple[int, float]]) -> tuple[float, int, float]:
    """(CPU seconds, events, share of servers out at the end)."""
    gc.collect()
    start_s = time.process_time()
    events, out = work()
    return time.process_time() - start_s, events, out


def on_kernel(given: KernelInput) -> tuple[int, float]:
    from cellwall_lab.kernel.run import run

    result = run(given)
    return result.events, 1 - float(result.available.mean())


def on_core(given: KernelInput) -> tuple[int, float]:
    from cellwall_lab.kernel.reference import Reference

    core = Reference(given)
    core.run()
    return core.events, 1 - float(core.available.mean())


def on_simpy(given: KernelInput) -> tuple[int, float]:
    import simpy
    from simpy_model import Node, Server, cut

    env, draw = simpy.Environment(), Random(0)
    nodes = [Node(env, given.costs, given.metadata.page_records, float(cores)) for cores in given.cores[:, 0]]
    over_s = {a.cell: a.over_ns / NS for a in given.actions if isinstance(a, Resume)}
    columns = zip(given.cell.tolist(), given.records.tolist(), given.chance.tolist(), strict=True)
    servers = [
        Server(env, nodes[cell], records, given.renewal, Stream(begin), over_s[cell] * draw.random())
        for cell, records, begin in columns
    ]
    for action in given.actions:
        if isinstance(action, Cut):
            struck = [servers[s] for s in action.servers]
            env.process(cut(env, struck, action.at_ns / NS, action.for_ns / NS))
    events, until_s = 0, given.until_ns / NS
    while env.peek() <= until_s:
        env.step()
        events += 1
    return events, sum(not server.available for server in servers) / len(servers)


# ---------------------------------------------------------------- what is shown


def speed() -> None:
    on_kernel(make_input(800, 1, 5.0))  # compiled, or read from disk
    print("| 800 servers, one cell, stuck | events | CPU, s | events per CPU-second | simulated per CPU-second | out |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, who, until_s in (
        ("kernel", on_kernel, 20_000.0),
        ("kernel", on_kernel, 600.0),
        ("core's engine", on_core, 600.0),
        ("SimPy", on_simpy, 600.0),
    ):
        given = make_input(800, 1, until_s)
        rounds = sorted(cpu_of(lambda who=who, given=given: who(given)) for _ in range(3))
        cpu_s, events, out = rounds[1]
        print(
            f"| {name}, {until_s:,.0f} s | {events:,} | {cpu_s:.2f} | {events / cpu_s:,.0f} "
            f"| {until_s / cpu_s:,.0f} s | {out:.2f} |",
            flush=True,
        )


def scale() -> None:
    on_kernel(make_input(800, 1, 5.0))
    print(
        "| servers × cells | simulated | events | making the input, s | running, s | million events per s | RSS, MB |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for servers, cells, until_s, sick in (
        (1_000, 1, 3_600.0, True),
        (10_000, 1, 3_600.0, True),
        (10_000, 10, 3_600.0, True),
        (10_000, 100, 3_600.0, True),
        (10_000, 10, 18_000.0, False),
        (10_000, 10, 18_000.0, True),
        (100_000, 100, 600.0, True),
    ):
        start_s = time.process_time()
        given = make_input(servers, cells, until_s, sick=sick)
        made_s = time.process_time() - start_s
        cpu_s, events, _ = cpu_of(lambda given=given: on_kernel(given))
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        state = "one cell in four cut" if sick else "healthy"
        print(
            f"| {servers:,} × {cells}, {state} | {until_s / 3600:.2g} h | {events:,} | {made_s:.1f} | {cpu_s:.1f} "
            f"| {events / cpu_s / 1e6:.1f} | {rss_mb:,.0f} |",
            flush=True,
        )


def equal(count: int) -> None:
    sys.path.insert(0, ".")
    from tests.lab.kernel_worlds import random_world

    from cellwall_lab.kernel.reference import Reference
    from cellwall_lab.kernel.run import run

    lines = events = 0
    for number in range(count):
        given = random_world(number)
        result, core = run(given), Reference(given).run()
        assert result.trace is not None
        for column in ("t_ns", "server", "outcome"):
            if not np.array_equal(getattr(result.trace, column), getattr(core, column)):
                sys.exit(f"world {number}: {column} differs")
        lines += len(core.t_ns)
        events += result.events
    print(f"{count} of {count} random worlds: {lines:,} lines of trace are equal ({events:,} events)")


def digest() -> None:
    """Of a history as `simulation` writes it: entry, trigger, a failing step, pause, paced return, customers."""
    import asyncio
    import tempfile
    from pathlib import Path

    from cellwall_lab import verbs
    from cellwall_lab.backends.config import ArmConfig
    from cellwall_lab.backends.simulation import SimulatedWorld

    spec = WorldSpec(seed=7, fleet=FleetSpec(servers=200))
    costs = msgspec.structs.replace(TYPICAL, c_record_s=4 * TYPICAL.c_record_s, c_request_s=4 * TYPICAL.c_request_s)
    with tempfile.TemporaryDirectory() as folder:
        config = ArmConfig(arm="digest", backend="simulation", seed=7, spec=spec, out=folder)
        world = SimulatedWorld(config, costs)
        world.start()
        for verb in (
            verbs.Wait(for_s=30.0),
            verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0),
            verbs.Wait(for_s=30.0),
            verbs.AddCapacity(),
            verbs.Pause(),
            verbs.Wait(for_s=25.0),
            verbs.Resume(),
            verbs.Wait(for_s=30.0),
            verbs.Stop(),
        ):
            asyncio.run(world.carry_out(verb))
        asyncio.run(world.close())
        history = (Path(folder) / "history.ndjson").read_bytes()
    # The folder's name is in no record; the versions of Python and libraries are.
    lines = [line for line in history.splitlines() if b'"kind":"world"' not in line]
    print(f"Python {platform.python_version()}: {len(lines):,} records, {hashlib.sha256(b''.join(lines)).hexdigest()}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [] | ["speed"]:
            speed()
        case ["scale"]:
            scale()
        case ["equal", *count]:
            equal(int(count[0]) if count else 1000)
        case ["digest"]:
            digest()
        case _:
            sys.exit(__doc__)

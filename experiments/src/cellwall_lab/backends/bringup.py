"""Bringing a local world up, in order: stores, their content, nodes, front end, calibration, limits, fleet, load.

Decides the order and the waits of a start; every wait has a deadline. The front end reads its map, the calibration
is made and the fleet enters before any limit is set; it enters in waves, as after a pause (a cold start is a cut of
everybody, research 07).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from pathlib import Path
from random import Random

import msgspec

from cellwall.capacity import TYPICAL, Costs, total_cores
from cellwall.errors import Refused, Unavailable
from cellwall.placement import cell_id, make_layout

from ..runfolder import CALIBRATION
from .calibrate import Calibrator, costs_of, under_load
from .config import ArmConfig
from .launch import first_map, start_frontend, start_host, start_load, start_node, start_stores
from .live import Live
from .pacing import ENTRY_CORES, reentry_over_s
from .processes import free_port, write_json
from .running import Running, answers, unless_stopped, until
from .world_record import world_record

CALIBRATE_S = 8.0  # some 600,000 records of the reference set, and samples that are a second apart
UNDER_LOAD = (
    1.6  # cost of a record under load by that of a node alone, and some: 1.2-1.5 (decision 4); for the first limit
)
DISK_FREE_BYTES = 2 * 2**30  # a run of the reference set leaves about 0.5 GB (measured)


async def bring_up(config: ArmConfig, stopped: asyncio.Event) -> Running | None:
    """A running world whose fleet is about to enter; None if ``stopped`` came first. Ends what it started if
    it fails."""
    spec = config.spec
    free = shutil.disk_usage(config.out).free
    if free < DISK_FREE_BYTES:
        raise Refused(f"--out: {free / 2**30:.1f} GiB free on its disk; a run needs {DISK_FREE_BYTES / 2**30:.0f}")
    layout = make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    running = Running(config, layout, stopped)
    try:
        if await unless_stopped(_build(running), stopped):
            return running
    except BaseException:
        await asyncio.to_thread(running.processes.end_all)
        raise
    await asyncio.to_thread(running.processes.end_all)
    return None


async def _build(run: Running) -> None:
    spec, processes = run.layout.spec, run.processes
    run.stores = start_stores(run)
    sockets = [Path(url.removeprefix("unix://").partition("?")[0]) for url in run.stores]
    await until(run, lambda: all(path.exists() for path in sockets), "the stores to listen")
    loader = {"spec": spec, "stores": run.stores, "durable": True}
    processes.service("loader", "cellwall_services.metadata.loader", loader, may_end=True)
    # Beside the loader, since most of a start is imports: nodes wait for a filled store, hosts for the map, the load
    # for its control. Hosts one after the other: all at once would take most of two cores from the loader, which is
    # what everybody waits for.
    zones = sorted(set(run.layout.fleet.zone))
    run.hosts = {f"host-{zone}": f"127.0.0.1:{free_port()}" for zone in zones}
    run.frontend = f"127.0.0.1:{free_port()}"
    for zone in zones:
        await start_host(run, zone)
    names = [cell_id(cell) for cell in range(spec.cells) for _ in range(spec.nodes_per_cell)]
    starting = asyncio.gather(*(start_node(run, cell) for cell in names))
    run.control(rps=0.0)
    start_load(run, run.frontend)
    await until(run, lambda: processes.poll("loader") is not None, "the stores to be filled")
    if processes.poll("loader") != 0:
        raise Unavailable(f"loader: {processes.log_tail('loader')}")

    nodes = await starting
    # A limit that was given needs no calibration, and a small world could not be calibrated.
    given = run.config.calibration is not None or spec.cpu.total_cores is not None
    calibrator = None if given else Calibrator(run.layout, nodes[0].renewal, nodes[0].pid)
    if calibrator is not None:
        await calibrator.sit()
    run.map = first_map(run, nodes)
    processes.publish(run.map)
    start_frontend(run, run.frontend)
    await answers(run, f"http://{run.frontend}/ready", "the front end to load its map")
    if calibrator is not None:
        await calibrator.sit()
        run.alone = calibrator.result()
        run.costs = run.alone.costs
    elif run.config.calibration is not None:
        run.costs = costs_of(run.config.calibration)
    else:
        run.costs = TYPICAL
    run.cores = total_cores(spec, run.layout.fleet, run.costs)  # refused now, not when the fleet is in
    _let_in(run)


def _let_in(run: Running) -> None:
    """First start: waves, as after a pause. Until now the map told the hosts to wait."""
    start_s = time.time() + 0.5
    entries = {}
    for name, entry in run.map.cells.items():
        over_s = reentry_over_s(run.layout, name, run.costs, ENTRY_CORES / len(run.map.cells))
        entries[name] = msgspec.structs.replace(entry, reentry_from_s=start_s, reentry_over_s=over_s)
    run.map = msgspec.structs.replace(run.map, version=run.map.version + 1, cells=entries)
    run.processes.publish(run.map)


async def set_limits(run: Running, live: Live) -> None:
    """The fleet is in: limit the metadata service from now on, by what a record costs under load if that is to be
    measured."""
    spec, folder = run.layout.spec, run.processes.folder
    run.control(rps=spec.load.rps)
    limiter = [sys.executable, "-m", "cellwall_lab.backends.limiter"]
    run.publish_limits()
    run.processes.start("limiter", [*limiter, folder / "limits.json", run.processes.records / "limiter.ndjson"])
    if run.alone is not None:
        costs = run.alone.costs
        _limit(run, total_cores(spec, run.layout.fleet, Costs(costs.c_record_s * UNDER_LOAD, costs.c_request_s)))
        doors = {cell: entry.nodes.values() for cell, entry in run.map.cells.items()}
        measured = await under_load(run.layout, doors, run.alone, live.node_samples, CALIBRATE_S)
        write_json(folder / CALIBRATION, measured)
        run.costs = measured.costs
        run.cores = total_cores(spec, run.layout.fleet, run.costs)
    _limit(run, run.cores)
    run.recorder.add(world_record(time.time(), run.config, run.layout, run.costs, run.cores))


def _limit(run: Running, cores: float) -> None:
    nodes = [name for entry in run.map.cells.values() for name in entry.nodes]
    for name in nodes:
        run.limit(name, run.processes.pid(name), cores / len(nodes))

"""Bringing a local world up, in order: stores, their content, nodes, front end, calibration, limits, fleet, load.

Decides the order and the waits of a start; every wait has a deadline. The front end reads its map and the
calibration is made before any limit is set; the fleet then enters in waves, as after a pause (a cold start is
a cut of everybody, research 07).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import aiohttp
import msgspec

import cellwall
from cellwall import history, renewal
from cellwall.arrivals import Control, LoadConfig
from cellwall.capacity import Costs, total_cores
from cellwall.errors import Refused, Unavailable
from cellwall.model import CellEntry, CellMap
from cellwall.placement import Layout, cell_id, make_layout, server_id

from .calibrate import Calibration, calibrate
from .catalogue import make_catalogue
from .config import ArmConfig
from .limiter import Limit
from .processes import Processes, free_port, listen, write_json
from .recorder import Recorder

UP_S = 60.0  # a child that is not up by then is not coming (guess)
POLL_S = 0.05
DISK_FREE_BYTES = 2 * 2**30  # a run of the reference set leaves about 0.5 GB (measured)


class StartedNode(msgspec.Struct, frozen=True):
    name: str
    pid: int
    renewal: str
    admin: str


class Running:
    """Everything the verbs act on: what runs where, and the map as last published."""

    def __init__(self, config: ArmConfig, layout: Layout, stopped: asyncio.Event) -> None:
        self.config, self.layout, self.stopped = config, layout, stopped
        self.processes = Processes(Path(config.out))
        self.recorder = Recorder(self.processes.records)
        self.stores: list[str] = []
        self.listeners: dict[str, socket.socket] = {}
        self.limits: dict[str, Limit] = {}
        self.hosts: dict[str, str] = {}  # name -> address
        self.costs = Costs(0.0, 0.0)
        self.map = CellMap(0, {}, {})
        self.nodes_started: dict[str, int] = {}

    def limit(self, node: str, pid: int, cores: float) -> None:
        self.limits[node] = Limit(node, pid, cores)
        self.publish_limits()

    def unlimit(self, node: str) -> None:
        self.limits.pop(node, None)
        self.publish_limits()

    def publish_limits(self) -> None:
        write_json(self.processes.folder / "limits.json", list(self.limits.values()))

    def control(self, *, rps: float, stop: bool = False, audit: bool = True) -> None:
        write_json(self.processes.folder / "load-control.json", Control(rps=rps, stop=stop, audit=audit))

    def reentry_over_s(self, cell: str, cores: float) -> float:
        """How long this cell's servers need to be let in, with so much CPU."""
        mine = [s for s in range(self.layout.fleet.servers) if cell_id(self.layout.cell[s]) == cell]
        records = sum(self.layout.records[s] for s in mine)
        return renewal.reentry_over_s(records, len(mine), self.costs.c_record_s, self.costs.c_request_s, cores)


async def bring_up(config: ArmConfig, stopped: asyncio.Event) -> Running | None:
    """A running world whose fleet is about to enter; None if ``stopped`` came first. Ends what it started if
    it fails."""
    spec = config.spec
    free = shutil.disk_usage(config.out).free
    if free < DISK_FREE_BYTES:
        raise Refused(f"--out: {free / 2**30:.1f} GiB free on its disk; a run needs {DISK_FREE_BYTES / 2**30:.0f}")
    layout = make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    running = Running(config, layout, stopped)
    building = asyncio.create_task(_build(running))
    stopping = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([building, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not building.done():
            return None
        await building
    except BaseException:
        await asyncio.to_thread(running.processes.end_all)
        raise
    finally:
        stopping.cancel()
        if not building.done():
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            await asyncio.to_thread(running.processes.end_all)
    return running


async def _build(run: Running) -> None:
    spec, processes = run.layout.spec, run.processes
    run.stores = [processes.store(cell_id(cell)) for cell in range(spec.cells)]
    sockets = [Path(url.removeprefix("unix://")) for url in run.stores]
    await _until(run, lambda: all(path.exists() for path in sockets), "the stores to listen")
    loader = {"spec": spec, "stores": run.stores}
    processes.service("loader", "cellwall_services.metadata.loader", loader, may_end=True)
    # Beside the loader: hosts wait for the map, the load for its control.
    zones = sorted(set(run.layout.fleet.zone))
    run.hosts = {f"host-{zone}": f"127.0.0.1:{free_port()}" for zone in zones}
    frontend = f"127.0.0.1:{free_port()}"
    _start_hosts(run, zones)
    run.control(rps=0.0)
    _start_load(run, frontend)
    await _until(run, lambda: processes.poll("loader") is not None, "the stores to be filled")
    if processes.poll("loader") != 0:
        raise Unavailable(f"loader: {processes.log_tail('loader')}")

    names = [cell_id(cell) for cell in range(spec.cells) for _ in range(spec.nodes_per_cell)]
    nodes = await asyncio.gather(*(start_node(run, cell) for cell in names))
    run.map = _first_map(run, nodes)
    processes.publish(run.map)
    _start_frontend(run, frontend)
    await _answers(run, f"http://{frontend}/ready", "the front end to load its map")

    run.costs = await _costs(run, nodes[0])
    cores = total_cores(spec, run.layout.fleet, run.costs)
    limiter = [sys.executable, "-m", "cellwall_lab.backends.limiter"]
    run.publish_limits()
    processes.start("limiter", [*limiter, processes.folder / "limits.json", processes.records / "limiter.ndjson"])
    for node in nodes:
        run.limit(node.name, node.pid, cores / len(nodes))
    for name, address in run.hosts.items():
        await _answers(run, f"http://{address}/map-version", f"{name} to start")
    run.recorder.add(_world_record(run, cores))
    _let_in(run, cores)
    run.control(rps=spec.load.rps)


def _let_in(run: Running, cores: float) -> None:
    """First start: waves, as after a pause. Until now the map told the hosts to wait.

    Over at least one renewal period: the fleet keeps the rhythm it enters in, and a cell of a quarter of the
    servers answered an administrative request in 2.6 s instead of 1.2 s when all of it fell into three quarters."""
    start_s = time.time() + 0.5
    entries = {}
    for name, entry in run.map.cells.items():
        over_s = max(run.reentry_over_s(name, cores / run.layout.spec.cells), run.layout.spec.renewal.renew_every_s)
        entries[name] = msgspec.structs.replace(entry, reentry_from_s=start_s, reentry_over_s=over_s)
    run.map = msgspec.structs.replace(run.map, version=run.map.version + 1, cells=entries)
    run.processes.publish(run.map)


async def start_node(run: Running, cell: str, *, may_end: bool = False) -> StartedNode:
    """Start one more node of a cell, with a listener that this process owns; returns once it answers."""
    number = run.nodes_started.get(cell, 0)
    run.nodes_started[cell] = number + 1
    name = f"{cell}-node-{number}"
    port = free_port()
    listener = listen(port)
    run.listeners[name] = listener
    admin = f"127.0.0.1:{free_port()}"
    config = {
        "node": name,
        "cell": cell,
        "store_url": run.stores[int(cell.removeprefix("cell-"))],
        "admin_listen": admin,
        "renewal_fd": listener.fileno(),
        "policy": run.layout.spec.metadata,
        "records": str(run.processes.records / f"{name}.ndjson"),
    }
    pid = run.processes.service(name, "cellwall_services.metadata", config, fds=(listener.fileno(),), may_end=may_end)
    await _answers(run, f"http://{admin}/version", f"{name} to start")
    return StartedNode(name, pid, f"127.0.0.1:{port}", admin)


def _first_map(run: Running, nodes: list[StartedNode]) -> CellMap:
    """Version 1: every node of a cell owns all its metadata partitions, and the first wave is not in sight."""
    spec = run.layout.spec
    cells = {}
    for cell in map(cell_id, range(spec.cells)):
        mine = [node for node in nodes if node.name.startswith(f"{cell}-")]
        owners = [[node.name for node in mine] for _ in range(spec.metadata.partitions)]
        cells[cell] = CellEntry(
            id=cell,
            nodes={node.name: node.renewal for node in mine},
            admin={node.name: node.admin for node in mine},
            owners=owners,
            reentry_from_s=time.time() + 10 * UP_S,
            reentry_over_s=1.0,
        )
    servers = {
        name: msgspec.structs.replace(entry, address=run.hosts[f"host-{entry.zone}"])
        for name, entry in run.layout.entries().items()
    }
    return CellMap(1, cells, servers)


def _start_frontend(run: Running, address: str) -> None:
    folder = run.processes.folder
    (folder / "data" / "frontend").mkdir(parents=True, exist_ok=True)
    config = {
        "name": "frontend",
        "listen": address,
        "map_path": str(run.processes.map_path),
        "data_dir": str(folder / "data" / "frontend"),
        "records": str(run.processes.records / "frontend.ndjson"),
    }
    run.processes.service("frontend", "cellwall_services.frontend", config)


def _start_hosts(run: Running, zones: list[str]) -> None:
    spec, fleet = run.layout.spec, run.layout.fleet
    for zone in zones:
        name = f"host-{zone}"
        data = run.processes.folder / "data" / name
        data.mkdir(parents=True, exist_ok=True)
        config = {
            "name": name,
            "zone": zone,
            "servers": [server_id(s) for s in range(fleet.servers) if fleet.zone[s] == zone],
            "listen": run.hosts[name],
            "map_path": str(run.processes.map_path),
            "data_dir": str(data),
            "seed": spec.seed,
            "renewal": spec.renewal,
            "records": str(run.processes.records / f"{name}.ndjson"),
        }
        run.processes.service(name, "cellwall_services.storage", config)


def _start_load(run: Running, frontend: str) -> None:
    folder, spec = run.processes.folder, run.layout.spec
    catalogue = folder / "configs" / "catalogue.json"
    write_json(catalogue, make_catalogue(run.layout))
    config = folder / "configs" / "load.json"
    load = LoadConfig(
        endpoint=f"http://{frontend}",
        seed=spec.seed,
        load=spec.load,
        catalogue_path=str(catalogue),
        control_path=str(folder / "load-control.json"),
        records=str(run.processes.records / "load.ndjson"),
    )
    write_json(config, load)
    quiet = ["--headless", "--users", "1", "--spawn-rate", "1", "--only-summary", "--loglevel", "WARNING"]
    locust: list[str | Path] = [sys.executable, "-m", "locust", "-f", _locustfile(), *quiet]
    run.processes.start("load", locust, env={"CELLWALL_LOAD_CONFIG": str(config)})


def _locustfile() -> Path:
    """loadtests/locustfile.py: beside the sources, or where CELLWALL_LOADTESTS says (an image)."""
    folder = Path(os.environ.get("CELLWALL_LOADTESTS", Path(__file__).parents[4] / "loadtests"))
    if not (folder / "locustfile.py").is_file():
        raise Refused(f"CELLWALL_LOADTESTS: no locustfile.py in {folder}; it must be the repository's loadtests folder")
    return folder / "locustfile.py"


async def _costs(run: Running, node: StartedNode) -> Costs:
    """From the base arm of this run, or measured now and left for the other arms."""
    if run.config.calibration is not None:
        try:
            return msgspec.json.decode(Path(run.config.calibration).read_bytes(), type=Calibration).costs
        except (OSError, msgspec.DecodeError) as error:
            raise Refused(f"calibration: {run.config.calibration} cannot be used ({error})") from None
    measured = await calibrate(run.layout, node.renewal, node.pid)
    write_json(run.processes.folder / "calibration.json", measured)
    return measured.costs


def _world_record(run: Running, cores: float) -> history.World:
    layout, config = run.layout, run.config
    return history.World(
        t=time.time(),
        backend="local",
        arm=config.arm,
        seed=config.seed,
        spec=msgspec.to_builtins(layout.spec),
        servers=layout.rows(),
        customers=layout.customers(),
        calibration={
            "c_record_s": run.costs.c_record_s,
            "c_request_s": run.costs.c_request_s,
            "total_cores": cores,
            "cell_cores": cores / layout.spec.cells,
        },
        versions={"cellwall": cellwall.__version__, "python": sys.version.split()[0]},
    )


async def _answers(run: Running, url: str, what: str) -> None:
    """Wait until a GET is answered with 200."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        deadline_s = time.monotonic() + UP_S
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await _not_yet(run, what, deadline_s)


async def _until(run: Running, holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + UP_S
    while not holds():
        await _not_yet(run, what, deadline_s)


async def _not_yet(run: Running, what: str, deadline_s: float) -> None:
    run.processes.check()
    if time.monotonic() > deadline_s:
        raise Unavailable(f"waited {UP_S:g} s for {what}; see the logs folder of the run")
    await asyncio.sleep(POLL_S)

"""How each child of a local world is started: its configuration, its addresses, its arguments.

Decides what a child is told; never when it is started (that is `bringup`) or ended.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from cellwall.arrivals import LoadConfig
from cellwall.errors import Refused
from cellwall.model import CellEntry, CellMap
from cellwall.placement import cell_id, server_id
from cellwall.spec import Release

from .catalogue import make_catalogue
from .processes import free_port, listen, write_json
from .running import UP_S, Running, answers

LOCUST_OPTIONS = ["--headless", "--users", "1", "--spawn-rate", "1", "--only-summary", "--loglevel", "WARNING"]


class StartedNode(msgspec.Struct, frozen=True):
    name: str
    pid: int
    renewal: str
    admin: str


def start_stores(run: Running) -> list[str]:
    """Each cell's store, or one for all; returns the URL of each cell's database."""
    spec = run.layout.spec
    if not spec.shared_store:
        return [run.processes.store(cell_id(cell)) for cell in range(spec.cells)]
    url = run.processes.store("shared")
    return [f"{url}?db={cell}" for cell in range(spec.cells)]


def store_of(run: Running, cell: str) -> str:
    """The name of the store that holds a cell's data."""
    return Path(run.stores[int(cell.removeprefix("cell-"))].partition("?")[0]).stem


async def start_node(run: Running, cell: str, *, may_end: bool = False, release: Release | None = None) -> StartedNode:
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
        "release": release or Release(),
    }
    fds = (listener.fileno(),)
    pid = run.processes.service(name, "cellwall_services.metadata", config, fds=fds, may_end=may_end, may_stop=True)
    await answers(run, f"http://{admin}/version", f"{name} to start")
    return StartedNode(name, pid, f"127.0.0.1:{port}", admin)


def first_map(run: Running, nodes: list[StartedNode]) -> CellMap:
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


def start_frontend(run: Running, address: str) -> None:
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


async def start_host(run: Running, zone: str) -> None:
    """Start the storage host of a zone; returns once it answers."""
    spec, fleet = run.layout.spec, run.layout.fleet
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
    await answers(run, f"http://{run.hosts[name]}/map-version", f"{name} to start")


def start_load(run: Running, frontend: str) -> None:
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
        metrics_listen=f"127.0.0.1:{free_port()}",
    )
    write_json(config, load)
    locust: list[str | Path] = [sys.executable, "-m", "locust", "-f", _locustfile(), *LOCUST_OPTIONS]
    run.processes.start("load", locust, env={"CELLWALL_LOAD_CONFIG": str(config)})


def _locustfile() -> Path:
    """loadtests/locustfile.py: beside the sources, or where CELLWALL_LOADTESTS says (an image)."""
    folder = Path(os.environ.get("CELLWALL_LOADTESTS", Path(__file__).parents[4] / "loadtests"))
    if not (folder / "locustfile.py").is_file():
        raise Refused(f"CELLWALL_LOADTESTS: no locustfile.py in {folder}; it must be the repository's loadtests folder")
    return folder / "locustfile.py"

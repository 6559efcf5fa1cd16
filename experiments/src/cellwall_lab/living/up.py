"""A world kept running until somebody ends it.

Decides its run folder, its name and the order of its start and end; what the world is, the experiment's arm says.
Invariant: however this ends, nothing of the world is left running and its name is free.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cellwall.errors import Refused, Unknown
from cellwall.model import CellMap

from .. import experiment as experiments
from .. import settings
from ..backends.processes import free_port
from ..experiment import ArmRun
from ..prepare import seed_of
from ..runfolder import HISTORY, RUNS, RunFolder, RunInfo, stamp
from ..runner import Interrupted, signals
from ..session import World
from . import registry
from .registry import Entry

EXPERIMENT = "september-2015"
ARM = "monolith"
PHASE = "by-hand"  # what happens in a living world is nobody's method
POLL_S = 0.2
END_S = 120.0  # guess: hours of records to be merged; an arm of an experiment has minutes


class Plan(msgspec.Struct, frozen=True):
    """A world that may be started: checked, and nothing made yet."""

    run: ArmRun
    info: RunInfo
    page_port: int


class Addresses(msgspec.Struct, frozen=True):
    """Where a running world can be reached; URLs."""

    frontend: str
    page: str
    metrics: dict[str, str]  # of each service


class Teller(Protocol):
    """Whom the start and the end are told."""

    def starting(self, entry: Entry, plan: Plan) -> None: ...

    def up(self, entry: Entry, where: Addresses) -> None: ...

    def ending(self, entry: Entry) -> None: ...


def plan(arm: str, cells: int | None, seed: str | None, assignments: list[str], page_port: int, force: bool) -> Plan:
    """base < the arm's settings < --set < --cells; refuses what cannot be."""
    experiment = experiments.load(EXPERIMENT)
    overrides: dict[str, Any] = settings.parse(assignments)
    if cells is not None:
        overrides["cells"] = cells
    run = experiments.resolve(experiment, arm, overrides=overrides, seed=seed_of(seed), force=force)
    words = ["cellwall", "up", "--arm", arm, "--seed", str(run.seed)]
    words += [word for text in assignments for word in ("--set", text)]
    words += [] if cells is None else ["--cells", str(cells)]
    info = RunInfo(
        experiment=EXPERIMENT,
        backend="local",
        seed=run.seed,
        arms=[arm],
        settings=[*assignments, *([] if cells is None else [f"cells={cells}"])],
        force=force,
        command=shlex.join(words),
    )
    return Plan(run, info, page_port)


def default_name(plan: Plan) -> str:
    """As the arm is called, and by its cells where their number was asked for."""
    cells = plan.run.spec.cells
    return plan.run.arm if plan.run.arm != ARM or cells == 1 else f"cells-{cells}"


def keep(plan: Plan, name: str | None, out: Path | None, teller: Teller) -> Path | None:
    """Start the world and keep it until SIGINT or SIGTERM. Returns its merged history, None if it has none."""
    with signals(), registry.taken(name, default_name(plan)) as entry:
        path = out or RUNS / f"{stamp()}-living-{entry.name}-s{plan.run.seed}"
        folder = RunFolder.create(experiments.load(EXPERIMENT), plan.info, path, experiments.find(EXPERIMENT))
        home = folder.arm(plan.run.arm)
        entry = msgspec.structs.replace(entry, folder=str(home))
        registry.tell(entry)
        port = plan.page_port or free_port()
        world = World(plan.run, "local", home, force=plan.info.force, name=entry.name, page_port=port)
        try:
            teller.starting(entry, plan)
            world.start()
            world.mark(PHASE)
            where = addresses(home, port)
            entry = msgspec.structs.replace(entry, ready=True, frontend=where.frontend, page=where.page)
            registry.tell(entry)
            teller.up(entry, where)
            while not (text := world.trouble()):
                time.sleep(POLL_S)
            raise Unknown(f"world {entry.name}: {text}")
        except Interrupted:
            teller.ending(entry)
        finally:
            world.abort(END_S)
    history = home / HISTORY
    return history if history.exists() else None


def addresses(home: Path, page_port: int) -> Addresses:
    """From what the world has published in its folder."""
    frontend = _json(home / "configs" / "frontend.json")["listen"]
    cell_map = msgspec.json.decode((home / "map.json").read_bytes(), type=CellMap)
    metrics = {"frontend": f"http://{frontend}/metrics"}
    for cell in cell_map.cells.values():
        metrics |= {node: f"http://{address}/metrics" for node, address in cell.admin.items()}
    for name in ("world", "load"):  # those that serve customers nothing have a port of their own for it, if any
        config = home / "configs" / f"{name}.json"
        if config.exists() and (listen := _json(config).get("metrics_listen")):
            metrics[name] = f"http://{listen}/metrics"
    hosts = {f"host-{entry.zone}": entry.address for entry in cell_map.servers.values()}
    metrics |= {host: f"http://{address}/metrics" for host, address in sorted(hosts.items())}
    return Addresses(f"http://{frontend}", f"http://127.0.0.1:{page_port}/", metrics)


def environment(entry: Entry, customer: str) -> dict[str, str]:
    """The variables that boto3 and the aws command read. One attempt each: what fails is to be seen."""
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": entry.frontend,
        "AWS_ACCESS_KEY_ID": customer,
        "AWS_SECRET_ACCESS_KEY": "unchecked",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }


def _json(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None

"""What is observed, put together: which service, fleet and world are in force, and how each cell stands.

Decides facts, and which troubles a user must hear of; never what to do. Every other module of plans reads this and not
the raw objects.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cellwall import placement
from cellwall.resources import MetadataCellSpec, MetadataServiceSpec
from cellwall.resources import world as as_world
from cellwall.spec import LoadSpec, WorldSpec

from .. import names
from ..conditions import Trouble
from ..manifests import cellmap, fill
from ..manifests.cellmap import Published
from ..objects import Attempt, Body, Cell, Fleet, Host, Installation, Joins, Observed, Pod, Service, Statistics, Told
from . import choice, moves
from . import world as worlds
from .world import Land

UP_SHARE = 0.5  # of the storage pods; below, the fleet is starting anew and its cells' doors close (guess)
ENTER_SHARE = 0.9  # of them that must be ready before servers are let in, or all that have not been tried long
START_S = 120.0  # a pod that is not ready by then is waited for no longer (guess: four times what one takes)


class CellView(msgspec.Struct, frozen=True):
    """One cell of the world in force. ``cell`` None: the resource is not there yet. ``pods``: its node pods but those
    that are going; ``serving``: those that have joined and are ready. ``door``: the renewal Service, if there is one;
    ``shut``: it is there and selects nobody. ``paused``: it is to be shut because somebody says so."""

    number: int
    name: str
    id: str
    cell: Cell | None
    pods: tuple[Pod, ...] = ()
    serving: tuple[Pod, ...] = ()
    paused: bool = False
    door: Body | None = None
    admin: Body | None = None
    shut: bool = False
    store_ready: bool = False
    store_trouble: str = ""
    joins: Joins = Joins()
    statistics: Statistics | None = None

    @property
    def spec(self) -> MetadataCellSpec | None:
        return None if self.cell is None else self.cell.spec

    @property
    def open(self) -> bool:
        return self.door is not None and not self.shut

    @property
    def last(self) -> Attempt | None:
        return self.joins.last

    def joined(self, pod: Pod) -> bool:
        """Whether its attempt is done, though the pod does not say so yet."""
        return self.last is not None and self.last.outcome == "done" and self.last.pod_uid == pod.uid


class View(msgspec.Struct, frozen=True):
    """``service``, ``spec``, ``fleet``: None where there is none to go by. ``world``: that in force, as its stores were
    filled; None: there is none, and ``troubles`` say why. ``land``: as its groups are served now. ``asked``: how many
    cells there shall be; ``spec.cells`` is among how many the CPU is shared meanwhile. ``strays``: cells of this
    service that are not wanted and serve nobody."""

    namespace: str
    name: str
    installation: Installation
    service: Service | None
    spec: MetadataServiceSpec | None
    fleet: Fleet | None
    world: WorldSpec | None
    land: Land | None
    cells: tuple[CellView, ...]
    strays: tuple[Cell, ...]
    fleets: tuple[Fleet, ...]
    troubles: tuple[Trouble, ...]
    children: Mapping[tuple[str, str], Body]
    published: Published
    filled: bool
    fill_trouble: str
    storage: tuple[Pod, ...]
    followers: tuple[Pod, ...]
    hosts: Mapping[str, Host]
    refused: Mapping[str, str]
    asked: int
    told: Mapping[str, Told]

    @property
    def storage_wanted(self) -> int:
        return 0 if self.land is None else sum(map(len, self.land.pods.values()))

    @property
    def storage_ready(self) -> int:
        return sum(pod.ready for pod in self.storage)

    @property
    def storage_up(self) -> bool:
        """So much of the fleet runs that what is open stays open."""
        return self.storage_ready >= UP_SHARE * self.storage_wanted

    def storage_enters(self, now_s: float) -> bool:
        """So much of it runs that servers may be let in: nearly all, or all but pods that were given long enough."""
        if self.storage_ready >= ENTER_SHARE * self.storage_wanted and self.published.let_in:
            return True
        waiting = [pod for pod in self.storage if not pod.ready and now_s - pod.created_s < START_S]
        return self.storage_up and not waiting and len(self.storage) >= self.storage_wanted

    @property
    def servers_in(self) -> int:
        return sum(self.hosts[pod.name].servers_in for pod in self.storage if pod.name in self.hosts)

    def follow(self, version: int) -> bool:
        """Every storage pod that is ready has told that it has this version."""
        ready = [pod for pod in self.storage if pod.ready]
        return all(pod.name in self.hosts and self.hosts[pod.name].map_version >= version for pod in ready)

    def refusals(self, cell: str = "") -> list[Trouble]:
        """What was refused of a cell's tracks, or of those that are no cell's."""
        mine = {t: why for t, why in self.refused.items() if (t.partition("/")[0] == cell if cell else "/" not in t)}
        return [Trouble("NotApplied", f"{track}: refused by the API server: {why}") for track, why in mine.items()]

    def live(self, kind: str, name: str) -> Body | None:
        return self.children.get((kind, name))


def view(observed: Observed) -> View:
    service = observed.service
    spec = None if service is None else service.spec
    fleets = tuple(sorted((f for f in observed.fleets if not f.deleting), key=lambda f: (f.created_s, f.name)))
    fleet = next((fleet for fleet in fleets if fleet.spec is not None), None)
    troubles = choice.troubles(observed, fleets)
    job = observed.children.get(("Job", names.fill(observed.name)))
    published = cellmap.read(observed.children.get(("ConfigMap", names.cell_map(observed.name))))
    if not published.let_in and any(_open(body) for (kind, _), body in observed.children.items() if kind == "Service"):
        # The map was deleted by hand: a door that is open was opened when servers were let in.
        published = msgspec.structs.replace(published, let_in=True)
    world = None
    if service is not None and spec is not None and fleet is not None and fleet.spec is not None:
        record = observed.children.get(("ConfigMap", names.fill(observed.name))) if job or published.let_in else None
        filled = fill.filled_world(record)
        if filled is None and published.let_in and published.map is not None:  # deleted by hand; the map knows, too
            filled = msgspec.structs.replace(as_world(spec, fleet.spec, LoadSpec()), cells=len(published.map.cells))
        world, more = choice.in_force(spec, fleet.spec, filled, names.FORCE in service.annotations)
        troubles += more
    land, asked, needed = None, 0, 0
    if service is not None and spec is not None and world is not None and fleet is not None and fleet.spec is not None:
        land = worlds.land(choice.of_layout(world), fleet.name, fleet.spec.servers_per_pod)
        asked = needed = share = world.cells
        if published.let_in:
            known = published.map.servers if published.map is not None else {}
            if published.map is None:  # deleted by hand, with what was remembered on it
                moving = cellmap.moving(str(service.status.get("moves") or ""))
                published = msgspec.structs.replace(published, moving=moving)
            cell_of = worlds.owners(land, known, str(service.status.get("groups") or ""))
            land = worlds.moved(land, cell_of, known)
            force = names.FORCE in service.annotations
            asked, more = choice.asked(spec.cells, world, len(set(published.moving.goal or cell_of)), force)
            troubles += more
            needed = moves.cells_needed(asked, cell_of, published.moving)
            share = moves.cpu_share(asked, cell_of, published.moving)
        spec = msgspec.structs.replace(spec, cells=share, partitions=world.metadata.partitions, seed=world.seed)
    # Without a world the cells that exist go on as they are.
    of_world = range(needed) if world is not None else [c.spec.cell for c in observed.cells if c.spec]
    by_name = {cell.name: cell for cell in observed.cells}
    numbers = sorted(set(of_world))
    mine = {names.cell(observed.name, number) for number in numbers}
    conditions = {c["type"]: c for c in ((job or {}).get("status") or {}).get("conditions") or ()}
    return View(
        namespace=observed.namespace,
        name=observed.name,
        installation=observed.installation,
        service=service,
        spec=spec,
        fleet=fleet,
        world=world,
        land=land,
        cells=tuple(_cell(observed, by_name, number) for number in numbers),
        strays=tuple(cell for cell in observed.cells if cell.name not in mine),
        fleets=fleets,
        troubles=tuple(troubles),
        children=observed.children,
        published=published,
        filled=conditions.get("Complete", {}).get("status") == "True",
        fill_trouble=_fill_trouble(conditions.get("Failed", {}), observed),
        storage=tuple(
            pod for pod in observed.pods if pod.component == "storage" and not pod.deleting and _of(pod, fleet)
        ),
        followers=tuple(pod for pod in observed.pods if pod.follows and not pod.deleting),
        hosts=observed.hosts,
        refused=observed.refused,
        asked=asked,
        told=observed.told,
    )


def _open(service: Body) -> bool:
    """Whether this is the renewal door of a cell, and open."""
    spec = service.get("spec") or {}
    is_door = any(port.get("name") == "renewal" for port in spec.get("ports") or ())
    return is_door and names.PAUSED not in (spec.get("selector") or {})


def _of(pod: Pod, fleet: Fleet | None) -> bool:
    return fleet is not None and pod.name.startswith(f"{names.storage(fleet.name, pod.zone)}-")


def _cell(observed: Observed, by_name: Mapping[str, Cell], number: int) -> CellView:
    name, id_ = names.cell(observed.name, number), placement.cell_id(number)
    cell, service = by_name.get(name), observed.service
    pods = tuple(p for p in observed.pods if p.component == "node" and p.cell == id_ and not p.deleting)
    door = observed.children.get(("Service", names.renewal(name)))
    store = observed.children.get(("StatefulSet", names.store(name))) or {}
    store_pods = [p for p in observed.pods if p.component == "store" and p.cell == id_]
    return CellView(
        number=number,
        name=name,
        id=id_,
        cell=cell,
        pods=pods,
        serving=tuple(pod for pod in pods if pod.joined and pod.ready and pod.ip),
        paused=bool(
            (service is not None and service.spec is not None and service.spec.paused)
            or (cell is not None and cell.spec is not None and cell.spec.paused)
        ),
        door=door,
        admin=observed.children.get(("Service", names.admin(name))),
        shut=door is not None and not _open(door),
        store_ready=((store.get("status") or {}).get("readyReplicas") or 0) > 0,
        store_trouble=next((pod.trouble for pod in store_pods if pod.trouble), ""),
        joins=observed.joins.get(name, Joins()),
        statistics=observed.statistics.get(name),
    )


def _fill_trouble(failed: Body, observed: Observed) -> str:
    if failed.get("status") == "True":
        return str(failed.get("message") or failed.get("reason") or "failed")
    pods = [pod for pod in observed.pods if pod.component == "fill" and pod.trouble]
    return pods[0].trouble if pods else ""

"""The cell map: what is in it, when a version is published, and when servers are let in.

Decides one thing for a start, a restart, a resumption and a lost node alike: a cell whose door is shut, and could open,
gets a paced re-entry in a new version first. Invariants: versions only rise, whatever became of the object before; all
that is needed to go on is in the object; a version that was published is never changed, nor used again.
"""

from __future__ import annotations

import msgspec

from cellwall.capacity import TYPICAL
from cellwall.model import CellEntry, CellMap
from cellwall.placement import cell_id
from cellwall.renewal import reentry_over_s
from cellwall.resources import cores

from .. import names
from ..actions import Action, Apply, Create, Nudge
from ..conditions import Trouble
from ..manifests import cellmap
from ..manifests.cellmap import Published
from ..manifests.drift import matches
from . import cell as cells
from . import fleet, migration
from .moves import Outcome
from .view import START_S, CellView, View

LEAD_S = 10.0  # from publishing to the first wave: mounted maps are there by then, nudged (cluster contract)
NEVER_S = 4102444800.0  # 2100: no server asks before it is let in
OVER_MIN_S = 0.001  # a re-entry over nothing at all would pace nobody, also not until its beginning


def tracks(view: View, now_s: float) -> dict[str, list[Action]]:
    wanted = published(view, now_s)
    if view.service is None or wanted is None or wanted.map is None or too_large(wanted.map):
        return {}
    out: list[Action] = []
    live = view.live("ConfigMap", names.cell_map(view.name))
    manifest = cellmap.cell_map(view.service, wanted)
    if live is None:
        out.append(Create(manifest))
    elif not matches(live, manifest):
        out.append(Apply(manifest, view.published.resource_version))
    return {"map": [*out, *nudges(view, wanted.map.version)]}


def published(view: View, now_s: float) -> Published | None:
    """The map as it is to be, with what is remembered on it; None: nothing can be published yet."""
    entries = {one.id: _entry(view, one) for one in view.cells}
    if view.world is None or view.land is None or view.fleet is None:
        return None
    # A cell that is being added may have no door yet; it has no servers either.
    if any(entry is None and (view.land.count[cell] or not view.published.let_in) for cell, entry in entries.items()):
        return None
    before = view.published
    let_in = before.let_in or ready_to_enter(view, now_s)
    fresh = highest(view) + 1
    map_cells, resuming = {}, {}
    for one in view.cells:
        entry = entries[one.id]
        if entry is None:
            continue
        if let_in and one.shut and may_resume(view, one, now_s):
            going = cells.reentry(view, one, now_s)
            if going is None:
                entry = msgspec.structs.replace(
                    entry, reentry_from_s=round(now_s + LEAD_S, 3), reentry_over_s=over_s(view, one)
                )
            resuming[one.id] = fresh if going is None else before.resuming[one.id]
        map_cells[one.id] = entry
    servers, due = dict(view.land.servers), moves_due(view, now_s)
    for server, (number, partition) in (due.entries if due is not None else {}).items():
        servers[server] = msgspec.structs.replace(servers[server], cell=cell_id(number), partition=partition)
    new = CellMap(fresh, map_cells, servers)
    if before.map == msgspec.structs.replace(new, version=fresh - 1):
        new = before.map
    return Published(new, let_in, resuming, before.resource_version, before.moving if due is None else due.moving)


def moves_due(view: View, now_s: float) -> Outcome | None:
    """What is due of moves; what `published` goes by."""
    return migration.outcome(view, highest(view) + 1, now_s)


def ready_to_enter(view: View, now_s: float) -> bool:
    """For the first time: the stores are filled, all nodes that are wanted have joined, and the fleet is there, as it
    is to be: a change of all its pods would else begin as the first servers come in."""
    complete = all(one.spec is not None and len(one.serving) >= one.spec.nodes for one in view.cells)
    return (
        view.filled and complete and bool(view.cells) and view.storage_enters(now_s) and not fleet.tracks(view)["fleet"]
    )


def may_resume(view: View, one: CellView, now_s: float) -> bool:
    return not one.paused and bool(one.serving) and view.storage_enters(now_s)


def over_s(view: View, one: CellView) -> float:
    """As long as the spec says, or 1.5 times what it takes to serve all servers of the cell with the CPU it has."""
    assert view.land is not None and view.spec is not None and one.spec is not None
    asked = view.spec.reentry.over_seconds
    if asked is not None:
        return max(asked, OVER_MIN_S)
    known = 0 if one.statistics is None else one.statistics.records  # customers make tables, too
    servers = view.land.count[one.id]
    cpu = cores(one.spec.cpu_per_node) * max(1, len(one.serving))
    records = max(view.land.records[one.id], known)
    return round(max(reentry_over_s(records, servers, TYPICAL.c_record_s, TYPICAL.c_request_s, cpu), OVER_MIN_S), 3)


def highest(view: View) -> int:
    """The highest version anybody has seen: the object may have been deleted by hand."""
    status = 0 if view.service is None else view.service.status.get("mapVersion") or 0
    told = [host.map_version for host in view.hosts.values()]
    return max([view.published.version, int(status), *told])


def next_version(view: View, now_s: float) -> int:
    """The version that is published, or is about to be. It is written to the service's status before the map is, so
    that no version is ever used twice, even where the map was deleted and nobody who knew it is left."""
    wanted = published(view, now_s)
    return highest(view) if wanted is None or wanted.map is None or too_large(wanted.map) else wanted.map.version


def _entry(view: View, one: CellView) -> CellEntry | None:
    """A cell as it is published, at the addresses its doors have now. One node in the map stands for all: the Service
    spreads connections over those that have joined."""
    before = None if view.published.map is None else view.published.map.cells.get(one.id)
    addresses = [((door or {}).get("spec") or {}).get("clusterIP") for door in (one.door, one.admin)]
    if view.world is None or not all(addresses):
        return before
    renewal, admin = (f"[{ip}]" if ":" in ip else ip for ip in map(str, addresses))
    return CellEntry(
        id=one.id,
        nodes={one.id: f"{renewal}:{names.RENEWAL_PORT}"},
        admin={one.id: f"{admin}:{names.ADMIN_PORT}"},
        owners=[[one.id] for _ in range(view.world.metadata.partitions)],
        # A map that was deleted by hand holds nobody back whose door is open.
        reentry_from_s=before.reentry_from_s if before else 0.0 if one.open else NEVER_S,
        reentry_over_s=before.reentry_over_s if before else 0.0 if one.open else 1.0,
    )


def nudges(view: View, version: int) -> list[Action]:
    """Kubelets look at a mounted map once a minute, or when their pod changes."""
    late = [
        pod.name
        for pod in view.followers
        if pod.started and pod.nudged < version
        # A storage pod tells what it has; of the others it is not known.
        if pod.component != "storage" or (pod.name in view.hosts and view.hosts[pod.name].map_version < version)
    ]
    return [Nudge(tuple(late), version)] if late else []


def troubles(view: View, now_s: float) -> list[Trouble]:
    wanted = published(view, now_s)
    if wanted is None or wanted.map is None or not too_large(wanted.map):
        return []
    message = f"the map of {len(wanted.map.servers)} servers is larger than a ConfigMap can be; use fewer servers"
    return [Trouble("MapTooLarge", message, stalled=True)]


def too_large(cell_map: CellMap) -> bool:
    return len(cellmap.encoded(cell_map)) > cellmap.BYTES_MAX


def look_again_s(view: View, now_s: float) -> list[float]:
    """A storage pod that is not ready is waited for no longer then."""
    due_s = [pod.created_s + START_S - now_s for pod in view.storage if not pod.ready]
    moves = moves_due(view, now_s)
    if moves is not None and moves.look_again_s is not None:
        due_s.append(moves.look_again_s)
    return [wait_s for wait_s in due_s if wait_s > 0]

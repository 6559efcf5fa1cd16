"""One cell: its store, its nodes, its doors, and which of its nodes have joined.

Decides when the renewal door opens and closes, who joins and from whom. Invariants: the door is never open while the
cell is paused or nobody serves; it opens only when the followers have a map that paces this cell's servers, or when
the time that map gives has come; and nobody joins by decree while the door is open, so a storm of servers that are
out never finds a node that has just begun.
"""

from __future__ import annotations

from cellwall.model import CellEntry
from cellwall.resources import cores

from .. import names
from ..actions import Action, Apply, Join, MarkJoined, Resize
from ..manifests import cell as manifests
from ..manifests import common
from ..manifests.store import store
from ..objects import Cell, Pod
from .deeds import apply
from .view import CellView, View

AGAIN_S = 5.0  # between attempts to join (cluster contract)
GRACE_S = 5.0  # how long after its beginning a re-entry may still open the door; later, it is published anew (guess)


def tracks(view: View, one: CellView, now_s: float) -> dict[str, list[Action]]:
    """Of a cell that is there and is to stay: its door first, and nothing else can keep that from closing."""
    cell, spec = one.cell, one.spec
    if cell is None or spec is None or cell.deleting:
        return {}
    place = view.installation
    empty = names.BEGINS_EMPTY in cell.annotations
    wanted_nodes = manifests.nodes(
        cell, spec, one.id, place.services_image, place.pull_policy, place.can_resize, begins_empty=empty
    )
    kept = apply(view.children, store(cell, spec, one.id, place.services_image, place.pull_policy))
    return {
        f"{one.name}/door": door(view, one, cell, now_s),
        f"{one.name}/nodes": [*apply(view.children, wanted_nodes), *joining(view, one, now_s), *resizing(view, one)],
        f"{one.name}/store": [*kept],
    }


# ---------------------------------------------------------------- the door


def door(view: View, one: CellView, cell: Cell, now_s: float) -> list[Action]:
    assert cell.spec is not None
    renewal = manifests.renewal_door(cell, cell.spec, one.id, open=may_open(view, one, now_s))
    admin = manifests.admin_door(cell, cell.spec, one.id)
    return [*apply(view.children, [renewal, admin])]


def may_open(view: View, one: CellView, now_s: float) -> bool:
    """Whether the door is to be open now. One that is stays so while the cell works; a shut one needs a re-entry."""
    if not view.published.let_in or one.paused or not one.serving or not view.storage_up:
        return False
    return one.open or due(view, one, now_s)


def due(view: View, one: CellView, now_s: float) -> bool:
    """A re-entry of this cell is published, and is followed or has begun."""
    entry = reentry(view, one, now_s)
    return entry is not None and (view.follow(view.published.resuming[one.id]) or now_s >= entry.reentry_from_s)


def reentry(view: View, one: CellView, now_s: float) -> CellEntry | None:
    """This cell's entry in the map if its re-entry is under way; one whose time is long past paces nobody."""
    published = view.published
    entry = None if published.map is None else published.map.cells.get(one.id)
    if entry is None or one.id not in published.resuming or now_s > entry.reentry_from_s + GRACE_S:
        return None
    return entry


# ---------------------------------------------------------------- its nodes


def joining(view: View, one: CellView, now_s: float) -> list[Action]:
    """The first nodes join by decree; every further one by taking over half of the metadata partitions of one that
    serves: real work, which overload locks out."""
    spec = one.spec
    assert spec is not None
    waiting = sorted(candidates(one), key=lambda pod: (pod.created_s, pod.name))
    if not view.published.let_in or not one.serving:
        # Nobody to ask. After a failure of all nodes the door is shut first, so that the servers come in paced.
        return [] if one.open else [MarkJoined(p.name, p.uid, "FirstNode", "no node serves yet") for p in waiting]
    done = [pod for pod in waiting if one.joined(pod)]
    if done:
        return [MarkJoined(pod.name, pod.uid, "Joined", "took over half of the metadata partitions") for pod in done]
    if not waiting or one.joins.running or (one.last is not None and now_s < one.last.at_s + AGAIN_S):
        return []
    pod, source = waiting[0], one.serving[0]
    half = tuple(range(spec.partitions))[1::2] or (0,)
    deadline_s = 2 * spec.time_limit_seconds
    return [Join(one.name, pod.name, pod.uid, pod.ip, address(source), half, deadline_s)]


def candidates(one: CellView) -> list[Pod]:
    return [pod for pod in one.pods if pod.started and pod.ip and not pod.joined]


def address(pod: Pod) -> str:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return f"{host}:{names.ADMIN_PORT}"


def resizing(view: View, one: CellView) -> list[Action]:
    """Nodes that have joined give up the allowance for starting, and follow every change of ``cpuPerNode``. One whose
    container starts again gets the allowance again."""
    assert one.spec is not None
    if not view.installation.can_resize:
        return []
    out: list[Action] = []
    for pod in one.pods:
        limit = common.cpu(one.spec.cpu_per_node if pod.started else one.spec.startup_cpu)
        if pod.joined and pod.cpu_limit and cores(pod.cpu_limit) != cores(limit):
            out.append(Resize(pod.name, pod.uid, pod.container, limit, common.cpu_request(limit)))
    return out


def look_again_s(view: View, one: CellView, now_s: float) -> list[float]:
    """When something of this cell is due by itself."""
    due_s = []
    if one.last is not None and candidates(one) and not one.joins.running:
        due_s.append(one.last.at_s + AGAIN_S)
    entry = reentry(view, one, now_s)
    if entry is not None and one.shut:
        # If it is shut even then (a foreign hand in its selector), it is published anew.
        due_s += [entry.reentry_from_s, entry.reentry_from_s + GRACE_S + 0.1]
    return [max(at_s - now_s, 0.0) for at_s in due_s if at_s > now_s]


__all__ = ["Apply", "look_again_s", "may_open", "reentry", "tracks"]

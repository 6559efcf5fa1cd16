"""The service itself: which cells there are, and that their stores are filled.

Decides what a cell is given by its service. Invariants: `spec.nodes` of a cell is written at its creation only, and a
changed share of CPU is handed down once, so both belong to whoever changes them afterwards; stores are filled by one
job, whose settings are never changed once it exists.
"""

from __future__ import annotations

import msgspec

from cellwall.resources import cpu_per_node

from .. import names
from ..actions import Action, Apply, Create, Delete, Manifest, Merge
from ..manifests import cell as manifests
from ..manifests.drift import matches
from ..manifests.fill import fill
from ..objects import Cell
from .deeds import apply, ref
from .view import CellView, View


def tracks(view: View) -> dict[str, list[Action]]:
    return {"cells": cells(view), "fill": filling(view)}


def cells(view: View) -> list[Action]:
    service, spec = view.service, view.spec
    if service is None or spec is None or view.world is None:
        return []
    out: list[Action] = []
    for one in view.cells:
        cell = one.cell
        if cell is None:
            out.append(Create(manifests.new_cell(service, spec, one.number, begins_empty=_begins_empty(view, one))))
            continue
        if cell.deleting or cell.spec is None:  # made anew once it has gone; of other definitions
            continue
        if cell.annotations.get(names.CPU_GIVEN) != cpu_per_node(spec):
            out.append(Merge(ref(cell), manifests.given_cpu(spec)))
        wanted = manifests.cell(service, spec, one.number)
        if not _given(cell, wanted, service.uid):
            out.append(Apply(wanted))
    return [*out, *(Delete(ref(cell)) for cell in view.strays if may_go(view, cell))]


def may_go(view: View, cell: Cell) -> bool:
    """A cell that this service made and does not want, and that serves nobody; never one that somebody else made, nor
    any while it is not known for certain who serves whom."""
    known = view.published.map is not None or not view.published.let_in
    return known and view.service is not None and cell.owner_uid == view.service.uid and not cell.deleting


def _begins_empty(view: View, one: CellView) -> bool:
    """A cell that is added to a running service is filled by moves. One that has servers and was deleted by hand finds
    its store as it was, or waits visibly."""
    return view.published.let_in and view.land is not None and not view.land.count[one.id]


def _given(cell: Cell, wanted: Manifest, owner_uid: str) -> bool:
    """`drift.matches` for a cell, which is kept as a value."""
    written = cell.annotations.get(names.MANIFEST) == wanted["metadata"]["annotations"][names.MANIFEST]
    return written and cell.owner_uid == owner_uid and matches(msgspec.to_builtins(cell.spec), wanted["spec"])


def filling(view: View) -> list[Action]:
    """The job, once all stores answer; it does nothing to a store that has a version, so it may be deleted and run
    again. Its template cannot be changed, so it is created and never applied."""
    if view.service is None or view.world is None or not all(one.store_ready for one in view.cells):
        return []
    place = view.installation
    settings, job = fill(view.service, view.world, place.services_image, place.pull_policy)
    name = names.fill(view.name)
    exists = view.live("Job", name) is not None
    if exists and view.live("ConfigMap", name) is not None:
        return []
    return [*apply(view.children, [settings]), *([] if exists else [Create(job)])]

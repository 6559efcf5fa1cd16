"""Which fleet and which world are in force, and what a user must hear of those that are not.

Decides by what was asked for first: the oldest fleet is served, and once the stores are filled their world stays. Never
decides what follows from it.
"""

from __future__ import annotations

import msgspec

from cellwall.errors import Refused
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec
from cellwall.resources import world as as_world
from cellwall.spec import LoadSpec, WorldSpec

from .. import names
from ..conditions import Trouble
from ..objects import Fleet, Observed
from . import world as worlds


def troubles(observed: Observed, fleets: tuple[Fleet, ...]) -> list[Trouble]:
    service = observed.service
    if service is None:
        return []
    out = []
    if observed.installation.definitions:
        message = (
            f"{observed.installation.definitions}: not of this operator's version; upgrade the chart cellwall-crds"
        )
        out.append(Trouble("OtherDefinitions", message))
    if service.spec is None:
        message = (
            f"spec: {service.wrong}: the definitions in the cluster are not this operator's; upgrade cellwall-crds"
        )
        out.append(Trouble("UnreadableSpec", message, stalled=True))
    if not fleets:
        message = f"no StorageFleet has spec.service: {observed.name}; create one in this namespace"
        out.append(Trouble("NoFleet", message, stalled=True))
    out += [
        Trouble("UnreadableSpec", f"StorageFleet {fleet.name}: spec: {fleet.wrong}", stalled=True)
        for fleet in fleets
        if fleet.spec is None
    ]
    if len(fleets) > 1:
        others = ", ".join(fleet.name for fleet in fleets[1:])
        message = f"{fleets[0].name} is served, the first of {len(fleets)} fleets; delete the others: {others}"
        out.append(Trouble("SeveralFleets", message, stalled=True))
    return out


def in_force(
    service: MetadataServiceSpec, fleet: StorageFleetSpec, filled: WorldSpec | None, force: bool
) -> tuple[WorldSpec | None, list[Trouble]]:
    """The world in force. Once stores are being filled it is theirs, whatever is asked for."""
    if filled is None:
        try:
            return worlds.wanted(service, fleet, force=force), []
        except Refused as error:
            return None, [Trouble("InvalidWorld", _hint(error), stalled=True)]
    world, changed = worlds.with_fixed(filled, as_world(service, fleet, LoadSpec()))
    if changed:
        undo = "undo the change, or create another service and fleet"
        message = f"{', '.join(changed)}: fixed once the stores are filled; {undo}"
        return world, [Trouble("WorldFixed", message, stalled=True)]
    try:
        world.check()
    except Refused as error:
        return filled, [Trouble("InvalidWorld", str(error), stalled=True)]
    return world, []


def asked(cells: int, world: WorldSpec, now: int, force: bool) -> tuple[int, list[Trouble]]:
    """How many cells there shall be: as many as the spec says, or as there are, if that cannot be."""
    if cells == now:
        return cells, []
    try:
        worlds.carries(world, cells, force=force)
    except Refused as error:
        return now, [Trouble("InvalidWorld", _hint(error), stalled=True)]
    return cells, []


def _hint(error: Refused) -> str:
    meant = f' (or, if it is meant, annotate the service with {names.FORCE}: "true")' if "--force" in str(error) else ""
    return str(error).replace(", or --force", "") + meant


def of_layout(world: WorldSpec) -> WorldSpec:
    """Without what no layout depends on, so that changing it makes no new one."""
    bare = WorldSpec()
    metadata = msgspec.structs.replace(bare.metadata, partitions=world.metadata.partitions)
    return msgspec.structs.replace(
        world, renewal=bare.renewal, metadata=metadata, load=bare.load, cpu=bare.cpu, nodes_per_cell=1
    )

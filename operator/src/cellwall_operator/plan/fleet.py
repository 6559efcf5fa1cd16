"""The storage fleet: its pods' settings, and one zone at a time where they change.

Decides the order of an upgrade only. Invariant: once servers are let in, pods of two zones never restart for the same
change at the same time, so a partition keeps two of its three replicas.
"""

from __future__ import annotations

from typing import Any

from .. import names
from ..actions import Action, Apply
from ..manifests.drift import matches
from ..manifests.storage import storage
from ..objects import Body
from .deeds import apply
from .view import View

IN_SHARE = 0.995  # of the servers, for a fleet to be well (cluster contract)
SICK_SHARE = 0.75  # below, a fleet is not kept from a change, which may be its remedy (guess)


def tracks(view: View) -> dict[str, list[Action]]:
    fleet, world, land = view.fleet, view.world, view.land
    if fleet is None or fleet.spec is None or world is None or land is None:
        return {"fleet": []}
    place = view.installation
    manifests = storage(
        fleet, fleet.spec, world.renewal, world.seed, land.pods, place.services_image, place.pull_policy
    )
    sets = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    others = [manifest for manifest in manifests if manifest["kind"] != "StatefulSet"]
    return {"fleet": [*apply(view.children, others), *_sets(view, sets)]}


def _sets(view: View, sets: list[dict[str, Any]]) -> list[Apply]:
    """Those that may be applied now: all that do not exist yet, and one that differs if no other is restarting."""
    out = []
    differs = []
    for manifest in sets:
        live = view.live("StatefulSet", manifest["metadata"]["name"])
        if live is None:
            out.append(Apply(manifest))
        elif not matches(live, manifest):
            differs.append(manifest)
    if not view.published.let_in:
        return [*out, *map(Apply, differs)]
    for manifest in differs[:1]:
        # A set that is stuck half-way may be changed again: that is how a wrong image is mended.
        others = [other["metadata"]["name"] for other in sets if other is not manifest]
        if all(settled(view.live("StatefulSet", name)) for name in others) and (stuck(view, manifest) or well(view)):
            out.append(Apply(manifest))
    return out


def stuck(view: View, manifest: dict[str, Any]) -> bool:
    return not settled(view.live("StatefulSet", manifest["metadata"]["name"]))


def as_wanted(view: View) -> bool:
    """All is applied, and no pod is still to be replaced."""
    zones = (
        [] if view.fleet is None or view.land is None else [names.storage(view.fleet.name, z) for z in view.land.pods]
    )
    return not tracks(view)["fleet"] and not any(rolling(view.live("StatefulSet", zone)) for zone in zones)


def rolling(live: Body | None) -> bool:
    if live is None:
        return True
    status = live.get("status") or {}
    seen = status.get("observedGeneration") == live["metadata"].get("generation")
    return not seen or bool(status.get("updateRevision") != status.get("currentRevision"))


def settled(live: Body | None) -> bool:
    """All pods of a StatefulSet are those that it wants, and ready."""
    if live is None or rolling(live):
        return False
    ready = (live.get("status") or {}).get("readyReplicas", 0)
    return bool(ready == (live.get("spec") or {}).get("replicas", 1))


def well(view: View) -> bool:
    """The servers of the zone before are back in service, or so many are out that there is nothing to spare."""
    assert view.land is not None
    share = view.servers_in / max(1, len(view.land.servers))
    return share >= IN_SHARE or share < SICK_SHARE

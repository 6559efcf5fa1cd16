"""What a world that is starting still waits for, and what it waits for in vain.

Decides from the observed objects alone; asks and waits for nothing itself. Invariant: a reason that no waiting cures is
told as such, with the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable

from .api import Object
from .pods import Pod

IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
RESTARTS_MAX = 5  # guess: a node comes before its store and is started again, twice as seen on kind


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The three kinds of resources as they are, and the pods. None: not there yet."""

    service: Object | None
    fleet: Object | None
    cells: Sequence[Object]
    pods: Mapping[str, Pod]


def condition(found: Object, kind: str) -> Object:
    """A condition that tells of the object as it is now; {} if there is none."""
    generation = found["metadata"].get("generation")
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == kind and one.get("observedGeneration", generation) == generation:
            return dict(one)
    return {}


def is_true(found: Object | None, kind: str) -> bool:
    return found is not None and condition(found, kind).get("status") == "True"


def missing(seen: Observed) -> list[str]:
    """What is still waited for, in words; nothing when the world is up."""
    waits = []
    for what, found in (("metadata service", seen.service), ("storage fleet", seen.fleet)):
        if not is_true(found, "Ready"):
            said = condition(found, "Ready") if found is not None else {}
            waits.append(f"{what}: {said.get('reason', 'not seen by the operator')} {said.get('message', '')}".strip())
    for component in ("frontend", "load"):
        mine = [pod for pod in seen.pods.values() if pod.component == component]
        if not any(pod.ready and pod.serves for pod in mine):
            waits.append(f"{component}: {next((pod.waiting for pod in mine if pod.waiting), 'starting')}")
    return waits


def hopeless(seen: Observed) -> CellwallError | None:
    """What no waiting cures, if it lasts: a fleet that comes a moment after its service stalls it till then."""
    for found in (seen.service, seen.fleet, *seen.cells):
        if is_true(found, "Stalled"):
            assert found is not None
            stalled = condition(found, "Stalled")
            name = f"{found['kind']} {found['metadata']['name']}" if "kind" in found else found["metadata"]["name"]
            return Refused(f"{name}: {stalled.get('reason', 'Stalled')}: {stalled.get('message', '')}")
    for pod in seen.pods.values():
        if pod.waiting.startswith(IMAGE):
            return Refused(f"pod {pod.name}: {pod.waiting}; `make up` builds and loads the images of this version")
        if pod.restarts > RESTARTS_MAX:
            return Unavailable(f"pod {pod.name} was started {pod.restarts} times again ({pod.ended}); see its log")
    return None


def counted(pods: Mapping[str, Pod]) -> str:
    """How far the pods are, for people."""
    kinds: dict[str, list[Pod]] = {}
    for pod in pods.values():
        kinds.setdefault(pod.component or "other", []).append(pod)
    return ", ".join(f"{kind} {sum(pod.serves for pod in of)}/{len(of)}" for kind, of in sorted(kinds.items()))

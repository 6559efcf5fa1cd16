"""What a plan asks for, as values.

Decides the few kinds of deeds there are; carries none out (that is `apply`). Every action says the wanted state, not a
step towards it, so each may be carried out twice. Invariant: a track's actions are carried out in order and the track
ends at its first failure; tracks know nothing of each other, so a cell in trouble keeps no other cell waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from cellwall.moves import Request, Verb

Manifest: TypeAlias = Mapping[str, Any]


class Ref(msgspec.Struct, frozen=True):
    """An object in the plan's namespace. ``uid`` "": whichever has that name."""

    api_version: str
    kind: str
    name: str
    uid: str = ""


class Create(msgspec.Struct, frozen=True):
    """POST, under a field manager of its own (names.OPERATOR + "-create"); that it exists already is no failure.

    What the manifest says and no later `Apply` repeats belongs to whoever changes it (a cell's ``spec.nodes``)."""

    manifest: Manifest


class Apply(msgspec.Struct, frozen=True):
    """Server-side apply, forced, with field manager names.OPERATOR. ``resource_version``: refuse (conflict: observe
    again, no failure) unless the object is still that one; "": no condition."""

    manifest: Manifest
    resource_version: str = ""


class Merge(msgspec.Struct, frozen=True):
    """A merge patch of fields that nobody owns for good. Field manager as for `Create`."""

    ref: Ref
    patch: Manifest


class Delete(msgspec.Struct, frozen=True):
    """Delete in the background, with the uid as a precondition; that it is gone is no failure."""

    ref: Ref


class Join(msgspec.Struct, frozen=True):
    """Begin an attempt: POST http://{address}:7002/join, in a task of its own. Its end is observed as `objects.Joins`.

    ``cell`` is the MetadataCell's name; while its attempt runs, a further one for the cell is not begun."""

    cell: str
    pod: str
    pod_uid: str
    address: str
    source: str  # host:port of the serving node's administration
    partitions: tuple[int, ...]
    deadline_s: float


class GroupStep(msgspec.Struct, frozen=True):
    """Begin a step of a move: POST http://{address}/groups/{verb}, in a task of its own. Its end is observed as
    `objects.Told`. ``cell`` is the MetadataCell's name; while a step of it runs, a further one is not begun."""

    cell: str
    address: str
    verb: Verb
    request: Request
    timeout_s: float


class MarkJoined(msgspec.Struct, frozen=True):
    """Set the pod condition names.JOINED to True (pods/status)."""

    pod: str
    pod_uid: str
    reason: str  # Joined | FirstNode
    message: str


class Resize(msgspec.Struct, frozen=True):
    """Set a node pod's CPU limit in place (pods/resize); ``request`` goes with it."""

    pod: str
    pod_uid: str
    container: str
    limit: str
    request: str


class Nudge(msgspec.Struct, frozen=True):
    """Set annotation names.MAP_VERSION of these pods, so that their kubelets sync the mounted map at once."""

    pods: tuple[str, ...]
    version: int


class Status(msgspec.Struct, frozen=True):
    """The whole status of a custom resource: server-side apply to its status subresource."""

    ref: Ref
    status: Manifest


class Event(msgspec.Struct, frozen=True):
    """Tell whoever reads the object's events. The same one is told once in a while only (see `events`)."""

    ref: Ref
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Action: TypeAlias = Create | Apply | Merge | Delete | Join | GroupStep | MarkJoined | Resize | Nudge | Status | Event


class Ask(msgspec.Struct, frozen=True):
    """What to ask the running processes. Storage hosts: GET /map-version and GET /servers every ``hosts_every_s``;
    nodes: GET /statistics every ``nodes_every_s``. Only of pods that are started."""

    hosts_every_s: float
    nodes_every_s: float


class Plan(msgspec.Struct, frozen=True):
    """``tracks``: by name ("service", "fleet", a cell's name, "status"), in this order; each ends at its own first
    failure. ``look_again_s``: seconds until something is due that no watched object will tell; None: nothing is.
    ``mode``: what the acting part should ask pods for, and how often."""

    tracks: Mapping[str, tuple[Action, ...]] = {}
    look_again_s: float | None = None
    ask: Ask | None = None

    @property
    def actions(self) -> list[Action]:
        return [action for track in self.tracks.values() for action in track]

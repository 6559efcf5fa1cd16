"""What is watched, as plain values, by the MetadataService it belongs to.

Decides which service an object belongs to, which of two sights of an object is newer, and whose plan has to be made
again; never asks anybody. Invariant: what is here is never older than what was here before: an object's version only
rises, and one that was seen to go (by uid) does not come back from a list that is older.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from cellwall.resources import MetadataCellSpec, MetadataServiceSpec, StorageFleetSpec

from . import names
from .objects import (
    CHILD_KINDS,
    Body,
    Cell,
    Fleet,
    Installation,
    Observed,
    Pod,
    Service,
    read_pod,
    read_resource,
    trimmed,
)
from .objects import Key as ChildKey

Key: TypeAlias = tuple[str, str]  # namespace and name of a MetadataService, whether or not it exists
Name: TypeAlias = tuple[str, str, str]  # kind, namespace, name

SPECS: Mapping[str, type[Any]] = {
    "MetadataService": MetadataServiceSpec,
    "MetadataCell": MetadataCellSpec,
    "StorageFleet": StorageFleetSpec,
}
GONE_MAX = 20_000  # uids remembered as gone; a list is at most seconds old, so this is thousands of deletions a second


class World(msgspec.Struct):
    """All that is known of one key."""

    service: Service | None = None
    cells: dict[str, Cell] = {}
    fleets: dict[str, Fleet] = {}
    children: dict[ChildKey, Body] = {}
    pods: dict[str, Pod] = {}

    @property
    def wanted(self) -> bool:
        """Whether there is anything to reconcile, or to tell that it cannot be."""
        return self.service is not None or bool(self.cells) or bool(self.fleets)

    @property
    def empty(self) -> bool:
        return not (self.wanted or self.children or self.pods)


class Entry(msgspec.Struct, frozen=True):
    key: Key
    uid: str
    version: int


class Cache:
    """``changed(key)`` is called for every change of what a plan sees."""

    def __init__(self, changed: Callable[[Key], None]) -> None:
        self._changed = changed
        self._worlds: dict[Key, World] = {}
        self._entries: dict[Name, Entry] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()  # uid to the version at which it was seen to go
        self._as_of: dict[tuple[str, str], int] = {}  # kind and namespace ("" all) to the version of the last list

    # ------------------------------------------------------------ what is known

    def keys(self) -> list[Key]:
        """Services to reconcile: those that exist, and those that a cell or fleet names."""
        return [key for key, world in self._worlds.items() if world.wanted]

    def pods(self, key: Key) -> Iterable[Pod]:
        world = self._worlds.get(key)
        return () if world is None else world.pods.values()

    def count(self, kind: str) -> int:
        return sum(name[0] == kind for name in self._entries)

    def observed(self, key: Key, installation: Installation) -> Observed:
        """A copy that later events do not change; without what pods tell (see `asking`)."""
        world = self._worlds.get(key) or World()
        return Observed(
            namespace=key[0],
            name=key[1],
            installation=installation,
            service=world.service,
            cells=tuple(world.cells[name] for name in sorted(world.cells)),
            fleets=tuple(world.fleets[name] for name in sorted(world.fleets)),
            children=dict(world.children),
            pods=tuple(world.pods[name] for name in sorted(world.pods)),
        )

    # ------------------------------------------------------------ what is seen

    def put(self, body: Body) -> bool:
        """An object as it was seen, by a watch, in a list or in the answer to a write; False: nothing new in it."""
        meta, kind = body["metadata"], body["kind"]
        name, uid, version = (kind, meta.get("namespace", ""), meta["name"]), meta.get("uid", ""), version_of(body)
        if version <= self._gone.get(uid, -1):
            return False
        before = self._entries.get(name)
        if before is not None and before.version >= version:
            return False
        if before is None and version <= max(self._as_of.get((kind, where), 0) for where in ("", name[1])):
            return False  # a later list did not have it: it went unseen
        key = key_of(body)
        if before is not None and before.key != key:  # it was another's until now
            self._remove(name, before)
        if key is None:
            return before is not None
        self._entries[name] = Entry(key, uid, version)
        if changed := self._set(key, kind, body):
            self._changed(key)
        return changed

    def drop(self, kind: str, namespace: str, name: str, uid: str, version: int) -> None:
        """The object of that uid has gone, or lost its label, as of ``version``; a namesake made since is another."""
        if uid:
            self._gone[uid] = version
            while len(self._gone) > GONE_MAX:
                self._gone.popitem(last=False)
        entry = self._entries.get((kind, namespace, name))
        if entry is not None and entry.uid in ("", uid):
            self._remove((kind, namespace, name), entry)

    def listed(self, kind: str, namespaces: Iterable[str], seen: Mapping[Name, str], version: int) -> int:
        """A list of this kind is through, that is as of ``version`` and saw these (name to uid), each `put` already.
        What is here and not in it has gone unseen; how many those are."""
        where = set(namespaces)
        self._as_of |= {(kind, namespace): version for namespace in where or {""}}
        lost = [
            (name, entry)
            for name, entry in self._entries.items()
            if name[0] == kind and (not where or name[1] in where)
            if entry.version <= version and seen.get(name) != entry.uid
        ]
        for name, entry in lost:
            self.drop(*name, entry.uid, version)
        return len(lost)

    # ------------------------------------------------------------ inside

    def _set(self, key: Key, kind: str, body: Body) -> bool:
        world = self._worlds.setdefault(key, World())
        name = body["metadata"]["name"]
        if kind == "Pod":
            return _replace(world.pods, name, read_pod(body))
        if kind in CHILD_KINDS:
            child, before = trimmed(body), world.children.get((kind, name))
            world.children[kind, name] = child
            return before is None or _without_version(before) != _without_version(child)
        resource = read_resource(body, SPECS[kind])
        if kind == "MetadataCell":
            return _replace(world.cells, name, resource)
        if kind == "StorageFleet":
            return _replace(world.fleets, name, resource)
        changed = world.service != resource
        world.service = resource
        return changed

    def _remove(self, name: Name, entry: Entry) -> None:
        del self._entries[name]
        kind, _, short = name
        world = self._worlds[entry.key]
        if kind == "Pod":
            world.pods.pop(short, None)
        elif kind in CHILD_KINDS:
            world.children.pop((kind, short), None)
        elif kind == "MetadataCell":
            world.cells.pop(short, None)
        elif kind == "StorageFleet":
            world.fleets.pop(short, None)
        else:
            world.service = None
        if world.empty:
            del self._worlds[entry.key]
        self._changed(entry.key)


def key_of(body: Body) -> Key | None:
    """The service an object belongs to; None: it says none."""
    meta = body["metadata"]
    namespace = meta.get("namespace", "")
    if body["kind"] == "MetadataService":
        return namespace, meta["name"]
    if body["kind"] in SPECS:
        service = (body.get("spec") or {}).get("service")
    else:
        service = (meta.get("labels") or {}).get(names.SERVICE)
    return (namespace, service) if service else None


def version_of(body: Body) -> int:
    """Versions of one kind are comparable numbers on every API server there is (KEP-5504 says so at last)."""
    text = body["metadata"].get("resourceVersion", "")
    return int(text) if text.isdecimal() else 0


def _without_version(body: Body) -> Body:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}


def _replace(values: dict[str, Any], name: str, value: Any) -> bool:
    changed = bool(values.get(name) != value)
    values[name] = value
    return changed

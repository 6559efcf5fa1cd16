"""The ConfigMap that carries the published cell map, and what is remembered on it.

Decides its form; what is in the map and when a version is published is `plan.publish`'s. Invariant: everything
that must be known to go on with a re-entry after a crash is on this one object, so it is written with the map or not
at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cellwall.model import CellMap
from cellwall.moves import Move

from .. import names
from . import common
from .common import Manifest, Owner

KEY = "map.json"
BYTES_MAX = 1_000_000  # a ConfigMap holds 1 MiB at most, with its metadata


class Moving(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of moves. ``number``: of the last move; ``goal``: the cell number of each group as it shall
    be, empty when that is as it is; ``share``: among how many cells the CPU is shared on the way, 0 otherwise;
    ``move``: the one that is on."""

    number: int = 0
    goal: list[int] = []
    share: int = 0
    move: Move | None = None


class Published(msgspec.Struct, frozen=True):
    """What a live object says. ``map`` None: it is not there, or cannot be read. ``resuming``: per cell, the version
    whose re-entry is under way."""

    map: CellMap | None = None
    let_in: bool = False
    resuming: Mapping[str, int] = {}
    resource_version: str = ""
    moving: Moving = Moving()

    @property
    def version(self) -> int:
        return 0 if self.map is None else self.map.version


def cell_map(owner: Owner, published: Published) -> Manifest:
    assert published.map is not None
    annotations = {names.LET_IN: "true"} if published.let_in else {}
    annotations |= {names.resuming(cell): str(version) for cell, version in sorted(published.resuming.items())}
    if published.moving != Moving():
        annotations[names.MOVES] = written(published.moving)
    labels = common.labels(owner.name, "map")
    data = {KEY: encoded(published.map)}
    return common.manifest("v1", "ConfigMap", names.cell_map(owner.name), owner, labels, annotations, data=data)


def read(config_map: Mapping[str, Any] | None) -> Published:
    if config_map is None:
        return Published()
    meta = config_map["metadata"]
    annotations = meta.get("annotations") or {}
    prefix = names.resuming("")
    found = {key.removeprefix(prefix): value for key, value in annotations.items() if key.startswith(prefix)}
    return Published(
        map=_decoded((config_map.get("data") or {}).get(KEY, "")),
        let_in=annotations.get(names.LET_IN) == "true",
        resuming={cell: int(version) for cell, version in found.items() if version.isdecimal()},
        resource_version=meta.get("resourceVersion", ""),
        moving=moving(annotations.get(names.MOVES, "")),
    )


def written(moving: Moving) -> str:
    return msgspec.json.encode(moving).decode()


def moving(text: str) -> Moving:
    try:
        return msgspec.json.decode(text, type=Moving) if text else Moving()
    except msgspec.DecodeError:  # a foreign hand; numbers that were used are found out (`plan.moves`)
        return Moving()


def encoded(cell_map: CellMap) -> str:
    return msgspec.json.encode(cell_map).decode()


@lru_cache(maxsize=256)  # plans read the same few again and again; 3 ms for 800 servers
def _decoded(text: str) -> CellMap | None:
    try:
        return msgspec.json.decode(text, type=CellMap)
    except msgspec.DecodeError:
        return None

"""What a spec must keep beyond the types of its fields, as CEL that the API server evaluates.

Decides every rule of one object: fields that must fit each other, and fields that cannot change. What spans objects
(cells against the fleet's placement groups, the cell size rule) is a condition, because no single object shows it.
Invariant: each message says what would be right. `WorldSpec.check` says the same of a world; the timing rule, the
retry waits, groups and shares stand here because the server knows no Python.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellwall.resources import (
    FLEET_NAME_MAX,
    NAME_PATTERN,
    NODE_CORES_MIN,
    SERVICE_NAME_MAX,
    CellCpu,
    MetadataCellSpec,
    MetadataServiceSpec,
    Persistence,
    Population,
    Renewal,
    Retry,
    StorageFleetSpec,
    Store,
    Volume,
    millicores,
)

MAP_BYTES_MAX = 2**20  # a ConfigMap's data
# Of 64 cells with 256 metadata partitions each, and a margin; see test_crds.py for what maps really take.
MAP_CELLS_BYTES = 2**18
MAP_SERVER_BYTES = 110  # a server's entry, without the fleet's name, which stands twice in its address
VOLUME_MIN = "16Mi"  # an empty file system takes about that (guess)
STORE_MEMORY_MIN, POD_MEMORY_MIN = "16Mi", "64Mi"  # an empty Redis; Python with our imports (guesses)


@dataclass(frozen=True)
class Rule:
    """``rule`` must hold. ``message`` is text, or with ``computed`` a CEL expression that makes it; ``path`` names
    the field to blame, relative to where the rule stands."""

    rule: str
    message: str
    path: str = ""
    computed: bool = False

    def written(self) -> dict[str, str]:
        written = {"rule": self.rule, "messageExpression" if self.computed else "message": self.message}
        return {**written, "fieldPath": self.path} if self.path else written


def _computed(text: str, *expressions: str) -> str:
    """An expression that sets figures into ``text``, whose {} they replace. Not by "+": the server counts what string()
    returns as endless there and refuses the definition (kubernetes/kubernetes issue 124234)."""
    return f"'{text.replace('{}', '%s')}'.format([{', '.join(f'string({one})' for one in expressions)}])"


def _at_least(field: str, least: str, why: str, *, optional: bool = False) -> Rule:
    """What is no quantity at all is left to the pattern, whose answer is better."""
    value, absent = f"self.{field}", f"!has(self.{field}) || " if optional else ""
    return Rule(
        f"{absent}!isQuantity({value}) || quantity({value}).compareTo(quantity('{least}')) >= 0",
        f"{field} must be at least {least}: {why}",
        f".{field}",
    )


NODE_CPU_MIN = millicores(NODE_CORES_MIN)
_NODE_M = round(NODE_CORES_MIN * 1000)
_SLOW, _POOR = "with less a node takes minutes to start", "with less a node hardly gets beyond accepting connections"
_NODES = "self.cells * self.nodesPerCell"
_SMALL_VOLUME = "an empty file system takes that"
_MAP_ROOM = f"{MAP_BYTES_MAX - MAP_CELLS_BYTES} / ({MAP_SERVER_BYTES} + 2 * self.metadata.name.size())"

# ---------------------------------------------------------------- fields that must fit each other

OF_TYPE: dict[type, tuple[Rule, ...]] = {
    Retry: (
        Rule(
            "self.minSeconds <= self.maxSeconds",
            _computed("minSeconds must be at most maxSeconds = {}", "self.maxSeconds"),
            ".minSeconds",
            computed=True,
        ),
    ),
    Renewal: (
        Rule(
            "2.0 * self.timeLimitSeconds < self.everySeconds",
            _computed(
                "everySeconds must be more than 2 × timeLimitSeconds = {} (the timing rule)",
                "2.0 * self.timeLimitSeconds",
            ),
            ".everySeconds",
            computed=True,
        ),
    ),
    CellCpu: (_at_least("startup", NODE_CPU_MIN, _SLOW),),
    Persistence: (_at_least("size", VOLUME_MIN, _SMALL_VOLUME),),
    Store: (_at_least("memory", STORE_MEMORY_MIN, "an empty Redis takes that"),),
    MetadataServiceSpec: (
        Rule(
            # Millicores, rounded, because 0.04 × 3 is no such number in floating point.
            "!isQuantity(self.cpu.total) ||"
            f" quantity(self.cpu.total).asApproximateFloat() * 1000.0 + 0.5 >= double({_NODE_M} * {_NODES})",
            _computed(
                f"total must be at least {{}}m: {NODE_CPU_MIN} a node, cells × nodesPerCell = {{}} of them",
                f"{_NODE_M} * {_NODES}",
                _NODES,
            ),
            ".cpu.total",
            computed=True,
        ),
    ),
    MetadataCellSpec: (
        _at_least("cpuPerNode", NODE_CPU_MIN, _POOR),
        _at_least("startupCpu", NODE_CPU_MIN, _SLOW),
    ),
    Population: (
        Rule(
            "self.largeShare + self.midShare <= 1.0",
            "largeShare and midShare must be at most 1 together",
            ".midShare",
        ),
    ),
    Volume: (
        _at_least("size", VOLUME_MIN, _SMALL_VOLUME, optional=True),
        Rule(
            "!has(self.storageClassName) || has(self.size)",
            "storageClassName is of no use without size: give a size, or leave it out to keep files with the pod",
            ".storageClassName",
        ),
    ),
    StorageFleetSpec: (
        Rule(
            "self.groupServers >= self.zones",
            _computed("groupServers must be at least zones = {}: a group has servers in every zone", "self.zones"),
            ".groupServers",
            computed=True,
        ),
        Rule(
            "self.groupServers < 1 || self.servers % self.groupServers == 0",
            _computed(
                "servers must be a multiple of groupServers = {}, for example {}",
                "self.groupServers",
                "(self.servers < self.groupServers ? 1 : self.servers / self.groupServers) * self.groupServers",
            ),
            ".servers",
            computed=True,
        ),
        _at_least("memory", POD_MEMORY_MIN, "a pod with less is killed while it starts"),
    ),
}

_LOW_FIRST = Rule("self.size() != 2 || self[0] <= self[1]", "the lowest multiple must stand first, the highest second")

AT_FIELD: dict[type, dict[str, tuple[Rule, ...]]] = {
    Population: dict.fromkeys(("large_range", "mid_range", "small_range"), (_LOW_FIRST,)),
    Store: {"replicas": (Rule("self == 1", "replicas must be 1 until fail-over with fencing exists"),)},
    StorageFleetSpec: {
        "zones": (Rule("self == 3", "zones must be 3: a partition has three replicas in three zones"),),
    },
}

# ---------------------------------------------------------------- fields that cannot change

_FILLED = "the stores are filled by it; create another service instead"
_DEALT = "servers are dealt to metadata partitions once; create another service instead"
_CLAIMED = "volumes are claimed once; create another service instead"
_MOVED = "data would have to move; create another fleet instead"

FIXED: dict[type, dict[str, str]] = {
    MetadataServiceSpec: {"seed": _FILLED, "placement": _FILLED, "shuffle_cells": _FILLED, "partitions": _DEALT},
    Store: {"persistence": _CLAIMED},
    MetadataCellSpec: {
        "service": "a cell belongs to the service that made it",
        "cell": "it is the cell's name in maps and histories",
        "partitions": _DEALT,
    },
    StorageFleetSpec: {
        "service": "its stores know the fleet; create another fleet instead",
        "servers": "a fleet does not grow in this version; create another service and fleet instead",
        "servers_per_pod": _MOVED,
        "group_servers": _MOVED,
        "population": _FILLED,
        "storage": "volumes are claimed once; create another fleet instead",
    },
}

# ---------------------------------------------------------------- names, at the root of an object


def _name(longest: int, after: str) -> tuple[Rule, ...]:
    return (
        Rule(
            f"self.metadata.name.size() <= {longest}",
            f"metadata.name must have at most {longest} characters: {after}",
        ),
        Rule(
            f"self.metadata.name.matches(r'{NAME_PATTERN}')",
            "metadata.name must be lower-case letters, digits and hyphens, a letter first, no hyphen last:"
            " Services are called after it",
        ),
    )


OF_OBJECT: dict[type, tuple[Rule, ...]] = {
    MetadataServiceSpec: _name(SERVICE_NAME_MAX, "its cells' StatefulSets are called after it"),
    MetadataCellSpec: (
        Rule(
            f"self.metadata.name == {_computed('{}-cell-{}', 'self.spec.service', 'self.spec.cell')}",
            _computed(
                "metadata.name must be {}-cell-{}: cells are made by their MetadataService, not by hand",
                "self.spec.service",
                "self.spec.cell",
            ),
            computed=True,
        ),
    ),
    StorageFleetSpec: (
        *_name(FLEET_NAME_MAX, "its StatefulSets are called after it"),
        Rule(
            f"self.spec.servers <= {_MAP_ROOM}",
            _computed(
                "servers must be at most {} in a fleet of this name: a map of them all must fit a ConfigMap of 1 MiB",
                _MAP_ROOM,
            ),
            ".spec.servers",
            computed=True,
        ),
    ),
}

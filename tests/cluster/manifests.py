"""Manifests that the API server must refuse, with what its answer must say; and some that it must take.

Each is a minimal change of a valid manifest. ``by`` says what refuses it: "schema" (types and bounds, which
tests/operator/test_crds_manifests.py checks without a cluster), "unknown" (a field that does not exist) or "rule" (CEL,
which only a server evaluates; tests/cluster/test_invalid.py). A `Change` is refused as a change of what exists.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import msgspec

from cellwall.resources import (
    API_VERSION,
    CellCpu,
    MetadataCellSpec,
    MetadataServiceSpec,
    Persistence,
    Population,
    Reentry,
    Renewal,
    StorageFleetSpec,
    Store,
    Volume,
)

Manifest = dict[str, Any]
Fields = dict[str, Any]  # by dotted path
ABSENT = object()

SERVICE, CELL, FLEET = "MetadataService", "MetadataCell", "StorageFleet"


def manifest(kind: str, name: str, spec: Fields) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


BASE: dict[str, Manifest] = {
    SERVICE: manifest(SERVICE, "world", {}),
    CELL: manifest(CELL, "world-cell-0", {"service": "world", "cell": 0}),
    FLEET: manifest(FLEET, "world", {"service": "world"}),
}


class Invalid(NamedTuple):
    id: str
    kind: str
    by: str
    fields: Fields
    answer: str  # a regular expression found in the server's answer


class Change(NamedTuple):
    """``before`` exists already, made of the base by these fields."""

    id: str
    kind: str
    before: Fields
    fields: Fields
    answer: str


def changed(base: Manifest, fields: Fields) -> Manifest:
    """``base`` with fields set by their dotted path; `ABSENT` takes one away."""
    made = copy.deepcopy(base)
    for path, value in fields.items():
        *parents, last = path.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return made


CPU = r"must be cores with at most three decimals \(0\.4\) or whole millicores \(400m\)"
SIZE = r"must be a quantity of bytes in Ki, Mi, Gi or Ti, for example 1Gi"
LABEL = r"must be lower-case letters, digits and hyphens, a letter first, no hyphen last"

INVALID = [
    # ---------------------------------------------------------------- MetadataService
    Invalid("no spec", SERVICE, "schema", {"spec": ABSENT}, r"spec: Required value"),
    Invalid("no cells at all", SERVICE, "schema", {"spec.cells": 0}, r"spec\.cells .* greater than or equal to 1"),
    Invalid("too many cells", SERVICE, "schema", {"spec.cells": 65}, r"spec\.cells .* less than or equal to 64"),
    Invalid("cells in words", SERVICE, "schema", {"spec.cells": "four"}, r"spec\.cells .* must be of type integer"),
    Invalid("one cell and a half", SERVICE, "schema", {"spec.cells": 1.5}, r"spec\.cells .* must be of type integer"),
    Invalid("unknown field", SERVICE, "unknown", {"spec.cels": 4}, r'unknown field "spec\.cels"'),
    Invalid("unknown deep field", SERVICE, "unknown", {"spec.queue.lane": "own"}, r'unknown field "spec\.queue\.lane"'),
    Invalid("no nodes", SERVICE, "schema", {"spec.nodesPerCell": 0}, r"nodesPerCell .* greater than or equal to 1"),
    Invalid(
        "too many nodes", SERVICE, "schema", {"spec.nodesPerCell": 33}, r"nodesPerCell .* less than or equal to 32"
    ),
    Invalid("cpu in words", SERVICE, "schema", {"spec.cpu.total": "half"}, CPU),
    Invalid("cpu below a millicore", SERVICE, "schema", {"spec.cpu.total": "0.4567"}, CPU),
    Invalid("cpu as a number", SERVICE, "schema", {"spec.cpu.total": 1}, r"cpu\.total .* must be of type string"),
    Invalid("cpu too long", SERVICE, "schema", {"spec.cpu.total": "1" * 17}, r"cpu\.total: Too long"),
    Invalid("too little cpu", SERVICE, "rule", {"spec.cpu.total": "30m"}, r"spec\.cpu\.total.* at least 40m"),
    Invalid(
        "too little cpu for four cells",
        SERVICE,
        "rule",
        {"spec.cells": 4, "spec.cpu.total": "0.159"},
        r"total must be at least 160m: 40m a node, cells × nodesPerCell = 4 of them",
    ),
    Invalid(
        "too little cpu for three nodes a cell",
        SERVICE,
        "rule",
        {"spec.cells": 4, "spec.nodesPerCell": 3},
        r"total must be at least 480m: .* = 12 of them",
    ),
    Invalid("too slow a start", SERVICE, "rule", {"spec.cpu.startup": "10m"}, r"startup must be at least 40m"),
    Invalid("start-up cpu in words", SERVICE, "schema", {"spec.cpu.startup": "1 core"}, CPU),
    Invalid(
        "unknown placement",
        SERVICE,
        "schema",
        {"spec.placement": "spread"},
        r'spec\.placement: Unsupported value: "spread": supported values: "aligned", "shuffle", "striped"',
    ),
    Invalid("shuffled over none", SERVICE, "schema", {"spec.shuffleCells": 0}, r"shuffleCells .* or equal to 1"),
    Invalid("no partitions", SERVICE, "schema", {"spec.partitions": 0}, r"partitions .* greater than or equal to 1"),
    Invalid("many partitions", SERVICE, "schema", {"spec.partitions": 257}, r"partitions .* less than or equal to 256"),
    Invalid(
        "renewals as often as their limit allows none",
        SERVICE,
        "rule",
        {"spec.renewal.everySeconds": 4},
        r"everySeconds must be more than 2 × timeLimitSeconds = 4 \(the timing rule\)",
    ),
    Invalid(
        "a time limit of half the period",
        SERVICE,
        "rule",
        {"spec.renewal.timeLimitSeconds": 10},
        r"spec\.renewal\.everySeconds.* more than 2 × timeLimitSeconds = 20",
    ),
    Invalid("never renews", SERVICE, "schema", {"spec.renewal.everySeconds": 0}, r"everySeconds .* greater than 0"),
    Invalid("a period with a unit", SERVICE, "schema", {"spec.renewal.everySeconds": "20s"}, r"must be of type number"),
    Invalid("jitter of all", SERVICE, "schema", {"spec.renewal.jitterRatio": 1}, r"jitterRatio .* less than 1"),
    Invalid("negative jitter", SERVICE, "schema", {"spec.renewal.jitterRatio": -0.1}, r"greater than or equal to 0"),
    Invalid(
        "retry waits the wrong way round",
        SERVICE,
        "rule",
        {"spec.renewal.retry.minSeconds": 0.5},
        r"renewal\.retry\.minSeconds.* must be at most maxSeconds = 0\.45",
    ),
    Invalid("no retry wait", SERVICE, "schema", {"spec.renewal.retry.minSeconds": 0}, r"minSeconds .* greater than 0"),
    Invalid(
        "unknown discipline",
        SERVICE,
        "schema",
        {"spec.queue.discipline": "random"},
        r'supported values: "fifo", "lifo", "processor-sharing"',
    ),
    Invalid("serves nobody", SERVICE, "schema", {"spec.queue.concurrency": 0}, r"concurrency .* or equal to 1"),
    Invalid("empty pages", SERVICE, "schema", {"spec.queue.pageRecords": 0}, r"pageRecords .* or equal to 1"),
    Invalid("no slots", SERVICE, "schema", {"spec.queue.slotsPerPartition": 0}, r"slotsPerPartition .* or equal to 1"),
    Invalid("unknown lane", SERVICE, "schema", {"spec.queue.adminLane": "fast"}, r'supported values: "own", "shared"'),
    Invalid("yes for true", SERVICE, "schema", {"spec.queue.dropAbandoned": "yes"}, r"must be of type boolean"),
    Invalid("unknown encoding", SERVICE, "schema", {"spec.encoding": "msgpack"}, r'supported values: "json"'),
    Invalid(
        "a second store",
        SERVICE,
        "schema",
        {"spec.store.replicas": 3},
        r"store\.replicas.* must be 1 until fail-over with fencing exists",
    ),
    Invalid("no store", SERVICE, "schema", {"spec.store.replicas": 0}, r"replicas must be 1"),
    Invalid("memory in kilobytes", SERVICE, "schema", {"spec.store.memory": "256000k"}, SIZE),
    Invalid("too little memory", SERVICE, "rule", {"spec.store.memory": "1Mi"}, r"memory must be at least 16Mi"),
    Invalid("a volume in GB", SERVICE, "schema", {"spec.store.persistence.size": "1GB"}, SIZE),
    Invalid("a tiny volume", SERVICE, "rule", {"spec.store.persistence.size": "1Ki"}, r"size must be at least 16Mi"),
    Invalid(
        "a class without a name",
        SERVICE,
        "schema",
        {"spec.store.persistence.storageClassName": ""},
        r"storageClassName .* at least 1 chars",
    ),
    Invalid(
        "an image without a name", SERVICE, "schema", {"spec.store.image": ""}, r"store\.image .* at least 1 chars"
    ),
    Invalid("paused in words", SERVICE, "schema", {"spec.paused": "true"}, r"spec\.paused .* must be of type boolean"),
    Invalid(
        "a re-entry before now", SERVICE, "schema", {"spec.reentry.overSeconds": -1}, r"greater than or equal to 0"
    ),
    Invalid("a negative seed", SERVICE, "schema", {"spec.seed": -1}, r"spec\.seed .* greater than or equal to 0"),
    Invalid("a seed that JSON rounds", SERVICE, "schema", {"spec.seed": 2**53}, r"spec\.seed .* less than or equal to"),
    Invalid("a list for a spec", SERVICE, "schema", {"spec": [1]}, r"spec .* must be of type object"),
    Invalid("a long name", SERVICE, "rule", {"metadata.name": "w" * 39}, r"metadata\.name must have at most 38 char"),
    Invalid("a name with a dot", SERVICE, "rule", {"metadata.name": "my.world"}, f"metadata.name {LABEL}"),
    Invalid("a name with a digit first", SERVICE, "rule", {"metadata.name": "2015"}, f"metadata.name {LABEL}"),
    # ---------------------------------------------------------------- MetadataCell
    Invalid("a cell of nobody", CELL, "schema", {"spec.service": ABSENT}, r"spec\.service: Required value"),
    Invalid("a cell without number", CELL, "schema", {"spec.cell": ABSENT}, r"spec\.cell: Required value"),
    Invalid("a cell before the first", CELL, "schema", {"spec.cell": -1}, r"spec\.cell .* greater than or equal to 0"),
    Invalid("a cell after the last", CELL, "schema", {"spec.cell": 64}, r"spec\.cell .* less than or equal to 63"),
    Invalid(
        "a cell of another name",
        CELL,
        "rule",
        {"metadata.name": "cell-0"},
        r"metadata\.name must be world-cell-0: cells are made by their MetadataService, not by hand",
    ),
    Invalid("a cell of another number", CELL, "rule", {"spec.cell": 1}, r"metadata\.name must be world-cell-1"),
    Invalid("a service in capitals", CELL, "schema", {"spec.service": "World"}, LABEL),
    Invalid("a cell without nodes", CELL, "schema", {"spec.nodes": 0}, r"spec\.nodes .* greater than or equal to 1"),
    Invalid("a cell of many nodes", CELL, "schema", {"spec.nodes": 33}, r"spec\.nodes .* less than or equal to 32"),
    Invalid("replicas of a cell", CELL, "unknown", {"spec.replicas": 2}, r'unknown field "spec\.replicas"'),
    Invalid("a starved node", CELL, "rule", {"spec.cpuPerNode": "39m"}, r"cpuPerNode must be at least 40m"),
    Invalid("a node's cpu in words", CELL, "schema", {"spec.cpuPerNode": "all"}, CPU),
    Invalid("a node that never starts", CELL, "rule", {"spec.startupCpu": "0"}, r"startupCpu must be at least 40m"),
    Invalid("no time at all", CELL, "schema", {"spec.timeLimitSeconds": 0}, r"timeLimitSeconds .* greater than 0"),
    # ---------------------------------------------------------------- StorageFleet
    Invalid("a fleet of nobody", FLEET, "schema", {"spec.service": ABSENT}, r"spec\.service: Required value"),
    Invalid("a long service", FLEET, "schema", {"spec.service": "w" * 39}, r"spec\.service: Too long"),
    Invalid("two servers", FLEET, "schema", {"spec.servers": 2}, r"spec\.servers .* greater than or equal to 3"),
    Invalid("half a group", FLEET, "rule", {"spec.servers": 20}, r"multiple of groupServers = 25, for example 25"),
    Invalid(
        "a group that is not whole",
        FLEET,
        "rule",
        {"spec.servers": 801},
        r"spec\.servers.* must be a multiple of groupServers = 25, for example 800",
    ),
    Invalid(
        "more servers than a map holds",
        FLEET,
        "rule",
        {"spec.servers": 7000},
        r"servers must be at most 6553 in a fleet of this name: .* ConfigMap",
    ),
    Invalid("ever more servers", FLEET, "schema", {"spec.servers": 10025}, r"less than or equal to 10000"),
    Invalid("two zones", FLEET, "schema", {"spec.zones": 2}, r"zones must be 3: .* three replicas in three zones"),
    Invalid("four zones", FLEET, "schema", {"spec.zones": 4}, r"zones must be 3"),
    Invalid(
        "a group in two zones",
        FLEET,
        "schema",
        {"spec.groupServers": 2, "spec.servers": 800},
        r"groupServers must be at least zones = 3: a group has servers in every zone",
    ),
    Invalid("empty pods", FLEET, "schema", {"spec.serversPerPod": 0}, r"serversPerPod .* greater than or equal to 1"),
    Invalid(
        "crowded pods", FLEET, "schema", {"spec.serversPerPod": 401}, r"serversPerPod .* less than or equal to 400"
    ),
    Invalid("more than all", FLEET, "schema", {"spec.population.largeShare": 1.1}, r"less than or equal to 1"),
    Invalid(
        "shares beyond all",
        FLEET,
        "rule",
        {"spec.population.largeShare": 0.7, "spec.population.midShare": 0.4},
        r"population\.midShare.* largeShare and midShare must be at most 1 together",
    ),
    Invalid(
        "a range the wrong way round",
        FLEET,
        "rule",
        {"spec.population.largeRange": [1.3, 0.7]},
        r"largeRange.* the lowest multiple must stand first",
    ),
    Invalid("a range of one", FLEET, "schema", {"spec.population.midRange": [1]}, r"midRange .* at least 2 items"),
    Invalid("a range of three", FLEET, "schema", {"spec.population.midRange": [1, 2, 3]}, r"midRange: Too many"),
    Invalid("a range from zero", FLEET, "schema", {"spec.population.smallRange": [0, 1]}, r"smallRange.* than 0"),
    Invalid("empty memberships", FLEET, "schema", {"spec.population.largeRecords": 0}, r"largeRecords .* equal to 1"),
    Invalid("no customers", FLEET, "schema", {"spec.population.customersPerGroup": 0}, r"PerGroup .* equal to 1"),
    Invalid("indexes in words", FLEET, "schema", {"spec.population.indexes": "no"}, r"must be of type boolean"),
    Invalid(
        "a fleet's own timing",
        FLEET,
        "rule",
        {"spec.renewal": {"everySeconds": 3, "timeLimitSeconds": 1.5}},
        r"everySeconds must be more than 2 × timeLimitSeconds = 3",
    ),
    Invalid("a disk in GB", FLEET, "schema", {"spec.storage.size": "10G"}, SIZE),
    Invalid("a tiny disk", FLEET, "rule", {"spec.storage.size": "1Mi"}, r"size must be at least 16Mi"),
    Invalid(
        "a class without a size",
        FLEET,
        "rule",
        {"spec.storage.storageClassName": "fast"},
        r"storageClassName is of no use without size: give a size",
    ),
    Invalid("a small pod", FLEET, "rule", {"spec.memory": "32Mi"}, r"memory must be at least 64Mi"),
    Invalid("a long fleet", FLEET, "rule", {"metadata.name": "f" * 51}, r"metadata\.name must have at most 50 char"),
    Invalid("a fleet with a digit first", FLEET, "rule", {"metadata.name": "9lives"}, f"metadata.name {LABEL}"),
]

ANEW = "create another service instead"

CHANGES = [
    Change("another seed", SERVICE, {}, {"spec.seed": 2}, f"seed cannot be changed: .*{ANEW}"),
    Change("another placement", SERVICE, {}, {"spec.placement": "striped"}, f"placement cannot be changed: .*{ANEW}"),
    Change("wider shuffle", SERVICE, {}, {"spec.shuffleCells": 3}, f"shuffleCells cannot be changed: .*{ANEW}"),
    Change("finer partitions", SERVICE, {}, {"spec.partitions": 32}, f"partitions cannot be changed: .*{ANEW}"),
    Change(
        "the volume away",
        SERVICE,
        {},
        {"spec.store.persistence.enabled": False},
        f"store.persistence.* persistence cannot be changed: volumes are claimed once; {ANEW}",
    ),
    Change(
        "a larger volume",
        SERVICE,
        {},
        {"spec.store.persistence.size": "2Gi"},
        r"persistence cannot be changed: volumes",
    ),
    Change(
        "a class for the volume",
        SERVICE,
        {},
        {"spec.store.persistence.storageClassName": "fast"},
        r"persistence cannot be changed: volumes",
    ),
    Change(
        "no class for the volume",
        SERVICE,
        {"spec.store.persistence.storageClassName": "fast"},
        {"spec.store.persistence.storageClassName": None},
        r"persistence cannot be changed: volumes",
    ),
    Change("another service", CELL, {}, {"spec.service": "other"}, r"service cannot be changed: a cell belongs to"),
    Change("another number", CELL, {}, {"spec.cell": 1}, r"cell cannot be changed: it is the cell's name in maps"),
    Change("finer partitions of a cell", CELL, {}, {"spec.partitions": 32}, r"partitions cannot be changed"),
    Change("a cell's volume", CELL, {}, {"spec.store.persistence.size": "2Gi"}, r"persistence cannot be changed"),
    Change("a fleet's service", FLEET, {}, {"spec.service": "other"}, r"service cannot be changed: its stores know"),
    Change(
        "a larger fleet", FLEET, {}, {"spec.servers": 825}, r"servers cannot be changed: .* not grow in this version"
    ),
    Change(
        "fuller pods", FLEET, {}, {"spec.serversPerPod": 34}, r"serversPerPod cannot be changed: data would have to"
    ),
    Change(
        "larger groups", FLEET, {}, {"spec.groupServers": 50}, r"groupServers cannot be changed: data would have to"
    ),
    Change(
        "another population", FLEET, {}, {"spec.population.indexes": False}, r"population cannot be changed: the stores"
    ),
    Change(
        "other sizes",
        FLEET,
        {},
        {"spec.population.largeRange": [0.8, 1.2]},
        r"population cannot be changed: the stores",
    ),
    Change("a disk for the fleet", FLEET, {}, {"spec.storage.size": "1Gi"}, r"storage cannot be changed: volumes"),
    Change(
        "no disk any more",
        FLEET,
        {"spec.storage.size": "1Gi"},
        {"spec.storage.size": None},
        r"storage cannot be changed",
    ),
]

# What must pass, by name; msgspec writes what it does not know as null, so these also hold nulls.
VALID: dict[str, Manifest] = {
    **{f"least {kind}": base for kind, base in BASE.items()},
    "whole MetadataService": manifest(SERVICE, "w" * 38, msgspec.to_builtins(MetadataServiceSpec())),
    "whole MetadataCell": manifest(
        CELL, "w" * 38 + "-cell-63", msgspec.to_builtins(MetadataCellSpec(service="w" * 38, cell=63))
    ),
    "whole StorageFleet": manifest(
        FLEET, "f" * 50, msgspec.to_builtins(StorageFleetSpec(service="world", renewal=Renewal()))
    ),
    "every option": manifest(
        SERVICE,
        "world-1",
        msgspec.to_builtins(
            MetadataServiceSpec(
                cells=4,
                nodes_per_cell=3,
                cpu=CellCpu(total="0.48", startup="40m"),
                store=Store(
                    image="cellwall/services:0.1.0", persistence=Persistence(size="16Mi", storage_class_name="standard")
                ),
                reentry=Reentry(over_seconds=0),
                seed=0,
            )
        ),
    ),
    "every option of a fleet": manifest(
        FLEET,
        "a",
        msgspec.to_builtins(
            StorageFleetSpec(
                service="world",
                servers=3,
                group_servers=3,
                population=Population(large_share=0.9, mid_share=0.1, large_range=[1, 1]),
                storage=Volume(size="1Gi", storage_class_name="standard"),
                memory="64Mi",
            )
        ),
    ),
    "nulls for defaults": changed(BASE[SERVICE], {"spec.cells": None, "spec.renewal": None}),
    "least cpu": changed(BASE[SERVICE], {"spec.cells": 4, "spec.cpu.total": "160m"}),
    "most servers": changed(BASE[FLEET], {"spec.servers": 6550}),
}

# Changes that must pass.
CHANGEABLE = [
    Change(
        "what a service may change",
        SERVICE,
        {},
        {
            "spec.cells": 4,
            "spec.nodesPerCell": 2,
            "spec.cpu.total": "800m",
            "spec.renewal.everySeconds": 30,
            "spec.queue.adminLane": "own",
            "spec.store.memory": "512Mi",
            "spec.paused": True,
            "spec.reentry.overSeconds": 60,
        },
        "",
    ),
    Change("what a cell may change", CELL, {}, {"spec.nodes": 3, "spec.cpuPerNode": "1", "spec.paused": True}, ""),
    Change("what a fleet may change", FLEET, {}, {"spec.renewal": {"everySeconds": 30}, "spec.memory": "256Mi"}, ""),
    Change("null where nothing was", FLEET, {}, {"spec.storage.size": None, "spec.renewal": None}, ""),
    Change("null for a class", SERVICE, {}, {"spec.store.persistence.storageClassName": None}, ""),
]

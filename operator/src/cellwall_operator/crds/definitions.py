"""The three CustomResourceDefinitions as plain values.

Decides names, columns and subresources; schemas and rules come from the types. Never talks to a cluster. Invariant:
`fingerprint` changes whenever a definition does, so an operator can tell the definitions it was built with from others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from cellwall.resources import GROUP, VERSION, MetadataCellSpec, MetadataServiceSpec, StorageFleetSpec
from cellwall.status import (
    CAPACITY_PENDING,
    READY,
    MetadataCellStatus,
    MetadataServiceStatus,
    StorageFleetStatus,
)

from .rules import OF_OBJECT
from .schema import struct_schema

FINGERPRINT = f"{GROUP}/schema"  # annotation
Column = tuple[str, str, str, str, int]  # name, type, JSON path, description, priority


@dataclass(frozen=True)
class Kind:
    kind: str
    plural: str
    short: str
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct]
    columns: tuple[Column, ...]
    scale: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """Of the definition."""
        return f"{self.plural}.{GROUP}"


def _condition(name: str, type_: str, description: str, field: str = "status", priority: int = 0) -> Column:
    return name, "string", f'.status.conditions[?(@.type=="{type_}")].{field}', description, priority


_READY = _condition("Ready", READY, "Whether all is well")
_AGE: Column = ("Age", "date", ".metadata.creationTimestamp", "Time since creation", 0)
_MESSAGE = _condition("Message", READY, "Why it is ready or not", "message", 1)

KINDS = (
    Kind(
        "MetadataService",
        "metadataservices",
        "mds",
        MetadataServiceSpec,
        MetadataServiceStatus,
        (
            _READY,
            ("Cells", "integer", ".status.cells", "Cells that exist", 0),
            ("Servers", "integer", ".status.servers", "Storage servers of the fleet", 0),
            ("Map", "integer", ".status.mapVersion", "Version of the published map", 0),
            ("Paused", "boolean", ".spec.paused", "Whether renewals are to be refused", 0),
            _AGE,
            ("CPU", "string", ".spec.cpu.total", "CPU limit of all nodes together", 1),
            _MESSAGE,
        ),
    ),
    Kind(
        "MetadataCell",
        "metadatacells",
        "mdc",
        MetadataCellSpec,
        MetadataCellStatus,
        (
            _READY,
            ("Nodes", "integer", ".spec.nodes", "Nodes wanted", 0),
            ("Joined", "integer", ".status.nodes", "Nodes that have joined", 0),
            _condition("Pending", CAPACITY_PENDING, "Whether capacity was asked for and has not joined"),
            ("Headroom", "integer", ".status.headroom.percent", "Percent of the time limit left", 0),
            ("Paused", "boolean", ".status.paused", "Whether renewals are refused", 0),
            _AGE,
            ("Servers", "integer", ".status.servers", "Storage servers of the cell", 1),
            ("CPU", "string", ".spec.cpuPerNode", "CPU limit of a node", 1),
            ("Attempts", "integer", ".status.capacity.attempts", "Attempts to add capacity", 1),
            _MESSAGE,
        ),
        {
            "specReplicasPath": ".spec.nodes",
            "statusReplicasPath": ".status.nodes",
            "labelSelectorPath": ".status.selector",
        },
    ),
    Kind(
        "StorageFleet",
        "storagefleets",
        "sf",
        StorageFleetSpec,
        StorageFleetStatus,
        (
            _READY,
            ("Servers", "integer", ".status.servers", "Storage servers", 0),
            ("Out", "integer", ".status.serversOut", "Servers that refuse customers' requests", 0),
            ("Pods", "integer", ".status.podsReady", "Storage pods that are ready", 0),
            _AGE,
            ("Service", "string", ".spec.service", "MetadataService that serves the fleet", 1),
            _MESSAGE,
        ),
    ),
)


def definition(kind: Kind) -> dict[str, Any]:
    """The object, complete but for annotations and labels."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}, **({"scale": kind.scale} if kind.scale else {})},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": _object_schema(kind)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["cellwall"],
            },
            "versions": [version],
        },
    }


def fingerprint(kind: Kind) -> str:
    """A short hash of the definition's spec, written on it as `FINGERPRINT`."""
    return hashlib.sha256(msgspec.json.encode(definition(kind)["spec"])).hexdigest()[:16]


def _object_schema(kind: Kind) -> dict[str, Any]:
    return {
        "description": struct_schema(kind.spec, defaults=True)["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": "Version of the schema of this object", "type": "string"},
            "kind": {"description": "Kind of this object", "type": "string"},
            "metadata": {"type": "object"},  # the server explains it
            "spec": {**struct_schema(kind.spec, defaults=True), "description": "What is wanted"},
            "status": struct_schema(kind.status, defaults=False),
        },
        "x-kubernetes-validations": [rule.written() for rule in OF_OBJECT[kind.spec]],
    }


def _column(column: Column) -> dict[str, Any]:
    name, type_, path, description, priority = column
    shown: dict[str, Any] = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return {**shown, "priority": priority} if priority else shown

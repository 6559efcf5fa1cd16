"""What all manifests share: names and labels on them, owners, security, quantities.

Decides that every pod is a restricted one (Pod Security Standards, "restricted") with a read-only root; never what
runs in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from cellwall.resources import API_VERSION, GROUP, SIZE_PATTERN, cores, millicores

from .. import names

Manifest = dict[str, Any]

UID = 10001  # of the images (cluster contract)
CPU_REQUEST = 0.05  # cores, or the limit if that is less: then resizing never changes the class of service (guess)
TMP = {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}
TMP_MOUNT = {"name": "tmp", "mountPath": "/tmp"}


class Owner(Protocol):
    """`objects.Resource`, as far as manifests need it."""

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...


def labels(service: str, component: str, **more: str) -> dict[str, str]:
    """``more``: cell, fleet, zone or follows, by the last part of the label's name."""
    return {
        names.NAME: "cellwall",
        names.PART_OF: "cellwall",
        names.INSTANCE: service,
        names.COMPONENT: component,
        names.MANAGED_BY: names.OPERATOR,
        names.SERVICE: service,
        **{f"{GROUP}/{key}": value for key, value in more.items()},
    }


def selector(service: str, component: str, **more: str) -> dict[str, str]:
    """The part of `labels` that tells these pods from all others. Selectors cannot be changed: keep it small."""
    return {
        names.COMPONENT: component,
        names.SERVICE: service,
        **{f"{GROUP}/{key}": value for key, value in more.items()},
    }


def manifest(
    api_version: str,
    kind: str,
    name: str,
    owner: Owner,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    **fields: Any,
) -> Manifest:
    """An object that goes when its owner goes. Its hash is written on it, so that a field that is not wanted any more
    is a difference too (`drift` sees only what is wanted)."""
    meta: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "annotations": dict(annotations or {}),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    body = {"apiVersion": api_version, "kind": kind, "metadata": meta, **fields}
    meta["annotations"][names.MANIFEST] = digest(body)
    return body


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- pods

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": UID,
    "runAsGroup": UID,
    "fsGroup": UID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_NAME = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}


def template(labels: Mapping[str, str], annotations: Mapping[str, str], **spec: Any) -> Manifest:
    """A pod template: no token of the API (a cell never calls it) and the security of all."""
    return {
        "metadata": {"labels": dict(labels), **({"annotations": dict(annotations)} if annotations else {})},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": POD_SECURITY,
            **spec,
        },
    }


def spread(match: Mapping[str, str], *keys: str) -> list[Manifest]:
    """Evenly over each of these topologies, where there are any: a cluster of one zone must do too."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(match)},
        }
        for key in keys
    ]


ZONE_KEY, HOST_KEY = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def started(port: str, period_s: int, wait_s: int) -> Manifest:
    """Asks until the port answers once; given up after ``wait_s``, and kubelet starts the container again.

    Metadata nodes and storage pods have no liveness probe, and readiness only at start: a probe that kills starved
    nodes, or takes them out of service, would script the outage (design §2)."""
    return {
        "tcpSocket": {"port": port},
        "periodSeconds": period_s,
        "timeoutSeconds": 1,
        "failureThreshold": wait_s // period_s,
    }


# ---------------------------------------------------------------- quantities


def cpu(quantity: str) -> str:
    """A CPU quantity as the API server writes it: "1000m" -> "1", "0.4" -> "400m"."""
    value = round(cores(quantity) * 1000)
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def cpu_request(limit: str) -> str:
    return cpu(millicores(min(CPU_REQUEST, cores(limit))))


UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def size_bytes(size: str) -> int:
    """ "1Gi" -> 1073741824. Only what `resources.SIZE_PATTERN` allows."""
    assert re.fullmatch(SIZE_PATTERN, size), size
    return round(float(size[:-2]) * UNITS[size[-2:]])


def memory_request(limit: str, usual: str) -> str:
    return min(limit, usual, key=size_bytes)


def claim(size: str, storage_class_name: str | None) -> Manifest:
    """The template of a StatefulSet's volume "data"."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": size}},
    }
    if storage_class_name is not None:
        spec["storageClassName"] = storage_class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


# Volumes go with their pods: deleting leaves nothing.
CLAIMS_GO = {"whenDeleted": "Delete", "whenScaled": "Delete"}

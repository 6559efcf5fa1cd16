"""What things are called on a cluster: objects of a world, paths of the API, addresses of services.

Decides names only (the operator and the chart give them; this is what the backend may rely on). Invariant: every path
names a namespace of the backend's own, or reads what belongs to nobody.
"""

from __future__ import annotations

import re

from cellwall import labels
from cellwall.labels import ADMIN_PORT as ADMIN_PORT
from cellwall.labels import CELL as CELL
from cellwall.labels import COMPONENT as COMPONENT
from cellwall.labels import FORCE as FORCE
from cellwall.labels import JOINED as JOINED
from cellwall.labels import PART_OF as PART_OF
from cellwall.labels import RENEWAL_PORT as RENEWAL_PORT
from cellwall.labels import STORAGE_PORT as STORAGE_PORT
from cellwall.resources import API_VERSION

WORLD = "world"  # the MetadataService's name and the Helm release's: a namespace holds one world
RUN_LABEL = "cellwall.dev/run"
EXPIRES = "cellwall.dev/expires"  # annotation of a namespace: until when its run may last, UTC
NUDGE = "cellwall.dev/nudge"  # annotation of a pod; changing it makes its kubelet look at its volumes
LOAD_CONTROL, LOAD_CONTROL_KEY = f"{WORLD}-load-control", "load-control.json"
MAP, MAP_KEY = labels.cell_map(WORLD), "map.json"
FRONTEND_PORT = 8000
NAME_MAX = 63

NODES = "/api/v1/nodes"
NAMESPACES = "/api/v1/namespaces"


def namespace_of(arm: str, seed: int, number: int) -> str:
    """`cellwall-<arm>-<seed>-<short id>`: a DNS label, whatever the arm is called."""
    tail = f"-{seed}-{number % 36**4:04x}"[-20:]
    word = re.sub(r"[^a-z0-9]+", "-", arm.lower()).strip("-") or "arm"
    return f"cellwall-{word}"[: NAME_MAX - len(tail)].rstrip("-") + tail


def namespace(name: str) -> str:
    return f"{NAMESPACES}/{name}"


def core(ns: str, kind: str, name: str = "") -> str:
    """A path of the core group: pods, configmaps, services."""
    return f"{NAMESPACES}/{ns}/{kind}" + (f"/{name}" if name else "")


def custom(ns: str, kind: str, name: str = "") -> str:
    """A path of our own group: metadataservices, metadatacells, storagefleets."""
    return f"/apis/{API_VERSION}/namespaces/{ns}/{kind}" + (f"/{name}" if name else "")


def endpoint_slices(ns: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"


def crd(plural: str) -> str:
    return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{API_VERSION.partition('/')[0]}"


def cell(cell_id: str) -> str:
    """The MetadataCell of a cell, and the prefix of its objects: "cell-0" -> "world-cell-0"."""
    return f"{WORLD}-{cell_id}"


def renewal_service(cell_id: str) -> str:
    return labels.renewal(cell(cell_id))


def admin_service(cell_id: str) -> str:
    return labels.admin(cell(cell_id))


def pod(name: str, port: int) -> str:
    """An address for `proxy`."""
    return f"pods/{name}:{port}"


def service(name: str, port: int) -> str:
    return f"services/{name}:{port}"


def host_of(address: str) -> str:
    """The storage pod of an address in the cell map: "world-a-0.world:7000" -> "pods/world-a-0:7000"."""
    name, _, port = address.partition(":")
    return pod(name.partition(".")[0], int(port))

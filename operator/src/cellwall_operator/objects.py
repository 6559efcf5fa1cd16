"""What a plan sees: one metadata service with everything that belongs to it, as values.

Decides how objects of the API server are read into values, and keeps of pods only what plans need; never asks anybody
and never decides what to do. Invariant: whatever an object holds can be read, a spec that cannot is told in ``wrong``.

The acting part gives the bodies it watches to `read_resource`, `read_pod` and `trimmed`, adds what it asked running
processes (`Host`, `Statistics`, `Told`) and how attempts to join ended (`Joins`), and hands all of it over as
`Observed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from cellwall.moves import Holding
from cellwall.resources import API_VERSION, MetadataCellSpec, MetadataServiceSpec, StorageFleetSpec

from . import names

Body: TypeAlias = Mapping[str, Any]
S = TypeVar("S", MetadataServiceSpec, MetadataCellSpec, StorageFleetSpec)

# ---------------------------------------------------------------- the three custom resources


class Resource(msgspec.Struct, Generic[S], frozen=True):
    """``spec`` None: it cannot be read, and ``wrong`` says why. ``owner_uid``: of its controller, or ""."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    created_s: float
    deleting: bool
    spec: S | None
    wrong: str = ""
    status: Body = {}
    annotations: Mapping[str, str] = {}
    owner_uid: str = ""


Service: TypeAlias = Resource[MetadataServiceSpec]
Cell: TypeAlias = Resource[MetadataCellSpec]
Fleet: TypeAlias = Resource[StorageFleetSpec]


def read_resource(body: Body, kind: type[S]) -> Resource[S]:
    """A MetadataService, MetadataCell or StorageFleet as the API server has it. The body is kept nowhere."""
    meta = body["metadata"]
    try:
        spec, wrong = msgspec.convert(body.get("spec", {}), kind), ""
    except msgspec.ValidationError as error:
        spec, wrong = None, str(error)
    return Resource(
        kind=body.get("kind", kind.__name__.removesuffix("Spec")),
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        created_s=seconds(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        spec=spec,
        wrong=wrong,
        status=body.get("status") or {},
        annotations=meta.get("annotations") or {},
        owner_uid=next((o["uid"] for o in meta.get("ownerReferences") or () if o.get("controller")), ""),
    )


# ---------------------------------------------------------------- children and pods

Key: TypeAlias = tuple[str, str]  # (kind, name) in the service's namespace

# What plans apply, by kind. These are kept whole (but see `trimmed`): a plan compares them with what it would apply.
CHILD_KINDS: Mapping[str, str] = {
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "PodDisruptionBudget": "policy/v1",
}


def api_version(kind: str) -> str:
    return CHILD_KINDS.get(kind, API_VERSION)


def trimmed(body: Body) -> Body:
    """A child without what no plan reads and what changes by itself."""
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": meta}


class Pod(msgspec.Struct, frozen=True):
    """``started``: its container runs and has passed its startup probe. ``joined``: condition names.JOINED.
    ``cpu_limit``: of its container, as its spec says now ("" none). ``trouble``: why it does not start, as kubelet or
    the scheduler tells it ("" nothing known)."""

    name: str
    uid: str
    component: str
    cell: str = ""  # label names.CELL: "cell-0"
    zone: str = ""
    follows: bool = False
    ip: str = ""
    created_s: float = 0.0
    deleting: bool = False
    started: bool = False
    ready: bool = False
    joined: bool = False
    container: str = ""
    cpu_limit: str = ""
    nudged: int = 0  # annotation names.MAP_VERSION
    trouble: str = ""


def read_pod(body: Body) -> Pod:
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = meta.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    containers = spec.get("containers") or [{}]
    states = status.get("containerStatuses") or ()
    nudged = (meta.get("annotations") or {}).get(names.MAP_VERSION, "")
    return Pod(
        name=meta["name"],
        uid=meta.get("uid", ""),
        component=labels.get(names.COMPONENT, ""),
        cell=labels.get(names.CELL, ""),
        zone=labels.get(names.ZONE, ""),
        follows=names.FOLLOWS in labels,
        ip=status.get("podIP", ""),
        created_s=seconds(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        started=bool(states) and all(state.get("started") for state in states),
        ready=conditions.get("Ready", {}).get("status") == "True",
        joined=conditions.get(names.JOINED, {}).get("status") == "True",
        container=containers[0].get("name", ""),
        cpu_limit=str(((containers[0].get("resources") or {}).get("limits") or {}).get("cpu", "")),
        nudged=int(nudged) if nudged.isdecimal() else 0,
        trouble=_trouble(conditions.get("PodScheduled", {}), states),
    )


ORDINARY = {"ContainerCreating", "PodInitializing"}  # waiting reasons of any pod that starts


def _trouble(scheduled: Body, states: Iterable[Body]) -> str:
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}".rstrip(": ")
    for state in states:
        waiting = (state.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason", "") not in ORDINARY:
            last = (state.get("lastState") or {}).get("terminated") or {}
            ended = f"; it ended last with {last.get('reason', 'status')} {last.get('exitCode', '')}" if last else ""
            return f"{waiting.get('reason', 'waiting')}: {waiting.get('message', '')}".rstrip(": ") + ended.rstrip()
    return ""


# ---------------------------------------------------------------- what running processes told


class Host(msgspec.Struct, frozen=True):
    """A storage pod's last answers. ``map_version`` 0: it has none. Forgotten when the pod is another (uid)."""

    map_version: int
    servers: int
    servers_in: int


class Statistics(msgspec.Struct, frozen=True):
    """A cell's memberships, over all its nodes. ``largest``: the server with most records; ``retrieval_s``: how long
    its last retrieval took."""

    servers: int
    records: int
    largest: str
    largest_records: int
    retrieval_s: float


def statistics(answers: Iterable[Mapping[str, Body]]) -> Statistics | None:
    """Of the answers of a cell's nodes to GET /statistics: {server: {records, retrieval_s, at, …}}. A server that
    several nodes have served counts once, as of its last retrieval. None: nobody was served yet."""
    newest: dict[str, Body] = {}
    for answer in answers:
        for server, one in answer.items():
            if server not in newest or one["at"] > newest[server]["at"]:
                newest[server] = one
    if not newest:
        return None
    largest = max(newest, key=lambda server: (newest[server]["records"], server))
    return Statistics(
        servers=len(newest),
        records=sum(one["records"] for one in newest.values()),
        largest=largest,
        largest_records=newest[largest]["records"],
        retrieval_s=newest[largest]["retrieval_s"],
    )


class Attempt(msgspec.Struct, frozen=True):
    """How an attempt to join ended. ``outcome``: done | refused | unknown. ``at_s``: when (Unix seconds)."""

    pod: str
    pod_uid: str
    outcome: str
    took_s: float
    reason: str
    at_s: float


class Joins(msgspec.Struct, frozen=True):
    """A cell's attempts: the pod whose attempt runs now ("" none), and how the last one ended."""

    running: str = ""
    last: Attempt | None = None


class Told(msgspec.Struct, frozen=True):
    """What a cell has told of move ``move``. ``holding``: its last answer, at ``at_s``; ``trouble``: why the last step
    came to nothing, at ``trouble_s``; a look that succeeds leaves it. ``running``: one is under way. Kept by whoever
    asks, and may be lost."""

    move: int
    holding: Holding | None = None
    at_s: float = 0.0
    trouble: str = ""
    trouble_s: float = 0.0
    running: bool = False


# ---------------------------------------------------------------- all of it


class Installation(msgspec.Struct, frozen=True):
    """What holds for the whole cluster: ``can_resize``: pods can be resized in place (server 1.33 or newer).
    ``definitions``: those of the cluster that are not this operator's ("" all are, as far as it may read them)."""

    services_image: str
    pull_policy: str = "IfNotPresent"
    can_resize: bool = True
    definitions: str = ""


class Observed(msgspec.Struct, frozen=True):
    """One key: the MetadataService ``name`` in ``namespace``, the cells and fleets whose spec.service names it, the
    objects labelled names.SERVICE = name, and its pods by the same label (the front end's too)."""

    namespace: str
    name: str
    installation: Installation
    service: Service | None = None
    cells: tuple[Cell, ...] = ()
    fleets: tuple[Fleet, ...] = ()
    children: Mapping[Key, Body] = {}
    pods: tuple[Pod, ...] = ()
    joins: Mapping[str, Joins] = {}  # by the MetadataCell's name
    statistics: Mapping[str, Statistics] = {}  # by the MetadataCell's name
    hosts: Mapping[str, Host] = {}  # by pod
    told: Mapping[str, Told] = {}  # by the MetadataCell's name: the two cells of a move
    refused: Mapping[str, str] = {}  # by track: what the API server would not have of the last plan


def seconds(timestamp: str | None) -> float:
    """ "2026-11-23T01:00:00Z" in Unix seconds; 0 for none."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0

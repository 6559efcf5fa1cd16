"""A small cluster for plans to act on: an API server's memory, and the controllers and processes that matter to them.

Carries out actions one at a time, so that a test may stop after any of them; checks what must hold at every one of
them. Nothing happens by itself but in `settle` (controllers) and `wait` (time).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec

from cellwall.model import CellMap
from cellwall.resources import MetadataCellSpec, MetadataServiceSpec, StorageFleetSpec
from cellwall_operator import names
from cellwall_operator.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Event,
    GroupStep,
    Join,
    MarkJoined,
    Merge,
    Nudge,
    Plan,
    Resize,
    Status,
)
from cellwall_operator.conditions import timestamp
from cellwall_operator.manifests import cellmap
from cellwall_operator.objects import (
    CHILD_KINDS,
    Attempt,
    Host,
    Installation,
    Joins,
    Observed,
    Statistics,
    Told,
    read_pod,
    read_resource,
)
from cellwall_operator.plan.cell import GRACE_S
from cellwall_operator.plan.whole import plan

from .group_world import Stores

SPECS: Mapping[str, Any] = {
    "MetadataService": MetadataServiceSpec,
    "MetadataCell": MetadataCellSpec,
    "StorageFleet": StorageFleetSpec,
}
START_S = 1_800_000_000.0


class Cluster:
    """``service`` and ``fleet``: specs as a user writes them (camelCase, defaults left out)."""

    def __init__(
        self, service: Mapping[str, Any] | None, fleet: Mapping[str, Any] | None, *, can_resize: bool = True
    ) -> None:
        self.now_s = START_S
        self.installation = Installation("cellwall/services:test", can_resize=can_resize)
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.hosts: dict[str, Host] = {}
        self.statistics: dict[str, Statistics] = {}
        self.joins: dict[str, Joins] = {}
        self.told: dict[str, Told] = {}
        self.stores: Stores | None = None  # of cells, once somebody asks
        self.overloaded: set[str] = set()  # cells where attempts to join time out
        self.stopped: set[str] = set()  # pods, by prefix, that do not start
        self.backwards = False  # tracks are carried out side by side: the last one may be the first
        self.refused: dict[str, str] = {}
        self.versions = 0
        self.changes = 0  # by controllers
        self.writes: list[Action] = []
        self.maps: dict[int, CellMap] = {}
        self.events: list[Event] = []
        if service is not None:
            self.put("MetadataService", "world", service)
        if fleet is not None:
            self.put("StorageFleet", "world", {"service": "world", **fleet})

    # ------------------------------------------------------------ the API server

    def put(self, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What a user does."""
        body = self.objects.get((kind, name))
        if body is None:
            return self._store({"kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(dict(spec))})
        body["spec"] = copy.deepcopy(dict(spec))
        body["metadata"]["generation"] += 1
        return body

    def delete(self, kind: str, name: str) -> None:
        """With everything that it owns."""
        body = self.objects.pop((kind, name), None)
        if body is None:
            return
        for key, other in list(self.objects.items()):
            owners = other["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == body["metadata"]["uid"] for owner in owners):
                self.delete(*key)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.versions += 1
        meta = body["metadata"]
        meta.setdefault("namespace", "default")
        meta.setdefault("uid", f"uid-{self.versions}")
        meta.setdefault("generation", 1)
        meta.setdefault("creationTimestamp", timestamp(self.now_s))
        meta["resourceVersion"] = str(self.versions)
        if body["kind"] == "Service" and body["spec"].get("clusterIP") != "None":
            body["spec"].setdefault("clusterIP", f"10.0.{self.versions // 250}.{self.versions % 250}")
        self.objects[body["kind"], meta["name"]] = body
        return body

    def _apply(self, action: Apply) -> None:
        """Server-side apply: what an earlier apply had and this one has not goes; what others wrote stays."""
        wanted = msgspec.json.decode(msgspec.json.encode(action.manifest))
        live = self.objects.get((wanted["kind"], wanted["metadata"]["name"]))
        if live is None:
            assert not action.resource_version
            self._store({**wanted, "_applied": copy.deepcopy(wanted)})
            return
        if action.resource_version and action.resource_version != live["metadata"]["resourceVersion"]:
            raise AssertionError("a conflict, where nobody else writes")
        before = copy.deepcopy(live["spec"]) if "spec" in live else None
        _remove(live, live.get("_applied", {}), wanted)
        _merge(live, wanted)
        live["_applied"] = copy.deepcopy(wanted)
        if live.get("spec") != before:
            live["metadata"]["generation"] += 1
        self._store(live)

    # ------------------------------------------------------------ what a plan sees, and does

    def observe(self) -> Observed:
        bodies = list(self.objects.values())
        read = {
            kind: tuple(read_resource(body, spec) for body in bodies if body["kind"] == kind)
            for kind, spec in SPECS.items()
        }
        return Observed(
            namespace="default",
            name="world",
            installation=self.installation,
            service=next(iter(read["MetadataService"]), None),
            cells=read["MetadataCell"],
            fleets=read["StorageFleet"],
            children={(b["kind"], b["metadata"]["name"]): b for b in bodies if b["kind"] in CHILD_KINDS},
            pods=tuple(read_pod(body) for body in bodies if body["kind"] == "Pod"),
            joins=dict(self.joins),
            statistics=dict(self.statistics),
            hosts=dict(self.hosts),
            told=dict(self.told),
            refused=self.refused,
        )

    def plan(self) -> Plan:
        return plan(self.observe(), self.now_s)

    def do(self, action: Action) -> None:
        if not isinstance(action, Join | GroupStep):
            self.writes.append(action)
        match action:
            case Create(manifest):
                if (manifest["kind"], manifest["metadata"]["name"]) not in self.objects:
                    self._store(msgspec.json.decode(msgspec.json.encode(manifest)))
            case Apply():
                self._apply(action)
            case Merge(ref, patch):
                live = self.objects[ref.kind, ref.name]
                _merge(live, copy.deepcopy(dict(patch)))
                live["metadata"]["generation"] += 1
                self._store(live)
            case Delete(ref):
                self.delete(ref.kind, ref.name)
            case Status(ref, status):
                self.objects[ref.kind, ref.name]["status"] = msgspec.json.decode(msgspec.json.encode(status))
            case Join(cell, pod, uid):
                assert not self.joins.get(cell, Joins()).running, "one attempt at a time"
                outcome, why = ("unknown", "no answer in time") if cell in self.overloaded else ("done", "")
                self.joins[cell] = Joins(last=Attempt(pod, uid, outcome, 1.0, why, self.now_s))
            case GroupStep():
                self._step(action)
            case MarkJoined(pod):
                live = self.objects["Pod", pod]
                live["status"]["conditions"].append({"type": names.JOINED, "status": "True"})
            case Resize(pod, _, container, limit, _):
                (found,) = self.objects["Pod", pod]["spec"]["containers"]
                assert found["name"] == container
                found["resources"]["limits"]["cpu"] = limit
            case Nudge(pods, version):
                for pod in pods:
                    meta = self.objects["Pod", pod]["metadata"]
                    meta.setdefault("annotations", {})[names.MAP_VERSION] = str(version)
            case Event():
                self.events.append(action)
        self.check(action)

    def _step(self, step: GroupStep) -> None:
        before = self.told.get(step.cell)
        if step.cell in self.overloaded:
            kept = before if before is not None and before.move == step.request.move else Told(step.request.move)
            self.told[step.cell] = msgspec.structs.replace(kept, trouble="no answer in time", trouble_s=self.now_s)
            return
        moving = cellmap.read(self.objects["ConfigMap", "world-map"]).moving
        assert moving.move is not None and moving.move.number == step.request.move, "not remembered"
        cell = int(step.cell.rpartition("-")[2])
        stores = self.known_stores()
        self.told[step.cell] = stores.tell(before, cell, moving.move.source, step.verb, step.request, self.now_s)

    def known_stores(self) -> Stores:
        if self.stores is None:
            live = self.map
            assert live is not None
            groups = sorted({entry.group for entry in live.servers.values()})
            members = [[s for s, entry in live.servers.items() if entry.group == group] for group in groups]
            self.stores = Stores(members, self.cell_of)
        return self.stores

    @property
    def cell_of(self) -> list[int]:
        """By the published map, the cell number of each group."""
        live = self.map
        assert live is not None
        found = {entry.group: int(entry.cell.removeprefix("cell-")) for entry in live.servers.values()}
        return [found[group] for group in sorted(found)]

    def check(self, action: Action) -> None:
        """What must hold after every single action."""
        live = self.map
        if self.stores is not None and live is not None:
            self.stores.check(self.cell_of)
            served = {f"world-cell-{cell}" for cell in self.cell_of}
            assert not isinstance(action, Delete) or action.ref.name not in served, "a cell that serves was deleted"
        if live is not None:
            assert self.maps.setdefault(live.version, live) == live, "a published version was changed"
            assert live.version == max(self.maps), "versions only rise"
        if isinstance(action, Apply | Merge) and _kind(action) == "MetadataCell":
            body = action.manifest if isinstance(action, Apply) else action.patch
            assert "nodes" not in body["spec"], "whoever scales a cell owns its nodes"
        if isinstance(action, Apply) and action.manifest["metadata"]["name"].endswith("-renewal"):
            self._check_door(action.manifest)
        if isinstance(action, Apply) and action.manifest["kind"] == "StatefulSet" and self.let_in:
            self._check_zones(action.manifest["metadata"]["name"])
        if isinstance(action, MarkJoined) and action.reason == "FirstNode":
            cell = self.objects["Pod", action.pod]["metadata"]["labels"][names.CELL]
            assert not self.open(f"world-{cell}"), "a node that has just begun meets a storm"

    def _check_zones(self, changed: str) -> None:
        """No pod of another zone restarts for the sake of a change."""
        for (kind, name), body in self.objects.items():
            zone = kind == "StatefulSet" and "store" not in name and "store" not in changed and name != changed
            assert not zone or all(_is_of(pod, body) for pod in self.pods_of(name)), f"{name} restarts beside {changed}"

    def _check_door(self, manifest: Mapping[str, Any]) -> None:
        if names.PAUSED in manifest["spec"]["selector"]:
            return
        cell = manifest["metadata"]["name"].removesuffix("-renewal")
        assert not self.objects["MetadataService", "world"]["spec"].get("paused"), "the service is paused"
        assert not self.objects["MetadataCell", cell]["spec"].get("paused"), "the cell is paused"
        live = self.map
        assert live is not None
        entry = live.cells[cell.removeprefix("world-")]
        assert entry.reentry_over_s > 0 and self.now_s <= entry.reentry_from_s + GRACE_S, "nobody is paced"
        ready = [name for (kind, name), b in self.objects.items() if kind == "Pod" and _ready(b) and name in self.hosts]
        paced = all(self.paced(name, entry.id, entry.reentry_from_s) for name in ready)
        assert paced or self.now_s >= entry.reentry_from_s, "somebody does not follow, and its time has not come"

    def paced(self, pod: str, cell: str, from_s: float) -> bool:
        """Whether the map that this pod has is one that paces the cell so."""
        known = self.maps.get(self.hosts[pod].map_version)
        return known is not None and known.cells[cell].reentry_from_s == from_s

    # ------------------------------------------------------------ controllers, processes, time

    def settle(self) -> None:
        """Pods are made, removed and started as their sets ask for; jobs run; followers read the map."""
        for (kind, name), body in list(self.objects.items()):
            if kind == "StatefulSet":
                self._stateful(name, body)
            elif kind == "Deployment":
                self._deployed(name, body)
            elif kind == "Job":
                body["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        for (kind, _), body in self.objects.items():
            if kind == "Pod":
                self._run(body)

    def _stateful(self, name: str, body: dict[str, Any]) -> None:
        """Changed pods are replaced one at a time, once all are ready."""
        wanted = [f"{name}-{number}" for number in range(body["spec"]["replicas"])]
        for pod in wanted:
            if ("Pod", pod) not in self.objects:
                self._pod(pod, body)
        pods = self.pods_of(name)
        old = [pod for pod in pods if not _is_of(pod, body)]
        body["status"] = {
            "readyReplicas": sum(map(_ready, pods)),
            "observedGeneration": body["metadata"]["generation"],
            "updateRevision": "new",
            "currentRevision": "old" if old else "new",
        }
        if old and all(map(_ready, pods)):
            self.kill(old[-1]["metadata"]["name"])
            self._pod(old[-1]["metadata"]["name"], body)
            body["status"]["readyReplicas"] -= 1

    def _deployed(self, name: str, body: dict[str, Any]) -> None:
        """One pod more than wanted while they are replaced; an old one goes when there are enough that are ready."""
        wanted = body["spec"]["replicas"]
        pods = self.pods_of(name)
        new = [pod for pod in pods if _is_of(pod, body)]
        while len(new) < wanted and len(pods) < wanted + (len(new) < len(pods)):
            new.append(self._pod(f"{name}-{self.versions}", body))
            pods.append(new[-1])
        # The Deployment controller takes away first what is not ready, and the old ones.
        for pod in sorted(pods, key=lambda pod: (_ready(pod), pod in new)):
            left = [other for other in self.pods_of(name) if other is not pod]
            if (
                len(left) >= wanted
                and (not _ready(pod) or sum(map(_ready, left)) >= wanted)
                and pod not in new[:wanted]
            ):
                self.kill(pod["metadata"]["name"])

    def pods_of(self, name: str) -> list[dict[str, Any]]:
        return [body for (kind, pod), body in self.objects.items() if kind == "Pod" and _set_of(pod) == name]

    def _pod(self, name: str, owner: dict[str, Any]) -> dict[str, Any]:
        self.changes += 1
        template = copy.deepcopy(owner["spec"]["template"])
        meta = {**template["metadata"], "name": name}
        meta["ownerReferences"] = [{"uid": owner["metadata"]["uid"], "controller": True}]
        status: dict[str, Any] = {"conditions": []}
        body = {"kind": "Pod", "metadata": meta, "spec": template["spec"], "status": status}
        return self._store({**body, "_of": _digest(owner)})

    def _run(self, pod: dict[str, Any]) -> None:
        meta, status = pod["metadata"], pod["status"]
        if any(meta["name"].startswith(prefix) for prefix in self.stopped):
            return
        status["podIP"] = status.get("podIP") or f"10.1.0.{meta['uid'].removeprefix('uid-')}"
        status["containerStatuses"] = [{"started": True, "ready": True, "state": {"running": {}}}]
        gates = {gate["conditionType"] for gate in pod["spec"].get("readinessGates", ())}
        met = {condition["type"] for condition in status["conditions"] if condition["status"] == "True"}
        conditions = [c for c in status["conditions"] if c["type"] != "Ready"]
        ready = {"type": "Ready", "status": "True" if gates <= met else "False"}
        self.changes += ready not in status["conditions"]
        status["conditions"] = [*conditions, ready]
        config_map = self.objects.get(("ConfigMap", names.hosts(meta["labels"].get(names.FLEET, ""))))
        if meta["labels"][names.COMPONENT] == "storage" and config_map is not None:
            settings = config_map["data"]
            servers = msgspec.json.decode(settings[f"{meta['name']}.json"])["servers"]
            version = 0 if self.map is None else self.map.version
            self.hosts[meta["name"]] = Host(version, len(servers), len(servers))

    def kill(self, pod: str) -> None:
        self.changes += 1
        self.objects.pop(("Pod", pod), None)
        self.hosts.pop(pod, None)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def rest(self, rounds: int = 100) -> int:
        """Plans until one asks for nothing, with controllers in between; how many rounds it took."""
        for number in range(rounds):
            before = self.changes
            self.settle()
            made = self.plan()
            tracks = list(made.tracks.values())
            for track in reversed(tracks) if self.backwards else tracks:
                for action in track:
                    self.do(action)
            if not made.actions and made.look_again_s is None and self.changes == before:
                return number
            if not made.actions:
                self.wait(min(made.look_again_s or 0.5, 30.0))
        raise AssertionError(f"no rest: {self.plan().tracks}")

    # ------------------------------------------------------------ for asserts

    @property
    def map(self) -> CellMap | None:
        body = self.objects.get(("ConfigMap", "world-map"))
        if body is None or body["data"]["map.json"] == "{":  # spoilt by a foreign hand
            return None
        return msgspec.json.decode(body["data"]["map.json"], type=CellMap)

    @property
    def let_in(self) -> bool:
        body = self.objects.get(("ConfigMap", "world-map"), {"metadata": {}})
        return bool(body["metadata"].get("annotations", {}).get(names.LET_IN))

    def open(self, cell: str) -> bool:
        door = self.objects.get(("Service", f"{cell}-renewal"))
        return door is not None and names.PAUSED not in door["spec"]["selector"]

    def condition(self, kind: str, name: str, type_: str) -> tuple[str, str, str]:
        conditions = self.objects[kind, name].get("status", {}).get("conditions", ())
        return next(((c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == type_), ("", "", ""))

    def names_of(self, kind: str) -> list[str]:
        return sorted(name for found, name in self.objects if found == kind)


def _kind(action: Apply | Merge) -> str:
    return str(action.manifest["kind"]) if isinstance(action, Apply) else action.ref.kind


def _digest(owner: Mapping[str, Any]) -> str:
    template = owner["spec"]["template"]
    return repr((template["metadata"], template["spec"]["containers"]))


def _is_of(pod: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    return bool(pod["_of"] == _digest(owner))


def _set_of(pod: str) -> str:
    return pod.rpartition("-")[0]


def _ready(pod: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def _merge(live: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict):
            _merge(live[key], value)
        else:
            live[key] = value


def _remove(live: dict[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in before.items():
        if key not in wanted:
            live.pop(key, None)
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(live.get(key), dict):
            _remove(live[key], value, wanted[key])

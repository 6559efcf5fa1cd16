"""A world in a namespace of its own, as a user has it: installed by helm, asked for by kubectl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cellwall import labels, registers
from cellwall.arrivals import Control
from cellwall.history import Audit, Request, decode
from cellwall.model import CellMap

from ..waiting import until
from .conftest import GONE_S, ROOT, Cluster

NAME = "world"
CHART = ROOT / "charts/cellwall-testbed"
LOOK_S = 0.5  # a look is a process of its own, and costs a tenth of a core-second
HEALTHY_S = 240.0  # issue 5: a fleet of 800 is healthy within 180
STEP_S = 180.0  # anything else that is asked of a world
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
KINDS = ("metadataservice", "storagefleet")
# Of the namespace itself, not of what is in it.
ALWAYS = ("configmap/kube-root-ca.crt", "serviceaccount/default")

Object = dict[str, Any]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Object:
    """``base`` with changes at any depth."""
    out = dict(base)
    for key, value in changes.items():
        inner = out.get(key)
        out[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return out


def condition(found: Object, kind: str) -> str:
    """Its status, if it tells of the object as it is now; "" otherwise."""
    for one in found.get("status", {}).get("conditions", ()):
        if one["type"] == kind and one["observedGeneration"] == found["metadata"]["generation"]:
            return str(one["status"])
    return ""


class World:
    """A release of cellwall-testbed called "world". Nothing is there before `install`."""

    def __init__(self, cluster: Cluster, namespace: str, values: Object) -> None:
        self.cluster, self.namespace, self.values = cluster, namespace, merged({"service": {"name": NAME}}, values)

    # ------------------------------------------------------------ life

    def make_namespace(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", within_s=GONE_S)
        self.cluster.kubectl("create", "namespace", self.namespace)
        marks = [f"{key}={value}" for key, value in RESTRICTED.items()]
        self.cluster.kubectl("label", "namespace", self.namespace, *marks)

    def install(self, **changes: Any) -> None:
        """Install it, or upgrade it: the values so far with these changes."""
        self.values = merged(self.values, changes)
        self.helm("upgrade", "--install", NAME, str(CHART), "--values", "-", stdin=json.dumps(self.values))

    def remove(self) -> None:
        self.helm("uninstall", NAME, "--ignore-not-found")
        self.cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        at = ("--kube-context", self.cluster.context, "--namespace", self.namespace)
        return self.cluster.run("helm", *arguments, *at, stdin=stdin)

    def left(self) -> list[str]:
        """What there is in the namespace, of every kind that there is, and volumes that were claimed from it."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        listed = self.kubectl("get", ",".join(kind for kind in kinds if not kind.startswith("events")), "--output=name")
        volumes = self.cluster.get(self.namespace, "persistentvolumes")["items"]
        claimed = [
            f"volume of {claim['name']}"
            for volume in volumes
            if (claim := volume["spec"].get("claimRef")) and claim["namespace"] == self.namespace
        ]
        return sorted(set(listed.split()) - set(ALWAYS)) + claimed

    # ------------------------------------------------------------ looks

    def kubectl(self, *arguments: str, stdin: str | None = None, within_s: float = 120.0) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, within_s=within_s)

    def get(self, *what: str) -> Object:
        found: Object = self.cluster.get(self.namespace, *what)
        return found

    def service(self) -> Object:
        return self.get("metadataservice", NAME)

    def fleet(self) -> Object:
        return self.get("storagefleet", NAME)

    def cell(self, number: int) -> Object:
        return self.get("metadatacell", f"{NAME}-cell-{number}")

    def pods(self, component: str, **more: str) -> dict[str, Object]:
        """Pods by name, without those that are leaving."""
        wanted = {labels.COMPONENT: component, **{f"cellwall.dev/{key}": value for key, value in more.items()}}
        selector = ",".join(f"{key}={value}" for key, value in wanted.items())
        found = self.get("pods", "--selector", selector)["items"]
        return {p["metadata"]["name"]: p for p in found if "deletionTimestamp" not in p["metadata"]}

    def uids(self, component: str) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods(component).values()}

    def map(self) -> CellMap:
        return msgspec.json.decode(self.get("configmap", labels.cell_map(NAME))["data"]["map.json"], type=CellMap)

    def doors(self, cell: int) -> set[str]:
        """The addresses at which renewals of the cell are answered."""
        service = labels.renewal(f"{NAME}-cell-{cell}")
        slices = self.get("endpointslices", "--selector", f"kubernetes.io/service-name={service}")["items"]
        endpoints = [endpoint for one in slices for endpoint in one["endpoints"] or ()]
        return {address for e in endpoints if e["conditions"].get("ready", True) for address in e["addresses"]}

    def asked(self, pod: str, port: int, path: str) -> Any:
        """What a pod answers, through the API server."""
        return json.loads(
            self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy/{path}")
        )

    # ------------------------------------------------------------ waits

    def healthy(self, within_s: float = STEP_S) -> None:
        """Both are ready, for their specs as they are now: `kubectl wait` heeds observedGeneration."""
        whole = [f"{kind}/{NAME}" for kind in KINDS]
        ran = self.cluster.attempt(
            *("kubectl", "--context", self.cluster.context, "--namespace", self.namespace, "wait"),
            *("--for=condition=Ready", f"--timeout={within_s:g}s", *whole),
            within_s=2 * within_s + 10,
        )
        assert ran.returncode == 0, f"{ran.stderr} {[self.get(one).get('status') for one in whole]}"

    def comes(self, what: str, holds: Callable[[], bool], within_s: float = STEP_S) -> None:
        until(what, holds, within_s, LOOK_S)


class Customers:
    """The release's load job: customers who do not wait for answers, and what became of their requests."""

    def __init__(self, world: World) -> None:
        self._world = world

    def records(self, last: int = -1) -> tuple[list[Request], list[Audit]]:
        """All of them, or those on the last so many lines."""
        (pod,) = self._world.pods("load")
        said = self._world.kubectl("logs", pod, "--container=load", f"--tail={last}")
        lines = said.encode().splitlines(keepends=True)
        found = list(decode(line for line in lines if line.startswith(b"{")))
        return [r for r in found if isinstance(r, Request)], [r for r in found if isinstance(r, Audit)]

    def latest_s(self) -> float:
        """The due instant of the last request that has ended; 0 before the first."""
        return max((request.t for request in self.records(last=100)[0] if request.outcome == "done"), default=0.0)

    def failed_ratio(self, from_s: float) -> float:
        """The share of requests from then on that did not get what they asked for."""
        asked = [request for request in self.records()[0] if request.t >= from_s]
        assert asked, "nobody has asked for anything"
        return sum(request.outcome != "done" for request in asked) / len(asked)

    def stop(self, within_s: float) -> registers.Findings:
        """No more requests; every key that a write was acknowledged for is read again. What that says of all writes."""
        control = msgspec.json.encode(Control(stop=True)).decode()
        patch = json.dumps({"data": {"load-control.json": control}})
        self._world.kubectl("patch", "configmap", f"{NAME}-load-control", "--type=merge", f"--patch={patch}")
        (pod,) = self._world.pods("load")
        self._world.kubectl("annotate", "--overwrite", "pod", pod, "cellwall.dev/nudge=stop")  # seen at once
        self._world.kubectl(
            "wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", f"--timeout={within_s:g}s",
            within_s=within_s + 10,
        )  # fmt: skip
        return registers.check(*self.records())

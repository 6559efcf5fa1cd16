"""The pods of a world as the API server tells them, kept by a watch.

Decides what of a pod matters here and when one has ended unasked; starts and deletes none. Invariant: the view is the
last complete one, and a watch that ends is begun again from a list, so nothing that lasts is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import msgspec

from cellwall.errors import CellwallError, Unavailable

from . import names
from .api import Api, Object

AGAIN_S = 1.0
SERVING = ("store", "storage", "frontend", "load")  # components whose pods are meant to stay, beside joined nodes


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one pod. ``limit_cores``: the CPU limit that the kubelet says is in force, not the one asked
    for; 0: none is known. ``waiting``: why its container does not run. ``exit_status``: of one that has ended."""

    name: str
    uid: str
    component: str
    cell: str = ""
    kube_node: str = ""
    phase: str = "Pending"
    started: bool = False
    ready: bool = False
    joined: bool = False
    leaving: bool = False
    restarts: int = 0
    limit_cores: float = 0.0
    waiting: str = ""
    ended: str = ""
    exit_status: int | None = None

    @property
    def serves(self) -> bool:
        return self.started and not self.leaving and self.exit_status is None

    @property
    def stays(self) -> bool:
        """A node that has not joined serves nobody, and may be taken back."""
        return self.component in SERVING or (self.component == "node" and self.joined)


def pod_of(found: Object) -> Pod:
    """A pod of the API as ours. Services have one container each."""
    meta, status = found["metadata"], found.get("status", {})
    labels = meta.get("labels", {})
    conditions = {c["type"]: c["status"] == "True" for c in status.get("conditions", [])}
    container: Object = next(iter(status.get("containerStatuses", [])), {})
    state, last = container.get("state", {}), container.get("lastState", {})
    ended = state.get("terminated") or last.get("terminated") or {}
    limit = container.get("resources", {}).get("limits", {}).get("cpu")
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        component=labels.get(names.COMPONENT, ""),
        cell=labels.get(names.CELL, ""),
        kube_node=found.get("spec", {}).get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        started="running" in state or "terminated" in state,
        ready=conditions.get("Ready", False),
        joined=conditions.get(names.JOINED, False),
        leaving="deletionTimestamp" in meta,
        restarts=container.get("restartCount", 0),
        limit_cores=0.0 if limit is None else quantity_cores(limit),
        waiting=_waiting(status, state),
        ended=f"{ended.get('reason', 'ended')}, exit status {ended.get('exitCode')}" if ended else "",
        exit_status=state["terminated"].get("exitCode") if "terminated" in state else None,
    )


def quantity_cores(quantity: str) -> float:
    """A CPU quantity as the API server writes it: "384m", "1", "0.5", also "384912u" and "1n"."""
    scale = {"m": 1e-3, "u": 1e-6, "n": 1e-9}.get(quantity[-1:], 0.0)
    return float(quantity[:-1]) * scale if scale else float(quantity)


def _waiting(status: Object, state: Object) -> str:
    if waiting := state.get("waiting"):
        return f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip()
    unscheduled = (c for c in status.get("conditions", []) if c["type"] == "PodScheduled" and c["status"] != "True")
    return " ".join(f"{c.get('reason', '')} {c.get('message', '')}".strip() for c in unscheduled)


class Pods:
    """Keeps the view. ``run`` it beside whatever looks at ``now``."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._path = api, names.core(namespace, "pods")
        self._selector = {"labelSelector": f"{names.PART_OF}=cellwall"}
        self._baseline: dict[str, Pod] | None = None
        self._gone: dict[str, str] = {}  # pods that were to stay, and why they did not
        self._spared: set[str] = set()
        self._struck: set[str] = set()  # whose end a failure of ours has on it, for now
        self._heard: Callable[[Mapping[str, Pod]], None] = lambda _: None
        self.now: dict[str, Pod] = {}
        self.lost = ""  # why the view may be old

    def on_change(self, heard: Callable[[Mapping[str, Pod]], None]) -> None:
        """Whom each new view is told."""
        self._heard = heard

    async def run(self) -> None:
        """Keep the view until cancelled."""
        while True:
            try:
                await self._follow()
                self.lost = ""
            except CellwallError as error:
                self.lost = str(error)
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        listed = await self._api.get(self._path, **self._selector)
        self._show({pod.name: pod for pod in map(pod_of, listed["items"])})
        self.lost = ""
        query = {**self._selector, "watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async for lines in self._api.lines(self._path, query):
            view = dict(self.now)
            for line in lines:
                event: Object = msgspec.json.decode(line)
                if event["type"] == "ERROR":  # too old: list again
                    return
                if event["type"] == "DELETED":
                    view.pop(event["object"]["metadata"]["name"], None)
                elif event["type"] in ("ADDED", "MODIFIED"):
                    pod = pod_of(event["object"])
                    view[pod.name] = pod
            self._show(view)

    def _show(self, view: dict[str, Pod]) -> None:
        if self._baseline is not None:
            for name, was in self._baseline.items():
                excused = name in self._gone or name in self._spared or name in self._struck
                if not excused and (why := _crash(was, view.get(name))):
                    self._gone[name] = why
            self._baseline |= {n: p for n, p in view.items() if n not in self._baseline and p.stays}
        self.now = view
        self._heard(view)

    # ------------------------------------------------------------ crashes

    def must_stay(self) -> None:
        """From now on the end of any pod that `stays` is a crash, but for those that are spared."""
        self._baseline = {name: pod for name, pod in self.now.items() if pod.stays}

    def spare(self, *components: str) -> None:
        """The pods of these components may end from now on."""
        self._spared |= {name for name, pod in self.now.items() if pod.component in components}

    def strike(self, names: Collection[str]) -> None:
        """These pods may end, until they are `mended`."""
        self._struck |= set(names)

    def mended(self, names: Collection[str]) -> None:
        """From now on these, as they are now, are to stay again; those that are gone were replaced by others."""
        self._struck -= set(names)
        if self._baseline is not None:
            self._baseline = {name: pod for name, pod in self._baseline.items() if name not in names}
            self._show(self.now)

    def check(self) -> None:
        for name, why in self._gone.items():
            raise Unavailable(f"pod {name} ended unasked ({why}); see its file in the logs folder")

    def of(self, component: str, cell: str = "") -> list[Pod]:
        """By name; those that are leaving do not count."""
        return [
            pod
            for _, pod in sorted(self.now.items())
            if pod.component == component and (not cell or pod.cell == cell) and not pod.leaving
        ]


def _crash(was: Pod, now: Pod | None) -> str:
    if now is None or now.uid != was.uid:
        return "deleted"
    if now.leaving:
        return "being deleted"
    if now.restarts > was.restarts:
        return f"its container was started again: {now.ended}"
    return "" if now.exit_status is None else f"exit status {now.exit_status}"

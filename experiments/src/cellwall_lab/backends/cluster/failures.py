"""Pods deleted and machines of a kind cluster stopped; and the evidence that they went and came back.

Decides which pods and machines are meant; brings back no pod itself: that is its controller's, and the receipt says how
long it took. A machine is started again by a process of its own that nobody's end takes along, so it comes back whoever
dies. Invariants: only pods of this run's namespace are deleted; only a machine that both Kubernetes and Docker call a
worker of this context's kind cluster is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.placement import server_id

from ...verbs import Kill
from ..ground import Struck
from . import names
from .api import Api, Object
from .pods import Pod

if TYPE_CHECKING:
    from .ground import ClusterGround

POLL_S = 0.2
GONE_S = 30.0  # guess: a deletion with grace 0 takes the API server under a second
BACK_S = 180.0  # guess: scheduled, volume attached, imports done; a node joins through one that serves
LOST_S = 120.0  # a machine's lease lasts 40 s, and the controller looks every 5
DOCKER_S = 60.0
KIND_LABEL, ROLE_LABEL = "io.x-k8s.kind.cluster", "io.x-k8s.kind.role"  # of kind's containers
_PROVIDER = re.compile(r"kind://[^/]*/(?P<cluster>[^/]+)/(?P<node>[^/]+)")
_MACHINE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def carried_by(ground: ClusterGround, host: str) -> list[str]:
    """The servers of a storage pod."""
    found = [name for name, entry in ground.map.servers.items() if entry.address.partition(".")[0] == host]
    if not found:
        known = ", ".join(sorted({e.address.partition(".")[0] for e in ground.map.servers.values()}))
        raise Refused(f"kill.of: {host!r} is not a storage pod; it must be one of {known}")
    return sorted(found)


# ---------------------------------------------------------------- pods


async def kill(ground: ClusterGround, verb: Kill) -> Struck:
    victims = _victims(ground, verb)
    if not victims:
        raise Unavailable(f"kill: no pod is the {verb.what} of {verb.of} now")
    ground.pods.strike([pod.name for pod in victims])
    before_s = time.monotonic()
    for pod in victims:
        path = names.core(ground.release.namespace, "pods", pod.name)
        await ground.api.delete(path, gracePeriodSeconds="0")
    uids = {pod.uid for pod in victims}

    def gone() -> bool:
        return not uids & {pod.uid for pod in ground.pods.now.values()}

    await until(ground, gone, GONE_S, "the pods are still there")
    gone_s = time.monotonic() - before_s

    async def back() -> dict[str, Any]:
        found: dict[str, str] = {}

        def returned() -> bool:
            here = [p for p in _victims(ground, verb) if p.uid not in uids and _serves(p)]
            found.clear()
            found.update({pod.name: pod.uid for pod in here})
            return len(here) >= len(victims)

        await until(ground, returned, BACK_S, f"{verb.what} of {verb.of}: its pods are not back")
        ground.pods.mended([*(pod.name for pod in victims), *found])
        return {"back": dict(found), "back_s": round(time.monotonic() - before_s, 1)}

    receipt = {"gone": {pod.name: pod.uid for pod in victims}, "gone_s": round(gone_s, 2)}
    return Struck(receipt, back, by_itself=True)


def _victims(ground: ClusterGround, verb: Kill) -> list[Pod]:
    match verb.what:
        case "node" | "store":
            return ground.pods.of(verb.what, verb.of)
        case "host":
            return [pod for pod in ground.pods.of("storage") if pod.name == verb.of]
        case "zone":
            fleet = ground.layout.fleet
            mine = {server_id(s) for s in range(fleet.servers) if fleet.zone[s] == verb.of}
            hosts = {e.address.partition(".")[0] for name, e in ground.map.servers.items() if name in mine}
            return [pod for pod in ground.pods.of("storage") if pod.name in hosts]


def _kind(pod: Pod) -> tuple[str, str]:
    return pod.component, pod.cell


def _serves(pod: Pod) -> bool:
    return pod.serves and pod.ready and (pod.component != "node" or pod.joined)


async def until(ground: ClusterGround, holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
    """Look at the watched pods until it holds."""
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            raise Unknown(f"{otherwise} after {within_s:g} s" + (f"; {ground.pods.lost}" if ground.pods.lost else ""))
        await asyncio.sleep(POLL_S)


# ---------------------------------------------------------------- machines


async def lose_node(ground: ClusterGround, node: str, for_s: float) -> Struck:
    machine = await machine_of(ground.api, node)
    there = [pod for pod in ground.pods.now.values() if pod.kube_node == node]
    serving = Counter(_kind(pod) for pod in ground.pods.now.values() if pod.stays and _serves(pod))
    hosts = {pod.name for pod in there if pod.component == "storage"}
    servers = sorted(n for n, e in ground.map.servers.items() if e.address.partition(".")[0] in hosts)
    ground.pods.strike([pod.name for pod in there])
    await guarded(machine, for_s + LOST_S)
    before_s = time.monotonic()
    try:
        await docker("stop", "--time", "0", machine)
        lost_s = await _ready(ground.api, node, False, LOST_S) - before_s
    except BaseException:  # nobody is told that it is lost, so nobody would undo it
        await docker("start", machine)
        raise

    async def back() -> dict[str, Any]:
        await docker("start", machine)
        back_s = await _ready(ground.api, node, True, BACK_S) - before_s

        def returned() -> bool:
            here = Counter(_kind(p) for p in ground.pods.now.values() if _serves(p))
            return all(here[kind] >= count for kind, count in serving.items())

        await until(ground, returned, BACK_S, f"{node} is back, but not its pods")
        ground.pods.mended([pod.name for pod in there])
        return {"ready_s": round(back_s, 1)}

    return Struck({"machine": machine, "pods": len(there), "not_ready_s": round(lost_s, 1)}, back, servers=servers)


async def machine_of(api: Api, node: str) -> str:
    """The container that is a worker of this context's kind cluster; Refused, with the reason, for anything else."""
    if not _MACHINE.fullmatch(node):
        raise Refused(f"node-loss.node: {node!r} is not a node's name")
    found = await api.find(f"{names.NODES}/{node}")
    if found is None:
        workers = ", ".join(sorted(n["metadata"]["name"] for n in (await api.get(names.NODES))["items"]))
        raise Refused(f"node-loss.node: {node!r} is not a node of context {api.context}; it has {workers}")
    match = _PROVIDER.fullmatch(found["spec"].get("providerID", ""))
    if match is None or match["node"] != node:
        raise Refused(f"node-loss: {node} is no machine of a kind cluster; other people's machines are not stopped")
    if "node-role.kubernetes.io/control-plane" in found["metadata"].get("labels", {}):
        raise Refused(f"node-loss: {node} is the control plane; only workers are stopped")
    labels = f'{{{{index .Config.Labels "{KIND_LABEL}"}}}} {{{{index .Config.Labels "{ROLE_LABEL}"}}}}'
    told = (await docker("inspect", "--format", labels, node)).split()
    if told != [match["cluster"], "worker"]:
        raise Refused(f"node-loss: Docker calls {node} {told}, not a worker of the kind cluster {match['cluster']}")
    return node


async def guarded(machine: str, within_s: float) -> None:
    """Have it started after ``within_s`` by a process that outlives this one, before it is stopped."""
    script = f"(sleep {math.ceil(within_s)} && exec docker start {machine}) </dev/null >/dev/null 2>&1 &"
    process = await asyncio.create_subprocess_exec("sh", "-c", script, start_new_session=True)
    if status := await process.wait():
        raise Unavailable(f"node-loss: nothing to start {machine} again (sh ended with status {status})")


async def docker(*words: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "docker", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise Refused(f"node-loss: docker cannot be started ({error.strerror}); kind runs in one") from None
    try:
        said, wrong = await asyncio.wait_for(process.communicate(), DOCKER_S)
    except TimeoutError:
        process.kill()
        raise Unknown(f"docker {words[0]}: no answer within {DOCKER_S:g} s") from None
    if process.returncode:
        raise Unavailable(f"docker {words[0]}: {wrong.decode(errors='replace').strip()}")
    return said.decode(errors="replace").strip()


async def _ready(api: Api, node: str, wanted: bool, within_s: float) -> float:
    """Wait until Kubernetes calls the node ready or not; returns when (monotonic)."""
    end_s = time.monotonic() + within_s
    while True:
        with contextlib.suppress(CellwallError):
            if ready(await api.get(f"{names.NODES}/{node}")) == wanted:
                return time.monotonic()
        if time.monotonic() > end_s:
            raise Unknown(f"node {node} is not {'Ready' if wanted else 'NotReady'} after {within_s:g} s")
        await asyncio.sleep(POLL_S)


def ready(node: Object) -> bool:
    """Unknown, a node that does not report, is not ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))

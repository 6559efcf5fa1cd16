"""Pods deleted and machines stopped, against an API server and a docker without a cluster: who may be struck."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellwall import history
from cellwall.errors import Refused, Unavailable
from cellwall_lab import verbs
from cellwall_lab.backends.cluster import checks, failures, names
from cellwall_lab.backends.cluster.api import Api
from cellwall_lab.backends.cluster.ground import ClusterGround
from cellwall_lab.backends.cluster.values import values
from cellwall_lab.backends.failures import Failures

from .fake_cluster import NS, FakeCluster, pod
from .test_cluster_backend import SPEC, api, cluster, ground, until

__all__ = ["api", "cluster", "ground"]  # fixtures

NODE = f"{names.NODES}/kind-worker"


@pytest.fixture
async def struck(ground: ClusterGround) -> AsyncIterator[tuple[Failures, list[history.Fault]]]:
    recorded: list[Any] = []
    found = Failures(ground, recorded.append)
    yield found, recorded
    await found.close()


def put(cluster: FakeCluster, name: str, component: str, **more: Any) -> None:
    cluster.put_pod(pod(name, component, **more))


async def deleted(cluster: FakeCluster, *pods: str) -> None:
    """Wait for their deletion, and tell the watch of it as an API server would."""
    paths = [names.core(NS, "pods", name) for name in pods]
    before = {path: cluster.objects[path] for path in paths}
    await until(lambda: not any(path in cluster.objects for path in paths), "they are deleted")
    cluster.events += [{"type": "DELETED", "object": found} for found in before.values()]


async def test_a_killed_node_is_back_when_its_successor_has_joined(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
) -> None:
    found, recorded = struck
    ground.pods.must_stay()
    killing = asyncio.create_task(found.strike(verbs.Kill(what="node", of="cell-0")))
    await deleted(cluster, "world-cell-0-node-x")
    on = await killing
    assert on.servers == 25 and recorded[0].receipt["gone"] == {"world-cell-0-node-x": "uid-world-cell-0-node-x"}
    put(cluster, "world-cell-0-node-y", "node", cell="cell-0")
    await until(lambda: "world-cell-0-node-y" in ground.pods.now, "a successor is seen")
    assert len(recorded) == 1, "it has not joined"
    ground.check()
    put(cluster, "world-cell-0-node-y", "node", cell="cell-0", joined=True)
    await until(lambda: len(recorded) == 2, "it is over")
    assert recorded[1].receipt["back"] == {"world-cell-0-node-y": "uid-world-cell-0-node-y"}
    ground.check()
    cluster.remove_pod("world-cell-0-node-y")
    await until(lambda: bool(ground.pods._gone), "its end is a crash again")
    with pytest.raises(Unavailable, match="world-cell-0-node-y ended unasked"):
        ground.check()


async def test_a_store_that_keeps_its_name_is_known_by_its_uid(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
) -> None:
    found, recorded = struck
    put(cluster, "world-cell-1-store-0", "store", cell="cell-1")
    await until(lambda: len(ground.pods.now) == 3, "the store is known")
    ground.pods.must_stay()
    killing = asyncio.create_task(found.strike(verbs.Kill(what="store", of="cell-1")))
    await deleted(cluster, "world-cell-1-store-0")
    await killing
    put(cluster, "world-cell-1-store-0", "store", cell="cell-1", uid="uid-2")
    await until(lambda: len(recorded) == 2, "it is over")
    assert recorded[1].receipt["back"] == {"world-cell-1-store-0": "uid-2"}
    ground.check()


async def test_a_zone_is_its_storage_pods_and_no_others(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
) -> None:
    found, recorded = struck
    for name in ("world-a-0", "world-a-1", "world-a-2", "world-z-0"):
        put(cluster, name, "storage")
    await until(lambda: len(ground.pods.now) == 6, "the pods are known")
    killing = asyncio.create_task(found.strike(verbs.Kill(what="host", of="world-a-1")))
    await deleted(cluster, "world-a-1")
    assert (await killing).servers == 20, "the map says whom it carries"
    kept = {path.rpartition("/")[2] for path in cluster.objects if "/pods/" in path}
    assert {"world-a-0", "world-a-2", "world-z-0"} <= kept
    with pytest.raises(Refused, match="'world-a-9' is not a storage pod; it must be one of world-a-0, world-a-1"):
        await found.strike(verbs.Kill(what="host", of="world-a-9"))
    assert len([r for r in recorded if isinstance(r, history.Fault)]) == 1


async def test_a_cell_has_no_release_of_its_own_there(struck: Any) -> None:
    found, recorded = struck
    with pytest.raises(Refused, match="must be --backend local"):
        await found.strike(verbs.Release(cell="cell-0", mode="slow", for_s=1.0))
    assert not recorded


def test_cells_share_no_store_there() -> None:
    with pytest.raises(Refused, match="shared_store: the operator gives each cell a store of its own"):
        values(msgspec.structs.replace(SPEC, shared_store=True), 10.0)


# ---------------------------------------------------------------- machines


def machine(cluster: FakeCluster, provider: str = "kind://docker/kind/kind-worker", **labels: str) -> None:
    cluster.objects[NODE] = {
        "metadata": {"name": "kind-worker", "labels": labels},
        "spec": {"providerID": provider},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2"}},
    }


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that writes down what it is asked, and says of every container what ``role`` holds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "role").write_text("kind worker")
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$1" = inspect ] && cat {tmp_path}/role\nexit 0\n')
    program.chmod(0o755)
    sleep = folder / "sleep"
    sleep.write_text(f'#!/bin/sh\necho sleep "$@" >> {tmp_path}/asked\nexit 1\n')
    sleep.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


async def test_a_lost_machine_is_guarded_before_it_is_stopped_and_back_when_kubernetes_says_so(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
    docker: Path,
) -> None:
    found, recorded = struck
    machine(cluster)

    def ready(status: str) -> None:
        cluster.objects[NODE]["status"]["conditions"] = [{"type": "Ready", "status": status}]

    losing = asyncio.create_task(found.strike(verbs.NodeLoss(node="kind-worker", for_s=0.4)))
    asked = docker / "asked"
    await until(lambda: asked.exists() and "stop" in asked.read_text(), "it is asked to stop")
    guard_s = failures.LOST_S + 1  # of a fault that is told to last 0.4 s, once Kubernetes has seen it
    await until(lambda: f"sleep {guard_s:.0f}" in asked.read_text(), "somebody else will start it, whoever dies")
    assert not losing.done(), "not lost before Kubernetes has seen it"
    ready("Unknown")
    await losing
    assert recorded[0].receipt["machine"] == "kind-worker"
    await until(lambda: "start kind-worker" in asked.read_text(), "it is started again")
    assert len(recorded) == 1
    ready("True")
    await until(lambda: len(recorded) == 2, "it is over")
    assert recorded[1].state == "off" and recorded[1].receipt["ready_s"] >= 0


NOT_OURS = {
    "no node": ("elsewhere", None, "kind worker", "is not a node of context here; it has kind-worker"),
    "a cloud's": ("kind-worker", "aws:///eu-1/i-0", "kind worker", "no machine of a kind cluster"),
    "another's name": ("kind-worker", "kind://docker/kind/other", "kind worker", "no machine of a kind cluster"),
    "another cluster's": ("kind-worker", None, "prod worker", "not a worker of the kind cluster kind"),
    "a control plane": ("kind-worker", None, "kind control-plane", "not a worker of the kind cluster kind"),
    "no container": ("kind-worker", None, "", "not a worker of the kind cluster kind"),
    "a trick": ("-f kind-worker", None, "kind worker", "is not a node's name"),
}


@pytest.mark.parametrize("case", NOT_OURS)
async def test_nothing_but_a_worker_of_this_kind_cluster_is_stopped(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
    docker: Path,
    case: str,
) -> None:
    found, recorded = struck
    node, provider, role, reason = NOT_OURS[case]
    machine(cluster, *([provider] if provider else []))
    (docker / "role").write_text(role)
    with pytest.raises(Refused, match=reason):
        await found.strike(verbs.NodeLoss(node=node, for_s=1.0))
    asked = docker / "asked"
    words = [line.split()[0] for line in asked.read_text().splitlines()] if asked.exists() else []
    assert not recorded and set(words) <= {"inspect"}


async def test_the_control_plane_by_its_label_is_not_even_asked_about(
    ground: ClusterGround,
    cluster: FakeCluster,
    struck: Any,
    docker: Path,
) -> None:
    machine(cluster, **{"node-role.kubernetes.io/control-plane": ""})
    with pytest.raises(Refused, match="only workers are stopped"):
        await struck[0].strike(verbs.NodeLoss(node="kind-worker", for_s=1.0))
    assert not (docker / "asked").exists()


async def test_the_doctor_says_whether_a_machine_can_be_lost_and_why_not(
    api: Api,
    cluster: FakeCluster,
    docker: Path,
) -> None:
    machine(cluster)
    check = await checks._machines(api)
    assert (check.grade, "kind-worker" in check.text) == ("ok", True)
    assert checks.faults([check])["node-loss"].startswith("yes (docker stops and starts a worker")
    machine(cluster, "gce://p/z/kind-worker")
    check = await checks._machines(api)
    assert check.grade == "doubtful", "a cluster without such machines is no worse for it"
    assert checks.faults([check])["node-loss"] == (
        "no: kind-worker is no machine of a kind cluster; other people's machines are not stopped"
    )
    assert failures.ready({"status": {}}) is False

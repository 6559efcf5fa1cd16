"""The Kubernetes backend against an API server without a cluster: requests, streams, steps and their receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from aiohttp import web

from cellwall import history
from cellwall.arrivals import Control
from cellwall.errors import Refused, Unavailable, Unknown
from cellwall.model import CellMap, ServerEntry
from cellwall.placement import make_layout
from cellwall.spec import CpuSpec, FleetSpec, WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends.cluster import checks, names
from cellwall_lab.backends.cluster.api import Api
from cellwall_lab.backends.cluster.follow import Followers
from cellwall_lab.backends.cluster.ground import ClusterGround
from cellwall_lab.backends.cluster.pods import Pods
from cellwall_lab.backends.cluster.proxy import Proxy
from cellwall_lab.backends.cluster.release import Release
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.cuts import Cuts
from cellwall_lab.backends.live import Live
from cellwall_lab.backends.steps import Steps

from .fake_cluster import NS, FakeCluster, failed, kubeconfig, pod, serving

DEADLINE_S = 15.0
SPEC = WorldSpec(seed=3, cells=2, fleet=FleetSpec(servers=50, large_records=60), cpu=CpuSpec(total_cores=1.0))
LAYOUT = make_layout(SPEC, lambda name: Random(f"3/{name}"))
CELL = names.custom(NS, "metadatacells", "world-cell-0")
SLICES = names.endpoint_slices(NS)


async def until(holds: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)
    assert holds(), what


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with serving(FakeCluster()) as found:
        yield found


@pytest.fixture
async def api(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    path = kubeconfig(tmp_path / "kubeconfig", cluster.url, "here", "by-accident")
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    found = await Api.connect("here")
    yield found
    await found.close()


@pytest.fixture
async def ground(cluster: FakeCluster, api: Api, tmp_path: Path) -> AsyncIterator[ClusterGround]:
    """Two cells of one node each, a hundred-millicore limit, three storage pods."""
    config = ArmConfig(arm="test", backend="kubernetes", seed=3, spec=SPEC, out=str(tmp_path), context="here")
    release = Release(api, config)
    release.namespace = NS
    for cell in ("cell-0", "cell-1"):
        name = names.cell(cell)
        cluster.objects[names.custom(NS, "metadatacells", name)] = {
            "metadata": {"name": name},
            "spec": {"nodes": 1, "cpuPerNode": "100m"},
            "status": {"nodes": 1},
        }
        cluster.put_pod(pod(f"{name}-node-x", "node", cell=cell, cpu="100m", joined=True))
        open_door(cluster, cell)
    cluster.objects[names.custom(NS, "metadataservices", "world")] = {"spec": {"reentry": {}}}
    cluster.objects[names.core(NS, "configmaps", names.LOAD_CONTROL)] = {"data": {}}
    found = ClusterGround(config, LAYOUT, api, release, asyncio.Event(), here=False)
    servers = {
        f"s-{n:04d}": ServerEntry(f"s-{n:04d}", "cell-0", 0, "a", 0, f"world-a-{n // 20}.world:7000") for n in range(50)
    }
    found.map = CellMap(2, {}, servers)
    await until(lambda: len(found.pods.now) == 2, "the pods are known")
    yield found
    for name in list(found.pods.now):
        cluster.remove_pod(name)  # they have said their last
    await until(lambda: not found.pods.now, "no pod is left")
    await found.end()
    found.recorder.close()


def open_door(cluster: FakeCluster, cell: str, addresses: int = 1) -> None:
    service = names.renewal_service(cell)
    endpoints = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": True}} for n in range(addresses)]
    labels = {"kubernetes.io/service-name": service}
    cluster.objects[f"{SLICES}/{service}"] = {"metadata": {"name": service, "labels": labels}, "endpoints": endpoints}


# ---------------------------------------------------------------- the API server


async def test_a_context_is_always_named(api: Api) -> None:
    with pytest.raises(Refused, match="--context: missing; it must be one of by-accident, here"):
        await Api.connect("")
    with pytest.raises(Refused, match="'there' is not in the kubeconfig; it must be one of by-accident, here"):
        await Api.connect("there")


async def test_without_a_kubeconfig_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(Refused, match="kubeconfig"):
        await Api.connect("here")


async def test_a_kubeconfig_is_only_read(api: Api, tmp_path: Path) -> None:
    assert "t-1" in (tmp_path / "kubeconfig").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kubeconfig"]


async def test_answers_mean_what_they_say(api: Api, cluster: FakeCluster) -> None:
    statuses = iter([403, 409, 429, 503, 504])

    async def say(request: web.Request, path: str) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer t-1"
        return failed(next(statuses), "why not")

    cluster.proxied = say
    for kind in (Refused, Unavailable, Unavailable, Unavailable, Unknown):
        with pytest.raises(kind, match="why not"):
            await api.get(f"{names.core(NS, 'pods', 'p')}/proxy/x")
    assert await api.find(names.core(NS, "pods", "gone")) is None
    await api.delete(names.core(NS, "pods", "gone"))


async def test_a_cluster_that_is_gone_is_unavailable(api: Api) -> None:
    api._client.configuration.host = "http://127.0.0.1:9"
    with pytest.raises(Unavailable, match="context here"):
        await api.get("/version")
    found = [check async for check in checks.checks(api)]
    assert [check.grade for check in found] == ["bad"]
    assert "--context here" in found[0].text


# ---------------------------------------------------------------- calls through the proxy


async def test_a_proxied_answer_is_the_services_or_the_proxys(api: Api, cluster: FakeCluster) -> None:
    async def service(request: web.Request, path: str) -> web.StreamResponse:
        match path:
            case "pods/p:7000/faults/cut":
                return web.json_response({"method": request.method, "body": (await request.read()).decode()})
            case "pods/p:7000/refused":
                return web.Response(status=400, text="for_s: -1 is not allowed")
            case "pods/p:7000/own-503":
                return web.Response(status=503, text="queue full")
            case "pods/p:7000/slow":
                await asyncio.Event().wait()
        return failed(503, "error trying to reach service: connection refused")

    cluster.proxied = service
    proxy = Proxy(api, NS)
    assert await proxy.ask("PUT", "pods/p:7000/faults/cut", b"{}", 5.0) == {"method": "PUT", "body": "{}"}
    with pytest.raises(Refused, match="for_s: -1"):
        await proxy.ask("GET", "pods/p:7000/refused", b"", 5.0)
    with pytest.raises(Refused, match="queue full"):
        await proxy.ask("GET", "pods/p:7000/own-503", b"", 5.0)
    with pytest.raises(Unavailable, match="connection refused"):
        await proxy.ask("GET", "pods/q:7000/x", b"", 5.0)
    with pytest.raises(Unknown, match=r"^time-out: GET slow after 0.05 s$"):
        await proxy.ask("GET", "pods/p:7000/slow", b"", 0.05)
    asked_s, date_s, answered_s = await proxy.clock("pods/p:7000", 5.0)
    assert date_s <= answered_s and asked_s < date_s + 1.0


# ---------------------------------------------------------------- pods and their output


async def test_a_view_of_pods_lasts_over_watches_that_end(api: Api, cluster: FakeCluster) -> None:
    cluster.watching = False
    cluster.put_pod(pod("a", "storage"))
    pods = Pods(api, NS)
    task = asyncio.create_task(pods.run())
    await until(lambda: "a" in pods.now and cluster.watching, "the list, then a watch that says it is too old")
    cluster.put_pod(pod("b", "storage"))
    await until(lambda: "b" in pods.now, "listed or watched again")
    pods.must_stay()
    cluster.put_pod(pod("c", "storage"))
    await until(lambda: "c" in pods.now, "watched")
    pods.check()
    cluster.remove_pod("c")
    await until(lambda: "c" not in pods.now, "watched")
    with pytest.raises(Unavailable, match=r"pod c ended unasked \(deleted\)"):
        pods.check()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "after",
    [
        pod("a", "storage", restartCount=1, lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
        pod("a", "storage", uid="another"),
        pod("a", "storage", state={"terminated": {"reason": "Error", "exitCode": 1}}),
    ],
)
async def test_the_end_of_a_pod_that_was_to_stay_is_a_crash(api: Api, cluster: FakeCluster, after: Any) -> None:
    cluster.put_pod(pod("a", "storage"))
    cluster.put_pod(pod("fill", "fill"))
    cluster.put_pod(pod("joining", "node"))
    pods = Pods(api, NS)
    task = asyncio.create_task(pods.run())
    await until(lambda: len(pods.now) == 3, "listed")
    pods.must_stay()
    cluster.remove_pod("fill")  # it has done its work
    cluster.remove_pod("joining")  # and this one is taken back
    cluster.put_pod(after)
    cluster.put_pod(pod("b", "node"))
    await until(lambda: "b" in pods.now, "watched")
    with pytest.raises(Unavailable, match="pod a ended unasked"):
        pods.check()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_output_is_followed_over_breaks_and_sorted_by_what_it_is(
    api: Api, cluster: FakeCluster, tmp_path: Path
) -> None:
    records = [history.encode(history.Phase(t=float(n), name=f"p{n}")).decode().strip() for n in range(6)]
    for n, record in enumerate(records):
        cluster.logs["a"].append((f"2026-11-23T01:00:0{n // 2}.00000000{n}Z", record))
        cluster.logs["a"].append((f"2026-11-23T01:00:0{n // 2}.00000000{n}Z", f"words {n}"))
    cluster.breaks = [3, 4, 6]
    cluster.put_pod(pod("a", "storage"))
    followers = Followers(api, NS, tmp_path, tmp_path)
    pods = Pods(api, NS)
    pods.on_change(followers.see)
    task = asyncio.create_task(pods.run())
    await until(lambda: followers.lines == 12, "every line has come")
    done = pod("a", "storage", state={"terminated": {"reason": "Completed", "exitCode": 0}})
    done["status"]["phase"] = "Succeeded"
    cluster.put_pod(done)
    await until(lambda: pods.now["a"].phase == "Succeeded", "the pod has ended")
    assert await followers.finish(DEADLINE_S)
    assert (tmp_path / "a.ndjson").read_text().splitlines() == records
    assert (tmp_path / "a.log").read_text().splitlines() == [f"words {n}" for n in range(6)]
    assert "sinceTime" not in cluster.log_queries[0] and "sinceTime" in cluster.log_queries[1]
    await followers.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ---------------------------------------------------------------- steps


def steps(ground: ClusterGround) -> tuple[Steps, list[history.Record]]:
    recorded: list[history.Record] = []
    servers = {f"s-{n:04d}": ("cell-0", 10) for n in range(50)}
    return Steps(ground, Live(SPEC, servers, 5), recorded.append), recorded


async def test_a_pause_is_done_when_the_endpoints_are_gone(ground: ClusterGround, cluster: FakeCluster) -> None:
    looks = 0

    def operator(path: str, patch: Any) -> None:
        nonlocal looks
        looks = cluster.lists
        if path == CELL and "paused" in patch["spec"]:
            open_door(cluster, "cell-0", 0 if patch["spec"]["paused"] else 1)

    cluster.on_patch = operator
    take, recorded = steps(ground)
    result = await take.take(verbs.Pause(cell="cell-0"))
    assert result.outcome == "done" and ground.paused == {"cell-0"} and cluster.lists > looks
    result = await take.take(verbs.Resume(cell="cell-0", over_s=12.34))
    assert (result.outcome, result.reason, ground.paused) == ("done", "waves over 12.3 s", set())
    service = cluster.objects[names.custom(NS, "metadataservices", "world")]
    assert service["spec"]["reentry"] == {"overSeconds": 12.3}
    assert [(r.step, r.cell, r.outcome) for r in recorded if isinstance(r, history.Step)] == [
        ("pause", "cell-0", "done"),
        ("resume", "cell-0", "done"),
    ]


async def test_a_pause_that_nobody_carries_out_is_unknown(
    ground: ClusterGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellwall_lab.backends.cluster.ground.STEP_S", 0.05)
    take, _ = steps(ground)
    result = await take.take(verbs.Pause(cell="cell-0"))
    assert result.outcome == "unknown" and "is the operator running?" in result.reason


async def test_a_limit_is_done_when_the_kubelet_says_so(ground: ClusterGround, cluster: FakeCluster) -> None:
    def operator(path: str, patch: Any) -> None:
        cluster.put_pod(pod("world-cell-0-node-x", "node", cell="cell-0", cpu=patch["spec"]["cpuPerNode"], joined=True))

    cluster.on_patch = operator
    take, _ = steps(ground)
    assert (await take.take(verbs.LimitCpu(factor=2.5, cell="cell-0"))).outcome == "done"
    assert (ground.limit_cores("cell-0"), ground.limit_cores("cell-1")) == (0.25, 0.1)
    assert cluster.patches == [(CELL, {"spec": {"cpuPerNode": "250m"}})]


async def test_an_attempt_at_capacity_is_one_attempt(ground: ClusterGround, cluster: FakeCluster) -> None:
    """Its outcome is told, and the wish is taken back unless it came true: nothing is tried that nobody asked for."""
    take, _ = steps(ground)
    attempts = iter([("unknown", "time-out: GET map/1 after 4 s"), ("refused", "no room"), ("done", "")])

    def operator(path: str, patch: Any) -> None:
        if path != CELL or patch["spec"]["nodes"] != 2:
            return
        outcome, reason = next(attempts)
        status = cluster.objects[CELL]["status"]
        number = status.get("capacity", {}).get("attempts", 0) + 1
        told = {"attempts": number, "lastOutcome": outcome, "lastReason": reason, "lastAttemptTime": f"t{number}"}
        cluster.objects[CELL]["status"] = {"nodes": 2 if outcome == "done" else 1, "capacity": told}

    cluster.on_patch = operator
    found = [await take.take(verbs.AddCapacity(cell="cell-0", deadline_s=1.0)) for _ in range(3)]
    assert [(r.outcome, r.reason) for r in found] == [
        ("unknown", "time-out: GET map/1 after 4 s"),
        ("refused", "no room"),
        ("done", ""),
    ]
    assert [patch["spec"]["nodes"] for _, patch in cluster.patches] == [2, 1, 2, 1, 2]


async def test_a_node_that_never_starts_is_an_unknown_attempt(
    ground: ClusterGround, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellwall_lab.backends.cluster.ground.START_S", 0.05)
    take, _ = steps(ground)
    result = await take.take(verbs.AddCapacity(cell="cell-0", deadline_s=0.0))
    assert result.outcome == "unknown" and "no attempt" in result.reason
    assert cluster.objects[CELL]["spec"]["nodes"] == 1


async def test_a_cut_asks_only_the_pods_that_carry_its_targets(ground: ClusterGround, cluster: FakeCluster) -> None:
    asked: list[tuple[str, str]] = []
    state = {"id": "cut-1", "servers": 2, "on_s": 1.0, "off_s": 2.0, "active": True, "refused": 0}

    async def host(request: web.Request, path: str) -> web.StreamResponse:
        asked.append((request.method, path))
        if request.method == "GET":
            return web.json_response([])
        return web.json_response(state | {"refused": 7, "active": request.method == "PUT"})

    cluster.proxied = host
    recorded: list[history.Record] = []
    cuts = Cuts(ground, recorded.append)
    on = await cuts.cut(verbs.Cut(targets=verbs.Targets(servers=["s-0001", "s-0025"]), for_s=0.01))
    assert (on.id, on.servers) == ("cut-1", 2)
    await until(lambda: len(recorded) == 2, "its end is on record")
    off = recorded[1]
    assert isinstance(off, history.Fault) and off.receipt == {"servers": 4, "refused": 14}
    assert {path for _, path in asked if path.endswith("faults/cut")} == {
        f"pods/world-a-{n}:7000/faults/cut" for n in (0, 1)
    }
    await cuts.close()


async def test_the_load_is_steered_by_its_file_and_a_nudge(ground: ClusterGround, cluster: FakeCluster) -> None:
    cluster.put_pod(pod("world-load-x", "load"))
    await until(lambda: "world-load-x" in ground.pods.now, "watched")
    ground.pods.must_stay()
    await ground.control(rps=0.0, stop=True, audit=True)
    (path, patch), (nudged, note) = cluster.patches
    assert path == names.core(NS, "configmaps", "world-load-control")
    control = msgspec.json.decode(patch["data"]["load-control.json"], type=Control)
    assert control == Control(rps=0.0, stop=True, audit=True)
    assert nudged == names.core(NS, "pods", "world-load-x") and names.NUDGE in note["metadata"]["annotations"]
    ended = pod("world-load-x", "load", state={"terminated": {"reason": "Completed", "exitCode": 0}})
    ended["status"]["phase"] = "Succeeded"
    cluster.put_pod(ended)
    assert await ground.load_ended(DEADLINE_S) == ""
    ground.pods.check()


# ---------------------------------------------------------------- what a cluster can do


def healthy(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.objects["/version"] = {"gitVersion": "v1.34.4", "major": "1", "minor": "34"}
    for plural in checks.PLURALS:
        cluster.objects[names.crd(plural)] = {
            "metadata": {"name": plural},
            "spec": {"versions": [{"name": "v1alpha1", "served": True}]},
        }
    labels = {"app.kubernetes.io/version": checks.cellwall.__version__}
    labels |= dict(term.split("=") for term in checks.OPERATOR_LABELS.split(","))
    cluster.objects["/apis/apps/v1/deployments/cellwall"] = {
        "metadata": {"namespace": "cellwall-system", "name": "cellwall", "labels": labels},
        "spec": {"template": {"spec": {"containers": [{"args": ["--services-image=x"]}]}}},
        "status": {"readyReplicas": 2},
    }
    for zone in "abc":
        cluster.objects[f"{names.NODES}/worker-{zone}"] = {
            "metadata": {"name": f"worker-{zone}", "labels": {checks.ZONE: zone}},
            "spec": {"providerID": f"kind://docker/cellwall/worker-{zone}"},
            "status": {"allocatable": {"cpu": "2"}},
        }
    review = {"status": {"allowed": True}}
    monkeypatch.setattr(Api, "create", lambda self, path, body: _value(review))
    monkeypatch.setattr(checks.helm, "version", lambda: _value("v4.0.0"))
    monkeypatch.setattr(checks, "_shipped", lambda: {})
    monkeypatch.setattr(checks.failures, "docker", lambda *words: _value("cellwall worker"))


async def _value(value: Any) -> Any:
    return value


async def test_a_cluster_with_everything_can_do_every_fault(
    api: Api, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy(cluster, monkeypatch)
    found = [check async for check in checks.checks(api)]
    assert {check.name: check.grade for check in found} == dict.fromkeys(
        ("cluster", "helm", "crds", "operator", "rights", "zones", "cpu", checks.MACHINES, "resize"), "ok"
    )
    told = checks.faults(found)
    assert {fault for fault, text in told.items() if not text.startswith("yes")} == {"release"}
    assert "MetadataCell has no release" in told["release"]
    assert await checks.is_here(api)


async def test_what_is_missing_names_the_way_out(
    api: Api, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy(cluster, monkeypatch)
    cluster.objects["/version"]["minor"] = "32+"
    found = [check async for check in checks.checks(api)]
    assert checks.faults(found)["limit-cpu"] == "no: see resize"
    monkeypatch.setattr(checks, "_shipped", lambda: {"metadatacells": "abc"})
    with pytest.raises(Refused, match=r"context here: crds: metadatacells is of another version.*make install"):
        await checks.refuse_unfit(api)
    cluster.objects["/apis/apps/v1/deployments/cellwall"]["spec"]["template"]["spec"]["containers"][0]["args"] = [
        "--namespaces=a,b"
    ]
    monkeypatch.setattr(checks, "_shipped", lambda: {})
    with pytest.raises(Refused, match=r"operator: .* runs with --namespaces=a,b"):
        await checks.refuse_unfit(api)
    cluster.objects.pop("/apis/apps/v1/deployments/cellwall")
    renewed = datetime.now(UTC).isoformat()
    lease = {"metadata": {"name": checks.LEASE, "namespace": "x"}, "spec": {"renewTime": renewed}}
    cluster.objects[f"{checks.LEASES}/{checks.LEASE}"] = lease
    assert next(c for c in [c async for c in checks.checks(api)] if c.name == "operator").grade == "doubtful"
    cluster.objects[f"{checks.LEASES}/{checks.LEASE}"]["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
    monkeypatch.setattr(checks, "_shipped", lambda: {})
    with pytest.raises(Refused, match=r"operator: is not installed; `make install"):
        await checks.refuse_unfit(api)
    cluster.objects.pop(names.crd("storagefleets"))
    with pytest.raises(Refused, match="crds: storagefleets is not defined"):
        await checks.refuse_unfit(api)

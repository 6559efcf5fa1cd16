"""What an operator of a metadata service lives through, one story each: over a small fake cluster."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cellwall_operator import names
from cellwall_operator.actions import Apply, Join, MarkJoined, Merge, Resize, Status
from cellwall_operator.objects import Installation, Pod, Statistics
from cellwall_operator.plan.publish import NEVER_S

from .fake_cluster import Cluster

SMALL = {"servers": 75, "serversPerPod": 13, "population": {"largeRecords": 20}}
CELL = ("MetadataCell", "world-cell-0")
SERVICE = ("MetadataService", "world")
FLEET = ("StorageFleet", "world")


@pytest.fixture
def running() -> Cluster:
    cluster = Cluster({"cells": 2}, SMALL)
    cluster.rest()
    cluster.wait(100)
    return cluster


def change(cluster: Cluster, kind: str, name: str, **spec: Any) -> None:
    cluster.put(kind, name, {**cluster.objects[kind, name]["spec"], **spec})


def carry_out(cluster: Cluster) -> None:
    """One plan, whole; nothing else happens."""
    for action in cluster.plan().actions:
        cluster.do(action)


def last_pod(cluster: Cluster, cell: str = "world-cell-0") -> dict[str, Any]:
    pods = cluster.pods_of(f"{cell}-node")
    return max(pods, key=lambda pod: int(pod["metadata"]["uid"].removeprefix("uid-")))


# ---------------------------------------------------------------- starting


def test_nobody_asks_before_all_is_there_and_then_all_are_let_in_paced() -> None:
    cluster = Cluster({"cells": 2}, SMALL)
    cluster.stopped = {"world-b-1"}
    for _ in range(10):
        cluster.settle()
        carry_out(cluster)
        cluster.wait(5)
    assert cluster.map is not None and cluster.map.version == 1
    assert {entry.reentry_from_s for entry in cluster.map.cells.values()} == {NEVER_S}
    assert not cluster.open("world-cell-0")
    cluster.stopped = set()
    cluster.rest()
    assert cluster.map.version == 2
    assert cluster.open("world-cell-0") and cluster.open("world-cell-1")
    for kind, name in (SERVICE, CELL, FLEET):
        assert cluster.condition(kind, name, "Ready")[0] == "True"


def test_a_pod_that_never_starts_is_not_waited_for_for_ever() -> None:
    cluster = Cluster({}, SMALL)
    cluster.stopped = {"world-b-1"}
    cluster.rest()
    assert cluster.open("world-cell-0")
    assert cluster.condition(*FLEET, "Degraded")[:2] == ("True", "ServersOut")


def test_the_map_tells_where_doors_and_servers_are(running: Cluster) -> None:
    assert running.map is not None
    entry = running.map.cells["cell-1"]
    door, admin = (running.objects["Service", f"world-cell-1-{which}"] for which in ("renewal", "admin"))
    assert entry.nodes == {"cell-1": f"{door['spec']['clusterIP']}:7001"}
    assert entry.admin == {"cell-1": f"{admin['spec']['clusterIP']}:7002"}
    assert entry.owners == [["cell-1"]] * 16
    hosts = running.objects["ConfigMap", "world-hosts"]["data"]
    for name, text in hosts.items():
        pod = name.removesuffix(".json")
        for server in msgspec.json.decode(text)["servers"]:
            assert running.map.servers[server].address == f"{pod}.world:7000"
            assert running.map.servers[server].zone == pod.split("-")[1]
    assert sum(len(msgspec.json.decode(text)["servers"]) for text in hosts.values()) == 75


def test_at_rest_a_service_is_not_written(running: Cluster) -> None:
    for _ in range(20):
        running.settle()
        assert running.plan().actions == []
        running.wait(15)


# ---------------------------------------------------------------- pausing


@pytest.mark.parametrize(("kind", "name"), [SERVICE, CELL])
def test_a_pause_needs_one_plan_and_no_node(running: Cluster, kind: str, name: str) -> None:
    change(running, kind, name, paused=True)
    running.settle()
    first = running.plan().tracks["world-cell-0/door"][0]
    assert isinstance(first, Apply) and first.manifest["spec"]["selector"][names.PAUSED] == "true"
    running.rest()
    assert running.condition(*CELL, "Ready")[:2] == ("False", "Paused")
    assert running.open("world-cell-1") == (kind == "MetadataCell")


def test_resuming_publishes_a_pace_first(running: Cluster) -> None:
    change(running, *SERVICE, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    now_s = running.now_s
    carry_out(running)
    assert running.map is not None and running.map.version == 3
    for entry in running.map.cells.values():
        assert entry.reentry_from_s == pytest.approx(now_s + 10) and entry.reentry_over_s > 0
    carry_out(running)
    assert not running.open("world-cell-0"), "nobody has told yet that it has version 3"
    running.settle()
    carry_out(running)
    assert running.open("world-cell-0")
    running.rest()
    assert names.resuming("cell-0") not in running.objects["ConfigMap", "world-map"]["metadata"]["annotations"]


def test_followers_that_tell_nothing_are_waited_for_until_the_reentry_begins(running: Cluster) -> None:
    change(running, *SERVICE, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    carry_out(running)
    running.wait(9.9)
    carry_out(running)
    assert not running.open("world-cell-0")
    again_s = running.plan().look_again_s
    assert again_s is not None and again_s <= 0.1 + 1e-6
    running.wait(again_s)
    carry_out(running)
    assert running.open("world-cell-0")


def test_a_reentry_that_nobody_finished_is_published_anew(running: Cluster) -> None:
    change(running, *SERVICE, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    carry_out(running)
    running.wait(600)  # the operator was away
    carry_out(running)
    assert running.map is not None and running.map.version == 4 and not running.open("world-cell-0")


def test_the_spec_may_say_how_long_a_reentry_takes(running: Cluster) -> None:
    change(running, *SERVICE, reentry={"overSeconds": 42.0}, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    running.rest()
    assert running.map is not None and running.map.cells["cell-0"].reentry_over_s == 42.0


# ---------------------------------------------------------------- capacity


def test_a_further_node_joins_through_one_that_serves(running: Cluster) -> None:
    change(running, *CELL, nodes=2)
    carry_out(running)
    running.settle()
    (join,) = (a for a in running.plan().actions if isinstance(a, Join))
    served_by = next(p for p in running.pods_of("world-cell-0-node") if p is not last_pod(running))
    assert join.pod == last_pod(running)["metadata"]["name"]
    assert join.source == f"{served_by['status']['podIP']}:7002"
    assert len(join.partitions) == 8 and join.deadline_s == 4.0
    running.rest()
    assert running.condition(*CELL, "CapacityPending")[:2] == ("False", "Complete")
    assert running.objects[CELL]["status"]["nodes"] == 2
    assert running.objects[CELL]["status"]["capacity"]["attempts"] == 1


def test_growing_is_locked_out_by_overload_and_counted(running: Cluster) -> None:
    running.overloaded = {"world-cell-0"}
    change(running, *CELL, nodes=2)
    for _ in range(12):
        running.settle()
        carry_out(running)
        running.wait(running.plan().look_again_s or 0.5)
    status = running.objects[CELL]["status"]
    assert status["capacity"]["attempts"] >= 3 and status["capacity"]["lastOutcome"] == "unknown"
    state, reason, message = running.condition(*CELL, "CapacityPending")
    assert (state, reason) == ("True", "JoinFailed") and "pause" in message
    assert status["nodes"] == 1 and running.open("world-cell-0")
    running.overloaded = set()
    running.rest()
    assert running.condition(*CELL, "CapacityPending")[0] == "False"


def test_attempts_are_five_seconds_apart_and_one_at_a_time(running: Cluster) -> None:
    running.overloaded = {"world-cell-0"}
    change(running, *CELL, nodes=3)
    running.settle()
    carry_out(running)
    running.settle()
    carry_out(running)
    assert not [a for a in running.plan().actions if isinstance(a, Join)]
    running.wait(4.9)
    assert not [a for a in running.plan().actions if isinstance(a, Join)]
    running.wait(0.2)
    assert len([a for a in running.plan().actions if isinstance(a, Join)]) == 1


def test_the_parent_never_takes_nodes_back(running: Cluster) -> None:
    change(running, *CELL, nodes=3)
    running.rest()
    change(running, *SERVICE, nodesPerCell=2)
    running.rest()
    assert running.objects[CELL]["spec"]["nodes"] == 3


def test_nodes_start_with_an_allowance_and_give_it_up_when_they_have_joined(running: Cluster) -> None:
    (container,) = running.objects["Deployment", "world-cell-0-node"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "50m", "memory": "96Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert last_pod(running)["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "200m"


def test_changed_cpu_is_handed_down_once_and_no_pod_restarts(running: Cluster) -> None:
    pods = running.names_of("Pod")
    change(running, *SERVICE, cpu={"total": "800m"})
    running.rest()
    assert running.objects[CELL]["spec"]["cpuPerNode"] == "400m"
    change(running, *CELL, cpuPerNode="100m")  # a fault of an experiment
    writes = len(running.writes)
    running.rest()
    assert running.objects[CELL]["spec"]["cpuPerNode"] == "100m"
    assert not any(isinstance(action, Merge) for action in running.writes[writes:])
    assert [a.limit for a in running.writes if isinstance(a, Resize)][-1] == "100m"
    assert running.names_of("Pod") == pods


def test_a_node_whose_container_starts_again_gets_the_allowance_again(running: Cluster) -> None:
    pod = last_pod(running)
    pod["status"]["containerStatuses"][0]["started"] = False
    pod["status"]["conditions"] = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
    carry_out(running)
    assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
    running.rest()
    assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "200m"
    assert running.open("world-cell-0")


def test_where_pods_cannot_be_resized_nodes_start_as_they_run() -> None:
    cluster = Cluster({}, SMALL, can_resize=False)
    cluster.rest()
    assert last_pod(cluster)["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "400m"
    assert not any(isinstance(action, Resize) for action in cluster.writes)
    assert cluster.condition(*CELL, "StartupAllowance")[:2] == ("False", "NotResizable")


# ---------------------------------------------------------------- losses


def test_a_cell_that_lost_all_its_nodes_lets_its_servers_in_paced(running: Cluster) -> None:
    version = running.map.version if running.map else 0
    running.kill(last_pod(running)["metadata"]["name"])
    carry_out(running)
    assert not running.open("world-cell-0") and running.open("world-cell-1")
    running.rest()
    assert running.map is not None and running.map.version == version + 1
    assert running.open("world-cell-0")
    assert [a.reason for a in running.writes if isinstance(a, MarkJoined)][-1] == "FirstNode"


def test_a_fleet_that_starts_anew_is_let_in_paced(running: Cluster) -> None:
    for pod in running.names_of("Pod"):
        if pod.startswith(("world-a-", "world-b-")):
            running.kill(pod)
    carry_out(running)
    assert not running.open("world-cell-0")
    running.rest()
    assert running.map is not None and running.map.version == 3 and running.open("world-cell-0")


def test_one_lost_zone_shuts_nothing(running: Cluster) -> None:
    running.stopped = {"world-a-"}
    for pod in running.names_of("Pod"):
        if pod.startswith("world-a-"):
            running.kill(pod)
    running.rest()
    assert running.open("world-cell-0")
    assert running.condition(*FLEET, "Degraded")[:2] == ("True", "ServersOut")


@pytest.mark.parametrize(
    "key",
    [
        ("ConfigMap", "world-map"),
        ("ConfigMap", "world-hosts"),
        ("Job", "world-fill"),
        ("Deployment", "world-cell-0-node"),
        ("StatefulSet", "world-a"),
        ("Service", "world-cell-0-renewal"),
        ("MetadataCell", "world-cell-1"),
    ],
)
def test_what_is_deleted_by_hand_comes_back(running: Cluster, key: tuple[str, str]) -> None:
    running.delete(*key)
    running.rest()
    assert key in running.objects
    assert running.open("world-cell-0") and running.open("world-cell-1")


def test_a_map_that_is_deleted_by_hand_goes_on_counting_and_shuts_nothing(running: Cluster) -> None:
    running.delete("ConfigMap", "world-map")
    carry_out(running)
    assert running.map is not None and running.map.version == 3
    assert running.open("world-cell-0") and running.let_in


def test_a_version_is_in_the_status_before_it_is_in_the_map(running: Cluster) -> None:
    """Or it could be used twice: the map deleted, and nobody left who has seen it."""
    change(running, *SERVICE, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    first, second, *_ = running.plan().tracks["map"]
    assert isinstance(first, Status) and first.status["mapVersion"] == 3
    assert isinstance(second, Apply) and second.resource_version
    running.do(first)
    running.delete("ConfigMap", "world-map")
    running.hosts.clear()
    carry_out(running)
    assert running.map is not None and running.map.version == 4


def test_what_is_edited_by_hand_is_put_right(running: Cluster) -> None:
    running.objects["Deployment", "world-cell-0-node"]["spec"]["replicas"] = 7
    running.objects["Service", "world-cell-0-admin"]["spec"]["selector"]["x"] = "y"  # not ours: stays
    running.rest()
    assert running.objects["Deployment", "world-cell-0-node"]["spec"]["replicas"] == 1


def test_a_door_that_a_foreign_hand_shut_during_a_reentry_opens_again(running: Cluster) -> None:
    change(running, *SERVICE, paused=True)
    running.rest()
    change(running, *SERVICE, paused=False)
    carry_out(running)
    running.settle()
    carry_out(running)
    assert running.open("world-cell-0")
    running.objects["Service", "world-cell-0-renewal"]["spec"]["selector"][names.PAUSED] = "true"
    running.rest()
    assert running.open("world-cell-0")


def test_an_upgrade_rolls_one_zone_at_a_time(running: Cluster) -> None:
    running.installation = Installation("cellwall/services:next")
    running.rest()  # `Cluster.check` watches over the zones
    for pod in running.names_of("Pod"):
        assert running.objects["Pod", pod]["spec"]["containers"][0]["image"] == "cellwall/services:next"


def test_a_changed_policy_reaches_the_storage_pods(running: Cluster) -> None:
    change(running, *SERVICE, renewal={"everySeconds": 30.0})
    running.rest()
    settings = msgspec.json.decode(running.objects["ConfigMap", "world-hosts"]["data"]["world-a-0.json"])
    assert settings["renewal"]["renew_every_s"] == 30.0


# ---------------------------------------------------------------- bad input


def test_without_a_fleet_the_service_says_what_to_do() -> None:
    cluster = Cluster({}, None)
    cluster.rest()
    state, reason, message = cluster.condition(*SERVICE, "Stalled")
    assert (state, reason) == ("True", "NoFleet") and "spec.service: world" in message
    cluster.put("StorageFleet", "world", {"service": "world", **SMALL})
    cluster.rest()
    assert cluster.condition(*SERVICE, "Ready")[0] == "True"


def test_without_a_service_the_fleet_says_what_to_do() -> None:
    cluster = Cluster(None, SMALL)
    cluster.rest()
    assert cluster.condition(*FLEET, "Stalled")[:2] == ("True", "NoService")
    assert cluster.names_of("StatefulSet") == []


def test_of_two_fleets_the_first_is_served(running: Cluster) -> None:
    running.put("StorageFleet", "another", {"service": "world", **SMALL})
    running.rest()
    assert running.condition("StorageFleet", "another", "Stalled")[:2] == ("True", "SeveralFleets")
    assert running.condition(*SERVICE, "Stalled")[:2] == ("True", "SeveralFleets")
    assert running.open("world-cell-0") and "another-a" not in running.names_of("StatefulSet")
    running.delete("StorageFleet", "another")
    running.rest()
    assert running.condition(*SERVICE, "Ready")[0] == "True"


def test_more_cells_than_groups_are_refused() -> None:
    cluster = Cluster({"cells": 4}, SMALL)
    cluster.rest()
    state, reason, message = cluster.condition(*SERVICE, "Stalled")
    assert (state, reason) == ("True", "InvalidWorld") and "cells: 4" in message
    assert cluster.names_of("MetadataCell") == []


def test_cells_that_are_too_small_are_refused_unless_they_are_meant() -> None:
    service = {"cells": 4, "cpu": {"total": "160m"}}
    cluster = Cluster(service, {"servers": 200, "serversPerPod": 67})
    cluster.rest()
    state, reason, message = cluster.condition(*SERVICE, "Stalled")
    assert (state, reason) == ("True", "InvalidWorld") and names.FORCE in message
    cluster.objects[SERVICE]["metadata"]["annotations"] = {names.FORCE: "true"}
    cluster.rest()
    assert cluster.condition(*SERVICE, "Ready")[0] == "True"


@pytest.mark.parametrize("total", ["334m", "426m"])  # the lowest and the highest that ten seeds calibrated
def test_the_reference_cells_are_not_refused(total: str) -> None:
    cluster = Cluster({"cells": 4, "cpu": {"total": total}}, {})
    assert cluster.plan().tracks["cells"]


def test_fewer_cells_before_the_stores_are_filled_go() -> None:
    cluster = Cluster({"cells": 3}, SMALL)
    carry_out(cluster)
    assert len(cluster.names_of("MetadataCell")) == 3
    change(cluster, *SERVICE, cells=1)
    cluster.rest()
    assert cluster.names_of("MetadataCell") == ["world-cell-0"]
    assert cluster.condition(*SERVICE, "Ready")[0] == "True"


def test_a_store_that_is_not_ready_is_told_with_its_reason(running: Cluster) -> None:
    pod = running.objects["Pod", "world-cell-0-store-0"]
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    pod["status"] = {"conditions": [], "containerStatuses": [{"state": {"waiting": waiting}}]}
    running.stopped = {"world-cell-0-store"}
    running.rest()
    state, reason, message = running.condition(*CELL, "Degraded")
    assert (state, reason) == ("True", "StoreNotReady") and "CrashLoopBackOff" in message and "volume" in message
    assert running.open("world-cell-1")


def test_a_node_that_never_starts_is_told(running: Cluster) -> None:
    change(running, *CELL, nodes=2)
    carry_out(running)
    running.stopped = {"world-cell-0-node-"}
    running.settle()
    running.wait(301)
    running.rest()
    assert running.condition(*CELL, "Degraded")[:2] == ("True", "NodeNotReady")
    assert running.condition(*CELL, "CapacityPending")[:2] == ("True", "NodeStarting")


def test_a_spec_of_other_definitions_is_told() -> None:
    cluster = Cluster({"cellz": 2}, SMALL)
    cluster.rest()
    state, reason, message = cluster.condition(*SERVICE, "Stalled")
    assert (state, reason) == ("True", "UnreadableSpec") and "cellz" in message


def test_what_the_api_server_refuses_is_told_where_it_belongs(running: Cluster) -> None:
    running.refused = {"world-cell-0/store": "spec: Forbidden", "fleet": "no quota"}
    running.rest()
    assert running.condition(*CELL, "Degraded")[:2] == ("True", "NotApplied")
    assert running.condition("MetadataCell", "world-cell-1", "Degraded")[0] == "False"
    assert "no quota" in running.condition(*SERVICE, "Degraded")[2]
    running.refused = {}
    running.rest()
    assert running.condition(*SERVICE, "Degraded")[0] == "False"


# ---------------------------------------------------------------- figures


def test_headroom_is_that_of_the_largest_membership_and_settles(running: Cluster) -> None:
    def told(seconds: float) -> tuple[str, str]:
        running.statistics["world-cell-0"] = Statistics(25, 500, "s-0003", 40, seconds)
        running.rest()
        return running.condition(*CELL, "Headroom")[:2]

    assert told(0.4) == ("True", "Enough")
    assert running.objects[CELL]["status"]["headroom"] == {"retrievalMillis": 400, "records": 40, "percent": 80}
    writes = len(running.writes)
    assert told(0.5) == ("True", "Enough")
    assert len(running.writes) == writes, "a figure that has hardly moved is not written"
    assert told(1.7) == ("False", "Short")


def test_events_are_told_of_changes_only(running: Cluster) -> None:
    told = len(running.events)
    running.wait(1000)
    running.rest()
    assert len(running.events) == told
    running.stopped = {"world-a-"}
    for pod in running.names_of("Pod"):
        if pod.startswith("world-a-"):
            running.kill(pod)
    running.rest()
    assert {(event.type, event.reason) for event in running.events[told:]} == {("Warning", "ServersOut")}


def test_a_deleted_service_is_left_alone(running: Cluster) -> None:
    running.objects[SERVICE]["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    assert running.plan().actions == []


def test_pods_are_read_as_they_are() -> None:
    cluster = Cluster({}, SMALL)
    cluster.rest()
    (node,) = (pod for pod in cluster.observe().pods if pod.component == "node")
    assert node == Pod(
        name=node.name,
        uid=node.uid,
        component="node",
        cell="cell-0",
        ip=node.ip,
        created_s=node.created_s,
        started=True,
        ready=True,
        joined=True,
        container="node",
        cpu_limit="400m",
    )

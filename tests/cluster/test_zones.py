"""Three nodes a cell over three zones, without load: experiments have one node a cell (issue 5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cellwall import labels
from cellwall.spec import ZONES

from .conftest import Cluster
from .world import HEALTHY_S, NAME, World, condition

VALUES = {
    "service": {"spec": {"nodesPerCell": 3, "cpu": {"total": "1"}, "partitions": 6}},
    "fleet": {"spec": {"servers": 48, "groupServers": 24, "population": {"largeRecords": 50}}},
    "frontEnd": {"enabled": False},
}
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def world(cluster: Cluster, operator: str) -> Iterator[World]:
    world = World(cluster, "cellwall-zones", VALUES)
    world.make_namespace()
    world.install()
    yield world
    world.remove()


@pytest.mark.timeout(HEALTHY_S + 240)
def test_three_nodes_of_a_cell_are_in_three_zones_and_each_serves(world: World) -> None:
    world.healthy(HEALTHY_S)
    cell, pods = world.cell(0), world.pods("node")
    assert (cell["status"]["nodes"], condition(cell, "CapacityPending")) == (3, "False")
    zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(ZONE) for node in world.cluster.nodes()}
    assert sorted(zones[pod["spec"]["nodeName"]] for pod in pods.values()) == sorted(ZONES)
    assert world.doors(0) == {pod["status"]["podIP"] for pod in pods.values()}
    for name in pods:
        world.comes(f"{name} answers renewals", lambda name=name: world.asked(name, labels.ADMIN_PORT, "statistics"))
    budget = world.get("poddisruptionbudget", f"{NAME}-cell-0-node")["status"]
    assert (budget["disruptionsAllowed"], budget["desiredHealthy"]) == (1, 2)
    storage = {pod["metadata"]["labels"]["cellwall.dev/zone"]: pod for pod in world.pods("storage").values()}
    assert {zone: zones[pod["spec"]["nodeName"]] for zone, pod in storage.items()} == {zone: zone for zone in ZONES}

"""Manifests as golden pairs: golden/input.yaml, and a file for each object that follows from it.

Written again by CELLWALL_UPDATE_GOLDEN=1 and then read as a diff. Beside them, what must hold for every manifest there
is: restricted pods, no probe that scripts the outage, settings that the services accept, fields that Kubernetes knows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import kubernetes.client as models
import msgspec
import pytest
import yaml

from cellwall.model import CellEntry, CellMap, ServerEntry
from cellwall.resources import MetadataCellSpec, MetadataServiceSpec, StorageFleetSpec
from cellwall_operator import names
from cellwall_operator.manifests import cell, cellmap, fill, storage, store
from cellwall_operator.manifests.cellmap import Published
from cellwall_operator.manifests.drift import matches
from cellwall_operator.objects import Resource, read_resource
from cellwall_operator.plan import world as worlds
from cellwall_services.config import HostConfig, NodeConfig
from cellwall_services.metadata.loader import LoaderConfig

GOLDEN = Path(__file__).with_name("golden")
IMAGE = "cellwall/services:test"


def resources() -> tuple[Resource[Any], Resource[Any], Resource[Any]]:
    service, one, fleet = yaml.safe_load_all((GOLDEN / "input.yaml").read_text())
    return (
        read_resource(service, MetadataServiceSpec),
        read_resource(one, MetadataCellSpec),
        read_resource(fleet, StorageFleetSpec),
    )


def made() -> dict[str, dict[str, Any]]:
    service, one, fleet = resources()
    assert service.spec and one.spec and fleet.spec
    spec = worlds.wanted(service.spec, fleet.spec, force=False)
    land = worlds.land(spec, fleet.name, fleet.spec.servers_per_pod)
    config, job = fill.fill(service, spec, IMAGE, "IfNotPresent")
    entry = CellEntry("cell-0", {"cell-0": "10.0.0.1:7001"}, {"cell-0": "10.0.0.2:7002"}, [["cell-0"]] * 2, 1.8e9, 12.5)
    server = ServerEntry("s-0000", "cell-0", 1, "a", 0, "world-a-0.world:7000")
    published = Published(CellMap(2, {"cell-0": entry}, {"s-0000": server}), True, {"cell-0": 2})
    node_map, node_pdb, node = cell.nodes(one, one.spec, "cell-0", IMAGE, "IfNotPresent", can_resize=True)
    store_service, store_set = store.store(one, one.spec, "cell-0", IMAGE, "IfNotPresent")
    of_fleet = storage.storage(fleet, fleet.spec, spec.renewal, spec.seed, land.pods, IMAGE, "IfNotPresent")
    fleet_service, fleet_pdb, hosts, zone_a, *_ = of_fleet
    return {
        "cell-new": cell.new_cell(service, service.spec, 0),
        "cell": cell.cell(service, service.spec, 0),
        "store-service": store_service,
        "store-statefulset": store_set,
        "node-configmap": node_map,
        "node-poddisruptionbudget": node_pdb,
        "node-deployment": node,
        "renewal-service": cell.renewal_door(one, one.spec, "cell-0", open=True),
        "renewal-service-paused": cell.renewal_door(one, one.spec, "cell-0", open=False),
        "admin-service": cell.admin_door(one, one.spec, "cell-0"),
        "fill-configmap": config,
        "fill-job": job,
        "map-configmap": cellmap.cell_map(service, published),
        "storage-service": fleet_service,
        "storage-poddisruptionbudget": fleet_pdb,
        "storage-configmap": hosts,
        "storage-statefulset": zone_a,
    }


MADE = made()
TEMPLATES = {
    name: body["spec"]["template"]
    for name, body in MADE.items()
    if body["kind"] in ("Deployment", "StatefulSet", "Job")
}


@pytest.mark.parametrize("name", MADE)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("CELLWALL_UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump(MADE[name], sort_keys=False, allow_unicode=True, width=120))
    assert yaml.safe_load(path.read_text()) == MADE[name]


def test_no_golden_file_outlives_its_object() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == {"input", *MADE}


# ---------------------------------------------------------------- every pod


@pytest.mark.parametrize("name", TEMPLATES)
def test_pods_are_restricted(name: str) -> None:
    spec = TEMPLATES[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert all(set(volume) - {"name"} <= {"configMap", "emptyDir"} for volume in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("name", ["node-deployment", "storage-statefulset"])
def test_no_probe_can_kill_or_stop_a_starved_process(name: str) -> None:
    (container,) = TEMPLATES[name]["spec"]["containers"]
    assert "startupProbe" in container
    assert not {"livenessProbe", "readinessProbe"} & set(container)


@pytest.mark.parametrize("name", ["node-deployment", "storage-statefulset", "store-statefulset"])
def test_selectors_select_their_pods(name: str) -> None:
    labels = TEMPLATES[name]["metadata"]["labels"]
    assert MADE[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_doors_select_the_nodes_unless_they_are_shut() -> None:
    labels = TEMPLATES["node-deployment"]["metadata"]["labels"]
    for name in ("renewal-service", "admin-service"):
        assert MADE[name]["spec"]["selector"].items() <= labels.items()
    assert not MADE["renewal-service-paused"]["spec"]["selector"].items() <= labels.items()


# ---------------------------------------------------------------- every object


@pytest.mark.parametrize("name", MADE)
def test_all_go_with_their_owner(name: str) -> None:
    (owner,) = MADE[name]["metadata"]["ownerReferences"]
    assert owner["controller"] is True and owner["uid"]
    assert MADE[name]["metadata"]["labels"][names.SERVICE] == "world"


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name]["kind"] != "MetadataCell"])
def test_kubernetes_knows_every_field(name: str) -> None:
    """The client's models refuse what they do not know."""
    model = getattr(models, f"V1{MADE[name]['kind']}")
    plain = msgspec.json.decode(msgspec.json.encode(MADE[name]))
    model.model_validate(plain)
    with pytest.raises(ValueError, match="sceptre"):
        model.model_validate(plain | {"sceptre": 1})


@pytest.mark.parametrize("name", MADE)
def test_a_manifest_matches_itself_and_what_the_server_makes_of_it(name: str) -> None:
    live = msgspec.json.decode(msgspec.json.encode(MADE[name]))
    live["metadata"] |= {"resourceVersion": "7", "uid": "x"}
    live["metadata"]["ownerReferences"].append({"uid": "another"})
    live["status"] = {}
    assert matches(live, MADE[name])
    del live["metadata"]["annotations"][names.MANIFEST]
    assert not matches(live, MADE[name])


# ---------------------------------------------------------------- what the services read


def test_a_node_accepts_its_settings() -> None:
    one = resources()[1]
    assert one.spec is not None
    settings = msgspec.json.decode(MADE["node-configmap"]["data"]["node.json"], type=NodeConfig)
    assert settings.store_url == "redis://world-cell-0-store:6379/0" and settings.cell == "cell-0"
    assert settings.policy.admin_lane == one.spec.queue.admin_lane == "own"


def test_every_storage_pod_accepts_its_settings() -> None:
    _, _, fleet = resources()
    assert fleet.spec is not None
    hosts = {
        name: msgspec.json.decode(text, type=HostConfig) for name, text in MADE["storage-configmap"]["data"].items()
    }
    assert set(hosts) == {f"world-{zone}-{number}.json" for zone in "abc" for number in range(3)}
    served = [server for host in hosts.values() for server in host.servers]
    assert len(served) == len(set(served)) == fleet.spec.servers
    assert all(f"{host.name}.json" == name for name, host in hosts.items())
    assert max(len(host.servers) for host in hosts.values()) <= fleet.spec.servers_per_pod


def test_the_loader_accepts_its_settings_and_they_are_the_record_of_the_world() -> None:
    service, _, fleet = resources()
    assert service.spec and fleet.spec
    settings = msgspec.json.decode(MADE["fill-configmap"]["data"]["fill.json"], type=LoaderConfig)
    assert settings.stores == ["redis://world-cell-0-store:6379/0", "redis://world-cell-1-store:6379/0"]
    assert settings.spec == fill.filled_world(MADE["fill-configmap"])
    assert settings.spec == worlds.wanted(service.spec, fleet.spec, force=False)


def test_what_is_published_is_read_again() -> None:
    read = cellmap.read(
        MADE["map-configmap"] | {"metadata": {**MADE["map-configmap"]["metadata"], "resourceVersion": "9"}}
    )
    assert read.version == 2 and read.let_in and read.resuming == {"cell-0": 2} and read.resource_version == "9"
    assert json.loads(MADE["map-configmap"]["data"]["map.json"])["version"] == 2


@pytest.mark.parametrize("text", ["", "{", '{"version": "x"}'])
def test_a_map_that_cannot_be_read_is_none(text: str) -> None:
    assert cellmap.read({"metadata": {}, "data": {"map.json": text}}).map is None


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": {}}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({}, {"a": []}, True),
        ({"cpu": "400m"}, {"cpu": "0.4"}, True),
        ({"cpu": "1"}, {"cpu": "1000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1Gi"}, {"memory": "1G"}, False),
        ({"a": "v1"}, {"a": "v2"}, False),
        ({"a": None}, {"a": {"b": 1}}, False),
    ],
)
def test_differences(live: Any, wanted: Any, same: bool) -> None:
    assert matches(live, wanted) is same

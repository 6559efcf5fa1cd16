"""A storage fleet: a StatefulSet for each zone, the settings of each pod, and the Service that gives pods their names.

Decides how storage pods are run; which server lives in which pod is `plan.world`'s. Invariant: a pod's servers and data
keep its name, so a pod that starts again is the same pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from cellwall.resources import StorageFleetSpec
from cellwall.spec import RenewalPolicy

from .. import names
from . import common
from .common import Manifest, Owner

STOP_S = 10  # the services' own 1 s for requests under way, and SQLite closing its files
START_S = 300  # guess: pulling of an image is not counted
MAP_PATH = "/etc/cellwall-map/map.json"
CPU_REQUEST = "10m"  # guess: renewing and serving take a hundredth of a core a pod in the reference set


def storage(
    owner: Owner,
    spec: StorageFleetSpec,
    policy: RenewalPolicy,
    seed: int,
    pods: Mapping[str, Sequence[Sequence[str]]],
    image: str,
    pull_policy: str,
) -> list[Manifest]:
    """Service, PodDisruptionBudget, ConfigMap, and last the StatefulSets by zone. ``pods``: per zone, the servers of
    each pod."""
    labels = common.labels(spec.service, "storage", fleet=owner.name)
    match = common.selector(spec.service, "storage", fleet=owner.name)
    settings = {
        f"{name}.json": json.dumps(config)
        for zone, hosts in pods.items()
        for number, servers in enumerate(hosts)
        for name in [names.storage_pod(owner.name, zone, number)]
        for config in [host_config(name, zone, servers, seed, policy)]
    }
    return [
        common.manifest(
            "v1",
            "Service",
            owner.name,
            owner,
            labels,
            spec={
                "clusterIP": "None",
                "publishNotReadyAddresses": True,  # peers ask a server that is out for its data
                "selector": match,
                "ports": [{"name": "storage", "port": names.STORAGE_PORT, "targetPort": "storage", "protocol": "TCP"}],
            },
        ),
        common.manifest(
            "policy/v1",
            "PodDisruptionBudget",
            owner.name,
            owner,
            labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": match}},
        ),
        common.manifest("v1", "ConfigMap", names.hosts(owner.name), owner, labels, data=settings),
        *(
            _zone(owner, spec, zone, len(hosts), common.digest([settings, seed]), image, pull_policy)
            for zone, hosts in pods.items()
        ),
    ]


def host_config(name: str, zone: str, servers: Sequence[str], seed: int, policy: RenewalPolicy) -> Manifest:
    """`cellwall_services.config.HostConfig`."""
    return {
        "name": name,
        "zone": zone,
        "servers": list(servers),
        "listen": f"0.0.0.0:{names.STORAGE_PORT}",
        "map_path": MAP_PATH,
        "data_dir": "/data",
        "seed": seed,
        "renewal": msgspec.to_builtins(policy),
        "records": "/dev/stdout",
    }


def _zone(
    owner: Owner, spec: StorageFleetSpec, zone: str, replicas: int, config: str, image: str, pull_policy: str
) -> Manifest:
    name = names.storage(owner.name, zone)
    labels = common.labels(spec.service, "storage", fleet=owner.name, zone=zone)
    match = common.selector(spec.service, "storage", fleet=owner.name, zone=zone)
    container = {
        "name": "storage",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["python", "-m", "cellwall_services.storage", "/etc/cellwall/$(POD_NAME).json"],
        "env": [common.POD_NAME],
        "ports": [{"name": "storage", "containerPort": names.STORAGE_PORT, "protocol": "TCP"}],
        # No limit of CPU: only the metadata service is limited, and whoever is short here would make its storm.
        "resources": {
            "requests": {"cpu": CPU_REQUEST, "memory": common.memory_request(spec.memory, "64Mi")},
            "limits": {"memory": spec.memory},
        },
        "startupProbe": common.started("storage", 2, START_S),
        "securityContext": common.CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/cellwall", "readOnly": True},
            {"name": "map", "mountPath": "/etc/cellwall-map", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
            common.TMP_MOUNT,
        ],
    }
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": names.hosts(owner.name)}},
        # Optional: pods start while nothing is published yet.
        {"name": "map", "configMap": {"name": names.cell_map(spec.service), "optional": True}},
        common.TMP,
    ]
    fields: Manifest = {
        "replicas": replicas,
        "serviceName": owner.name,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": match},
        "revisionHistoryLimit": 2,
        # A change rolls one pod at a time; that one zone is rolled at a time is `plan.fleet`'s.
        "updateStrategy": {"type": "RollingUpdate"},
    }
    if spec.storage.size is None:
        volumes.append({"name": "data", "emptyDir": {}})
    else:
        fields["persistentVolumeClaimRetentionPolicy"] = common.CLAIMS_GO
        fields["volumeClaimTemplates"] = [common.claim(spec.storage.size, spec.storage.storage_class_name)]
    fields["template"] = common.template(
        labels | {names.FOLLOWS: spec.service},
        {names.CONFIG: config},
        terminationGracePeriodSeconds=STOP_S,
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [_in_zone(zone)]}},
        topologySpreadConstraints=common.spread(match, common.HOST_KEY),
        containers=[container],
        volumes=volumes,
    )
    return common.manifest("apps/v1", "StatefulSet", name, owner, labels, spec=fields)


def _in_zone(zone: str) -> Manifest:
    """Preferred: in a cluster without these zones the pods run all the same."""
    term = {"key": common.ZONE_KEY, "operator": "In", "values": [zone]}
    return {"weight": 100, "preference": {"matchExpressions": [term]}}

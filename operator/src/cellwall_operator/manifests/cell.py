"""A cell: the MetadataCell that the service makes, and the nodes that the cell makes, with the doors to them.

Decides how nodes are run and which door is open; never which of them has joined. Invariant: a closed door selects no
pod, whatever the nodes are like, so a pause needs no answer of an overloaded node.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from cellwall.resources import API_VERSION, MetadataCellSpec, MetadataServiceSpec, cpu_per_node, metadata_policy

from .. import names
from . import common
from .common import Manifest, Owner

HANDED_OVER = ("nodes", "cpuPerNode", "paused")  # set at creation, then they belong to whoever changes them
STOP_S = 10  # a node has nothing to save; who waits for an answer gets none (services: 1 s)
START_S = 600  # guess: imports take 25 s of CPU at 0.04 core, and a node waits until its store is filled
MEMORY = {"requests": "96Mi", "limits": "1Gi"}  # guess: several times what a node of 800 servers takes


# ---------------------------------------------------------------- the resource


def cell_spec(service: MetadataServiceSpec, name: str, number: int) -> MetadataCellSpec:
    return MetadataCellSpec(
        service=name,
        cell=number,
        nodes=service.nodes_per_cell,
        cpu_per_node=cpu_per_node(service),
        startup_cpu=service.cpu.startup,
        partitions=service.partitions,
        time_limit_seconds=service.renewal.time_limit_seconds,
        queue=service.queue,
        encoding=service.encoding,
        store=service.store,
    )


def new_cell(owner: Owner, service: MetadataServiceSpec, number: int, *, begins_empty: bool = False) -> Manifest:
    """The MetadataCell as it is created."""
    spec = _known(msgspec.to_builtins(cell_spec(service, owner.name, number)))
    given = {names.CPU_GIVEN: spec["cpuPerNode"]} | ({names.BEGINS_EMPTY: "true"} if begins_empty else {})
    return _cell(owner, number, spec, given)


def cell(owner: Owner, service: MetadataServiceSpec, number: int) -> Manifest:
    """The MetadataCell as it is applied ever after: without what was handed over."""
    spec = _known(msgspec.to_builtins(cell_spec(service, owner.name, number)))
    return _cell(owner, number, {key: value for key, value in spec.items() if key not in HANDED_OVER}, {})


def given_cpu(service: MetadataServiceSpec) -> Manifest:
    """The patch that hands a changed share of the service's CPU down to a cell, once."""
    share = cpu_per_node(service)
    return {"metadata": {"annotations": {names.CPU_GIVEN: share}}, "spec": {"cpuPerNode": share}}


def _cell(owner: Owner, number: int, spec: Manifest, annotations: dict[str, str]) -> Manifest:
    labels = common.labels(owner.name, "cell")
    name = names.cell(owner.name, number)
    return common.manifest(API_VERSION, "MetadataCell", name, owner, labels, annotations, spec=spec)


def _known(value: Any) -> Any:
    """Without what is None: an absent field, never a null."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items() if inner is not None}
    return value


# ---------------------------------------------------------------- its nodes


def node_selector(service: str, cell_id: str) -> dict[str, str]:
    return common.selector(service, "node", cell=cell_id)


def nodes(
    owner: Owner,
    spec: MetadataCellSpec,
    cell_id: str,
    image: str,
    pull_policy: str,
    can_resize: bool,
    *,
    begins_empty: bool = False,
) -> list[Manifest]:
    """ConfigMap, PodDisruptionBudget and Deployment.

    Where pods can be resized, a pod starts with the startup allowance and is resized once it has joined, so a changed
    ``cpuPerNode`` starts no pod anew."""
    name = names.node(owner.name)
    labels = common.labels(spec.service, "node", cell=cell_id)
    match = node_selector(spec.service, cell_id)
    limit = common.cpu(spec.startup_cpu if can_resize else spec.cpu_per_node)
    empty = {"begins_empty": True} if begins_empty else {}
    settings = json.dumps(node_config(owner, spec, cell_id) | empty, indent=1)
    container = {
        "name": "node",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["python", "-m", "cellwall_services.metadata", "/etc/cellwall/node.json", "node=$(POD_NAME)"],
        "env": [common.POD_NAME],
        "ports": [
            {"name": "renewal", "containerPort": names.RENEWAL_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": names.ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": {
            "requests": {"cpu": common.cpu_request(limit), "memory": MEMORY["requests"]},
            "limits": {"cpu": limit, "memory": MEMORY["limits"]},
        },
        "startupProbe": common.started("admin", 1, START_S),
        "securityContext": common.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/cellwall", "readOnly": True}, common.TMP_MOUNT],
    }
    pod = common.template(
        labels,
        {names.CONFIG: common.digest(settings)},
        terminationGracePeriodSeconds=STOP_S,
        readinessGates=[{"conditionType": names.JOINED}],
        topologySpreadConstraints=common.spread(match, common.ZONE_KEY, common.HOST_KEY),
        containers=[container],
        volumes=[{"name": "config", "configMap": {"name": name}}, common.TMP],
    )
    return [
        common.manifest("v1", "ConfigMap", name, owner, labels, data={"node.json": settings}),
        common.manifest(
            "policy/v1",
            "PodDisruptionBudget",
            name,
            owner,
            labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": match}},
        ),
        common.manifest(
            "apps/v1",
            "Deployment",
            name,
            owner,
            labels,
            spec={
                "replicas": spec.nodes,
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": match},
                # The old node goes when the new one has joined: under overload an upgrade is locked out as well.
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": pod,
            },
        ),
    ]


def node_config(owner: Owner, spec: MetadataCellSpec, cell_id: str) -> Manifest:
    """`cellwall_services.config.NodeConfig`, but for the node's name, which the command line sets."""
    return {
        "node": cell_id,
        "cell": cell_id,
        "store_url": names.store_url(owner.name),
        "admin_listen": f"0.0.0.0:{names.ADMIN_PORT}",
        "renewal_listen": f"0.0.0.0:{names.RENEWAL_PORT}",
        "policy": msgspec.to_builtins(metadata_policy(spec.queue, spec.partitions)),
        "records": "/dev/stdout",
    }


# ---------------------------------------------------------------- its doors


def renewal_door(owner: Owner, spec: MetadataCellSpec, cell_id: str, *, open: bool) -> Manifest:
    shut = {} if open else {names.PAUSED: "true"}
    return _door(owner, spec, cell_id, names.renewal(owner.name), "renewal", names.RENEWAL_PORT, shut)


def admin_door(owner: Owner, spec: MetadataCellSpec, cell_id: str) -> Manifest:
    return _door(owner, spec, cell_id, names.admin(owner.name), "admin", names.ADMIN_PORT, {})


def _door(
    owner: Owner, spec: MetadataCellSpec, cell_id: str, name: str, port: str, number: int, more: dict[str, str]
) -> Manifest:
    return common.manifest(
        "v1",
        "Service",
        name,
        owner,
        common.labels(spec.service, "node", cell=cell_id),
        spec={
            "type": "ClusterIP",
            "selector": node_selector(spec.service, cell_id) | more,
            "ports": [{"name": port, "port": number, "targetPort": port, "protocol": "TCP"}],
        },
    )

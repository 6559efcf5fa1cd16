"""A cell's store: one Valkey with an append-only file, and the Service it is found by.

Decides how the store is run; never what is in it.
"""

from __future__ import annotations

from cellwall.resources import MetadataCellSpec

from .. import names
from . import common
from .common import Manifest, Owner

MEMORY_RATIO = 0.85  # of the limit for data: an error when full says what is wrong, being killed does not (guess)
STOP_S = 30  # to write what is left of the file


def store(owner: Owner, spec: MetadataCellSpec, cell_id: str, image: str, pull_policy: str) -> list[Manifest]:
    """StatefulSet and Service."""
    name = names.store(owner.name)
    labels = common.labels(spec.service, "store", cell=cell_id)
    match = common.selector(spec.service, "store", cell=cell_id)
    kept = spec.store.persistence
    command = ["valkey-server", "--port", str(names.STORE_PORT), "--bind", "*", "--protected-mode", "no"]
    command += ["--dir", "/data", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    command += ["--maxmemory", str(int(common.size_bytes(spec.store.memory) * MEMORY_RATIO))]
    container = {
        "name": "store",
        "image": spec.store.image or image,
        "imagePullPolicy": pull_policy,
        "command": command,
        "ports": [{"name": "redis", "containerPort": names.STORE_PORT, "protocol": "TCP"}],
        # No limit of CPU: the node is what is limited, and what a store takes shall not depend on a second quota.
        "resources": {
            "requests": {"cpu": "50m", "memory": common.memory_request(spec.store.memory, "64Mi")},
            "limits": {"memory": spec.store.memory},
        },
        "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 2, "timeoutSeconds": 1},
        "securityContext": common.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, common.TMP_MOUNT],
    }
    volumes = [common.TMP] if kept.enabled else [{"name": "data", "emptyDir": {}}, common.TMP]
    pod = common.template(labels, {}, terminationGracePeriodSeconds=STOP_S, containers=[container], volumes=volumes)
    spec_fields: Manifest = {
        "replicas": spec.store.replicas,
        "serviceName": name,
        "selector": {"matchLabels": match},
        "revisionHistoryLimit": 2,
        "template": pod,
    }
    if kept.enabled:
        spec_fields["persistentVolumeClaimRetentionPolicy"] = common.CLAIMS_GO
        spec_fields["volumeClaimTemplates"] = [common.claim(kept.size, kept.storage_class_name)]
    return [
        common.manifest(
            "v1",
            "Service",
            name,
            owner,
            labels,
            spec={
                "selector": match,
                "ports": [{"name": "redis", "port": names.STORE_PORT, "targetPort": "redis", "protocol": "TCP"}],
            },
        ),
        common.manifest("apps/v1", "StatefulSet", name, owner, labels, spec=spec_fields),
    ]

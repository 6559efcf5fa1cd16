"""The job that fills the stores of a new service with its part of the world, and the settings it is given.

Decides how it is run; that it runs once, and when, is `plan.service`'s. Invariant: its ConfigMap is the record of the
world that was filled, which cannot be changed any more.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from cellwall.spec import WorldSpec

from .. import names
from . import common
from .common import Manifest, Owner

KEY = "fill.json"
TRIES = 20  # a store that has just been scheduled may not answer yet (guess; kubelet waits longer each time)
MEMORY = {"requests": "128Mi", "limits": "2Gi"}  # it holds all rows at once: 250 MB for 800 servers (guess)


def fill(owner: Owner, world: WorldSpec, image: str, pull_policy: str) -> tuple[Manifest, Manifest]:
    """ConfigMap and Job."""
    name = names.fill(owner.name)
    labels = common.labels(owner.name, "fill")
    container = {
        "name": "fill",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["python", "-m", "cellwall_services.metadata.loader", f"/etc/cellwall/{KEY}"],
        "resources": {"requests": {"cpu": "50m", "memory": MEMORY["requests"]}, "limits": {"memory": MEMORY["limits"]}},
        "securityContext": common.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/cellwall", "readOnly": True}, common.TMP_MOUNT],
    }
    pod = common.template(
        labels,
        {},
        restartPolicy="OnFailure",
        containers=[container],
        volumes=[{"name": "config", "configMap": {"name": name}}, common.TMP],
    )
    return (
        common.manifest("v1", "ConfigMap", name, owner, labels, data={KEY: json.dumps(loader_config(owner, world))}),
        common.manifest("batch/v1", "Job", name, owner, labels, spec={"backoffLimit": TRIES, "template": pod}),
    )


def loader_config(owner: Owner, world: WorldSpec) -> Manifest:
    """`cellwall_services.metadata.loader.LoaderConfig`."""
    return {
        "spec": msgspec.to_builtins(world),
        "stores": [names.store_url(names.cell(owner.name, number)) for number in range(world.cells)],
    }


def filled_world(config_map: Any) -> WorldSpec | None:
    """The world in a live ConfigMap; None if it cannot be read."""
    try:
        return msgspec.convert(json.loads(config_map["data"][KEY])["spec"], WorldSpec)
    except (KeyError, TypeError, ValueError):  # a foreign hand; msgspec's and json's errors are ValueErrors
        return None

"""An arm's world as values of the chart cellwall-testbed.

Decides what of a `WorldSpec` goes where; images and all but one of the resources are the chart's own defaults.
Invariant: the service and the fleet are `cellwall.resources` of the arm's spec and nothing besides, so an arm means the
same everywhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall.errors import Refused
from cellwall.resources import Reentry, millicores, resources
from cellwall.spec import WorldSpec

from . import names

# Each node's limit until the fleet is in, as on the local backend, where none is set until then: a fleet that enters a
# cell of a quarter of 0.4 core would take minutes, and its traffic is what the limit is made from.
ENTRY_NODE_CORES = 1.0
# More than it needs (0.1 core): a request is a weight where CPU is short, and a generator that comes late voids a run
# (p99 142 ms late with the chart's 200m, on two cores 97 % busy).
LOAD_CPU = "500m"


def values(spec: WorldSpec, entry_over_s: float) -> dict[str, Any]:
    """The world as it starts: nodes without a limit that binds, waves over ``entry_over_s``, customers waiting."""
    if spec.shared_store:
        raise Refused("shared_store: the operator gives each cell a store of its own; it must be --backend local")
    nodes = spec.cells * spec.nodes_per_cell
    service, fleet = resources(spec, names.WORLD, ENTRY_NODE_CORES * nodes)
    service = msgspec.structs.replace(service, reentry=Reentry(over_seconds=round(entry_over_s, 1)))
    fleet_spec = _plain(fleet)
    del fleet_spec["service"]  # the chart names it
    return {
        "service": {"name": names.WORLD, "spec": _plain(service)},
        "fleet": {"spec": fleet_spec},
        "frontEnd": {"enabled": True},
        "load": {
            "enabled": True,
            "rps": 0,
            "spec": msgspec.to_builtins(spec.load),
            "resources": {"requests": {"cpu": LOAD_CPU}},
        },
    }


def limits(spec: WorldSpec, total_cores: float) -> dict[str, Any]:
    """The merge patch that gives the metadata service its limit."""
    return {"spec": {"cpu": {"total": millicores(total_cores)}}}


def node_cores(spec: WorldSpec, total_cores: float) -> float:
    """What each node then has: whole millicores."""
    return round(total_cores * 1000 / (spec.cells * spec.nodes_per_cell)) / 1000


def _plain(value: Any) -> Any:
    """Without nulls: to Helm a null says that a key is to be removed."""
    found = msgspec.to_builtins(value)
    return {k: _plain(v) for k, v in found.items() if v is not None} if isinstance(found, dict) else found

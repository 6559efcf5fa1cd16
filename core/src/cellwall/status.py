"""What the operator says of the custom resources: their statuses as typed values.

Decides the fields only (their schemas are generated from here); what they are worth is the operator's. Everything may
be absent, because nothing is known before the first look, and what is absent is left out of the object.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=4096)]
NonNegative = Annotated[int, Meta(ge=0)]
Time = Annotated[str, Meta(max_length=32, extra_json_schema={"format": "date-time"})]

# kstatus: what `kubectl wait`, Argo CD and Flux read
READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
DEGRADED, CAPACITY_PENDING, HEADROOM, STARTUP_ALLOWANCE = "Degraded", "CapacityPending", "Headroom", "StartupAllowance"
CONDITIONS_MAX = 16  # more than there are


def says(description: str) -> Meta:
    return Meta(description=description)


class _Status(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """A part of a status: frozen, and absent where nothing is known."""


class Condition(_Status, frozen=True, kw_only=True):
    """One condition, as Kubernetes' own. Its time of transition moves only when its status does."""

    type: Annotated[str, Meta(min_length=1, max_length=64), says("What is true or not, e.g. Ready")]
    status: Annotated[Literal["True", "False", "Unknown"], says("Whether it is")]
    reason: Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_]*$", max_length=1024), says("Why, in one word")]
    message: Annotated[str, Meta(max_length=32768), says("Why, and what to do")]
    last_transition_time: Annotated[Time, says("When the condition's status last changed")]
    observed_generation: Annotated[NonNegative, says("Generation of the object that this was found for")] = 0


Conditions = Annotated[tuple[Condition, ...], Meta(max_length=CONDITIONS_MAX), says("Conditions by type")]
Observed = Annotated[NonNegative | None, says("Generation of the spec that the operator has acted on")]


class MetadataServiceStatus(_Status, frozen=True, kw_only=True):
    """What the operator last saw of the service."""

    observed_generation: Observed = None
    cells: Annotated[NonNegative | None, says("Cells that exist")] = None
    cells_ready: Annotated[NonNegative | None, says("Cells that are ready")] = None
    servers: Annotated[NonNegative | None, says("Storage servers of its fleet")] = None
    map_version: Annotated[NonNegative | None, says("Version of the published cell map")] = None
    paused: Annotated[bool | None, says("Whether renewals are refused in every cell")] = None
    moves: Annotated[Text | None, says("What must be known to go on with moves, also without the map")] = None
    groups: Annotated[Text | None, says("Number of the cell that serves each placement group, in their order")] = None
    conditions: Conditions = ()


class Capacity(_Status, frozen=True, kw_only=True):
    """Attempts to let further nodes join."""

    attempts: Annotated[NonNegative, says("Attempts since the cell was last complete")] = 0
    last_outcome: Annotated[Literal["done", "refused", "unknown"] | None, says("How the last one ended")] = None
    last_reason: Annotated[Text | None, says("Why it ended so")] = None
    last_attempt_time: Annotated[Time | None, says("When it ended")] = None


class Headroom(_Status, frozen=True, kw_only=True):
    """The slowest membership's retrieval against the time limit, rounded: a figure at rest is not written again."""

    retrieval_millis: Annotated[NonNegative | None, says("Time that the slowest retrieval took")] = None
    records: Annotated[NonNegative | None, says("Records of that membership")] = None
    percent: Annotated[int | None, says("Share of the time limit that was left; negative when it was not enough")] = (
        None
    )


class MetadataCellStatus(_Status, frozen=True, kw_only=True):
    """What the operator last saw of the cell."""

    observed_generation: Observed = None
    nodes: Annotated[NonNegative | None, says("Nodes that have joined")] = None
    replicas: Annotated[NonNegative | None, says("Node pods that exist")] = None
    selector: Annotated[Text | None, says("Label selector of the node pods")] = None
    paused: Annotated[bool | None, says("Whether renewals are refused")] = None
    servers: Annotated[NonNegative | None, says("Storage servers that the cell serves")] = None
    groups: Annotated[NonNegative | None, says("Placement groups that the cell serves")] = None
    records: Annotated[NonNegative | None, says("Records of all its memberships")] = None
    capacity: Capacity | None = None
    headroom: Headroom | None = None
    conditions: Conditions = ()


class StorageFleetStatus(_Status, frozen=True, kw_only=True):
    """What the operator last saw of the fleet."""

    observed_generation: Observed = None
    servers: Annotated[NonNegative | None, says("Storage servers")] = None
    servers_out: Annotated[NonNegative | None, says("Servers that refuse customers' requests")] = None
    pods: Annotated[NonNegative | None, says("Storage pods wanted")] = None
    pods_ready: Annotated[NonNegative | None, says("Storage pods that are ready")] = None
    map_version: Annotated[NonNegative | None, says("Oldest version of the cell map among the pods")] = None
    conditions: Conditions = ()

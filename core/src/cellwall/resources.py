"""The custom resources of Kubernetes as typed values, and what they say as a world.

Decides the fields of `cellwall.dev/v1alpha1` (their schemas are generated from here) and the one translation between
them and `WorldSpec`; never reads or writes an object. Fields are camelCase there and carry their unit in the name;
CPU and sizes are Kubernetes quantities. Invariant: `world(*resources(spec), …)` is ``spec`` again, so an arm means the
same on every backend.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .errors import Refused
from .spec import (
    CpuSpec,
    Discipline,
    FleetSpec,
    Lane,
    LoadSpec,
    MetadataPolicy,
    Placement,
    RenewalPolicy,
    RetryPolicy,
    WorldSpec,
)

GROUP, VERSION = "cellwall.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CPU_PATTERN = r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti)$"
NODE_CORES_MIN = 0.04  # research 03: a node's Python imports take 25 s there; less is not worth a wait (guess)

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Cpu = Annotated[str, Meta(pattern=CPU_PATTERN, description="CPU quantity: cores (0.4) or millicores (400m)")]
Size = Annotated[str, Meta(pattern=SIZE_PATTERN, description="Quantity of bytes, e.g. 1Gi")]
Span = Annotated[list[float], Meta(min_length=2, max_length=2, description="Low and high multiple")]


class _Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A part of a spec: frozen, and an unknown key is an error."""


class Retry(_Field, frozen=True, kw_only=True):
    """How long a storage server waits before it asks again: uniform between the two, for ever (2015's policy)."""

    min_seconds: Positive = 0.15
    max_seconds: Positive = 0.45


class Renewal(_Field, frozen=True, kw_only=True):
    """When a storage server asks for its membership, and how long it waits for it."""

    every_seconds: Positive = 20.0
    jitter_ratio: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    time_limit_seconds: Positive = 2.0
    retry: Retry = Retry()


class Queue(_Field, frozen=True, kw_only=True):
    """How a metadata node shares itself among its callers. ``adminLane`` shared is 2015: operators queue too."""

    discipline: Discipline = "processor-sharing"
    concurrency: Count = 8
    drop_abandoned: bool = True
    page_records: Count = 50
    slots_per_partition: Count = 200
    admin_lane: Lane = "shared"


class CellCpu(_Field, frozen=True, kw_only=True):
    """``total``: the limit of the whole service, shared equally by its cells and their nodes. ``startup``: what a node
    may use until it has joined (imports take long at 0.04 core)."""

    total: Cpu = "400m"
    startup: Cpu = "1"


class Persistence(_Field, frozen=True, kw_only=True):
    """The store's append-only file: on a volume of its own, or gone with its pod."""

    enabled: bool = True
    size: Size = "1Gi"
    storage_class_name: str | None = None


class Store(_Field, frozen=True, kw_only=True):
    """A cell's Redis. Only one replica is accepted until fail-over with fencing exists. ``image`` None: the operator's
    services image, which carries one."""

    image: str | None = None
    replicas: Annotated[int, Meta(ge=1, le=1)] = 1
    persistence: Persistence = Persistence()
    memory: Size = "256Mi"


class Reentry(_Field, frozen=True, kw_only=True):
    """How long servers that are out are let in after a pause or at a start; None: 1.5 × the time to serve everybody."""

    over_seconds: Annotated[float, Meta(ge=0)] | None = None


class MetadataServiceSpec(_Field, frozen=True, kw_only=True):
    """The metadata service of one storage fleet, divided into cells. ``nodesPerCell`` is the default for new cells: an
    existing cell keeps the nodes it was scaled to."""

    cells: Annotated[int, Meta(ge=1, le=64)] = 1
    nodes_per_cell: Annotated[int, Meta(ge=1, le=32)] = 1
    cpu: CellCpu = CellCpu()
    placement: Placement = "aligned"
    shuffle_cells: Count = 2
    partitions: Annotated[int, Meta(ge=1, le=256)] = 16
    renewal: Renewal = Renewal()
    queue: Queue = Queue()
    encoding: Literal["json"] = "json"
    store: Store = Store()
    paused: bool = False
    reentry: Reentry = Reentry()
    seed: Annotated[int, Meta(ge=0)] = 1


class MetadataCellSpec(_Field, frozen=True, kw_only=True):
    """One cell, a child of its service. ``nodes`` is set at creation and then whoever scales the cell owns it."""

    service: str
    cell: Annotated[int, Meta(ge=0)]
    nodes: Annotated[int, Meta(ge=1, le=32)] = 1
    cpu_per_node: Cpu = "400m"
    startup_cpu: Cpu = "1"
    partitions: Annotated[int, Meta(ge=1, le=256)] = 16
    time_limit_seconds: Positive = 2.0
    queue: Queue = Queue()
    encoding: Literal["json"] = "json"
    store: Store = Store()
    paused: bool = False


class Population(_Field, frozen=True, kw_only=True):
    """The tables that customers have before the first request: synthetic, and fixed by the service's seed."""

    large_share: Ratio = 0.5
    mid_share: Ratio = 0.1
    large_records: Count = 1700
    large_range: Span = msgspec.field(default_factory=lambda: [0.7, 1.3])
    mid_range: Span = msgspec.field(default_factory=lambda: [0.05, 0.4])
    small_range: Span = msgspec.field(default_factory=lambda: [0.025, 0.075])
    indexes: bool = True
    customers_per_group: Count = 4


class Volume(_Field, frozen=True, kw_only=True):
    """Where a storage pod keeps its servers' SQLite files; ``size`` None: with the pod (a pod that is deleted
    re-replicates from its peers)."""

    size: Size | None = None
    storage_class_name: str | None = None


class StorageFleetSpec(_Field, frozen=True, kw_only=True):
    """The storage servers that one metadata service serves. ``renewal`` None: the service's."""

    service: str
    servers: Annotated[int, Meta(ge=3, le=10000)] = 800
    servers_per_pod: Annotated[int, Meta(ge=1, le=400)] = 17
    zones: Annotated[int, Meta(ge=3, le=3)] = 3
    group_servers: Annotated[int, Meta(ge=3)] = 25
    population: Population = Population()
    renewal: Renewal | None = None
    storage: Volume = Volume()
    memory: Size = "128Mi"


def cores(quantity: str) -> float:
    """A CPU quantity in cores: "400m" -> 0.4."""
    if not re.fullmatch(CPU_PATTERN, quantity):
        raise Refused(f"cpu: {quantity!r} is not a CPU quantity; use cores (0.4) or millicores (400m)")
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def millicores(cores: float) -> str:
    """Cores as a quantity, rounded to whole millicores, which is all that Kubernetes keeps: 0.3841 -> "384m"."""
    return f"{round(cores * 1000)}m"


def cpu_per_node(service: MetadataServiceSpec) -> str:
    """Each node's limit when every cell has ``nodesPerCell`` nodes."""
    return millicores(cores(service.cpu.total) / service.cells / service.nodes_per_cell)


def policy(renewal: Renewal) -> RenewalPolicy:
    return RenewalPolicy(
        renew_every_s=renewal.every_seconds,
        jitter_ratio=renewal.jitter_ratio,
        time_limit_s=renewal.time_limit_seconds,
        retry=RetryPolicy(wait_min_s=renewal.retry.min_seconds, wait_max_s=renewal.retry.max_seconds),
    )


def metadata_policy(queue: Queue, partitions: int) -> MetadataPolicy:
    return MetadataPolicy(**_fields(queue), partitions=partitions)


def world(service: MetadataServiceSpec, fleet: StorageFleetSpec, load: LoadSpec) -> WorldSpec:
    """The world that the two describe. Not checked: see `WorldSpec.check`."""
    population = _fields(fleet.population)
    for name in ("large_range", "mid_range", "small_range"):
        population[name] = tuple(population[name])
    return WorldSpec(
        seed=service.seed,
        cells=service.cells,
        nodes_per_cell=service.nodes_per_cell,
        placement=service.placement,
        shuffle_cells=service.shuffle_cells,
        fleet=FleetSpec(servers=fleet.servers, zones=fleet.zones, group_servers=fleet.group_servers, **population),
        renewal=policy(fleet.renewal or service.renewal),
        metadata=metadata_policy(service.queue, service.partitions),
        load=load,
        cpu=CpuSpec(total_cores=cores(service.cpu.total)),
    )


def resources(spec: WorldSpec, name: str, total_cores: float) -> tuple[MetadataServiceSpec, StorageFleetSpec]:
    """The two specs of a world called ``name`` whose metadata service gets ``total_cores`` (before any factor)."""
    fleet, renewal, metadata = spec.fleet, spec.renewal, spec.metadata
    population = {field: getattr(fleet, field) for field in Population.__struct_fields__}
    for field in ("large_range", "mid_range", "small_range"):
        population[field] = list(population[field])
    service = MetadataServiceSpec(
        cells=spec.cells,
        nodes_per_cell=spec.nodes_per_cell,
        cpu=CellCpu(total=millicores(total_cores)),
        placement=spec.placement,
        shuffle_cells=spec.shuffle_cells,
        partitions=metadata.partitions,
        renewal=Renewal(
            every_seconds=renewal.renew_every_s,
            jitter_ratio=renewal.jitter_ratio,
            time_limit_seconds=renewal.time_limit_s,
            retry=Retry(min_seconds=renewal.retry.wait_min_s, max_seconds=renewal.retry.wait_max_s),
        ),
        queue=Queue(**{field: getattr(metadata, field) for field in Queue.__struct_fields__}),
        seed=spec.seed,
    )
    return service, StorageFleetSpec(
        service=name,
        servers=fleet.servers,
        zones=fleet.zones,
        group_servers=fleet.group_servers,
        population=Population(**population),
    )


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {field: getattr(value, field) for field in value.__struct_fields__}

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
from .status import says

GROUP, VERSION = "cellwall.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CPU_PATTERN = r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti)$"
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # RFC 1035, as the name of a Service must be
NODE_CORES_MIN = 0.04  # research 03: a node's Python imports take 25 s there; less is not worth a wait (guess)
CELLS_MAX, NODES_MAX, PARTITIONS_MAX = 64, 32, 256  # guesses: larger than any experiment
# A StatefulSet's pods carry its name and a hash of 11 characters in a label of at most 63.
SERVICE_NAME_MAX = 63 - 11 - len("-cell-63-store")
FLEET_NAME_MAX = 63 - 11 - len("-a")


def _text(pattern: str, longest: int, must: str) -> Meta:
    """``must`` completes "it must be …" in the API server's answer."""
    return Meta(pattern=pattern, max_length=longest, extra={"must": must})


Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Cpu = Annotated[str, _text(CPU_PATTERN, 16, "cores with at most three decimals (0.4) or whole millicores (400m)")]
Size = Annotated[str, _text(SIZE_PATTERN, 16, "a quantity of bytes in Ki, Mi, Gi or Ti, for example 1Gi")]
Span = Annotated[list[Positive], Meta(min_length=2, max_length=2)]
Name = Annotated[
    str, _text(NAME_PATTERN, SERVICE_NAME_MAX, "lower-case letters, digits and hyphens, a letter first, no hyphen last")
]
ClassName = Annotated[str, Meta(min_length=1, max_length=253)]
Image = Annotated[str, Meta(min_length=1, max_length=512)]
Seed = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what JSON readers keep exactly


class _Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A part of a spec: frozen, and an unknown key is an error."""


class Retry(_Field, frozen=True, kw_only=True):
    """How long a storage server waits before it asks again: uniform between the two, for ever (2015's policy)."""

    min_seconds: Annotated[Positive, says("Shortest wait")] = 0.15
    max_seconds: Annotated[Positive, says("Longest wait; at least minSeconds")] = 0.45


class Renewal(_Field, frozen=True, kw_only=True):
    """When a storage server asks for its membership, and how long it waits for it."""

    every_seconds: Annotated[Positive, says("Time between renewals; more than 2 × timeLimitSeconds")] = 20.0
    jitter_ratio: Annotated[float, Meta(ge=0, lt=1), says("Each period is this share longer or shorter, at random")] = (
        0.1
    )
    time_limit_seconds: Annotated[Positive, says("A server without its membership by then leaves service")] = 2.0
    retry: Retry = Retry()


class Queue(_Field, frozen=True, kw_only=True):
    """How a metadata node shares itself among its callers."""

    discipline: Annotated[Discipline, says("Whose page is next: everybody's in turn, the first's or the last's")] = (
        "processor-sharing"
    )
    concurrency: Annotated[Count, says("Requests in service at once for fifo and lifo")] = 8
    drop_abandoned: Annotated[bool, says("Stop working for a caller that has gone")] = True
    page_records: Annotated[Count, says("Records read and bundled before the next caller's turn")] = 50
    slots_per_partition: Annotated[Count, says("Renewals of one metadata partition at once, at weight 100")] = 200
    admin_lane: Annotated[Lane, says("shared is 2015: operators queue with renewals; own: they go first")] = "shared"


class CellCpu(_Field, frozen=True, kw_only=True):
    """CPU limits of the metadata service."""

    total: Annotated[Cpu, says("Limit of the whole service, shared equally by its cells and their nodes")] = "400m"
    startup: Annotated[Cpu, says("Limit of a node until it has joined: imports take long at 0.04 core")] = "1"


class Persistence(_Field, frozen=True, kw_only=True):
    """The store's append-only file: on a volume of its own, or gone with its pod."""

    enabled: Annotated[bool, says("Keep the file on a volume")] = True
    size: Annotated[Size, says("Size of the volume")] = "1Gi"
    storage_class_name: Annotated[ClassName | None, says("StorageClass of the volume; none: the cluster's default")] = (
        None
    )


class Store(_Field, frozen=True, kw_only=True):
    """A cell's Redis."""

    image: Annotated[Image | None, says("Image with valkey-server; none: the operator's services image")] = None
    replicas: Annotated[int, Meta(ge=1, le=1), says("Only 1 until fail-over with fencing exists")] = 1
    persistence: Persistence = Persistence()
    memory: Annotated[Size, says("Memory limit")] = "256Mi"


class Reentry(_Field, frozen=True, kw_only=True):
    """How fast servers that are out are let in after a pause or at a start."""

    over_seconds: Annotated[
        Annotated[float, Meta(ge=0)] | None, says("Length of the re-entry; none: 1.5 × the time to serve everybody")
    ] = None


class MetadataServiceSpec(_Field, frozen=True, kw_only=True):
    """The metadata service of one storage fleet, divided into cells."""

    cells: Annotated[int, Meta(ge=1, le=CELLS_MAX), says("Number of cells; one is the service of 2015")] = 1
    nodes_per_cell: Annotated[
        int, Meta(ge=1, le=NODES_MAX), says("Nodes of a new cell; an existing cell keeps those it was scaled to")
    ] = 1
    cpu: CellCpu = CellCpu()
    placement: Annotated[Placement, says("Which cells a customer's tables live in")] = "aligned"
    shuffle_cells: Annotated[Count, says("Cells of one customer where placement is shuffle")] = 2
    partitions: Annotated[int, Meta(ge=1, le=PARTITIONS_MAX), says("Metadata partitions of a cell")] = 16
    renewal: Renewal = Renewal()
    queue: Queue = Queue()
    encoding: Annotated[Literal["json"], says("Form of a membership on the wire")] = "json"
    store: Store = Store()
    paused: Annotated[bool, says("Refuse renewals in every cell: dependents get worse until the re-entry")] = False
    reentry: Reentry = Reentry()
    seed: Annotated[Seed, says("Fixes sizes, tables and replicas")] = 1


class MetadataCellSpec(_Field, frozen=True, kw_only=True):
    """One cell, a child of its service, which writes everything but `nodes`."""

    service: Annotated[Name, says("MetadataService that owns the cell")]
    cell: Annotated[int, Meta(ge=0, le=CELLS_MAX - 1), says("Number of the cell")]
    nodes: Annotated[int, Meta(ge=1, le=NODES_MAX), says("Nodes wanted; set at creation, then by whoever scales")] = 1
    cpu_per_node: Annotated[Cpu, says("CPU limit of a node that has joined")] = "400m"
    startup_cpu: Annotated[Cpu, says("CPU limit of a node until it has joined")] = "1"
    partitions: Annotated[int, Meta(ge=1, le=PARTITIONS_MAX), says("Metadata partitions of the cell")] = 16
    time_limit_seconds: Annotated[Positive, says("The service's renewal.timeLimitSeconds")] = 2.0
    queue: Queue = Queue()
    encoding: Annotated[Literal["json"], says("Form of a membership on the wire")] = "json"
    store: Store = Store()
    paused: Annotated[bool, says("Refuse renewals in this cell only")] = False


class Population(_Field, frozen=True, kw_only=True):
    """The tables that customers have before the first request: synthetic, and fixed by the service's seed."""

    large_share: Annotated[Ratio, says("Share of the placement groups with large memberships")] = 0.5
    mid_share: Annotated[Ratio, says("Share with mid-sized ones; with largeShare at most 1")] = 0.1
    large_records: Annotated[Count, says("Mean membership of a server in a large group")] = 1700
    large_range: Annotated[Span, says("Sizes of large memberships: lowest and highest multiple of largeRecords")] = (
        msgspec.field(default_factory=lambda: [0.7, 1.3])
    )
    mid_range: Annotated[Span, says("The same for mid-sized ones")] = msgspec.field(default_factory=lambda: [0.05, 0.4])
    small_range: Annotated[Span, says("The same for all others")] = msgspec.field(
        default_factory=lambda: [0.025, 0.075]
    )
    indexes: Annotated[bool, says("Tables have secondary indexes; false halves every membership")] = True
    customers_per_group: Annotated[Count, says("Customers of one placement group")] = 4


class Volume(_Field, frozen=True, kw_only=True):
    """Where a storage pod keeps its servers' SQLite files."""

    size: Annotated[
        Size | None, says("Size of a volume; none: files go with the pod, which then re-replicates from its peers")
    ] = None
    storage_class_name: Annotated[ClassName | None, says("StorageClass of the volume; none: the cluster's default")] = (
        None
    )


class StorageFleetSpec(_Field, frozen=True, kw_only=True):
    """The storage servers that one metadata service serves."""

    service: Annotated[Name, says("MetadataService that serves the fleet")]
    servers: Annotated[int, Meta(ge=3, le=10000), says("Logical storage servers, whole placement groups")] = 800
    servers_per_pod: Annotated[int, Meta(ge=1, le=400), says("Logical servers in one pod, at most")] = 17
    zones: Annotated[int, Meta(ge=3, le=3), says("Zones that hold a replica each")] = 3
    group_servers: Annotated[int, Meta(ge=3), says("Servers of a placement group")] = 25
    population: Population = Population()
    renewal: Annotated[Renewal | None, says("When servers renew; none: as the service says")] = None
    storage: Volume = Volume()
    memory: Annotated[Size, says("Memory limit of a storage pod")] = "128Mi"


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
        fleet=FleetSpec(
            servers=fleet.servers,
            zones=fleet.zones,
            group_servers=fleet.group_servers,
            servers_per_pod=fleet.servers_per_pod,
            **population,
        ),
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
        servers_per_pod=fleet.servers_per_pod,
        population=Population(**population),
    )


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {field: getattr(value, field) for field in value.__struct_fields__}

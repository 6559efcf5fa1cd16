"""What a membership is made of, and the published map of cells: the records that services exchange and store.

Decides forms and the one rule that ties a partition to its slice of the hash space; no settings (that is `spec`).
"""

from __future__ import annotations

import msgspec

ServerId = str  # "s-0042"
TableId = str  # "t-00017", unique over all customers
CellId = str  # "cell-0"
NodeId = str  # "cell-0-node-1"


class IndexInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A global secondary index: its keys, its own partitions, and what it keeps of an item.

    ``projection`` is ALL, KEYS_ONLY or INCLUDE (the keys and ``non_key``); ``status`` CREATING, ACTIVE or
    DELETING. What is usual is left out of messages: the size of a membership shall not depend on it.
    """

    name: str
    partitions: int
    hash_key: str = "gk"
    hash_type: str = "S"
    range_key: str | None = None
    range_type: str | None = None
    projection: str = "ALL"
    non_key: tuple[str, ...] = ()
    status: str = "ACTIVE"


class TableInfo(msgspec.Struct, frozen=True):
    """What the metadata store knows of a table; sent with every membership that mentions it."""

    id: TableId
    name: str
    customer: str
    partitions: int
    hash_key: str = "pk"
    hash_type: str = "S"
    range_key: str | None = None
    range_type: str | None = None
    indexes: tuple[IndexInfo, ...] = ()
    status: str = "ACTIVE"
    epoch: int = 1
    created_s: float = 0.0


class Assignment(msgspec.Struct, frozen=True):
    """One record of a membership: one replica of one partition (about 200 B as JSON).

    ``index`` is "" for the table itself. ``lo``/``hi`` bound the partition's slice of the 64-bit hash
    space, hexadecimal, hi exclusive ("" is the end). ``born`` is the epoch in which the partition was
    created, ``epoch`` that in which this server got it: equal means new and empty, otherwise the data
    must come from ``peers``.
    """

    table: TableId
    index: str
    partition: int
    lo: str
    hi: str
    replica: int
    epoch: int
    born: int
    peers: tuple[ServerId, ...]

    @property
    def key(self) -> str:
        return partition_key(self.table, self.index, self.partition)


class Membership(msgspec.Struct, frozen=True):
    """A renewal's answer. Names its server and epoch; a storage server refuses one that does not match.

    ``confirmed``: the last epoch this server has confirmed; what it lacks of those it has lost and must
    replicate again. ``count`` is the number of assignments, so that a cut-off message cannot pass.
    """

    server: ServerId
    cell: CellId
    epoch: int
    confirmed: int
    count: int
    tables: dict[TableId, TableInfo]
    assignments: list[Assignment]


class CellEntry(msgspec.Struct, frozen=True):
    """One cell in the published map: where its nodes listen, and who owns which metadata partition.

    ``nodes`` maps node id to the renewal address ("127.0.0.1:4711"), ``admin`` likewise.
    ``owners[p]`` lists the nodes that serve metadata partition p; a caller takes the one with the
    fewest of its own requests outstanding. ``reentry_from_s``/``reentry_over_s`` (Unix seconds,
    seconds) pace the servers that are out: see `renewal.entry`.
    """

    id: CellId
    nodes: dict[NodeId, str]
    admin: dict[NodeId, str]
    owners: list[list[NodeId]]
    reentry_from_s: float = 0.0
    reentry_over_s: float = 0.0


class ServerEntry(msgspec.Struct, frozen=True):
    """Where a storage server lives: its cell, metadata partition, zone, placement group and address."""

    id: ServerId
    cell: CellId
    partition: int
    zone: str
    group: int
    address: str = ""


class CellMap(msgspec.Struct, frozen=True):
    """The published, versioned map that storage hosts and the front end follow. Carries no membership."""

    version: int
    cells: dict[CellId, CellEntry]
    servers: dict[ServerId, ServerEntry]


def partition_key(table: TableId, index: str, partition: int) -> str:
    """The name of a partition in stores and histories: "t-00017/by-gk/3"; the table itself has no index name."""
    return f"{table}/{index}/{partition}"


HASH_SPACE = 1 << 64


def hash_slice(partition: int, partitions: int) -> tuple[str, str]:
    """The slice [lo, hi) of the 64-bit hash space that belongs to one partition, hexadecimal."""
    lo = HASH_SPACE * partition // partitions
    hi = HASH_SPACE * (partition + 1) // partitions
    return f"{lo:016x}", "" if partition + 1 == partitions else f"{hi:016x}"


def partition_of(hashed: int, partitions: int) -> int:
    """The partition whose slice holds a 64-bit hash; the inverse of `hash_slice`."""
    partition = hashed * partitions // HASH_SPACE
    # hash_slice rounds down, so a hash just below a border may land one too far left.
    if partition + 1 < partitions and hashed >= HASH_SPACE * (partition + 1) // partitions:
        partition += 1
    return partition

"""The bodies that services exchange (msgpack unless said otherwise) and their paths.

One page for both ends, so that neither side builds a path or a body of its own. Decides formats only.

Metadata node, renewal listener (one connection per request):
    GET  /membership/{server}        -> 200 JSON `cellwall.model.Membership` | 404
    POST /confirm/{server}?epoch=N   -> 204 | 404 | 409       the server has applied that epoch (409: on the move)
Metadata node, admin listener:
    GET  /map/{partition}            -> 200 JSON `PartitionMap`   real work: every membership of the partition
    GET  /version                    -> 200 JSON {"version": n}   rises with every change of assignments
    GET  /confirmed?servers=a,b      -> 200 JSON {server: confirmed epoch}
    POST /tables                     -> 200 JSON {server: epoch that has it} | 409   body JSON `TableChange`
    GET  /weight/{partition} | PUT   -> 200 JSON {"percent": x}   PUT body the same
    POST /join                       -> 200 JSON `Joined`     body JSON `Join`: take over partitions of another node
    GET  /statistics                 -> 200 JSON {server: `MembershipStatistics`}
    GET  /membership/{server}        -> 200 JSON `cellwall.model.Membership`, as an administrator asks; Content-Digest
    POST /groups/{verb}              -> 200 JSON `cellwall.moves.Holding` | 409   body JSON `cellwall.moves.Request`
    GET  /metrics
Storage host (keep-alive; a server that is cut off aborts the connection without an answer):
    POST /replica/{server}/put       `Put`    -> 200 `Stored` | 503 `Refusal`
    POST /replica/{server}/get       `Get`    -> 200 `Got` | 503 `Refusal`
    POST /replica/{server}/range     `Range`  -> 200 `Ranged` | 503 `Refusal`
    POST /replica/{server}/export    `Export` -> 200 `Exported` | 503 `Refusal`   re-replication, also while out
    GET  /servers                    -> 200 JSON {server: `ServerState`}
    GET  /servers/{server}/trace     -> 200 JSON [history.Renewal | history.Availability …], newest last, at most 200
    GET  /map-version                -> 200 JSON {"version": n}   of the cell map last read
    PUT  /faults/cut                 -> 200 JSON `CutState`  body JSON `Cut`
    GET  /faults                     -> 200 JSON [`CutState`]  only those that are still on
    DELETE /faults/{id}              -> 200 JSON `CutState`  undo early; the receipt is in it
    GET  /metrics
Front end: POST / (DynamoDB JSON, 2012-08-10), GET /metrics, GET /ready,
    GET  /workflows                  -> 200 JSON [`Workflow`]    changes of tables under way, the oldest first
"""

from __future__ import annotations

import msgspec

from cellwall.model import Assignment, Membership, TableInfo
from cellwall.quorum import Version


class Put(msgspec.Struct, frozen=True):
    """Store ``item`` (None: deleted) under ``key`` unless a higher version is there. Idempotent."""

    partition: str  # model.partition_key
    key: bytes
    version: Version
    item: bytes | None
    learn: bool = False  # tell what was there before: whoever keeps indexes must know


class Stored(msgspec.Struct, frozen=True):
    """What this replica held under the key before the put, if the put asked to ``learn`` it; a version above the
    put's own means that the put changed nothing here. ``version`` None: nothing was there, or nobody asked."""

    version: Version | None = None
    item: bytes | None = None


class Range(msgspec.Struct, frozen=True):
    """Rows of ``partitions`` (one after the other as listed) with first <= key < last, in order of key.

    ``last`` b"": no bound. ``backward``: highest key first. ``limit`` counts rows, deleted ones too: they are told,
    so that a reader of two replicas knows which of them is behind."""

    partitions: list[str]
    first: bytes = b""
    last: bytes = b""
    backward: bool = False
    limit: int = 1000


class Get(msgspec.Struct, frozen=True):
    partition: str
    key: bytes


class Got(msgspec.Struct, frozen=True):
    """``version`` None: this replica never saw the key. ``item`` None: deleted at that version."""

    version: Version | None
    item: bytes | None


class Ranged(msgspec.Struct, frozen=True):
    """``more``: the limit (rows or bytes) cut the answer short after the last row told."""

    rows: list[Row]
    more: bool


class Refusal(msgspec.Struct, frozen=True):
    """Why a replica did nothing: disqualified, not-assigned, no-such-server, corrupt, or storage (disk full or
    unreadable). ``partitions``: of a range read, those that are not assigned or corrupt; it can be asked for others."""

    reason: str
    partitions: list[str] = []


class Export(msgspec.Struct, frozen=True):
    partitions: list[str]


class Row(msgspec.Struct, frozen=True):
    """``checksum``: CRC-32 over partition, key, version and item, as `row_checksum` computes it."""

    partition: str
    key: bytes
    version: Version
    item: bytes | None
    checksum: int


class Exported(msgspec.Struct, frozen=True):
    """``held``: those of the asked partitions that this server holds; a peer that lacks one is no source."""

    held: list[str]
    rows: list[Row]


class ServerState(msgspec.Struct, frozen=True):
    available: bool
    reason: str
    epoch: int
    records: int
    cut: bool = False


class Cut(msgspec.Struct, frozen=True):
    """Make servers unreachable for ``for_s`` seconds; it ends by itself, whoever dies."""

    id: str
    servers: list[str]
    for_s: float


class CutState(msgspec.Struct, frozen=True):
    """``refused``: connections aborted and calls prevented so far: the receipt."""

    id: str
    servers: int
    on_s: float
    off_s: float
    active: bool
    refused: int


class PartitionMap(msgspec.Struct, frozen=True):
    cell: str
    partition: int
    version: int
    memberships: list[Membership]


class TableChange(msgspec.Struct, frozen=True):
    """Write the table's information and add its assignments in this cell, or with ``remove`` take away what the
    servers named hold of the table, or of one ``index`` of it. May be sent again.

    A server's epoch rises by one if its list changes; ``born`` and ``epoch`` of added assignments are filled in by
    the metadata node. The answer tells the epoch in which each server has the change: it is applied once the server
    has confirmed that one."""

    table: TableInfo
    assignments: dict[str, list[Assignment]] = {}
    remove: bool = False
    index: str | None = None


class Workflow(msgspec.Struct, frozen=True):
    """A change of a table that is not finished. ``state``: CREATING, UPDATING or DELETING. ``step``: place, post,
    confirm, backfill or finish. ``index``: that an update adds or removes. ``servers``: who has not confirmed yet.
    ``trouble``: why the last attempt at the step came to nothing; "" while there was none."""

    customer: str
    table: str
    state: str
    step: str
    since_s: float  # Unix seconds
    index: str = ""
    servers: list[str] = []
    trouble: str = ""


class Join(msgspec.Struct, frozen=True):
    source: str  # admin address of the running node
    partitions: list[int]
    deadline_s: float  # of each partition's map, one request each


class Joined(msgspec.Struct, frozen=True):
    outcome: str  # done | refused | unknown (time-out)
    took_s: list[float]
    reason: str = ""


class MembershipStatistics(msgspec.Struct, frozen=True):
    records: int
    bytes: int
    retrieval_s: float  # read to written, last time
    at: float  # Unix seconds

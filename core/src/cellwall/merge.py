"""Range reads over replicas: what several answers say together, and how much of it a reader may be told.

Decides from answers; never sends anything. Invariant I6, for many rows: nothing is said of a key on which
fewer than ``needed`` replicas have spoken, an answer that was cut short is silent on all that comes after
its last row, and a row that fewer than ``needed`` replicas are known to hold is doubtful: it must be on a
quorum before it, or that it is deleted, is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from .quorum import Version


class Row(Protocol):
    """What is merged. ``item`` None: deleted at that version."""

    @property
    def key(self) -> bytes: ...
    @property
    def version(self) -> Version: ...
    @property
    def item(self) -> bytes | None: ...


R = TypeVar("R", bound=Row)


class Part(msgspec.Struct, Generic[R], frozen=True):
    """One replica's answer on one partition, in the order of the read; deleted rows are in it.

    Not ``whole``: it was cut short after its last row; one without rows then says nothing."""

    rows: Sequence[R]
    whole: bool


class Known(msgspec.Struct, Generic[R], frozen=True):
    """The newest version of a key, and the replicas that are known to hold it."""

    row: R
    holders: list[str]


class Merged(msgspec.Struct, Generic[R], frozen=True):
    """What is known of one partition, in order. Not ``whole``: nothing is known after the last row."""

    known: list[Known[R]]
    whole: bool


class Taken(msgspec.Struct, Generic[R], frozen=True):
    """What a reader gets: ``told``, live and in order, once what is ``doubtful`` is on a quorum.

    ``partitions``: so many were read to their end; ``key``: the last one taken of the partition that follows (None:
    none). ``full``: something that is known was left because there was no room for it."""

    told: list[R]
    told_bytes: int
    doubtful: list[Known[R]]
    partitions: int
    key: bytes | None
    full: bool


def merge(parts: Mapping[str, Part[R]], needed: int, *, backward: bool = False) -> Merged[R]:
    """The rows of one partition up to where at least ``needed`` replicas have spoken; ``parts``: by server."""
    newest: dict[bytes, Known[R]] = {}
    for server, part in parts.items():
        for row in part.rows:
            best = newest.get(row.key)
            if best is None or row.version > best.row.version:
                newest[row.key] = Known(row, [server])
            elif row.version == best.row.version:
                best.holders.append(server)
    whole = sum(part.whole for part in parts.values())
    ends = [part.rows[-1].key for part in parts.values() if part.rows and not part.whole]
    known: list[Known[R]] = []
    for key in sorted(newest, reverse=backward):
        if whole + sum(end <= key if backward else key <= end for end in ends) < needed:
            break
        known.append(newest[key])
    return Merged(known, whole >= needed)


def take(
    partitions: Iterable[Merged[R]], needed: int, *, rows_max: int | None, bytes_max: int, doubtful_max: int
) -> Taken[R]:
    """As much as there is room for, partition after partition, up to where one is not known any further.

    ``bytes_max`` is passed by at most one row; ``doubtful_max`` bounds the writes before the answer."""
    told: list[R] = []
    doubtful: list[Known[R]] = []
    told_bytes = whole = 0
    last: bytes | None = None
    for merged in partitions:
        for known in merged.known:
            if len(told) == rows_max or told_bytes >= bytes_max or len(doubtful) == doubtful_max:
                return Taken(told, told_bytes, doubtful, whole, last, True)
            last = known.row.key
            if len(known.holders) < needed:
                doubtful.append(known)
            if known.row.item is not None:
                told.append(known.row)
                told_bytes += len(known.row.key) + len(known.row.item)
        if not merged.whole:
            break
        whole += 1
        last = None
    return Taken(told, told_bytes, doubtful, whole, last, False)

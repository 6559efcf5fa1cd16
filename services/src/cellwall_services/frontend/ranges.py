"""Thin so far: the signatures that operations call."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..wire import Row
from .calls import Replica
from .replicas import Replicas


class Source(msgspec.Struct, frozen=True):
    """A partition to read, and the servers that hold it."""

    partition: str  # model.partition_key
    replicas: Sequence[Replica]


class Place(msgspec.Struct, frozen=True):
    """Where a read stopped: after this key of this partition (in the direction of the read)."""

    partition: str
    key: bytes


class Page(msgspec.Struct, frozen=True):
    """Live rows in order (``item`` is never None). ``next``: where to go on; None: nothing remains.
    Only a page with rows has a ``next``, and that is the place of its last row; nothing may remain after it."""

    rows: list[Row]
    next: Place | None


class Ranges:
    """Reads of many rows. ``Ranges(replicas)``."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def read(
        self,
        sources: Sequence[Source],
        *,
        first: bytes = b"",
        last: bytes = b"",
        backward: bool = False,
        after: Place | None = None,
        limit: int | None = None,
        consistent: bool = False,
    ) -> Page:
        """Live rows with first <= key < last (b"": no bound, see `keys.key_range`) of the partitions in the order
        given, in each by key (``backward``: highest first). At most ``limit`` rows and about 1 MiB.
        ``after``: an earlier page's ``next``, or any key of a named partition, whether it is there or not.
        ServiceUnavailableError if nothing could be read for lack of replicas."""
        raise NotImplementedError

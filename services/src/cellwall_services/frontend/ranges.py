"""Reads of many rows: the partitions of a Query, a Scan or a backfill, page by page.

Decides how far a page goes and what is asked in a round, asks, and repairs. Never retries: a partition
that too few servers answer for ends the page, and is refused if there is nothing before it to tell.
Invariant I6: a consistent page tells only what two replicas have spoken on, and what they differ in is on
a quorum before it is told, deletions too. (Which servers are asked: `rounds`. What their answers mean
together: `cellwall.merge`.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from cellwall import quorum
from cellwall.merge import Known, Merged, merge, take

from ..wire import Put, Range, Ranged, Row
from . import calls
from .calls import Answer
from .errors import ServiceUnavailableError
from .replicas import Replicas
from .rounds import Ask, Failures, Round, Source, Want

__all__ = ["Page", "Place", "Ranges", "Source"]

PAGE_BYTES = 1 << 20  # Developer Guide: a Query or Scan reads at most 1 MB a page
ROWS_MAX = 1000  # a call; of 200 B each they are a fifth of what an answer may hold (guess)
# Partitions a round: as many as a new table has, then four times as many as long as they are read to their end. A
# first round over all partitions of a full table would fetch a page from each of them, and tell one (guesses).
WINDOW_FIRST, WINDOW_GROWTH, WINDOW_MAX = 4, 4, 512
CALLS_MAX = 16  # of one read at once: some for every host, and others' requests come through (guess)
DOUBTFUL_MAX = 32  # rows repaired before a page is told; a page of rows to repair would outlast its customer (guess)


class Place(msgspec.Struct, frozen=True):
    """Where a read stopped: after this key of this partition, in the direction of the read."""

    partition: str
    key: bytes


class Page(msgspec.Struct, frozen=True):
    """Live rows in order (``item`` is never None). ``next``: where to go on; None: nothing remains.

    Only a page with rows has a ``next``, the place of its last row; it may turn out that nothing comes after it."""

    rows: list[Row]
    next: Place | None


class Ranges:
    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._turn = 0

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
        """A page of live rows with first <= key < last (b"": no bound; see `keys.key_range`), partition after
        partition as given, in each by key (``backward``: highest first). At most ``limit`` rows and about 1 MiB.

        ``after``: an earlier page's ``next``, or any key of a partition among ``sources``, there or not. Raises
        ServiceUnavailableError if too few replicas answer and there is nothing to tell."""
        self._turn += 1
        walk = _Walk(sources, first, last, backward, after)
        failures = Failures()
        needed = quorum.needed("get" if consistent else "get-eventual")
        rows: list[Row] = []
        told_bytes = 0
        window, rows_per_call = WINDOW_FIRST, ROWS_MAX if limit is None else min(limit, ROWS_MAX)
        while not walk.ended:
            wants = walk.wants(window)
            asked = Round(wants, needed, everybody=consistent, turn=self._turn, failures=failures)
            await self._ask(asked, backward, rows_per_call)
            merged: list[Merged[Row]] = [
                merge(asked.heard[want.source.partition], needed, backward=backward) for want in wants
            ]
            taken = take(
                merged,
                needed,
                rows_max=None if limit is None else limit - len(rows),
                bytes_max=PAGE_BYTES - told_bytes,
                doubtful_max=DOUBTFUL_MAX,
            )
            if not taken.partitions and taken.key is None:
                break
            await self._repair(wants, taken.doubtful)
            walk.go_on(taken.partitions, taken.key)
            rows += taken.told
            told_bytes += taken.told_bytes
            if rows and (taken.full or len(rows) == limit or told_bytes >= PAGE_BYTES):
                break
            window = min(window * WINDOW_GROWTH, WINDOW_MAX) if taken.partitions == len(wants) else taken.partitions + 1
            rows_per_call = min(rows_per_call * WINDOW_GROWTH, ROWS_MAX)  # deleted rows, so far
        if not walk.ended and not rows:
            raise _unavailable(walk.wants(1)[0].source, failures)
        for row in rows:
            self._replicas.clock.observe(row.version)
        return Page(rows, None if walk.ended else Place(rows[-1].partition, rows[-1].key))

    async def _ask(self, asked: Round, backward: bool, limit: int) -> None:
        """Ask until the round is settled. Calls still on their way then are left to themselves."""
        waiting = deque(asked.first)
        pending: dict[asyncio.Task[Answer[Ranged]], Ask] = {}
        while not asked.settled:
            while waiting and len(pending) < CALLS_MAX:
                ask = waiting.popleft()
                bounds = Range(ask.names, ask.wants[0].first, ask.wants[0].last, backward, limit)
                pending[self._replicas.calls.start(ask.replica, calls.range_of(bounds))] = ask
            finished, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                ask, answer = pending.pop(task), task.result()
                if answer.body is not None:
                    asked.done(ask, answer.body)
                else:
                    waiting.extend(asked.failed(ask, answer.reason, answer.lacking))

    async def _repair(self, wants: Sequence[Want], doubtful: Sequence[Known[Row]]) -> None:
        sources = {want.source.partition: want.source for want in wants}
        repairs = [
            self._replicas.repair(
                sources[known.row.partition].replicas,
                known.holders,
                Put(known.row.partition, known.row.key, known.row.version, known.row.item),
            )
            for known in doubtful
        ]
        await asyncio.gather(*repairs)


class _Walk:
    """Where a read is: the partition that comes next, and the last key taken of it."""

    def __init__(
        self, sources: Sequence[Source], first: bytes, last: bytes, backward: bool, after: Place | None
    ) -> None:
        self._sources = sources
        self._first, self._last = first, last
        self._backward = backward
        self._at = 0
        self._key: bytes | None = None
        if after is not None:
            self._at = [source.partition for source in sources].index(after.partition)
            self._key = after.key

    @property
    def ended(self) -> bool:
        return self._at == len(self._sources)

    def go_on(self, partitions: int, key: bytes | None) -> None:
        self._at += partitions
        self._key = key

    def wants(self, count: int) -> list[Want]:
        wants = [Want(source, self._first, self._last) for source in self._sources[self._at : self._at + count]]
        if self._key is not None:
            if self._backward:
                last = min(self._last, self._key) if self._last else self._key
                wants[0] = Want(wants[0].source, self._first, last)
            else:
                wants[0] = Want(wants[0].source, max(self._first, self._key + b"\x00"), self._last)
        return wants


def _unavailable(source: Source, failures: Failures) -> ServiceUnavailableError:
    said = "; ".join(f"{server}: {reason}" for server, reason in failures.of(source.partition).items())
    return ServiceUnavailableError(f"no quorum; {source.partition} cannot be read ({said or 'no answer tells a row'})")

"""Index entries that are due, written in the background.

Decides when each is tried: at once, then with patience for as long as it takes (a global index is eventually
consistent, as at DynamoDB). Never drops one unless its table or index is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from cellwall.errors import CellwallError
from cellwall.model import IndexInfo, TableId, TableInfo

from .errors import ApiError
from .outbox import Outbox
from .replicas import Replicas
from .routing import Router

RETRY_S, RETRY_MAX_S = 0.5, 15.0  # guess: doubling; an index may be late, it must not add to an overload
AT_ONCE = 32  # guess: entries on their way at the same time; customers' requests come first

# By table: what it is, and those of its indexes that are kept up; None: it is gone. ServiceUnavailableError: not known.
Upheld = Callable[[TableId], tuple[TableInfo, Sequence[IndexInfo]] | None]
Partition = tuple[TableId, str, int]

log = logging.getLogger(__name__)


class Delivery:
    """One queue and one task for each partition of an index that has entries due."""

    def __init__(self, outbox: Outbox, replicas: Replicas, router: Router, upheld: Upheld) -> None:
        self._outbox = outbox
        self._replicas = replicas
        self._router = router
        self._upheld = upheld
        self._queues: dict[Partition, deque[int]] = {}  # numbers of entries
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def deliver(self, numbers: Iterable[int]) -> None:
        """Write these entries of the outbox."""
        for number in sorted(numbers):
            due = self._outbox.entries[number]
            partition = (due.table, due.entry.place.index, due.entry.place.partition)
            if partition in self._queues:
                self._queues[partition].append(number)
                continue
            self._queues[partition] = deque([number])
            task = asyncio.create_task(self._drain(partition))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self, partition: Partition) -> None:
        """In turn: while the partition cannot be written, one attempt tells for all of its entries."""
        queue, wait_s = self._queues[partition], RETRY_S
        while queue:
            try:
                async with self._slots:
                    await self._write(partition, queue[0])
                self._outbox.done(queue[0])
            except (ApiError, CellwallError):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                continue
            queue.popleft()
            wait_s = RETRY_S
        del self._queues[partition]

    async def _write(self, partition: Partition, number: int) -> None:
        table, index, _ = partition
        upheld = self._upheld(table)
        if upheld is None or all(i.name != index for i in upheld[1]):
            return  # gone, and its entries with it
        entry = self._outbox.entries[number].entry
        source = self._router.source(*partition)
        await self._replicas.write_at(source.replicas, source.partition, entry.place.key, entry.version, entry.item)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("delivery of index entries failed", exc_info=task.exception())

"""Fills a new index: reads the table and writes the entries of what is there.

Decides where to go on. Never writes an entry at another version than its item's, so it may run beside
customers' writes and any number of times. Begins only when every write that did not know of the index is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from cellwall.model import TableInfo

from . import indexes
from .indexes import EntryWrite, State
from .ledger import Entry
from .outbox import Outbox
from .ranges import Place, Ranges
from .replicas import Replicas
from .routing import Router
from .upkeep import Upkeep

PAGE_ROWS = 500  # guess: their entries are made in one go; of a whole MiB of small rows customers would notice
AT_ONCE = 16  # guess: entries on their way at the same time; customers' requests come first


class Backfill:
    def __init__(self, outbox: Outbox, upkeep: Upkeep, replicas: Replicas, ranges: Ranges, router: Router) -> None:
        self._outbox = outbox
        self._upkeep = upkeep
        self._replicas = replicas
        self._ranges = ranges
        self._router = router
        self._reached: dict[tuple[str, str], Place] = {}  # by table and index: the rows before are done

    async def run(self, entry: Entry) -> None:
        """Raises ServiceUnavailableError where a quorum is missing; called again it goes on from there."""
        info, where = entry.info, (entry.info.id, entry.index)
        index = next(i for i in info.indexes if i.name == entry.index)
        self._outbox.keep(info.id)  # from now on writers learn what they replace
        await self._upkeep.settled(info.id)
        sources = self._router.sources(info.id, "", range(info.partitions))
        while True:
            page = await self._ranges.read(sources, after=self._reached.get(where), limit=PAGE_ROWS, consistent=True)
            writes = [
                write
                for row in page.rows
                for write in indexes.consequences(info, [index], row.key, [State(row.version, row.item)])
            ]
            await self._deliver(info, writes)
            if page.next is None:
                self._reached.pop(where, None)
                return
            self._reached[where] = page.next

    async def _deliver(self, info: TableInfo, writes: list[EntryWrite]) -> None:
        todo = iter(writes)

        async def work(todo: Iterator[EntryWrite]) -> None:
            for write in todo:
                place = write.place
                source = self._router.source(info.id, place.index, place.partition)
                await self._replicas.write_at(source.replicas, source.partition, place.key, write.version, write.item)

        await asyncio.gather(*(work(todo) for _ in range(min(AT_ONCE, len(writes)))))

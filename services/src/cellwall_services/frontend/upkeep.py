"""Writes of items, and the upkeep of the indexes that they entail.

Decides when a write is acknowledged: once a quorum has it and what it means for the indexes is in the
`outbox`, also after a restart; `delivery` does the rest behind it.

A write of a table that never had an index entry, and that has none itself, goes straight to its replicas. Any
other is noted before it is sent. One whose outcome is unknown, or that a kill cut short, is sent again until a
quorum has it, so that no replica holds a state whose entries nobody looks after (`indexes` says why).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator

from cellwall.errors import CellwallError, Unavailable
from cellwall.keys import base_key
from cellwall.model import TableId, TableInfo

from . import indexes, values
from .delivery import Delivery, Upheld
from .errors import ApiError, InternalServerError, ServiceUnavailableError
from .indexes import Place, State
from .outbox import Outbox, Write
from .ranges import Place as Reached
from .ranges import Ranges
from .replicas import Replicas, Written
from .routing import Router
from .targets import Target
from .values import Item

RETRY_S, RETRY_MAX_S = 0.5, 15.0  # guess: doubling; what is in doubt may wait, it must not add to an overload
AT_ONCE = 16  # guess: writes sent again at the same time; customers' requests come first
SWEEP_ROWS = 1000  # a page

log = logging.getLogger(__name__)


class Upkeep:
    def __init__(
        self,
        outbox: Outbox,
        replicas: Replicas,
        ranges: Ranges,
        router: Router,
        delivery: Delivery,
        upheld: Upheld,
    ) -> None:
        self._outbox = outbox
        self._replicas = replicas
        self._ranges = ranges
        self._router = router
        self._delivery = delivery
        self._upheld = upheld
        self._doubtful: dict[TableId, set[int]] = {}  # numbers of writes to be sent again
        self._under_way: dict[TableId, set[asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def resume(self) -> None:
        """Go on with what a restart left. What it cut short may be stored or not: it is in doubt."""
        self._delivery.deliver(self._outbox.entries)
        for number in list(self._outbox.writes):
            self._doubt(number)

    async def write(self, info: TableInfo, target: Target, item: Item | None) -> None:
        """Store an item (None deletes). Errors as those of `Replicas.write`."""
        source = self._router.source(info.id, "", target.partition)
        body = None if item is None else values.encode(item)
        with self._counted(info.id):
            upheld = self._upheld(info.id)
            kept_up = upheld[1] if upheld is not None else ()
            if indexes.entries(info, kept_up, target.key, item):
                self._outbox.keep(info.id)
            if not kept_up or not self._outbox.kept(info.id):
                await self._replicas.write(source.replicas, source.partition, target.key, body)
                return
            write = Write(info.id, target.partition, target.key, self._replicas.clock.next(), body)
            number = self._outbox.begin(write)
            try:
                written = await self._store(write)
            except ServiceUnavailableError:  # refused by every replica: nothing is stored, nothing to be done
                with self._noted(number):
                    self._outbox.settle(number)
                raise
            except BaseException:
                self._doubt(number)
                raise
            if any(s.version == write.version for s in written.before):
                # Re-replication brought it there before we did: that replica cannot tell what it replaced.
                self._doubt(number)
                return
            with self._noted(number):
                self._settle({number: written})

    async def settled(self, table: TableId) -> None:
        """Wait until every write of the table that is under way now is over."""
        if waiting := set(self._under_way.get(table, ())):
            await asyncio.wait(waiting)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ one write

    async def _store(self, write: Write) -> Written:
        source = self._router.source(write.table, "", write.partition)
        return await self._replicas.write_at(
            source.replicas, source.partition, write.key, write.version, write.item, learn=True
        )

    def _settle(self, written: dict[int, Written], extra: Collection[Place] = ()) -> None:
        """Writes of one item are stored: what follows from all that is known becomes due, and they are over."""
        write = self._outbox.writes[next(iter(written))]
        states = [State(own.version, own.item) for own in (self._outbox.writes[number] for number in written)]
        states += [State(s.version, s.item) for w in written.values() for s in w.before if s.version is not None]
        upheld = self._upheld(write.table)
        due = [] if upheld is None else indexes.consequences(*upheld, write.key, states, extra)
        for number in written:
            self._delivery.deliver(self._outbox.settle(number, due))
            due = []

    @contextlib.contextmanager
    def _noted(self, number: int) -> Iterator[None]:
        """What is done must be noted, else the outcome is unknown: a restart would send the write again."""
        try:
            yield
        except Unavailable as error:
            self._doubt(number)
            raise InternalServerError(f"the write may or may not be stored: {error}") from None

    @contextlib.contextmanager
    def _counted(self, table: TableId) -> Iterator[None]:
        over = asyncio.get_running_loop().create_future()
        mine = self._under_way.setdefault(table, set())
        mine.add(over)
        try:
            yield
        finally:
            mine.discard(over)
            over.set_result(None)

    # ------------------------------------------------------------ writes in doubt

    def _doubt(self, number: int) -> None:
        table = self._outbox.writes[number].table
        if table in self._doubtful:
            self._doubtful[table].add(number)
        else:
            self._doubtful[table] = {number}
            task = asyncio.create_task(self._resolve(table))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _resolve(self, table: TableId) -> None:
        """Send a table's doubtful writes again, then look through its indexes once for all that were stored."""
        mine, wait_s = self._doubtful[table], RETRY_S
        stored: dict[int, Written] = {}

        async def again(number: int) -> None:
            async with self._slots:
                with contextlib.suppress(ApiError, CellwallError):
                    stored[number] = await self._store(self._outbox.writes[number])

        while mine:
            try:
                if self._upheld(table) is None:
                    for number in list(mine):
                        self._outbox.settle(number)
                        mine.discard(number)
                await asyncio.gather(*(again(number) for number in mine - stored.keys()))
                await self._settle_found(table, stored)
                mine.difference_update(stored)  # in place: more may come to be in doubt meanwhile
                stored, wait_s = {}, RETRY_S
            except (ApiError, CellwallError) as error:
                log.warning("%s: %d writes in doubt: %s", table, len(mine), error)
            if mine:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
        del self._doubtful[table]

    async def _settle_found(self, table: TableId, stored: dict[int, Written]) -> None:
        by_key: dict[bytes, dict[int, Written]] = {}
        for number, written in stored.items():
            by_key.setdefault(self._outbox.writes[number].key, {})[number] = written
        if by_key:
            await self.settled(table)  # a write under way may have asked before ours came: its entries must be due
            found = await self._sweep(table, by_key)
            for key, mine in by_key.items():
                self._settle(mine, found.get(key, ()))

    async def _sweep(self, table: TableId, keys: Collection[bytes]) -> dict[bytes, list[Place]]:
        """The places of all entries that the items of these keys have, or are about to get."""
        found: dict[bytes, list[Place]] = {}
        upheld = self._upheld(table)
        if upheld is None or not keys:
            return found
        for due in self._outbox.entries.values():
            if due.table == table and base_key(due.entry.place.key) in keys:
                found.setdefault(base_key(due.entry.place.key), []).append(due.entry.place)
        for index in upheld[1]:
            sources = self._router.sources(table, index.name, range(index.partitions))
            after: Reached | None = None
            while True:
                page = await self._ranges.read(sources, after=after, limit=SWEEP_ROWS, consistent=True)
                for row in page.rows:
                    key = base_key(row.key)
                    if key in keys:
                        place = Place(index.name, int(row.partition.rpartition("/")[2]), row.key)
                        found.setdefault(key, []).append(place)
                after = page.next
                if after is None:
                    break
        return found

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("upkeep of an index failed", exc_info=task.exception())

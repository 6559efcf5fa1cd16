"""Creation and deletion of tables, as workflows against the metadata service.

    creating: post assignments -> wait until every server confirmed -> post ACTIVE   -> done
    deleting: post removal     -> wait until every server confirmed                  -> done

Decides the order of the steps. Never gives up and never skips one: while the metadata service cannot
answer, or a server is out, the table is visibly stuck in CREATING or DELETING, as in 2015. Every step may
be repeated, so a restart begins a workflow anew from the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from cellwall.errors import CellwallError
from cellwall.model import Assignment, CellId, CellMap, ServerId

from ..wire import TableChange
from .admin import Admin
from .catalog import Catalog
from .ledger import Entry, Ledger
from .maps import MapLoader
from .metrics import Metrics

POLL_CONFIRMED_S = 0.5  # guess: servers confirm with their next renewal, seconds to tens of seconds away
RETRY_S = 1.0  # guess: a workflow is patient, it must not add to an overload

log = logging.getLogger(__name__)

T = TypeVar("T")


class Workflows:
    """Runs one task for each unfinished entry of the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        admin: Admin,
        catalog: Catalog,
        loader: MapLoader,
        published: Callable[[], CellMap],
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._admin = admin
        self._catalog = catalog
        self._loader = loader
        self._published = published
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[ServerId] = set()
        self._freed = asyncio.Condition()

    def resume(self) -> None:
        """Begin again what a restart interrupted."""
        for entry in self._ledger.unfinished():
            self.start(entry)

    def start(self, entry: Entry) -> None:
        task = asyncio.create_task(self._run(entry), name=f"{entry.state} {entry.info.id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("workflow %s failed", task.get_name(), exc_info=task.exception())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, entry: Entry) -> None:
        servers = set(entry.assignments)
        gauge = self._metrics.workflows.labels(entry.state.lower())
        gauge.inc()
        try:
            # An epoch tells one change of a server's membership from the next only if they do not overlap.
            async with self._freed:
                await self._freed.wait_for(lambda: not servers & self._busy)
                self._busy |= servers
            try:
                await (self._create(entry) if entry.state == "CREATING" else self._delete(entry))
            finally:
                async with self._freed:
                    self._busy -= servers
                    self._freed.notify_all()
        finally:
            gauge.dec()

    async def _create(self, entry: Entry) -> None:
        await self._change_and_confirm(entry, remove=False)
        info = msgspec.structs.replace(entry.info, status="ACTIVE")
        for cell, placed in self._by_cell(entry).items():
            step = partial(self._admin.change_table, cell, TableChange(info))
            await self._until_done(f"activate {info.id} in {cell}", step)
            self._loader.changed_by_us(cell)
            self._catalog.add(cell, info, routes(placed))
        await self._keep(Entry(info, entry.definition, "ACTIVE"))

    async def _delete(self, entry: Entry) -> None:
        await self._change_and_confirm(entry, remove=True)
        await self._keep(Entry(entry.info, entry.definition, "DELETED"))
        self._catalog.remove(entry.info)

    async def _change_and_confirm(self, entry: Entry, *, remove: bool) -> None:
        changes = self._by_cell(entry)
        await asyncio.gather(*(self._change_cell(entry, cell, changes[cell], remove) for cell in changes))

    async def _change_cell(
        self, entry: Entry, cell: CellId, placed: dict[ServerId, list[Assignment]], remove: bool
    ) -> None:
        what = f"{entry.state} {entry.info.id} in {cell}"
        target = await self._target(entry, cell, placed)
        change = TableChange(entry.info, placed, remove)
        await self._until_done(what, partial(self._admin.change_table, cell, change))
        self._loader.changed_by_us(cell)
        missing = set(target)
        while missing:
            found = await self._until_done(what, partial(self._admin.confirmed, cell, missing))
            missing = {s for s in missing if found.get(s, 0) < target[s]}
            if cell in self._catalog.cells:
                self._catalog.cells[cell].epochs.update(found)
            if missing:
                await asyncio.sleep(POLL_CONFIRMED_S)

    async def _target(self, entry: Entry, cell: CellId, placed: Iterable[ServerId]) -> dict[ServerId, int]:
        """The epoch each server must confirm. Kept before the change is posted: a node that gets the same
        change again raises no epoch, so a restarted workflow must still wait for the first one."""
        kept = self._ledger.targets(entry.info.id)
        if kept.keys() >= set(placed):
            return {server: kept[server] for server in placed}
        before = await self._until_done(f"epochs in {cell}", partial(self._admin.confirmed, cell, placed))
        known = self._catalog.cells[cell].epochs if cell in self._catalog.cells else {}
        target = {s: max(before.get(s, 0), known.get(s, 0)) + 1 for s in placed}
        await self._keep(msgspec.structs.replace(entry, targets=self._ledger.targets(entry.info.id) | target))
        return target

    async def _keep(self, entry: Entry) -> None:
        async def step() -> None:
            self._ledger.put(entry)

        await self._until_done(f"ledger {entry.info.id}", step)

    async def _until_done(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step until the metadata service has done it."""
        while True:
            try:
                return await step()
            except CellwallError as error:
                log.warning("%s: %s; again in %s s", what, error, RETRY_S)
            await asyncio.sleep(RETRY_S)

    def _by_cell(self, entry: Entry) -> dict[CellId, dict[ServerId, list[Assignment]]]:
        """The entry's assignments by the cell that serves each server now."""
        published = self._published()
        cells: dict[CellId, dict[ServerId, list[Assignment]]] = {}
        for server, placed in entry.assignments.items():
            known = published.servers.get(server)
            if known is not None:
                cells.setdefault(known.cell, {})[server] = placed
        return cells


def routes(placed: dict[ServerId, list[Assignment]]) -> Iterable[tuple[str, int, tuple[ServerId, ...]]]:
    """(index, partition, servers in order of replica number) of a table's assignments."""
    for server, records in placed.items():
        for a in records:
            if a.replica == 0:
                yield a.index, a.partition, (server, *a.peers)

"""Changes of tables, as workflows against the metadata service, each a row of steps.

    CREATING               place -> post -> confirm -> finish (tell that it is active)
    UPDATING, new index    place -> post -> confirm -> backfill -> finish
    UPDATING, index gone           post -> confirm -> finish
    DELETING                       post -> confirm -> finish

    place      choose servers for the new partitions
    post       send the assignments, or their removal, to every cell concerned; it answers with epochs
    confirm    wait until every server has confirmed its epoch, which it does after a renewal
    backfill   read the table and write its items' index entries (`backfill`)

Decides the order of the steps. Never gives up and never skips one: while the metadata service cannot
answer, or a server is out, the table is visibly stuck in CREATING, UPDATING or DELETING, as in 2015, and
`unfinished` says in which step and whom it waits for. Each step is in the ledger before it begins and may be
repeated, so a restart goes on where the last one ended. Which cell serves a server is looked up anew for each attempt:
groups move between cells, and while one does both refuse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from cellwall.errors import CellwallError
from cellwall.model import Assignment, CellId, CellMap, ServerId

from ..wire import TableChange, Workflow
from . import placing, schema
from .admin import Admin
from .catalog import Catalog
from .errors import ApiError
from .ledger import Entry, Ledger
from .maps import MapLoader
from .metrics import Metrics
from .placing import Routes
from .turns import Turns

RETRY_S = 1.0  # guess: a workflow is patient, it must not add to an overload

log = logging.getLogger(__name__)

T = TypeVar("T")


class Backfill(Protocol):
    async def run(self, entry: Entry) -> None: ...


class Workflows:
    """Runs one task for each unfinished entry of the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        admin: Admin,
        catalog: Catalog,
        loader: MapLoader,
        backfill: Backfill,
        published: Callable[[], CellMap],
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._turns = Turns(admin)
        self._catalog = catalog
        self._loader = loader
        self._backfill = backfill
        self.published = published
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._missing: dict[str, set[ServerId]] = {}  # by table: who has not confirmed
        self._trouble: dict[str, str] = {}  # by table: why the last attempt at the step failed

    def resume(self) -> None:
        """Begin again what a restart interrupted."""
        for entry in self._ledger.unfinished():
            self.start(entry)

    def start(self, entry: Entry) -> None:
        """Carry out the rest of a workflow that the ledger has."""
        task = asyncio.create_task(self._run(entry), name=f"{entry.state} {entry.info.id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def unfinished(self) -> list[Workflow]:
        """What is under way, and what it waits for; the oldest first."""
        found = []
        for entry in self._ledger.unfinished():
            table = entry.info.id
            missing, trouble = sorted(self._missing.get(table, ())), self._trouble.get(table, "")
            found.append(
                Workflow(
                    entry.info.customer,
                    entry.info.name,
                    entry.state,
                    entry.step,
                    entry.since_s,
                    index=entry.index,
                    servers=missing,
                    trouble=trouble,
                )
            )
        return sorted(found, key=lambda w: (w.since_s, w.customer, w.table))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._turns.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("workflow %s failed", task.get_name(), exc_info=task.exception())

    async def _run(self, entry: Entry) -> None:
        gauge = self._metrics.workflows.labels(entry.state.lower())
        gauge.inc()
        try:
            while entry.step != "done":
                entry = await self._take(entry)
                await self._patiently(entry, partial(self._keep, entry))
            if entry.state == "DELETED":
                self._catalog.remove(entry.info)
        finally:
            gauge.dec()
            self._missing.pop(entry.info.id, None)
            self._trouble.pop(entry.info.id, None)

    async def _take(self, entry: Entry) -> Entry:
        """Take the step that is due; the entry with the one after it."""
        match entry.step:
            case "place":
                routes = await self._patiently(entry, partial(self._place, entry))
                return msgspec.structs.replace(entry, routes=routes, step="post")
            case "post":
                targets = await self._post_everywhere(entry)
                return msgspec.structs.replace(entry, targets=targets, step="confirm")
            case "confirm":
                await self._confirm(entry)
                backfill = entry.state == "UPDATING" and not entry.removes
                return msgspec.structs.replace(entry, targets={}, step="backfill" if backfill else "finish")
            case "backfill":
                await self._patiently(entry, partial(self._backfill.run, entry))
                return msgspec.structs.replace(entry, step="finish")
            case _:
                return await self._finish(entry)

    async def _place(self, entry: Entry) -> Routes:
        servers, records = self.published().servers, self._catalog.records()
        if entry.state == "CREATING":
            counts = {"": entry.info.partitions} | {i.name: i.partitions for i in entry.info.indexes}
            known = self._catalog.server_of(entry.info.customer, self.published())
            group = placing.choose_group(servers, records, known)
            return placing.place(counts, lambda _: group, servers, records)
        table = self._catalog.routes(entry.info, "", self.published())
        groups = [servers[triple[0]].group if triple and triple[0] in servers else -1 for triple in table]
        common = max(set(groups), key=groups.count)  # of partitions whose servers are not known
        counts = {i.name: i.partitions for i in entry.info.indexes if i.name == entry.index}
        return placing.place(counts, lambda p: common if groups[p] < 0 else groups[p], servers, records)

    async def _post_everywhere(self, entry: Entry) -> dict[ServerId, int]:
        placed: dict[ServerId, list[Assignment]] = {}
        if not entry.removes:
            # 21,000 records for an index of 7,000 partitions: customers' requests must get in between.
            placed = await asyncio.to_thread(placing.assignments, entry.info, entry.routes)
        index = entry.index if entry.removes and entry.state == "UPDATING" else None
        targets: dict[ServerId, int] = {}
        heard: set[CellId] = set()

        async def post(cell: CellId, servers: list[ServerId]) -> None:
            change = TableChange(entry.info, {s: placed.get(s, []) for s in servers}, entry.removes, index)
            targets.update(await self._change(cell, change))
            heard.add(cell)
            if not entry.removes:
                self._catalog.add(cell, entry.info, entry.routes, servers)

        while True:
            todo = {c: [s for s in servers if s not in targets] for c, servers in self._cells(entry).items()}
            todo = {cell: servers for cell, servers in todo.items() if servers or cell not in heard}
            if not todo:
                return targets
            await self._side_by_side(entry, [partial(post, cell, servers) for cell, servers in todo.items()])

    async def _confirm(self, entry: Entry) -> None:
        missing = self._missing[entry.info.id] = set(entry.targets)

        async def ask(cell: CellId, servers: list[ServerId]) -> None:
            found = await self._turns.confirmed(cell, servers)
            missing.difference_update(s for s in servers if found.get(s, 0) >= entry.targets[s])

        while cells := self._by_cell(missing):
            await self._side_by_side(entry, [partial(ask, cell, servers) for cell, servers in cells.items()])

    async def _finish(self, entry: Entry) -> Entry:
        if entry.state == "DELETING":
            return Entry(entry.info, entry.definition, "DELETED")
        gone = entry.index if entry.removes else None
        indexes = tuple(msgspec.structs.replace(i, status="ACTIVE") for i in entry.info.indexes if i.name != gone)
        info = msgspec.structs.replace(entry.info, status="ACTIVE", indexes=indexes)
        heard: set[CellId] = set()

        async def tell(cell: CellId) -> None:
            await self._change(cell, TableChange(info))
            heard.add(cell)
            self._catalog.describe(cell, info)

        while todo := self._cells(entry).keys() - heard:
            await self._side_by_side(entry, [partial(tell, cell) for cell in sorted(todo)])
        if gone is not None:
            self._catalog.remove_index(info, gone)
            return Entry(info, schema.without_index(entry.definition, gone), "ACTIVE")
        return Entry(info, entry.definition, "ACTIVE")

    async def _change(self, cell: CellId, change: TableChange) -> dict[ServerId, int]:
        targets = await self._turns.change_table(cell, change)
        self._loader.changed_by_us(cell)
        return targets

    async def _keep(self, entry: Entry) -> None:
        self._ledger.put(entry)

    async def _patiently(self, entry: Entry, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step until it is done."""
        while True:
            try:
                done = await step()
            except (CellwallError, ApiError) as error:
                await self._trouble_with(entry, error)
            else:
                self._trouble.pop(entry.info.id, None)
                return done

    async def _side_by_side(self, entry: Entry, steps: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """One attempt at each; what came to nothing is looked at again by whoever asks for it."""
        outcomes = await asyncio.gather(*(step() for step in steps), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in failed:
            if not isinstance(error, CellwallError | ApiError):
                raise error
        if failed:
            await self._trouble_with(entry, failed[0])
        else:
            self._trouble.pop(entry.info.id, None)

    async def _trouble_with(self, entry: Entry, error: BaseException) -> None:
        self._trouble[entry.info.id] = str(error)
        log.warning("%s %s, %s: %s; again in %s s", entry.state, entry.info.id, entry.step, error, RETRY_S)
        await asyncio.sleep(RETRY_S)

    def _cells(self, entry: Entry) -> dict[CellId, list[ServerId]]:
        """The cells that must hear of a change, with the servers whose lists it changes."""
        homes: dict[CellId, list[ServerId]] = {cell: [] for cell in self._catalog.homes(entry.info.id)}
        return homes | self._by_cell(placing.holders(entry.routes))

    def _by_cell(self, servers: Iterable[ServerId]) -> dict[CellId, list[ServerId]]:
        """The servers by the cell that serves each now."""
        published = self.published()
        cells: dict[CellId, list[ServerId]] = {}
        for server in sorted(servers):
            known = published.servers.get(server)
            if known is not None:
                cells.setdefault(known.cell, []).append(server)
        return cells

"""Follows the published cell map and the cells' partition maps, in the background.

Decides when to load: all cells at start, later a cell whose version changed by more than our own workflows changed it,
or groups did that the map shows going. Never called within a customer's request (design §2). A load that fails leaves
the old map in force and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from pathlib import Path

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.model import CellId, CellMap, TableInfo

from .admin import Admin
from .catalog import Catalog, CellTables
from .metrics import Metrics

POLL_FILE_S = 0.2  # as the storage hosts do
POLL_VERSION_S = 2.0  # guess: a new table is known elsewhere after two seconds
PARTITION_ATTEMPTS = 3  # guess
_RETRY_S = 0.5  # guess: between attempts

log = logging.getLogger(__name__)


class _Assignment(msgspec.Struct, gc=False):
    """`model.Assignment` without the members that routing does not need: 744,000 of them are decoded."""

    table: str
    index: str
    partition: int
    replica: int
    peers: tuple[str, ...]


class _Membership(msgspec.Struct):
    server: str
    epoch: int
    tables: dict[str, msgspec.Raw]  # the same table stands in many memberships; decoded once
    assignments: list[_Assignment]


class _PartitionMap(msgspec.Struct):
    version: int
    memberships: list[msgspec.Raw]  # decoded one by one, so that customers' requests get in between


_decode_map = msgspec.json.Decoder(_PartitionMap).decode
_decode_membership = msgspec.json.Decoder(_Membership).decode
_decode_table = msgspec.json.Decoder(TableInfo).decode


class MapFile:
    """The published `CellMap`, followed by its modification time; empty until there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen_ns = 0
        self.current = CellMap(0, {}, {})

    def read(self) -> bool:
        """Whether a newer map was read. A file that cannot be read leaves the old map in force."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return False
            found = msgspec.json.decode(self._path.read_bytes(), type=CellMap)
        except FileNotFoundError:
            return False  # not published yet
        except OSError as error:
            raise Refused(f"{self._path}: cannot be read ({error.strerror})") from None
        except msgspec.DecodeError as error:
            raise Refused(f"{self._path}: {error}") from None
        self._seen_ns = changed_ns
        newer = found.version >= self.current.version
        if newer:
            self.current = found
        return newer


class MapLoader:
    """Keeps ``catalog`` as the metadata service has it. `loaded` is set once every cell was read."""

    def __init__(self, file: MapFile, admin: Admin, catalog: Catalog, metrics: Metrics) -> None:
        self._file = file
        self._admin = admin
        self._catalog = catalog
        self._metrics = metrics
        self._own_changes: Counter[CellId] = Counter()
        self.loaded = asyncio.Event()

    def changed_by_us(self, cell: CellId) -> None:
        """A workflow changed assignments and tells the catalog itself: no reason to load the cell again."""
        self._own_changes[cell] += 1

    async def follow_file(self) -> None:
        while True:
            try:
                if self._file.read():
                    self._follow(self._file.current)
            except Refused as error:
                log.warning("%s", error)
            await asyncio.sleep(POLL_FILE_S)

    def _follow(self, published: CellMap) -> None:
        """Each group that went raises the versions of both cells once, when the move ends."""
        self._catalog.keep_cells(published.cells)
        for cells in self._catalog.follow(published):
            self._own_changes.update(cells)

    async def follow_cells(self) -> None:
        """Cells side by side: one that does not answer delays no other."""
        while True:
            cells = list(self._file.current.cells)
            await asyncio.gather(*(self._refresh(cell) for cell in cells))
            known = set(self._file.current.cells)
            if known and known <= self._catalog.cells.keys():
                self.loaded.set()
            await asyncio.sleep(POLL_VERSION_S if self.loaded.is_set() else _RETRY_S)

    async def _refresh(self, cell: CellId) -> None:
        try:
            if self._is_current(cell, await self._admin.version(cell)):
                return
            tables = await self.load(cell)
        except CellwallError as error:
            self._metrics.map_loads.labels(cell, "failed").inc()
            log.warning("map of %s not loaded: %s", cell, error)
            return
        self._metrics.map_loads.labels(cell, "done").inc()
        self._own_changes[cell] = 0
        if cell in self._file.current.cells:
            self._catalog.install(cell, tables)

    def _is_current(self, cell: CellId, version: int) -> bool:
        known = self._catalog.cells.get(cell)
        if known is None:
            return False
        ours = version - known.version
        if ours not in (0, self._own_changes[cell]):
            return False
        known.version = version
        self._own_changes[cell] -= ours
        return True

    async def load(self, cell: CellId) -> CellTables:
        """All metadata partitions of one cell, one after another: a node has customers of its own to serve."""
        entry = self._file.current.cells.get(cell)
        if entry is None:
            raise Unavailable(f"{cell}: is not in the cell map")
        found = CellTables(-1, {}, {}, {}, {})
        for partition in range(len(entry.owners)):
            body = await self._fetch(cell, partition)
            try:
                part = _decode_map(body)
                # The lowest counts: a change between two partitions must be seen as one by the next poll.
                found.version = part.version if found.version < 0 else min(found.version, part.version)
                for raw in part.memberships:
                    self._take(found, _decode_membership(raw))
                    await asyncio.sleep(0)
            except msgspec.DecodeError as error:
                raise Unavailable(f"{cell}: map of partition {partition}: {error}") from None
        found.version = max(found.version, 0)
        return found

    async def _fetch(self, cell: CellId, partition: int) -> bytes:
        """One partition, tried a few times: beginning the whole cell anew would cost its node far more."""
        for _ in range(PARTITION_ATTEMPTS - 1):
            with contextlib.suppress(CellwallError):
                return await self._admin.partition_map(cell, partition)
            await asyncio.sleep(_RETRY_S)
        return await self._admin.partition_map(cell, partition)

    def _take(self, found: CellTables, membership: _Membership) -> None:
        found.epochs[membership.server] = membership.epoch
        found.records[membership.server] = len(membership.assignments)
        for table, raw in membership.tables.items():
            if table not in found.tables:
                found.tables[table] = _decode_table(raw)
        for a in membership.assignments:
            if a.replica == 0:  # it names its peers in order of replica number; the other two add nothing
                self._catalog.set_route(found, (a.table, a.index), a.partition, (membership.server, *a.peers))

"""The tables of the world in memory, and which servers hold their partitions.

Decides nothing about availability: whether a server answers is its own matter (I8). Never asks a
service: `maps` and `workflows` fill it. A route is three server numbers a partition in one flat array, so that 250,000
partitions take 3 MB instead of 200.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable

import msgspec

from cellwall.model import CellId, CellMap, ServerId, TableId, TableInfo
from cellwall.quorum import REPLICAS

from .placing import Routes, Triple

RouteKey = tuple[TableId, str]  # table, index ("" is the table itself)
ABSENT = -1


class CellTables(msgspec.Struct):
    """What one cell's maps said. ``epochs`` and ``records`` are those of its servers' memberships."""

    version: int
    tables: dict[TableId, TableInfo]
    routes: dict[RouteKey, array[int]]
    epochs: dict[ServerId, int]
    records: dict[ServerId, int]


class Catalog:
    """Tables by customer and name; routes by table, index and partition."""

    def __init__(self) -> None:
        self.cells: dict[CellId, CellTables] = {}
        self._by_customer: dict[str, dict[str, TableInfo]] = {}
        self._by_id: dict[TableId, TableInfo] = {}
        self._homes: dict[TableId, list[CellId]] = {}
        self._numbers: dict[ServerId, int] = {}
        self._names: list[ServerId] = []

    def number(self, server: ServerId) -> int:
        """A small number for a server's name, the same for the life of the process."""
        known = self._numbers.get(server)
        if known is None:
            known = self._numbers[server] = len(self._names)
            self._names.append(server)
        return known

    def set_route(self, cell: CellTables, key: RouteKey, partition: int, servers: Iterable[ServerId]) -> None:
        """Note the servers of one partition. Arrays grow: a partition number may come before its table."""
        route = cell.routes.get(key)
        if route is None:
            route = cell.routes[key] = array("i")
        start = partition * REPLICAS
        if len(route) < start + REPLICAS:
            route.extend([ABSENT] * (start + REPLICAS - len(route)))
        for replica, server in enumerate(servers):
            route[start + replica] = self.number(server)

    def install(self, cell: CellId, tables: CellTables) -> None:
        """Replace what is known of a cell, at once."""
        self.cells[cell] = tables
        self._index()

    def keep_cells(self, cells: Iterable[CellId]) -> None:
        """Forget cells that are no longer in the published map."""
        wanted = set(cells)
        if not self.cells.keys() <= wanted:
            self.cells = {c: t for c, t in self.cells.items() if c in wanted}
            self._index()

    def follow(self, published: CellMap) -> list[tuple[CellId, CellId]]:
        """What is known of servers that have changed cells goes with them: nothing else of it changes, and to load both
        cells anew would cost them far more. Returns (from, to) for each placement group that went."""
        went: dict[tuple[CellId, CellId], set[ServerId]] = {}
        for cell, known in self.cells.items():
            for server in known.records:
                entry = published.servers.get(server)
                if entry is not None and entry.cell != cell and entry.cell in published.cells:
                    went.setdefault((cell, entry.cell), set()).add(server)
        for (source, target), servers in went.items():
            _hand_on(
                self.cells[source],
                self.cells.setdefault(target, CellTables(0, {}, {}, {}, {})),
                {self.number(server): server for server in servers},
            )
        if went:
            self._index()
        groups = {(cells, published.servers[server].group) for cells, servers in went.items() for server in servers}
        return [cells for cells, _ in sorted(groups)]

    def add(self, cell: CellId, info: TableInfo, routes: Routes, servers: Collection[ServerId]) -> None:
        """Partitions that a workflow has placed on ``servers`` of this cell; its maps need not be loaded for them."""
        known = self.cells.setdefault(cell, CellTables(0, {}, {}, {}, {}))
        known.tables[info.id] = info
        here = set(servers)
        for index, triples in routes.items():
            for partition, triple in enumerate(triples):
                if not triple or triple[0] not in here or self._known(known, (info.id, index), partition):
                    continue
                self.set_route(known, (info.id, index), partition, triple)
                for server in triple:
                    known.records[server] = known.records.get(server, 0) + 1
        self._index()

    def describe(self, cell: CellId, info: TableInfo) -> None:
        """Another status, or other indexes, of a table whose partitions stay."""
        if cell in self.cells:
            self.cells[cell].tables[info.id] = info
            self._index()

    def remove(self, info: TableInfo) -> None:
        for cell in self.cells.values():
            cell.tables.pop(info.id, None)
        for index in ("", *(i.name for i in info.indexes)):
            self._forget((info.id, index))
        self._index()

    def remove_index(self, info: TableInfo, index: str) -> None:
        self._forget((info.id, index))

    def homes(self, table: TableId) -> list[CellId]:
        """The cells that know the table."""
        return self._homes.get(table, [])

    def find(self, customer: str, name: str) -> TableInfo | None:
        return self._by_customer.get(customer, {}).get(name)

    def table(self, table: TableId) -> TableInfo | None:
        return self._by_id.get(table)

    def tables_of(self, customer: str) -> dict[str, TableInfo]:
        return self._by_customer.get(customer, {})

    def replicas(self, table: TableId, index: str, partition: int, published: CellMap) -> Triple | None:
        """The servers of a partition. While a group moves two cells may list it; its servers' cell counts."""
        start = partition * REPLICAS
        found: Triple | None = None
        for cell in self._homes.get(table, ()):
            route = self.cells[cell].routes.get((table, index))
            if route is None or len(route) <= start or route[start] == ABSENT:
                continue
            found = tuple(self._names[n] for n in route[start : start + REPLICAS])
            entry = published.servers.get(found[0])
            if entry is not None and entry.cell == cell:
                break
        return found

    def routes(self, info: TableInfo, index: str, published: CellMap) -> list[Triple]:
        """The servers of each partition of the table ("") or an index; () where they are not known."""
        counts = {"": info.partitions} | {i.name: i.partitions for i in info.indexes}
        return [self.replicas(info.id, index, p, published) or () for p in range(counts[index])]

    def server_of(self, customer: str, published: CellMap) -> ServerId | None:
        """A server of the customer's oldest table: it tells the customer's placement group."""
        for info in sorted(self.tables_of(customer).values(), key=lambda i: (i.created_s, i.id)):
            servers = self.replicas(info.id, "", 0, published)
            if servers:
                return servers[0]
        return None

    def records(self) -> dict[ServerId, int]:
        """Assignments per server, as of the last load."""
        return {server: count for cell in self.cells.values() for server, count in cell.records.items()}

    def _known(self, cell: CellTables, key: RouteKey, partition: int) -> bool:
        route = cell.routes.get(key, ())
        return len(route) > partition * REPLICAS and route[partition * REPLICAS] != ABSENT

    def _forget(self, key: RouteKey) -> None:
        for cell in self.cells.values():
            for number in cell.routes.pop(key, ()):
                if number != ABSENT:
                    cell.records[self._names[number]] -= 1

    def _index(self) -> None:
        by_customer: dict[str, dict[str, TableInfo]] = {}
        by_id: dict[TableId, TableInfo] = {}
        homes: dict[TableId, list[CellId]] = {}
        for cell in sorted(self.cells):
            for info in self.cells[cell].tables.values():
                by_customer.setdefault(info.customer, {})[info.name] = by_id[info.id] = info
                homes.setdefault(info.id, []).append(cell)
        self._by_customer, self._by_id, self._homes = by_customer, by_id, homes


def _hand_on(source: CellTables, target: CellTables, servers: dict[int, ServerId]) -> None:
    """Partitions, tables and figures of these servers (by number). A partition's replicas are in one group."""
    for key, route in list(source.routes.items()):
        if servers.keys().isdisjoint(route):
            continue
        there = target.routes.setdefault(key, array("i"))
        for start in range(0, len(route), REPLICAS):
            if route[start] in servers:
                if len(there) < start + REPLICAS:
                    there.extend([ABSENT] * (start + REPLICAS - len(there)))
                there[start : start + REPLICAS] = route[start : start + REPLICAS]
                route[start : start + REPLICAS] = array("i", [ABSENT] * REPLICAS)
        table = key[0]
        if table in source.tables:
            target.tables.setdefault(table, source.tables[table])
        if set(route) == {ABSENT}:
            del source.routes[key]
            if not any(other == table for other, _ in source.routes):
                source.tables.pop(table, None)
    for server in servers.values():
        target.records[server] = source.records.pop(server)
        if server in source.epochs:
            target.epochs[server] = source.epochs.pop(server)

"""Which replicas a partition has, and where they listen.

Decides from the catalog and the published map, never by asking; whether a replica answers is its own matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cellwall.model import CellMap, TableId, partition_key

from .calls import Replica
from .catalog import Catalog
from .errors import ServiceUnavailableError
from .ranges import Source


class Router:
    def __init__(self, catalog: Catalog, published: Callable[[], CellMap]) -> None:
        self._catalog = catalog
        self._published = published

    def source(self, table: TableId, index: str, partition: int) -> Source:
        published = self._published()
        name = partition_key(table, index, partition)
        servers = self._catalog.replicas(table, index, partition, published)
        if servers is None:
            raise ServiceUnavailableError(f"partition {name}: its servers are not known")
        known = published.servers
        return Source(name, [Replica(s, known[s].address if s in known else "") for s in servers])

    def sources(self, table: TableId, index: str, partitions: Iterable[int]) -> list[Source]:
        return [self.source(table, index, partition) for partition in partitions]

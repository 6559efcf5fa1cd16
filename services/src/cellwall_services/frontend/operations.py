"""Every operation, for one customer at a time: who carries it out.

Decides that, and the three on single items. Acts through `replicas`, `upkeep`, `queries`, `batches` (items) and
`tables` (tables). Nothing here waits for the metadata service.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from . import pages, targets, values
from .batches import Batches
from .bodies import BatchGetItem, BatchWriteItem, DeleteItem, GetItem, Operation, PutItem, Query, Scan
from .queries import Queries
from .replicas import Replicas
from .routing import Router
from .tables import TableChanges, Tables
from .upkeep import Upkeep


class Operations:
    def __init__(
        self,
        tables: Tables,
        changes: TableChanges,
        replicas: Replicas,
        upkeep: Upkeep,
        router: Router,
        queries: Queries,
        batches: Batches,
    ) -> None:
        self._tables = tables
        self._changes = changes
        self._replicas = replicas
        self._upkeep = upkeep
        self._router = router
        self._queries = queries
        self._batches = batches

    async def run(self, customer: str, operation: Operation) -> dict[str, Any]:
        match operation:
            case PutItem():
                return await self._put(customer, operation)
            case GetItem():
                return await self._get(customer, operation)
            case DeleteItem():
                return await self._delete(customer, operation)
            case Query() | Scan():
                return await self._queries.run(self._tables.usable(customer, operation.TableName), operation)
            case BatchGetItem():
                return await self._batches.get(partial(self._tables.usable, customer), operation)
            case BatchWriteItem():
                return await self._batches.write(partial(self._tables.usable, customer), operation)
            case _:
                return self._changes.run(customer, operation)

    async def _put(self, customer: str, put: PutItem) -> dict[str, Any]:
        item = values.item(put.Item, "Item")
        info = self._tables.usable(customer, put.TableName)
        await self._upkeep.write(info, targets.item_target(info, item), item)
        return {}

    async def _delete(self, customer: str, delete: DeleteItem) -> dict[str, Any]:
        key = values.item(delete.Key, "Key")
        info = self._tables.usable(customer, delete.TableName)
        await self._upkeep.write(info, targets.key_target(info, key), None)
        return {}

    async def _get(self, customer: str, get: GetItem) -> dict[str, Any]:
        key = values.item(get.Key, "Key")
        shown = pages.projected(get)
        info = self._tables.usable(customer, get.TableName)
        target = targets.key_target(info, key)
        source = self._router.source(info.id, "", target.partition)
        read = self._replicas.read if get.ConsistentRead else self._replicas.read_any
        found = await read(source.replicas, source.partition, target.key)
        if found is None:
            return {}
        return {"Item": msgspec.Raw(found) if shown is None else shown.apply(values.decode(found))}

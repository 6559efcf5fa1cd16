"""BatchGetItem and BatchWriteItem: many items in one request, each for itself.

Decides what is told of those that could not be read or written: they are given back as unprocessed. Never
fails as a whole for lack of replicas; a request that is wrong anywhere is refused before anything is done. An
unprocessed write may have been stored (its outcome is unknown): sent again, it does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from cellwall.errors import CellwallError
from cellwall.model import TableInfo

from . import pages, targets, values
from .bodies import BatchGetItem, BatchWriteItem, WriteRequest
from .errors import ApiError, RequestError
from .projection import Projection
from .replicas import Replicas
from .routing import Router
from .targets import Target
from .upkeep import Upkeep
from .values import Item

RESPONSE_BYTES_MAX = 16 * 1024 * 1024  # API reference, BatchGetItem

Usable = Callable[[str], TableInfo]  # a customer's table by name


class Batches:
    def __init__(self, replicas: Replicas, upkeep: Upkeep, router: Router) -> None:
        self._replicas = replicas
        self._upkeep = upkeep
        self._router = router

    async def get(self, usable: Usable, batch: BatchGetItem) -> dict[str, Any]:
        asked: list[tuple[str, Any, TableInfo, Target, Projection | None]] = []
        for name, wanted in batch.RequestItems.items():
            info, shown = usable(name), pages.projected(wanted)
            for number, raw in enumerate(wanted.Keys):
                key = values.item(raw, f"RequestItems.{name}.Keys[{number}]")
                asked.append((name, raw, info, targets.key_target(info, key), shown))
        targets.check_distinct((name, target) for name, _, _, target, _ in asked)
        found = await asyncio.gather(
            *(self._read(info, target, batch.RequestItems[name].ConsistentRead) for name, _, info, target, _ in asked)
        )
        items: dict[str, list[Any]] = {name: [] for name in batch.RequestItems}
        left: dict[str, list[Any]] = {}
        size_bytes = 0
        for (name, raw, _, _, shown), (done, stored) in zip(asked, found, strict=True):
            size_bytes += len(stored or b"")
            if not done or size_bytes > RESPONSE_BYTES_MAX:
                left.setdefault(name, []).append(raw)
            elif stored is not None:
                items[name].append(msgspec.Raw(stored) if shown is None else shown.apply(values.decode(stored)))
        unprocessed = {n: msgspec.structs.replace(batch.RequestItems[n], Keys=keys) for n, keys in left.items()}
        return {"Responses": items, "UnprocessedKeys": unprocessed}

    async def write(self, usable: Usable, batch: BatchWriteItem) -> dict[str, Any]:
        asked: list[tuple[str, WriteRequest, TableInfo, Target, Item | None]] = []
        for name, requests in batch.RequestItems.items():
            info = usable(name)
            for number, request in enumerate(requests):
                place = f"RequestItems.{name}[{number}]"
                if request.PutRequest is not None:
                    item = values.item(request.PutRequest.Item, f"{place}.PutRequest.Item")
                    asked.append((name, request, info, targets.item_target(info, item), item))
                elif request.DeleteRequest is not None:
                    key = values.item(request.DeleteRequest.Key, f"{place}.DeleteRequest.Key")
                    asked.append((name, request, info, targets.key_target(info, key), None))
        targets.check_distinct((name, target) for name, _, _, target, _ in asked)
        done = await asyncio.gather(*(self._write(info, target, item) for _, _, info, target, item in asked))
        unprocessed: dict[str, list[WriteRequest]] = {}
        for (name, request, *_), stored in zip(asked, done, strict=True):
            if not stored:
                unprocessed.setdefault(name, []).append(request)
        return {"UnprocessedItems": unprocessed}

    async def _read(self, info: TableInfo, target: Target, consistent: bool) -> tuple[bool, bytes | None]:
        """Whether it could be read, and what was found."""
        read = self._replicas.read if consistent else self._replicas.read_any
        try:
            source = self._router.source(info.id, "", target.partition)
            return True, await read(source.replicas, source.partition, target.key)
        except RequestError:
            raise
        except (ApiError, CellwallError):
            return False, None

    async def _write(self, info: TableInfo, target: Target, item: Item | None) -> bool:
        try:
            await self._upkeep.write(info, target, item)
        except RequestError:
            raise
        except (ApiError, CellwallError):
            return False
        return True

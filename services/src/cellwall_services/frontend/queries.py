"""Query and Scan: one page of a table or an index.

Decides which partitions and which range of keys a request means (`pages` has checked it) and how a page is
answered. Reads through `ranges` only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall.keys import index_key, key_range, partition_for
from cellwall.model import IndexInfo, TableInfo

from . import pages, targets, values
from .bodies import Query, Scan
from .errors import ValidationError
from .pages import Reading, StartKey
from .ranges import Page, Place, Ranges
from .routing import Router


class Queries:
    def __init__(self, ranges: Ranges, router: Router) -> None:
        self._ranges = ranges
        self._router = router

    async def run(self, info: TableInfo, read: Query | Scan) -> dict[str, Any]:
        reading = pages.reading(info, read)
        index = reading.index.name if reading.index else ""
        of = reading.index or info
        first = last = b""
        backward = False
        if isinstance(read, Scan):
            partitions = pages.segment(of.partitions, read.Segment, read.TotalSegments)
        else:
            assert reading.condition is not None
            wanted = reading.condition
            number = partition_for(of.hash_type, wanted.hash_value, of.partitions)
            partitions = range(number, number + 1)
            first, last = key_range(
                *(of.hash_type, wanted.hash_value, of.range_type if of.range_key else None),
                *(wanted.op, wanted.range_values),
                index=reading.index is not None,
            )
            backward = not read.ScanIndexForward
        after = None
        if reading.start is not None:
            number, key = _place(info, reading.index, reading.start)
            if number not in partitions:
                raise ValidationError(f"{pages.BAD_START}: it is not in the segment that is read")
            after = Place(self._router.source(info.id, index, number).partition, key)
        page = await self._ranges.read(
            self._router.sources(info.id, index, partitions),
            first=first,
            last=last,
            backward=backward,
            after=after,
            limit=read.Limit,
            consistent=read.ConsistentRead,
        )
        return _answer(info, reading, page)


def _place(info: TableInfo, index: IndexInfo | None, start: StartKey) -> tuple[int, bytes]:
    """The partition and key of the row that a page before ended with."""
    target = targets.target(info, start.table)
    if index is None or start.index is None:
        return target.partition, target.key
    hash_value, range_value = start.index
    key = index_key(index.hash_type, hash_value, index.range_type, range_value or b"", target.key)
    return partition_for(index.hash_type, hash_value, index.partitions), key


def _answer(info: TableInfo, reading: Reading, page: Page) -> dict[str, Any]:
    rows = [row.item for row in page.rows if row.item is not None]  # `Page`: none is
    answer: dict[str, Any] = {"Count": len(rows), "ScannedCount": len(rows)}
    if not reading.counts:
        shown = reading.projection
        answer["Items"] = [msgspec.Raw(row) if shown is None else shown.apply(values.decode(row)) for row in rows]
    if page.next is not None and rows:
        answer["LastEvaluatedKey"] = pages.last_key(info, reading.index, values.decode(rows[-1]))
    return answer

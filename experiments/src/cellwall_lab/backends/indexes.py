"""Growth of the cause: secondary indexes added to tables, through the customers' door and in their name.

Decides which tables, what an index is called, and when all of them are there; the placing of indexes and the growing
of memberships are the services' work. Never asks the metadata service. Invariant: one index of a table after the
other, since a table takes no second change while it is UPDATING; tables grow side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.placement import Layout, PlacedTable, cell_id

from .. import verbs
from .ground import Asks

POLL_S = 0.5  # guess: servers confirm with their next renewal, seconds away
ASK_S = 5.0  # guess: five times a customer's patience; the front end answers from its own ledger
STEM = "grown"


class Table(msgspec.Struct, frozen=True):
    customer: str
    name: str

    def __str__(self) -> str:
        return f"{self.customer}/{self.name}"


def chosen(tables: int | list[str], placed: Sequence[PlacedTable]) -> list[Table]:
    """The tables that a verb means: so many of the largest, or those named. A customer's own table need not be in
    the catalogue; whether it exists is the front end's to say."""
    if isinstance(tables, int):
        if not 1 <= tables <= len(placed):
            raise Refused(f"grow-indexes.tables: {tables} is not allowed; it must be in 1..{len(placed)} or names")
        largest = sorted(placed, key=lambda t: (-_partitions(t), t.info.id))[:tables]
        return [Table(t.info.customer, t.info.name) for t in largest]
    found = []
    for text in dict.fromkeys(tables):
        customer, slash, name = text.partition("/")
        if not (customer and slash and name):
            raise Refused(f"grow-indexes.tables: {text!r} is not allowed; it must be customer/table, or a number")
        found.append(Table(customer, name))
    if not found:
        raise Refused("grow-indexes.tables: no name is not allowed; it must be a number or customer/table, …")
    return found


def largest_of(cell: str, layout: Layout) -> PlacedTable:
    """The table with most partitions of those that live in one cell."""

    def lives(table: PlacedTable) -> bool:
        return any(cell_id(layout.cell[s]) == cell for triple in table.replicas[""][:1] for s in triple)

    return min(filter(lives, layout.tables), key=lambda t: (-_partitions(t), t.info.id))


def new_name(taken: Sequence[str]) -> str:
    """An index name that the table does not have yet."""
    number = 0
    while f"{STEM}-{number}" in taken:
        number += 1
    return f"{STEM}-{number}"


async def grow(verb: verbs.GrowIndexes, placed: Sequence[PlacedTable], frontend: str, calls: Asks) -> verbs.StepResult:
    """Add the indexes and wait until all are ACTIVE. Unknown: some are not, by the deadline; they may yet be."""
    if verb.count < 1:
        raise Refused(f"grow-indexes.count: {verb.count} is not allowed; it must be >= 1")
    tables = chosen(verb.tables, placed)
    started_s = time.monotonic()
    growing = [_Growing(table, frontend, calls) for table in tables]
    tasks = [asyncio.create_task(one.add(verb.count)) for one in growing]
    done, late = await asyncio.wait(tasks, timeout=verb.deadline_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    took_s = time.monotonic() - started_s
    active, asked = sum(one.active for one in growing), verb.count * len(tables)
    reason = f"{active} of {asked} indexes ACTIVE"
    failures = [task.exception() for task in done]
    for failure in failures:
        if failure is not None and not isinstance(failure, CellwallError):
            raise failure
    if failure := next((f for f in failures if f is not None), None):
        refused = isinstance(failure, (Refused, Unavailable)) and not active
        return verbs.StepResult("refused" if refused else "unknown", took_s, f"{reason}; {failure}")
    if late:
        waiting = ", ".join(str(o.table) for o in growing if o.active < verb.count)
        return verbs.StepResult("unknown", took_s, f"{reason} after {verb.deadline_s:g} s; not {waiting}")
    return verbs.StepResult("done", took_s, reason)


class _Growing:
    """One table. ``active``: how many of its new indexes can be used."""

    def __init__(self, table: Table, frontend: str, calls: Asks) -> None:
        self.table, self.active = table, 0
        self._frontend, self._calls = frontend, calls

    async def add(self, count: int) -> None:
        for number in range(count):
            before = await self._active()
            name = new_name([index["IndexName"] for index in _indexes(before)])
            attribute = name.replace("-", "_")
            create = {
                "IndexName": name,
                "KeySchema": [{"AttributeName": attribute, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
            change = {
                "AttributeDefinitions": [{"AttributeName": attribute, "AttributeType": "S"}],
                "GlobalSecondaryIndexUpdates": [{"Create": create}],
            }
            await self._ask("UpdateTable", change)
            await self._active(name)
            self.active = number + 1

    async def _active(self, index: str | None = None) -> dict[str, Any]:
        """The table, once it (and the index) is ACTIVE; asked again and again, since one look may time out."""
        while True:
            with contextlib.suppress(Unknown):
                table: dict[str, Any] = (await self._ask("DescribeTable", {}))["Table"]
                states = {i["IndexName"]: i.get("IndexStatus", "ACTIVE") for i in _indexes(table)}
                if table["TableStatus"] == "ACTIVE" and (index is None or states.get(index) == "ACTIVE"):
                    return table
            await asyncio.sleep(POLL_S)

    async def _ask(self, operation: str, body: dict[str, Any]) -> Any:
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self.table.customer}/20150920/us-east-1/dynamodb/"
            "aws4_request, SignedHeaders=host, Signature=unsigned",
        }
        data = msgspec.json.encode({"TableName": self.table.name, **body})
        try:
            return await self._calls.ask("POST", f"{self._frontend}/", data, ASK_S, headers=headers)
        except Refused as error:
            raise Refused(f"{operation} {self.table}: {_said(error)}") from None


def _indexes(table: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.get("GlobalSecondaryIndexes", [])
    return found


def _said(error: Refused) -> str:
    """What the front end says of a request, without the address it was sent to."""
    text = str(error)
    at = text.find("{")
    try:
        body = msgspec.json.decode(text[at:]) if at >= 0 else {}
    except msgspec.DecodeError:
        body = {}
    return str(body.get("message") or body.get("Message") or text)


def _partitions(table: PlacedTable) -> int:
    return table.info.partitions + sum(index.partitions for index in table.info.indexes)

"""The seven operations, for one customer at a time.

Decides which tables a customer sees (its own, as the ledger and the catalog have them; the ledger wins)
and in which state they can be used. Acts through `replicas` (items) and `workflows` (tables) only. Never
waits for the metadata service: CreateTable and DeleteTable answer as soon as the ledger has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cellwall.model import CellMap, TableInfo, partition_key

from . import bodies, placing, schema, targets, values
from .catalog import Catalog
from .clock import Clock
from .errors import ResourceInUseError, ResourceNotFoundError, ServiceUnavailableError, UnknownOperationError
from .ledger import Entry, Ledger
from .replicas import Replica, Replicas
from .workflows import Workflows

USABLE = ("ACTIVE", "UPDATING")  # states in which items can be read and written


class View(msgspec.Struct, frozen=True):
    """A table as its customer sees it."""

    info: TableInfo
    definition: schema.Definition
    status: str


class Operations:
    """``table_partitions``: of a new table and of each of its indexes."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        replicas: Replicas,
        workflows: Workflows,
        clock: Clock,
        published: Callable[[], CellMap],
        table_partitions: int,
    ) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._replicas = replicas
        self._workflows = workflows
        self._clock = clock
        self._published = published
        self._table_partitions = table_partitions

    async def run(self, customer: str, operation: bodies.Operation) -> dict[str, Any]:
        match operation:
            case bodies.PutItem():
                return await self._put(customer, operation)
            case bodies.GetItem():
                return await self._get(customer, operation)
            case bodies.DeleteItem():
                return await self._delete(customer, operation)
            case bodies.DescribeTable():
                return {"Table": _describe(self._view(customer, operation.TableName))}
            case bodies.ListTables():
                return self._list(customer, operation)
            case bodies.CreateTable():
                return self._create_table(customer, operation)
            case bodies.DeleteTable():
                return self._delete_table(customer, operation)
            case _:
                raise UnknownOperationError(f"{type(operation).__name__}: not there yet")

    async def _put(self, customer: str, put: bodies.PutItem) -> dict[str, Any]:
        item = values.item(put.Item, "Item")
        view = self._usable(customer, put.TableName)
        target = targets.item_target(view.info, item)
        await self._replicas.write(*self._locate(view.info, target), values.encode(item))
        return {}

    async def _delete(self, customer: str, delete: bodies.DeleteItem) -> dict[str, Any]:
        key = values.item(delete.Key, "Key")
        view = self._usable(customer, delete.TableName)
        await self._replicas.write(*self._locate(view.info, targets.key_target(view.info, key)), None)
        return {}

    async def _get(self, customer: str, get: bodies.GetItem) -> dict[str, Any]:
        key = values.item(get.Key, "Key")
        view = self._usable(customer, get.TableName)
        read = self._replicas.read if get.ConsistentRead else self._replicas.read_any
        found = await read(*self._locate(view.info, targets.key_target(view.info, key)))
        return {} if found is None else {"Item": msgspec.Raw(found)}

    def _list(self, customer: str, asked: bodies.ListTables) -> dict[str, Any]:
        placed = (i for i in self._catalog.tables_of(customer).values() if self._ledger.get(i.id) is None)
        names = sorted({i.name for i in placed} | set(self._ledger.live_names(customer)))
        names = [name for name in names if name > asked.ExclusiveStartTableName]
        page: dict[str, Any] = {"TableNames": names[: asked.Limit]}
        if len(names) > asked.Limit:
            page["LastEvaluatedTableName"] = names[asked.Limit - 1]
        return page

    def _create_table(self, customer: str, new: bodies.CreateTable) -> dict[str, Any]:
        schema.check_definition(new)
        if self._find(customer, new.TableName) is not None:
            raise ResourceInUseError(f"Table already exists: {new.TableName}")
        servers, records = self._published().servers, self._catalog.records()
        version = self._clock.next()
        table_id = f"t-{version.writer}-{version.ms}-{version.count}"
        info = schema.table_info(new, table_id, customer, self._table_partitions, version.ms / 1000)
        group = placing.choose_group(servers, records, self._known_server(customer))
        entry = Entry(info, new, "CREATING", placing.place(info, group, servers, records))
        return self._begin(entry)

    def _delete_table(self, customer: str, delete: bodies.DeleteTable) -> dict[str, Any]:
        view = self._view(customer, delete.TableName)
        if view.status == "DELETING":
            return {"TableDescription": _describe(view)}  # as at DynamoDB: no error the second time
        if view.status not in USABLE:
            raise ResourceInUseError(
                f"Attempt to change a resource which is still in use: Table is being {view.status}"
            )
        entry = Entry(
            msgspec.structs.replace(view.info, status="DELETING"),
            view.definition,
            "DELETING",
            placing.collect(view.info, self._catalog.partitions(view.info, self._published())),
        )
        return self._begin(entry)

    def _begin(self, entry: Entry) -> dict[str, Any]:
        self._ledger.put(entry)
        self._workflows.start(entry)
        return {"TableDescription": _describe(View(entry.info, entry.definition, entry.state))}

    def _find(self, customer: str, name: str) -> View | None:
        entry = self._ledger.live(customer, name)
        if entry is not None:
            return View(entry.info, entry.definition, entry.state)
        info = self._catalog.find(customer, name)
        if info is None or self._ledger.get(info.id) is not None:  # known to the ledger, but not live: deleted
            return None
        return View(info, schema.derived(info), info.status)

    def _view(self, customer: str, name: str) -> View:
        view = self._find(customer, name)
        if view is None:
            raise ResourceNotFoundError(f"Requested resource not found: Table: {name} not found")
        return view

    def _usable(self, customer: str, name: str) -> View:
        view = self._view(customer, name)
        if view.status not in USABLE:
            raise ResourceNotFoundError(f"Requested resource not found: Table: {name} is {view.status}")
        return view

    def _locate(self, info: TableInfo, target: targets.Target) -> tuple[list[Replica], str, bytes]:
        published = self._published()
        name = partition_key(info.id, "", target.partition)
        servers = self._catalog.replicas(info.id, "", target.partition, published)
        if servers is None:
            raise ServiceUnavailableError(f"partition {name}: its servers are not known")
        known = published.servers
        return [Replica(s, known[s].address if s in known else "") for s in servers], name, target.key

    def _known_server(self, customer: str) -> str | None:
        """A server of the customer's oldest table: it tells the customer's placement group."""
        for info in sorted(self._catalog.tables_of(customer).values(), key=lambda i: (i.created_s, i.id)):
            servers = self._catalog.replicas(info.id, "", 0, self._published())
            if servers:
                return servers[0]
        return None


def _describe(view: View) -> dict[str, Any]:
    return schema.describe(view.info, view.definition, view.status)

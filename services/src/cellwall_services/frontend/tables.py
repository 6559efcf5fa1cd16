"""Tables as their customers see them: which there are, in which state, and what changes them.

Decides which tables a customer sees (its own, as the ledger and the catalog have them; the ledger wins).
Changes go into the ledger, then `workflows` carries them out. Never waits for the metadata service: an
operation answers as soon as the ledger has it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from cellwall.model import IndexInfo, TableId, TableInfo

from . import schema
from .bodies import CreateTable, DeleteTable, DescribeTable, ListTables, TableOperation, UpdateTable
from .catalog import Catalog
from .clock import Clock
from .errors import ResourceInUseError, ResourceNotFoundError, ServiceUnavailableError
from .ledger import Entry, Ledger
from .placing import Routes
from .workflows import Workflows

USABLE = ("ACTIVE", "UPDATING")  # states in which items can be read and written


class View(msgspec.Struct, frozen=True):
    """A table as its customer sees it."""

    info: TableInfo
    definition: schema.Definition
    status: str


class Tables:
    """What is known of tables. ``find`` and ``usable`` are asked with every request."""

    def __init__(self, catalog: Catalog, ledger: Ledger) -> None:
        self._catalog = catalog
        self._ledger = ledger

    def find(self, customer: str, name: str) -> View | None:
        entry = self._ledger.live(customer, name)
        if entry is not None:
            return View(entry.info, entry.definition, entry.state)
        info = self._catalog.find(customer, name)
        if info is None or self._ledger.get(info.id) is not None:  # known to the ledger, but not live: deleted
            return None
        return View(info, schema.derived(info), info.status)

    def view(self, customer: str, name: str) -> View:
        view = self.find(customer, name)
        if view is None:
            raise ResourceNotFoundError(f"Requested resource not found: Table: {name} not found")
        return view

    def usable(self, customer: str, name: str) -> TableInfo:
        view = self.view(customer, name)
        if view.status not in USABLE:
            raise ResourceNotFoundError(f"Requested resource not found: Table: {name} is {view.status}")
        return view.info

    def names(self, customer: str) -> list[str]:
        placed = (i for i in self._catalog.tables_of(customer).values() if self._ledger.get(i.id) is None)
        return sorted({i.name for i in placed} | set(self._ledger.live_names(customer)))

    def upheld(self, table: TableId) -> tuple[TableInfo, Sequence[IndexInfo]] | None:
        """The table, and the indexes that writes must keep up; None: it is deleted.

        A new index belongs to them as soon as its partitions can be written, one under removal no longer."""
        entry = self._ledger.get(table)
        if entry is None:
            info = self._catalog.table(table)
            if info is None:
                raise ServiceUnavailableError(f"table {table}: not known at the moment")
            return info, [i for i in info.indexes if i.status == "ACTIVE"]
        if entry.state in ("DELETING", "DELETED"):
            return None
        filling = entry.step in ("backfill", "finish")
        kept = [i for i in entry.info.indexes if i.status == "ACTIVE" or (i.status == "CREATING" and filling)]
        return entry.info, kept


class TableChanges:
    """The operations on tables. ``table_partitions``: of a new table and of each of its indexes."""

    def __init__(
        self,
        tables: Tables,
        catalog: Catalog,
        ledger: Ledger,
        workflows: Workflows,
        clock: Clock,
        table_partitions: int,
    ) -> None:
        self._tables = tables
        self._catalog = catalog
        self._ledger = ledger
        self._workflows = workflows
        self._clock = clock
        self._table_partitions = table_partitions

    def run(self, customer: str, operation: TableOperation) -> dict[str, Any]:
        match operation:
            case DescribeTable():
                return {"Table": _describe(self._tables.view(customer, operation.TableName))}
            case ListTables():
                return self._list(customer, operation)
            case CreateTable():
                return self._create(customer, operation)
            case UpdateTable():
                return self._update(customer, operation)
            case DeleteTable():
                return self._delete(customer, operation)

    def _list(self, customer: str, asked: ListTables) -> dict[str, Any]:
        names = [name for name in self._tables.names(customer) if name > asked.ExclusiveStartTableName]
        page: dict[str, Any] = {"TableNames": names[: asked.Limit]}
        if len(names) > asked.Limit:
            page["LastEvaluatedTableName"] = names[asked.Limit - 1]
        return page

    def _create(self, customer: str, new: CreateTable) -> dict[str, Any]:
        schema.check_definition(new)
        if self._tables.find(customer, new.TableName) is not None:
            raise ResourceInUseError(f"Table already exists: {new.TableName}")
        version = self._clock.next()
        table_id = f"t-{version.writer}-{version.ms}-{version.count}"
        info = schema.table_info(new, table_id, customer, self._table_partitions, version.ms / 1000)
        return self._begin(Entry(info, new, "CREATING", "place"))

    def _update(self, customer: str, update: UpdateTable) -> dict[str, Any]:
        """The definition of an index under removal stays until it is gone, as at DynamoDB."""
        view = self._tables.view(customer, update.TableName)
        schema.check_changeable(view.info, view.status)
        definition = schema.updated(view.definition, update)
        if not update.GlobalSecondaryIndexUpdates:  # throughput and billing: nothing here depends on them
            entry = Entry(view.info, definition, "ACTIVE")
            self._ledger.put(entry)
            return _answer(entry)
        change = update.GlobalSecondaryIndexUpdates[0]  # `members` refuses a second one
        if change.Create is not None:
            index = schema.index_info(definition, change.Create, view.info.partitions, "CREATING")
            info = msgspec.structs.replace(view.info, status="UPDATING", indexes=(*view.info.indexes, index))
            return self._begin(Entry(info, definition, "UPDATING", "place", index=index.name))
        assert change.Delete is not None
        name = change.Delete.IndexName
        indexes = tuple(
            msgspec.structs.replace(i, status="DELETING") if i.name == name else i for i in view.info.indexes
        )
        info = msgspec.structs.replace(view.info, status="UPDATING", indexes=indexes)
        return self._begin(Entry(info, definition, "UPDATING", "post", index=name, routes=self._routes(info, name)))

    def _delete(self, customer: str, delete: DeleteTable) -> dict[str, Any]:
        view = self._tables.view(customer, delete.TableName)
        if view.status == "DELETING":  # as at DynamoDB: no error the second time
            return {"TableDescription": _describe(view)}
        schema.check_changeable(view.info, view.status)
        info = msgspec.structs.replace(view.info, status="DELETING")
        routes = self._routes(info, "", *(i.name for i in info.indexes))
        return self._begin(Entry(info, view.definition, "DELETING", "post", routes=routes))

    def _routes(self, info: TableInfo, *indexes: str) -> Routes:
        return {index: self._catalog.routes(info, index, self._workflows.published()) for index in indexes}

    def _begin(self, entry: Entry) -> dict[str, Any]:
        entry = msgspec.structs.replace(entry, since_s=round(time.time(), 3))
        self._ledger.put(entry)
        self._workflows.start(entry)
        return _answer(entry)


def _answer(entry: Entry) -> dict[str, Any]:
    return {"TableDescription": _describe(View(entry.info, entry.definition, entry.state))}


def _describe(view: View) -> dict[str, Any]:
    return schema.describe(view.info, view.definition, view.status)

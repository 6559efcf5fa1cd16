"""Table definitions: whether one is sound, what a change makes of it, and how it is described.

Decides from values only; never asks a service. `Definition` is what CreateTable was given, kept whole,
because `model.TableInfo` carries only what storage and placement need. A table that was placed with the
world has no such request; its definition is derived from the TableInfo.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from cellwall.model import IndexInfo, TableInfo

from .bodies import AttributeDefinition, CreateTable, KeyElement, Projection, SecondaryIndex, UpdateTable
from .definition import check_all_used, check_index, check_keys, check_throughput
from .errors import LimitExceededError, ResourceInUseError, ResourceNotFoundError, ValidationError
from .members import INVALID

Definition = CreateTable

INDEXES_MAX = 20  # Developer Guide, quotas: global secondary indexes of a table
NON_KEY_OF_TABLE_MAX = 100  # Developer Guide, quotas: projected attributes over all indexes of a table


def check_definition(new: Definition) -> None:
    """Refuse a CreateTable that does not make sense, naming the member."""
    types = {a.AttributeName: a.AttributeType for a in new.AttributeDefinitions}
    if len(types) != len(new.AttributeDefinitions):
        raise ValidationError(f"{INVALID}Cannot have two attributes with the same name: AttributeDefinitions")
    used = set(check_keys("KeySchema", new.KeySchema, types))
    indexes = new.GlobalSecondaryIndexes
    if indexes is not None and not indexes:
        raise ValidationError(f"{INVALID}List of GlobalSecondaryIndexes is empty")
    if indexes is not None and len(indexes) > INDEXES_MAX:
        raise ValidationError(f"{INVALID}GlobalSecondaryIndex count exceeds the per-table limit of {INDEXES_MAX}")
    names = set()
    for number, index in enumerate(indexes or ()):
        place = f"GlobalSecondaryIndexes[{number}]"
        if index.IndexName in names:
            raise ValidationError(f"{INVALID}Duplicate index name: {index.IndexName}: {place}.IndexName")
        names.add(index.IndexName)
        used.update(check_index(place, index, types, new.BillingMode))
    if sum(len(i.Projection.NonKeyAttributes or ()) for i in indexes or ()) > NON_KEY_OF_TABLE_MAX:
        raise ValidationError(
            f"{INVALID}Total number of NonKeyAttributes exceeds the per-table limit of {NON_KEY_OF_TABLE_MAX}"
        )
    check_all_used(types, used)
    check_throughput("", new.BillingMode, new.ProvisionedThroughput)


def updated(known: Definition, update: UpdateTable) -> Definition:
    """What the table is defined as once the update is done; refuses one that cannot be done.

    An index under removal is in the definition until its workflow calls `without_index`."""
    types = {a.AttributeName: a.AttributeType for a in known.AttributeDefinitions}
    for given in update.AttributeDefinitions or ():
        if types.setdefault(given.AttributeName, given.AttributeType) != given.AttributeType:
            raise ValidationError(
                f"{INVALID}AttributeDefinitions: {given.AttributeName} is {types[given.AttributeName]} and cannot "
                f"become {given.AttributeType}"
            )
    billing = update.BillingMode or known.BillingMode
    units = update.ProvisionedThroughput or (known.ProvisionedThroughput if billing == known.BillingMode else None)
    check_throughput("", billing, units)
    indexes = list(known.GlobalSecondaryIndexes or ())
    names = {index.IndexName for index in indexes}
    for number, change in enumerate(update.GlobalSecondaryIndexUpdates or ()):
        if change.Create is not None:
            if change.Create.IndexName in names:
                raise ValidationError(f"Attempting to create an index which already exists: {change.Create.IndexName}")
            check_index(f"GlobalSecondaryIndexUpdates[{number}].Create", change.Create, types, billing)
            indexes.append(change.Create)
        elif change.Delete is not None and change.Delete.IndexName not in names:
            raise ResourceNotFoundError(f"Requested resource not found: Index: {change.Delete.IndexName} not found")
    if len(indexes) > INDEXES_MAX:
        raise LimitExceededError(f"GlobalSecondaryIndex count exceeds the per-table limit of {INDEXES_MAX}")
    if billing != known.BillingMode:
        indexes = [msgspec.structs.replace(index, ProvisionedThroughput=units) for index in indexes]
    changed = msgspec.structs.replace(
        known,
        AttributeDefinitions=[AttributeDefinition(name, kind) for name, kind in types.items()],
        GlobalSecondaryIndexes=indexes or None,
        BillingMode=billing,
        ProvisionedThroughput=units,
    )
    check_all_used(types, _key_names(changed))
    return changed


def without_index(known: Definition, name: str) -> Definition:
    """The definition after an index is removed. Attributes that were keys of it alone go with it."""
    indexes = [index for index in known.GlobalSecondaryIndexes or () if index.IndexName != name]
    changed = msgspec.structs.replace(known, GlobalSecondaryIndexes=indexes or None)
    used = _key_names(changed)
    kept = [a for a in known.AttributeDefinitions if a.AttributeName in used]
    return msgspec.structs.replace(changed, AttributeDefinitions=kept)


def check_changeable(info: TableInfo, status: str) -> None:
    """A table takes one change at a time."""
    if status != "ACTIVE":
        doing = {"CREATING": "created", "UPDATING": "updated", "DELETING": "deleted"}.get(status, status)
        raise ResourceInUseError(
            f"Attempt to change a resource which is still in use: Table is being {doing}: {info.name}"
        )


def table_info(new: Definition, table_id: str, customer: str, partitions: int, created_s: float) -> TableInfo:
    """What the metadata service is told of a new table; each index gets as many partitions as the table."""
    types = {a.AttributeName: a.AttributeType for a in new.AttributeDefinitions}
    range_key = new.KeySchema[1].AttributeName if len(new.KeySchema) == 2 else None
    return TableInfo(
        id=table_id,
        name=new.TableName,
        customer=customer,
        partitions=partitions,
        hash_key=new.KeySchema[0].AttributeName,
        hash_type=types[new.KeySchema[0].AttributeName],
        range_key=range_key,
        range_type=types[range_key] if range_key else None,
        indexes=tuple(index_info(new, i, partitions) for i in new.GlobalSecondaryIndexes or ()),
        status="CREATING",
        created_s=created_s,
    )


def index_info(definition: Definition, index: SecondaryIndex, partitions: int, status: str = "ACTIVE") -> IndexInfo:
    types = {a.AttributeName: a.AttributeType for a in definition.AttributeDefinitions}
    range_key = index.KeySchema[1].AttributeName if len(index.KeySchema) == 2 else None
    return IndexInfo(
        name=index.IndexName,
        partitions=partitions,
        hash_key=index.KeySchema[0].AttributeName,
        hash_type=types[index.KeySchema[0].AttributeName],
        range_key=range_key,
        range_type=types[range_key] if range_key else None,
        projection=index.Projection.ProjectionType or "ALL",
        non_key=tuple(index.Projection.NonKeyAttributes or ()),
        status=status,
    )


@lru_cache(maxsize=4096)  # asked with every write; the reference world has fewer tables than that
def derived(info: TableInfo) -> Definition:
    """The definition of a table that was placed with the world: on demand."""
    types: dict[str, str] = {}

    def keys(of: TableInfo | IndexInfo) -> list[KeyElement]:
        types.setdefault(of.hash_key, of.hash_type)
        elements = [KeyElement(of.hash_key, "HASH")]
        if of.range_key:
            types.setdefault(of.range_key, of.range_type or "S")
            elements.append(KeyElement(of.range_key, "RANGE"))
        return elements

    own = keys(info)
    indexes = [
        SecondaryIndex(i.name, keys(i), Projection(i.projection, list(i.non_key) or None))  # type: ignore[arg-type]
        for i in info.indexes
    ]
    return Definition(
        TableName=info.name,
        AttributeDefinitions=[AttributeDefinition(name, kind) for name, kind in types.items()],  # type: ignore[arg-type]
        KeySchema=own,
        GlobalSecondaryIndexes=indexes or None,
        BillingMode="PAY_PER_REQUEST",
    )


def describe(info: TableInfo, definition: Definition, status: str) -> dict[str, Any]:
    """A TableDescription. Counts are 0: DynamoDB updates them every six hours, we never do."""
    arn = f"arn:aws:dynamodb:cellwall:{info.customer}:table/{info.name}"
    described: dict[str, Any] = {
        "TableName": info.name,
        "TableId": info.id,
        "TableArn": arn,
        "TableStatus": status,
        "CreationDateTime": round(info.created_s, 3),
        "AttributeDefinitions": definition.AttributeDefinitions,
        "KeySchema": definition.KeySchema,
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "ProvisionedThroughput": _throughput(definition.ProvisionedThroughput),
        "BillingModeSummary": {"BillingMode": definition.BillingMode},
    }
    if definition.GlobalSecondaryIndexes:
        described["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.IndexName,
                "IndexArn": f"{arn}/index/{index.IndexName}",
                **_index_status(info, index.IndexName, status),
                "KeySchema": index.KeySchema,
                "Projection": index.Projection,
                "ItemCount": 0,
                "IndexSizeBytes": 0,
                "ProvisionedThroughput": _throughput(index.ProvisionedThroughput),
            }
            for index in definition.GlobalSecondaryIndexes
        ]
    return described


def _index_status(info: TableInfo, name: str, table_status: str) -> dict[str, Any]:
    """An index comes and goes with its table; one that is added to a table with items is being backfilled."""
    if table_status in ("CREATING", "DELETING"):
        return {"IndexStatus": table_status}
    status = next((i.status for i in info.indexes if i.name == name), "CREATING")
    return {"IndexStatus": status, "Backfilling": True} if status == "CREATING" else {"IndexStatus": status}


def _key_names(definition: Definition) -> set[str]:
    schemas = [definition.KeySchema, *(i.KeySchema for i in definition.GlobalSecondaryIndexes or ())]
    return {element.AttributeName for schema in schemas for element in schema}


def _throughput(given: Any) -> dict[str, int]:
    read, write = (given.ReadCapacityUnits, given.WriteCapacityUnits) if given else (0, 0)
    return {"ReadCapacityUnits": read, "WriteCapacityUnits": write, "NumberOfDecreasesToday": 0}

"""A table's keys: whether a definition is sound, whether an item or key fits it, and how it is described.

Decides from values only; never asks a service. `Definition` is what CreateTable was given, kept whole,
because `model.TableInfo` carries only what storage and placement need. A table that was placed with the
world has no such request; its definition is derived from the TableInfo.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from cellwall.keys import HASH_KEY_BYTES_MAX, RANGE_KEY_BYTES_MAX, encode_key, partition_for
from cellwall.model import IndexInfo, TableInfo

from .errors import ValidationError
from .protocol import AttributeDefinition, CreateTable, KeyElement, Projection, SecondaryIndex, check_name
from .values import Item, binary

Definition = CreateTable

INDEXES_MAX = 20  # Developer Guide, quotas: global secondary indexes of a table
TABLE_KEY = "The provided key element does not match the schema"


class Target(msgspec.Struct, frozen=True):
    """Where an item lives: its partition of the table, and its key there."""

    partition: int
    key: bytes


def check_definition(new: Definition) -> None:
    """Refuse a CreateTable that does not make sense, naming the member."""
    types = {a.AttributeName: a.AttributeType for a in new.AttributeDefinitions}
    if len(types) != len(new.AttributeDefinitions):
        raise ValidationError("AttributeDefinitions: an attribute is defined twice")
    used = set(_check_keys("KeySchema", new.KeySchema, types))
    indexes = new.GlobalSecondaryIndexes
    if indexes is not None and not 1 <= len(indexes) <= INDEXES_MAX:
        raise ValidationError(f"GlobalSecondaryIndexes: {len(indexes)} indexes; there must be 1 to {INDEXES_MAX}")
    names = set()
    for number, index in enumerate(indexes or ()):
        place = f"GlobalSecondaryIndexes[{number}]"
        check_name(f"{place}.IndexName", index.IndexName)
        if index.IndexName in names:
            raise ValidationError(f"{place}.IndexName: {index.IndexName!r} is there twice")
        names.add(index.IndexName)
        used.update(_check_keys(f"{place}.KeySchema", index.KeySchema, types))
        _check_projection(f"{place}.Projection", index.Projection)
        _check_throughput(f"{place}.", new.BillingMode, index.ProvisionedThroughput)
    for name in types:
        if name not in used:
            raise ValidationError(f"AttributeDefinitions: {name!r} is in no key schema; define key attributes only")
    _check_throughput("", new.BillingMode, new.ProvisionedThroughput)


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
        indexes=tuple(
            IndexInfo(i.IndexName, partitions, i.KeySchema[0].AttributeName) for i in new.GlobalSecondaryIndexes or ()
        ),
        status="CREATING",
        created_s=created_s,
    )


@lru_cache(maxsize=4096)  # asked with every write; the reference world has fewer tables than that
def derived(info: TableInfo) -> Definition:
    """The definition of a table that was placed with the world: on demand, indexes on strings project all."""
    types = {i.hash_key: "S" for i in info.indexes} | {info.hash_key: info.hash_type}
    keys = [KeyElement(info.hash_key, "HASH")]
    if info.range_key:
        types[info.range_key] = info.range_type or "S"
        keys.append(KeyElement(info.range_key, "RANGE"))
    indexes = [SecondaryIndex(i.name, [KeyElement(i.hash_key, "HASH")], Projection("ALL")) for i in info.indexes]
    return Definition(
        TableName=info.name,
        AttributeDefinitions=[AttributeDefinition(name, kind) for name, kind in types.items()],  # type: ignore[arg-type]
        KeySchema=keys,
        GlobalSecondaryIndexes=indexes or None,
        BillingMode="PAY_PER_REQUEST",
    )


def item_target(info: TableInfo, definition: Definition, item: Item) -> Target:
    """Where a whole item goes. Its key attributes, and those of indexes if present, must fit."""
    types = {a.AttributeName: a.AttributeType for a in definition.AttributeDefinitions}
    for index in definition.GlobalSecondaryIndexes or ():
        for element, limit_bytes in zip(index.KeySchema, (HASH_KEY_BYTES_MAX, RANGE_KEY_BYTES_MAX), strict=False):
            name = element.AttributeName
            if name in item:
                _key_value(item, f"Item.{name}", name, types[name], limit_bytes)
    return _target(info, item, "Item")


def key_target(info: TableInfo, key: Item) -> Target:
    """Where a key points. It must consist of exactly the table's key attributes."""
    wanted = {info.hash_key} | ({info.range_key} if info.range_key else set())
    if set(key) != wanted:
        raise ValidationError(f"{TABLE_KEY}: Key must have exactly {', '.join(sorted(wanted))}")
    return _target(info, key, "Key")


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
                "IndexStatus": status,
                "KeySchema": index.KeySchema,
                "Projection": index.Projection,
                "ItemCount": 0,
                "IndexSizeBytes": 0,
                "ProvisionedThroughput": _throughput(index.ProvisionedThroughput),
            }
            for index in definition.GlobalSecondaryIndexes
        ]
    return described


def _target(info: TableInfo, item: Item, place: str) -> Target:
    hash_key = _key_value(item, f"{place}.{info.hash_key}", info.hash_key, info.hash_type, HASH_KEY_BYTES_MAX)
    partition = partition_for(info.hash_type, hash_key, info.partitions)
    if info.range_key is None:
        return Target(partition, encode_key(info.hash_type, hash_key))
    range_type = info.range_type or "S"
    range_key = _key_value(item, f"{place}.{info.range_key}", info.range_key, range_type, RANGE_KEY_BYTES_MAX)
    return Target(partition, encode_key(info.hash_type, hash_key, range_type, range_key))


def _key_value(item: Item, place: str, name: str, kind: str, limit_bytes: int) -> str | bytes:
    if name not in item:
        raise ValidationError(
            f"One or more parameter values were invalid: Missing the key {name} in the item ({place})"
        )
    given, content = next(iter(item[name].items()))
    if given != kind:
        raise ValidationError(f"{TABLE_KEY}: {place}: Type mismatch for key {name} expected: {kind} actual: {given}")
    data: str | bytes = binary(content, place) if kind == "B" else content
    size_bytes = len(data.encode() if isinstance(data, str) else data)
    if size_bytes == 0:
        raise ValidationError(f"One or more parameter values were invalid: {place}: a key value may not be empty")
    if size_bytes > limit_bytes:
        raise ValidationError(
            f"One or more parameter values were invalid: {place}: {size_bytes} bytes; a key of this kind has "
            f"at most {limit_bytes}"
        )
    return data


def _check_keys(place: str, keys: list[KeyElement], types: dict[str, Any]) -> list[str]:
    kinds = [k.KeyType for k in keys]
    if kinds not in (["HASH"], ["HASH", "RANGE"]):
        raise ValidationError(f"{place}: {kinds} is not allowed; it must be one HASH, then at most one RANGE")
    names = [k.AttributeName for k in keys]
    if len(set(names)) != len(names):
        raise ValidationError(f"{place}: {names[0]!r} is there twice")
    for name in names:
        if name not in types:
            raise ValidationError(f"{place}: {name!r} is not in AttributeDefinitions")
        if not 1 <= len(name.encode()) <= 255:  # Developer Guide, quotas: names of key attributes
            raise ValidationError(f"{place}: {name[:50]!r} must have 1 to 255 bytes")
    return names


def _check_projection(place: str, projection: Projection) -> None:
    if projection.ProjectionType is None:
        raise ValidationError(f"{place}.ProjectionType: is missing; it must be ALL, KEYS_ONLY or INCLUDE")
    if (projection.ProjectionType == "INCLUDE") != bool(projection.NonKeyAttributes):
        raise ValidationError(f"{place}.NonKeyAttributes: must be given with ProjectionType INCLUDE, and only then")


def _check_throughput(place: str, billing: str, throughput: Any) -> None:
    member = f"{place}ProvisionedThroughput"
    if billing == "PAY_PER_REQUEST":
        if throughput is not None:
            raise ValidationError(f"{member}: must not be given with BillingMode PAY_PER_REQUEST")
        return
    if throughput is None:
        raise ValidationError(f"{member}: is missing; it must be given with BillingMode PROVISIONED")
    for units in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if getattr(throughput, units) < 1:
            raise ValidationError(f"{member}.{units}: {getattr(throughput, units)} is not allowed; it must be >= 1")


def _throughput(given: Any) -> dict[str, int]:
    read, write = (given.ReadCapacityUnits, given.WriteCapacityUnits) if given else (0, 0)
    return {"ReadCapacityUnits": read, "WriteCapacityUnits": write, "NumberOfDecreasesToday": 0}

"""Where items live: the partition and key of an item, and its keys in the secondary indexes.

Decides from a table's keys and an item; never asks which servers hold a partition. An item without a key
attribute of an index is not in that index (indexes are sparse).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cellwall.keys import encode_key, partition_for
from cellwall.model import IndexInfo, TableInfo

from . import projection
from .errors import ValidationError
from .members import INVALID
from .values import Item, KeyValue, Role, key_value

NO_MATCH = "The provided key element does not match the schema"

KeyPair = tuple[KeyValue, KeyValue | None]  # hash value and, if the table or index has one, range value


class Target(msgspec.Struct, frozen=True):
    """An item's partition of the table, and its key there."""

    partition: int
    key: bytes


def item_target(info: TableInfo, item: Item) -> Target:
    """Where a whole item goes. Its key attributes, and those of indexes if present, must fit."""
    own = _item_keys(info, item)
    for index in info.indexes:
        for name, kind, role in key_attributes(index):
            if name in item:
                if kind not in item[name]:
                    raise ValidationError(
                        f"{INVALID}Type mismatch for Index Key {name} Expected: {kind} Actual: {_kind(item, name)} "
                        f"IndexName: {index.name}"
                    )
                key_value(item[name], name, role)
    return target(info, own)


def key_target(info: TableInfo, key: Item) -> Target:
    """Where a key points. It must consist of exactly the table's key attributes."""
    return target(info, key_pair(info, key))


def target(info: TableInfo, pair: KeyPair) -> Target:
    hash_value, range_value = pair
    partition = partition_for(info.hash_type, hash_value, info.partitions)
    if range_value is None:
        return Target(partition, encode_key(info.hash_type, hash_value))
    return Target(partition, encode_key(info.hash_type, hash_value, info.range_type, range_value))


def key_pair(info: TableInfo, key: Item) -> KeyPair:
    """The values of a key that must consist of exactly the table's key attributes."""
    wanted = key_attributes(info)
    if set(key) != {name for name, _, _ in wanted}:
        raise ValidationError(f"{NO_MATCH}: Key must have exactly {', '.join(name for name, _, _ in wanted)}")
    for name, kind, _ in wanted:
        if kind not in key[name]:
            raise ValidationError(f"{NO_MATCH}: Key.{name}: expected: {kind} actual: {_kind(key, name)}")
    return _pair(key_value(key[name], name, role) for name, _, role in wanted)


def index_keys(index: IndexInfo, item: Item) -> KeyPair | None:
    """The item's keys in an index. None if it does not belong there: an attribute is missing, or (in an item that
    was there before the index) has another type or cannot be a key."""
    wanted = key_attributes(index)
    if any(name not in item or kind not in item[name] for name, kind, _ in wanted):
        return None
    try:
        return _pair(key_value(item[name], name, role) for name, _, role in wanted)
    except ValidationError:
        return None


def index_item(info: TableInfo, index: IndexInfo, item: Item) -> Item:
    """What an index keeps of an item."""
    names = projected(info, index)
    return item if names is None else projection.attributes(item, names)


def projected(info: TableInfo, index: IndexInfo) -> frozenset[str] | None:
    """The attributes in an index; None means all."""
    if index.projection == "ALL":
        return None
    keys = {name for of in (info, index) for name, _, _ in key_attributes(of)}
    return frozenset(keys.union(index.non_key))


def key_attributes(of: TableInfo | IndexInfo) -> list[tuple[str, str, Role]]:
    """(name, type, role) of the key attributes of a table or index."""
    found: list[tuple[str, str, Role]] = [(of.hash_key, of.hash_type, "hash")]
    if of.range_key:
        found.append((of.range_key, of.range_type or "S", "range"))
    return found


def check_distinct(targets: Iterable[tuple[str, Target]]) -> None:
    """``targets``: (table, place) of each key of a batch."""
    seen = set()
    for place in targets:
        if place in seen:
            raise ValidationError("Provided list of item keys contains duplicates")
        seen.add(place)


def _item_keys(info: TableInfo, item: Item) -> KeyPair:
    wanted = key_attributes(info)
    for name, kind, _ in wanted:
        if name not in item:
            raise ValidationError(f"{INVALID}Missing the key {name} in the item")
        if kind not in item[name]:
            raise ValidationError(f"{INVALID}Type mismatch for key {name} expected: {kind} actual: {_kind(item, name)}")
    return _pair(key_value(item[name], name, role) for name, _, role in wanted)


def _pair(values: Iterable[KeyValue]) -> KeyPair:
    hash_value, *rest = values
    return hash_value, rest[0] if rest else None


def _kind(item: Item, name: str) -> str:
    return next(iter(item[name]))

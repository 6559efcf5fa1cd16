"""A page of a Query or Scan: which index it reads, what it shows, where it starts and where the next one does.

Decides from the request and the table's keys; never reads a row. A start key is taken at its word: it may
name an item that is no longer there.
"""

from __future__ import annotations

import msgspec

from cellwall.model import IndexInfo, TableInfo

from . import placeholders, projection, targets, values
from .bodies import GetItem, KeysAndAttributes, Query, Scan
from .errors import ApiError, ValidationError
from .expressions import KeyCondition, key_condition
from .members import INVALID
from .projection import Projection
from .targets import KeyPair

BAD_START = "The provided starting key is invalid"


class StartKey(msgspec.Struct, frozen=True):
    """The keys of the last row of the page before: in the table, and in the index if one is read."""

    table: KeyPair
    index: KeyPair | None = None


class Reading(msgspec.Struct, frozen=True):
    """What a Query (with ``condition``) or Scan (without) asks of a table, checked against the table's keys.

    ``index`` None: the table itself. ``projection`` None: whole rows; a count shows none (``counts``)."""

    index: IndexInfo | None
    condition: KeyCondition | None
    projection: Projection | None
    start: StartKey | None
    counts: bool


def reading(info: TableInfo, read: Query | Scan) -> Reading:
    index = _index(info, read)
    shown = _projection(read)
    condition = None
    if isinstance(read, Query):
        assert read.KeyConditionExpression is not None  # seen to by `members`
        hash_key, *range_key = [(name, kind) for name, kind, _ in targets.key_attributes(index or info)]
        names, given = read.ExpressionAttributeNames, read.ExpressionAttributeValues
        range_of = range_key[0] if range_key else None
        condition = key_condition(read.KeyConditionExpression, names, given, hash_key, range_of)
    placeholders.check_used(
        read.ExpressionAttributeNames,
        read.ExpressionAttributeValues,
        condition.used if condition else (),
        shown.used if shown else (),
    )
    if index is not None:
        _check_shown(info, index, read.Select, shown)
    start = None if read.ExclusiveStartKey is None else start_key(info, index, read.ExclusiveStartKey)
    if start is not None and condition is not None:
        _check_within(index or info, condition, start)
    return Reading(index, condition, shown, start, read.Select == "COUNT")


def projected(wanted: GetItem | KeysAndAttributes) -> Projection | None:
    """The projection of a read by key, its placeholders all used."""
    shown = _projection(wanted)
    placeholders.check_used(wanted.ExpressionAttributeNames, None, shown.used if shown else ())
    return shown


def start_key(info: TableInfo, index: IndexInfo | None, raw: object) -> StartKey:
    """ExclusiveStartKey as values: exactly the key attributes of the table and of the index."""
    try:
        given = values.item(raw, "ExclusiveStartKey")
        of_table = {name for name, _, _ in targets.key_attributes(info)}
        of_index = {name for name, _, _ in targets.key_attributes(index)} if index else set()
        if set(given) != of_table | of_index:
            raise ValidationError(f"it must have exactly {', '.join(sorted(of_table | of_index))}")
        table = targets.key_pair(info, projection.attributes(given, of_table))
        if index is None:
            return StartKey(table)
        in_index = targets.index_keys(index, given)
        if in_index is None:
            raise ValidationError(f"{targets.NO_MATCH}: the index keys {', '.join(sorted(of_index))}")
        return StartKey(table, in_index)
    except ApiError as error:
        raise ValidationError(f"{BAD_START}: {error.message}") from None


def last_key(info: TableInfo, index: IndexInfo | None, item: values.Item) -> values.Item:
    """LastEvaluatedKey of a page that ends with this row of the table or index."""
    names = [name for of in (info, index) if of is not None for name, _, _ in targets.key_attributes(of)]
    return projection.attributes(item, names)


def segment(partitions: int, number: int | None, total: int | None) -> range:
    """The partitions that a segment of a parallel Scan reads. With more segments than partitions some are empty."""
    if number is None or total is None:
        return range(partitions)
    return range(partitions * number // total, partitions * (number + 1) // total)


def _index(info: TableInfo, read: Query | Scan) -> IndexInfo | None:
    if read.IndexName is None:
        return None
    index = next((i for i in info.indexes if i.name == read.IndexName and i.status != "DELETING"), None)
    if index is None:
        raise ValidationError(f"The table does not have the specified index: {read.IndexName}")
    if index.status != "ACTIVE":
        raise ValidationError(f"Cannot read from backfilling global secondary index: {read.IndexName}")
    if read.ConsistentRead:
        raise ValidationError(f"Consistent reads are not supported on global secondary indexes: {read.IndexName}")
    return index


def _projection(of: Query | Scan | GetItem | KeysAndAttributes) -> Projection | None:
    text = of.ProjectionExpression
    return None if text is None else projection.parse(text, of.ExpressionAttributeNames)


def _check_shown(info: TableInfo, index: IndexInfo, select: str | None, shown: Projection | None) -> None:
    """A global index can show only what it keeps."""
    kept = targets.projected(info, index)
    if kept is None:
        return
    if select == "ALL_ATTRIBUTES":
        raise ValidationError(
            f"{INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index {index.name} because "
            "its projection type is not ALL"
        )
    missing = sorted(shown.attributes - kept) if shown else []
    if missing:
        raise ValidationError(f"{INVALID}Global secondary index {index.name} does not project [{', '.join(missing)}]")


def _check_within(of: TableInfo | IndexInfo, condition: KeyCondition, start: StartKey) -> None:
    hash_value, range_value = start.index or start.table
    if hash_value != condition.hash_value:
        raise ValidationError("The provided starting key is outside query boundaries based on provided conditions")
    if range_value is not None and not condition.holds(range_value, of.range_type or "S"):
        raise ValidationError("The provided starting key does not match the range key predicate")

"""The plain members of a request: whether each is allowed, alone and beside the others.

Decides without knowing a table; attribute values and expressions are read elsewhere. Messages are
DynamoDB's where its wording is known.
"""

from __future__ import annotations

import re

from . import placeholders
from .bodies import (
    LIST_LIMIT_MAX,
    BatchGetItem,
    BatchWriteItem,
    GetItem,
    ListTables,
    Operation,
    Query,
    Scan,
    UpdateTable,
)
from .errors import LimitExceededError, ValidationError

# API reference: BatchGetItem, BatchWriteItem, Scan.
BATCH_KEYS_MAX = 100
BATCH_WRITES_MAX = 25
SEGMENTS_MAX = 1_000_000
SELECTS = ("ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "SPECIFIC_ATTRIBUTES", "COUNT")
INVALID = "One or more parameter values were invalid: "

_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}", re.ASCII)  # API reference, CreateTable


def check(operation: Operation) -> None:
    if isinstance(operation, ListTables):
        _between("limit", operation.Limit, 1, LIST_LIMIT_MAX)
        return
    for member in ("ReturnValues", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"):
        given = getattr(operation, member, "NONE")
        if given != "NONE":
            raise ValidationError(f"{member}: {given!r} is not supported; it must be 'NONE'")
    if isinstance(operation, BatchGetItem | BatchWriteItem):
        _between("requestItems", len(operation.RequestItems), 1, None, "length")
        for name in operation.RequestItems:
            check_name("RequestItems", name)
        _check_gets(operation) if isinstance(operation, BatchGetItem) else _check_writes(operation)
        return
    check_name("TableName", operation.TableName)
    if isinstance(operation, UpdateTable):
        _check_update(operation)
    if isinstance(operation, GetItem):
        placeholders.check(operation.ExpressionAttributeNames, None, operation.ProjectionExpression is not None)
    if isinstance(operation, Query | Scan):
        _check_read(operation)


def check_name(place: str, name: str) -> None:
    """Table and index names follow one rule."""
    if not _TABLE_NAME.fullmatch(name):
        raise ValidationError(
            f"{place}: {name[:300]!r} is not allowed; it must be 3 to 255 of a-z, A-Z, 0-9, '_', '-', '.'"
        )


def _check_read(read: Query | Scan) -> None:
    if read.IndexName is not None:
        check_name("IndexName", read.IndexName)
    if read.Limit is not None:
        _between("limit", read.Limit, 1, None)
    if read.Select is not None and read.Select not in SELECTS:
        raise violated("select", read.Select, f"satisfy enum value set: [{', '.join(SELECTS)}]")
    _check_select(read)
    condition = read.KeyConditionExpression if isinstance(read, Query) else None
    expressions = condition is not None or read.ProjectionExpression is not None
    placeholders.check(read.ExpressionAttributeNames, read.ExpressionAttributeValues, expressions)
    if isinstance(read, Scan):
        _check_segment(read.Segment, read.TotalSegments)
    elif condition is None:
        raise ValidationError(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request. "
            "(KeyConditions is not supported here)"
        )


def _check_select(read: Query | Scan) -> None:
    if read.Select == "ALL_PROJECTED_ATTRIBUTES" and read.IndexName is None:
        raise ValidationError(f"{INVALID}ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
    if read.ProjectionExpression is not None and read.Select not in (None, "SPECIFIC_ATTRIBUTES"):
        raise ValidationError(f"{INVALID}Cannot specify the ProjectionExpression when choosing to get {read.Select}")
    if read.ProjectionExpression is None and read.Select == "SPECIFIC_ATTRIBUTES":
        raise ValidationError(
            f"{INVALID}Must specify the ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
        )


def _check_segment(segment: int | None, total: int | None) -> None:
    if segment is None and total is None:
        return
    if total is None:
        raise ValidationError(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter "
            "is present"
        )
    if segment is None:
        raise ValidationError(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments "
            "is present"
        )
    _between("totalSegments", total, 1, SEGMENTS_MAX)
    _between("segment", segment, 0, None)
    if segment >= total:
        raise ValidationError(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            f"Segment: {segment} is not less than TotalSegments: {total}"
        )


def _check_gets(batch: BatchGetItem) -> None:
    for name, wanted in batch.RequestItems.items():
        _between(f"requestItems.{name}.member.keys", len(wanted.Keys), 1, BATCH_KEYS_MAX, "length")
        placeholders.check(wanted.ExpressionAttributeNames, None, wanted.ProjectionExpression is not None)
    if sum(len(wanted.Keys) for wanted in batch.RequestItems.values()) > BATCH_KEYS_MAX:
        raise ValidationError("Too many items requested for the BatchGetItem call")


def _check_writes(batch: BatchWriteItem) -> None:
    for name, requests in batch.RequestItems.items():
        _between(f"requestItems.{name}.member", len(requests), 1, BATCH_WRITES_MAX, "length")
        for number, request in enumerate(requests):
            if (request.PutRequest is None) == (request.DeleteRequest is None):
                raise ValidationError(
                    f"{INVALID}RequestItems.{name}[{number}] must contain exactly one of PutRequest, DeleteRequest"
                )
    if sum(map(len, batch.RequestItems.values())) > BATCH_WRITES_MAX:
        raise ValidationError("Too many items requested for the BatchWriteItem call")


def _check_update(update: UpdateTable) -> None:
    changes = update.GlobalSecondaryIndexUpdates
    if not changes and update.BillingMode is None and update.ProvisionedThroughput is None:
        raise ValidationError(
            "At least one of ProvisionedThroughput, BillingMode, GlobalSecondaryIndexUpdates is required"
        )
    for number, change in enumerate(changes or ()):
        place = f"GlobalSecondaryIndexUpdates[{number}]"
        if (change.Create is None) == (change.Delete is None):
            raise ValidationError(f"{INVALID}{place} must contain exactly one of Create, Delete")
        named = change.Create or change.Delete
        assert named is not None
        check_name(f"{place}.IndexName", named.IndexName)
    if changes and len(changes) > 1:
        verb = "created" if changes[0].Create and changes[1].Create else "changed"
        raise LimitExceededError(
            f"Subscriber limit exceeded: Only 1 online index can be {verb} simultaneously per table: "
            f"GlobalSecondaryIndexUpdates has {len(changes)}"
        )


def _between(member: str, number: int, low: int, high: int | None, what: str = "value") -> None:
    if number < low:
        raise violated(member, number, f"have {what} greater than or equal to {low}")
    if high is not None and number > high:
        raise violated(member, number, f"have {what} less than or equal to {high}")


def violated(member: str, given: object, rule: str) -> ValidationError:
    """A member breaks a rule of the service's model. DynamoDB spells members with a small letter here."""
    shown = "null" if given is None else f"'{str(given)[:100]}'"
    spelt = member[:1].lower() + member[1:]
    return ValidationError(
        f"1 validation error detected: Value {shown} at '{spelt}' failed to satisfy constraint: Member must {rule}"
    )

"""What a request says: the operation, the customer, and the body as a typed value.

Decides from headers and bytes only; never looks at a table. A member that we do not support is refused
by name, never ignored: a condition silently dropped would acknowledge a write that must not happen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .errors import (
    IncompleteSignatureError,
    MissingTokenError,
    SerializationError,
    UnknownOperationError,
    ValidationError,
)

TARGET_PREFIX = "DynamoDB_20120810."
LIST_LIMIT_MAX = 100  # API reference, ListTables

_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}", re.ASCII)  # API reference, CreateTable
_CREDENTIAL = re.compile(r"Credential=([^/\s,=]+)/[^/\s,]+/[^/\s,]+/[^/\s,]+/aws4_request(?=[,\s]|$)")


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    TableName: str


class _ItemBody(_Body, frozen=True, kw_only=True):
    """Members of all item operations; the only value allowed is the one that asks for nothing."""

    ReturnConsumedCapacity: str = "NONE"


class PutItem(_ItemBody, frozen=True, kw_only=True):
    Item: Any
    ReturnValues: str = "NONE"
    ReturnItemCollectionMetrics: str = "NONE"


class GetItem(_ItemBody, frozen=True, kw_only=True):
    Key: Any
    ConsistentRead: bool = False


class DeleteItem(_ItemBody, frozen=True, kw_only=True):
    Key: Any
    ReturnValues: str = "NONE"
    ReturnItemCollectionMetrics: str = "NONE"


class DescribeTable(_Body, frozen=True, kw_only=True):
    pass


class DeleteTable(_Body, frozen=True, kw_only=True):
    pass


class ListTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    ExclusiveStartTableName: str = ""
    Limit: int = LIST_LIMIT_MAX


class KeyElement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    AttributeName: str
    KeyType: Literal["HASH", "RANGE"]


class AttributeDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    AttributeName: str
    AttributeType: Literal["S", "N", "B"]


class Throughput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ReadCapacityUnits: int
    WriteCapacityUnits: int


class Projection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    ProjectionType: Literal["ALL", "KEYS_ONLY", "INCLUDE"] | None = None
    NonKeyAttributes: list[str] | None = None


class SecondaryIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    IndexName: str
    KeySchema: list[KeyElement]
    Projection: Projection
    ProvisionedThroughput: Throughput | None = None


class CreateTable(_Body, frozen=True, kw_only=True, omit_defaults=True):
    AttributeDefinitions: list[AttributeDefinition]
    KeySchema: list[KeyElement]
    GlobalSecondaryIndexes: list[SecondaryIndex] | None = None
    BillingMode: Literal["PROVISIONED", "PAY_PER_REQUEST"] = "PROVISIONED"
    ProvisionedThroughput: Throughput | None = None


Operation = CreateTable | DescribeTable | ListTables | DeleteTable | PutItem | GetItem | DeleteItem

_KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind for kind in (CreateTable, DescribeTable, ListTables, DeleteTable, PutItem, GetItem, DeleteItem)
}
OPERATIONS = tuple(_KINDS)


def operation_name(headers: Mapping[str, str]) -> str:
    """The operation that X-Amz-Target names."""
    target = headers.get("X-Amz-Target", "")
    name = target.removeprefix(TARGET_PREFIX)
    if not target:
        raise UnknownOperationError(f"header X-Amz-Target is missing; it must be {TARGET_PREFIX}OPERATION")
    if name == target or name not in _KINDS:
        raise UnknownOperationError(
            f"X-Amz-Target: {target[:100]!r} is not supported; use {TARGET_PREFIX} with one of {', '.join(OPERATIONS)}"
        )
    return name


def customer(headers: Mapping[str, str]) -> str:
    """The access key of an AWS4-HMAC-SHA256 Authorization header. The signature is not checked."""
    header = headers.get("Authorization", "")
    if not header:
        raise MissingTokenError("Request is missing Authentication Token: header Authorization is missing")
    scheme, _, rest = header.partition(" ")
    found = _CREDENTIAL.search(rest)
    if scheme != "AWS4-HMAC-SHA256" or not found:
        raise IncompleteSignatureError(
            "header Authorization: must be 'AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …'"
        )
    return found.group(1)


def parse(name: str, body: bytes) -> Operation:
    """The body as the operation's type, its plain members checked."""
    kind = _KINDS[name]
    try:
        operation: Operation = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _translated(name, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SerializationError(f"{name}: the body is not JSON ({error})") from None
    _check(operation)
    return operation


def _translated(name: str, text: str) -> SerializationError | ValidationError:
    """msgspec names the place as `$.A.B`. A wrong JSON type is a SerializationException, as at DynamoDB."""
    text = f"{name}: {text.replace('`', chr(39))}"
    return SerializationError(text) if ": Expected " in text else ValidationError(text)


def _check(operation: Operation) -> None:
    if isinstance(operation, ListTables):
        if not 1 <= operation.Limit <= LIST_LIMIT_MAX:
            raise ValidationError(f"Limit: {operation.Limit} is not allowed; it must be from 1 to {LIST_LIMIT_MAX}")
        return
    check_name("TableName", operation.TableName)
    for member in ("ReturnValues", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"):
        given = getattr(operation, member, "NONE")
        if given != "NONE":
            raise ValidationError(f"{member}: {given!r} is not supported; it must be 'NONE'")


def check_name(place: str, name: str) -> None:
    """Table and index names follow one rule."""
    if not _TABLE_NAME.fullmatch(name):
        raise ValidationError(
            f"{place}: {name[:300]!r} is not allowed; it must be 3 to 255 of a-z, A-Z, 0-9, '_', '-', '.'"
        )

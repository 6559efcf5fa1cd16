"""The body of each operation, as the API reference has it.

Decides names and JSON types only; which values are allowed is `members`' matter. A member that is not
here is refused by name, never ignored: a condition silently dropped would acknowledge a write that must
not happen.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LIST_LIMIT_MAX = 100  # API reference, ListTables


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every operation may ask for the capacity it consumed; the only answer here is none."""

    ReturnConsumedCapacity: str = "NONE"


class PutItem(_Body, frozen=True, kw_only=True):
    TableName: str
    Item: dict[str, Any]
    ReturnValues: str = "NONE"
    ReturnItemCollectionMetrics: str = "NONE"


class GetItem(_Body, frozen=True, kw_only=True):
    TableName: str
    Key: dict[str, Any]
    ConsistentRead: bool = False
    ProjectionExpression: str | None = None
    ExpressionAttributeNames: dict[str, str] | None = None


class DeleteItem(_Body, frozen=True, kw_only=True):
    TableName: str
    Key: dict[str, Any]
    ReturnValues: str = "NONE"
    ReturnItemCollectionMetrics: str = "NONE"


class _RangeRead(_Body, frozen=True, kw_only=True):
    """What Query and Scan have in common."""

    TableName: str
    IndexName: str | None = None
    ProjectionExpression: str | None = None
    ExpressionAttributeNames: dict[str, str] | None = None
    ExpressionAttributeValues: dict[str, Any] | None = None
    Select: str | None = None
    Limit: int | None = None
    ConsistentRead: bool = False
    ExclusiveStartKey: dict[str, Any] | None = None


class Query(_RangeRead, frozen=True, kw_only=True):
    KeyConditionExpression: str | None = None
    ScanIndexForward: bool = True


class Scan(_RangeRead, frozen=True, kw_only=True):
    Segment: int | None = None
    TotalSegments: int | None = None


class KeysAndAttributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The keys that BatchGetItem wants of one table. Given back as it came, it is an UnprocessedKeys member."""

    Keys: list[dict[str, Any]]
    ConsistentRead: bool = False
    ProjectionExpression: str | None = None
    ExpressionAttributeNames: dict[str, str] | None = None


class BatchGetItem(_Body, frozen=True, kw_only=True):
    RequestItems: dict[str, KeysAndAttributes]


class PutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    Item: dict[str, Any]


class DeleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    Key: dict[str, Any]


class WriteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the two. Given back as it came, it is an UnprocessedItems member."""

    PutRequest: PutRequest | None = None
    DeleteRequest: DeleteRequest | None = None


class BatchWriteItem(_Body, frozen=True, kw_only=True):
    RequestItems: dict[str, list[WriteRequest]]
    ReturnItemCollectionMetrics: str = "NONE"


class _TableBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    TableName: str


class DescribeTable(_TableBody, frozen=True, kw_only=True):
    pass


class DeleteTable(_TableBody, frozen=True, kw_only=True):
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


class CreateTable(_TableBody, frozen=True, kw_only=True):
    AttributeDefinitions: list[AttributeDefinition]
    KeySchema: list[KeyElement]
    GlobalSecondaryIndexes: list[SecondaryIndex] | None = None
    BillingMode: Literal["PROVISIONED", "PAY_PER_REQUEST"] = "PROVISIONED"
    ProvisionedThroughput: Throughput | None = None


class DeleteIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    IndexName: str


class IndexUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the two."""

    Create: SecondaryIndex | None = None
    Delete: DeleteIndex | None = None


class UpdateTable(_TableBody, frozen=True, kw_only=True):
    AttributeDefinitions: list[AttributeDefinition] | None = None
    GlobalSecondaryIndexUpdates: list[IndexUpdate] | None = None
    BillingMode: Literal["PROVISIONED", "PAY_PER_REQUEST"] | None = None
    ProvisionedThroughput: Throughput | None = None


TableOperation = CreateTable | UpdateTable | DescribeTable | ListTables | DeleteTable
ItemOperation = PutItem | GetItem | DeleteItem | BatchGetItem | BatchWriteItem | Query | Scan
Operation = TableOperation | ItemOperation

KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind
    for kind in (
        *(CreateTable, UpdateTable, DescribeTable, ListTables, DeleteTable),
        *(PutItem, GetItem, DeleteItem, BatchGetItem, BatchWriteItem, Query, Scan),
    )
}

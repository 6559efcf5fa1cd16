"""Bodies of requests: what is understood, what is refused, and with which error and place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cellwall_services.frontend.errors import ApiError, LimitExceededError, SerializationError, ValidationError

from .frontend_requests import ITEM, parse

QUERY = {
    "TableName": "visits",
    "KeyConditionExpression": "pk = :p",
    "ExpressionAttributeValues": {":p": {"S": "a"}},
}
VIOLATED = "1 validation error detected: "


def refused(name: str, body: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        parse(name, body)
    return error.value


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Query", QUERY),
        ("Query", QUERY | {"Select": "COUNT", "Limit": 1, "ScanIndexForward": False, "ConsistentRead": True}),
        ("Query", QUERY | {"IndexName": "by-gk", "ExclusiveStartKey": ITEM, "ReturnConsumedCapacity": "NONE"}),
        ("Query", QUERY | {"ProjectionExpression": "a", "Select": "SPECIFIC_ATTRIBUTES"}),
        ("Scan", {"TableName": "visits"}),
        ("Scan", {"TableName": "visits", "Segment": 0, "TotalSegments": 4, "Select": "ALL_ATTRIBUTES"}),
        (
            "GetItem",
            {"TableName": "visits", "Key": ITEM, "ProjectionExpression": "#a"}
            | {"ExpressionAttributeNames": {"#a": "a"}},
        ),
        ("BatchGetItem", {"RequestItems": {"visits": {"Keys": [ITEM] * 100, "ConsistentRead": True}}}),
        ("BatchWriteItem", {"RequestItems": {"visits": [{"PutRequest": {"Item": ITEM}}] * 25}}),
        ("UpdateTable", {"TableName": "visits", "BillingMode": "PAY_PER_REQUEST"}),
        ("UpdateTable", {"TableName": "visits", "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-gk"}}]}),
    ],
)
def test_requests_understood(name: str, body: dict[str, Any]) -> None:
    operation = parse(name, body)
    assert type(operation).__name__ == name
    assert msgspec.to_builtins(operation).items() >= json.loads(json.dumps(body)).items()


UNSUPPORTED = {
    "PutItem": ["Expected", "ConditionExpression", "ExpressionAttributeValues", "ConditionalOperator"],
    "GetItem": ["AttributesToGet"],
    "DeleteItem": ["ConditionExpression", "Expected"],
    "Query": ["FilterExpression", "KeyConditions", "QueryFilter", "AttributesToGet"],
    "Scan": ["FilterExpression", "ScanFilter", "AttributesToGet"],
    "BatchGetItem": ["Colour"],
    "BatchWriteItem": ["Colour"],
    "CreateTable": ["StreamSpecification", "LocalSecondaryIndexes", "Tags", "SSESpecification"],
    "UpdateTable": ["StreamSpecification", "ReplicaUpdates", "TableClass", "DeletionProtectionEnabled"],
}
COMPLETE: dict[str, dict[str, Any]] = {
    "PutItem": {"TableName": "visits", "Item": ITEM},
    "GetItem": {"TableName": "visits", "Key": ITEM},
    "DeleteItem": {"TableName": "visits", "Key": ITEM},
    "Query": QUERY,
    "Scan": {"TableName": "visits"},
    "BatchGetItem": {"RequestItems": {"visits": {"Keys": [ITEM]}}},
    "BatchWriteItem": {"RequestItems": {"visits": [{"DeleteRequest": {"Key": ITEM}}]}},
    "CreateTable": {"TableName": "visits", "AttributeDefinitions": [], "KeySchema": []},
    "UpdateTable": {"TableName": "visits"},
}


@pytest.mark.parametrize(("name", "member"), [(n, m) for n, members in UNSUPPORTED.items() for m in members])
def test_what_is_not_supported_is_refused_by_name(name: str, member: str) -> None:
    error = refused(name, COMPLETE[name] | {member: "x"})
    assert isinstance(error, ValidationError)
    assert error.message == f"{name}: {member} is not supported here"


@pytest.mark.parametrize(
    ("name", "body", "place"),
    [
        ("GetItem", {"TableName": "visits"}, "key"),
        ("GetItem", {"TableName": None, "Key": ITEM}, "tableName"),
        ("PutItem", {"TableName": "visits", "Item": None}, "item"),
        ("BatchGetItem", {"RequestItems": {"visits": {}}}, "requestItems[...].Keys"),
        ("CreateTable", {"TableName": "visits", "AttributeDefinitions": []}, "keySchema"),
    ],
)
def test_a_missing_member_is_named(name: str, body: dict[str, Any], place: str) -> None:
    error = refused(name, body)
    assert isinstance(error, ValidationError)
    assert error.message == f"{VIOLATED}Value null at '{place}' failed to satisfy constraint: Member must not be null"


def test_a_nested_member_is_refused_with_its_place() -> None:
    update = {"TableName": "visits", "GlobalSecondaryIndexUpdates": [{"Update": {"IndexName": "by-gk"}}]}
    problem = "UpdateTable: GlobalSecondaryIndexUpdates[0].Update is not supported here"
    assert refused("UpdateTable", update).message == problem


def batch(table: str, keys: int) -> dict[str, Any]:
    return {table: {"Keys": [ITEM] * keys}}


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("Query", {"TableName": "a b"}, "TableName: 'a b' is not allowed"),
        ("Query", {"IndexName": "x"}, "IndexName: 'x' is not allowed"),
        ("Query", {"Limit": 0}, f"{VIOLATED}Value '0' at 'limit' failed to satisfy constraint: Member must have"),
        ("Query", {"Select": "SOME"}, f"{VIOLATED}Value 'SOME' at 'select' failed to satisfy constraint: Member must"),
        ("Query", {"Select": "ALL_PROJECTED_ATTRIBUTES"}, "can be used only when Querying using an IndexName"),
        ("Query", {"Select": "SPECIFIC_ATTRIBUTES"}, "Must specify the ProjectionExpression when choosing to get"),
        ("Query", {"Select": "COUNT", "ProjectionExpression": "a"}, "Cannot specify the ProjectionExpression when"),
        ("Query", {"KeyConditionExpression": None}, "ExpressionAttributeValues can only be specified when using"),
        (
            "Query",
            {"KeyConditionExpression": None, "ExpressionAttributeValues": None},
            "Either the KeyConditions or KeyConditionExpression parameter must be specified",
        ),
        ("Query", {"ReturnConsumedCapacity": "TOTAL"}, "ReturnConsumedCapacity: 'TOTAL' is not supported"),
        ("Scan", {"Segment": 0}, "The TotalSegments parameter is required but was not present"),
        ("Scan", {"TotalSegments": 2}, "The Segment parameter is required but was not present"),
        ("Scan", {"Segment": 2, "TotalSegments": 2}, "Segment: 2 is not less than TotalSegments: 2"),
        ("Scan", {"Segment": -1, "TotalSegments": 2}, "Value '-1' at 'segment'"),
        ("Scan", {"Segment": 0, "TotalSegments": 1_000_001}, "Value '1000001' at 'totalSegments'"),
        ("GetItem", {"ExpressionAttributeNames": {"#a": "a"}}, "can only be specified when using expressions"),
        ("BatchGetItem", {"RequestItems": {}}, "Value '0' at 'requestItems'"),
        ("BatchGetItem", {"RequestItems": batch("visits", 0)}, "Value '0' at 'requestItems.visits.member.keys'"),
        ("BatchGetItem", {"RequestItems": batch("visits", 101)}, "length less than or equal to 100"),
        (
            "BatchGetItem",
            {"RequestItems": batch("visits", 60) | batch("other", 60)},
            "Too many items requested for the BatchGetItem call",
        ),
        ("BatchGetItem", {"RequestItems": batch("a b", 1)}, "RequestItems: 'a b' is not allowed"),
        ("BatchWriteItem", {"RequestItems": {"visits": [{}]}}, "RequestItems.visits[0] must contain exactly one"),
        (
            "BatchWriteItem",
            {"RequestItems": {"visits": [{"PutRequest": {"Item": ITEM}, "DeleteRequest": {"Key": ITEM}}]}},
            "RequestItems.visits[0] must contain exactly one",
        ),
        (
            "BatchWriteItem",
            {"RequestItems": {"visits": [{"DeleteRequest": {"Key": ITEM}}] * 26}},
            "length less than or equal to 25",
        ),
        (
            "BatchWriteItem",
            {"RequestItems": {t: [{"DeleteRequest": {"Key": ITEM}}] * 13 for t in ("visits", "other")}},
            "Too many items requested for the BatchWriteItem call",
        ),
        ("UpdateTable", {}, "At least one of ProvisionedThroughput, BillingMode, GlobalSecondaryIndexUpdates"),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": [{}]}, "GlobalSecondaryIndexUpdates[0] must contain exactly"),
        (
            "UpdateTable",
            {"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "x"}}]},
            "GlobalSecondaryIndexUpdates[0].IndexName: 'x' is not allowed",
        ),
    ],
)
def test_requests_refused(name: str, changes: dict[str, Any], problem: str) -> None:
    error = refused(name, COMPLETE[name] | changes)
    assert isinstance(error, ValidationError)
    assert problem in error.message


def test_two_indexes_at_once_are_over_the_limit() -> None:
    drops = [{"Delete": {"IndexName": name}} for name in ("by-a", "by-b")]
    error = refused("UpdateTable", {"TableName": "visits", "GlobalSecondaryIndexUpdates": drops})
    assert isinstance(error, LimitExceededError)
    assert error.message.startswith("Subscriber limit exceeded: Only 1 online index can be")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Query", {"Limit": "1"}),
        ("Query", {"ExpressionAttributeNames": {"#a": 1}}),
        ("Scan", {"ConsistentRead": "yes"}),
        ("Scan", {"ExclusiveStartKey": []}),
        ("PutItem", {"Item": [ITEM]}),
        ("GetItem", {"Key": "a"}),
        ("BatchGetItem", {"RequestItems": []}),
        ("BatchWriteItem", {"RequestItems": {"visits": {}}}),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": {}}),
    ],
)
def test_wrong_json_types_are_serialization_errors(name: str, changes: dict[str, Any]) -> None:
    error = refused(name, COMPLETE[name] | changes)
    assert isinstance(error, SerializationError) and next(iter(changes)) in error.message


def test_a_part_of_a_batch_goes_back_as_it_came() -> None:
    """UnprocessedItems and UnprocessedKeys are the members themselves."""
    for name in ("BatchGetItem", "BatchWriteItem"):
        operation = parse(name, COMPLETE[name])
        assert msgspec.to_builtins(operation.RequestItems) == COMPLETE[name]["RequestItems"]

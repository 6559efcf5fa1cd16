"""Requests and the tables they are about: bodies, definitions and their changes, keys, and pages of a range read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.keys import encode_key
from cellwall.model import IndexInfo, TableInfo
from cellwall_services.frontend import bodies, pages, protocol, schema, targets, values
from cellwall_services.frontend.errors import (
    ApiError,
    LimitExceededError,
    ResourceInUseError,
    ResourceNotFoundError,
    SerializationError,
    ValidationError,
)
from cellwall_services.frontend.expressions import KeyCondition
from cellwall_services.frontend.pages import StartKey

UNITS = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
QUERY = {
    "TableName": "visits",
    "KeyConditionExpression": "pk = :p",
    "ExpressionAttributeValues": {":p": {"S": "a"}},
}
ITEM = {"pk": {"S": "a"}}
VIOLATED = "1 validation error detected: "


def parse(name: str, body: Any) -> Any:
    return protocol.parse(name, json.dumps(body).encode())


def refused(name: str, body: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        parse(name, body)
    return error.value


# ---------------------------------------------------------------- bodies


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


# ---------------------------------------------------------------- definitions

HASH = {"AttributeName": "pk", "KeyType": "HASH"}


def index(name: str = "by-gk", *keys: str, **changes: Any) -> dict[str, Any]:
    kinds = zip(keys or ("gk",), ("HASH", "RANGE"), strict=False)
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in kinds],
        "Projection": {"ProjectionType": "ALL"},
    } | changes


def attributes(**kinds: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def definition(**changes: Any) -> schema.Definition:
    body = {
        "TableName": "visits",
        "AttributeDefinitions": attributes(pk="S", sk="S", gk="S"),
        "KeySchema": [HASH, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [index()],
        "BillingMode": "PAY_PER_REQUEST",
    }
    new: schema.Definition = parse("CreateTable", body | changes)
    schema.check_definition(new)
    return new


def include(*names: str) -> dict[str, Any]:
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names)}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TableName": "ab"}, "TableName"),
        ({"KeySchema": []}, "KeySchema"),
        ({"KeySchema": [HASH, HASH]}, "KeySchema"),
        ({"KeySchema": [HASH, HASH | {"KeyType": "RANGE"}]}, "have the same name: KeySchema"),
        ({"KeySchema": [HASH | {"AttributeName": "zz"}]}, "not defined in AttributeDefinitions. Keys: [zz]"),
        (
            {"KeySchema": [HASH]},
            "Some AttributeDefinitions are not used. AttributeDefinitions: [pk, sk, gk], keys used",
        ),
        ({"AttributeDefinitions": attributes(pk="S") * 2}, "two attributes with the same name"),
        ({"GlobalSecondaryIndexes": []}, "GlobalSecondaryIndexes"),
        ({"GlobalSecondaryIndexes": [index(), index()]}, "Duplicate index name: by-gk: GlobalSecondaryIndexes[1]"),
        ({"GlobalSecondaryIndexes": [index(f"by-{n}") for n in range(21)]}, "per-table limit of 20"),
        ({"GlobalSecondaryIndexes": [index("x")]}, "GlobalSecondaryIndexes[0].IndexName"),
        ({"GlobalSecondaryIndexes": [index("by-zz", "zz")]}, "GlobalSecondaryIndexes[0].KeySchema"),
        ({"GlobalSecondaryIndexes": [index(Projection={})]}, "GlobalSecondaryIndexes[0].Projection"),
        ({"GlobalSecondaryIndexes": [index(Projection={"ProjectionType": "INCLUDE"})]}, "NonKeyAttributes is not"),
        (
            {"GlobalSecondaryIndexes": [index(Projection={"ProjectionType": "ALL", "NonKeyAttributes": ["a"]})]},
            "ProjectionType is ALL, but NonKeyAttributes is specified",
        ),
        ({"GlobalSecondaryIndexes": [index(Projection=include(*map(str, range(21))))]}, "at most 20 different"),
        ({"GlobalSecondaryIndexes": [index(Projection=include("a", "a"))]}, "at most 20 different"),
        (
            {
                "GlobalSecondaryIndexes": [
                    index(f"by-{n}", Projection=include(*(f"{n}-{m}" for m in range(20)))) for n in range(6)
                ]
            },
            "NonKeyAttributes exceeds the per-table limit of 100",
        ),
        ({"GlobalSecondaryIndexes": [index(ProvisionedThroughput=UNITS)]}, "GlobalSecondaryIndexes[0].Provisioned"),
        ({"BillingMode": "PROVISIONED"}, "ProvisionedThroughput"),
        ({"BillingMode": "FREE"}, "BillingMode"),
        ({"ProvisionedThroughput": UNITS}, "ProvisionedThroughput"),
        ({"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "BOOL"}]}, "AttributeType"),
    ],
)
def test_definitions_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as error:
        definition(**changes)
    assert named in error.value.message


def test_definition_described() -> None:
    new = definition(
        BillingMode="PROVISIONED",
        GlobalSecondaryIndexes=[index(ProvisionedThroughput=UNITS)],
        ProvisionedThroughput=UNITS,
    )
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    assert (info.hash_key, info.range_key, info.range_type, info.indexes[0].partitions) == ("pk", "sk", "S", 4)
    described = msgspec.to_builtins(schema.describe(info, new, "CREATING"))
    assert described["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
    (shown,) = described["GlobalSecondaryIndexes"]
    assert shown["Projection"] == {"ProjectionType": "ALL"} and shown["IndexStatus"] == "CREATING"
    assert "Backfilling" not in shown


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ACTIVE", {"IndexStatus": "ACTIVE"}),
        ("CREATING", {"IndexStatus": "CREATING", "Backfilling": True}),
        ("DELETING", {"IndexStatus": "DELETING"}),
    ],
)
def test_an_index_shows_its_own_status(status: str, expected: dict[str, Any]) -> None:
    new = definition()
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    info = msgspec.structs.replace(info, indexes=(msgspec.structs.replace(info.indexes[0], status=status),))
    (shown,) = schema.describe(info, new, "UPDATING")["GlobalSecondaryIndexes"]
    assert {k: v for k, v in shown.items() if k in ("IndexStatus", "Backfilling")} == expected
    (shown,) = schema.describe(info, new, "DELETING")["GlobalSecondaryIndexes"]
    assert shown["IndexStatus"] == "DELETING" and "Backfilling" not in shown


kinds = st.sampled_from("SNB")


@given(
    st.booleans(), st.lists(st.tuples(kinds, kinds, st.booleans(), st.sampled_from(["ALL", "KEYS_ONLY"])), max_size=4)
)
def test_a_derived_definition_says_what_the_table_info_says(
    ranged: bool, drawn: list[tuple[str, str, bool, str]]
) -> None:
    indexes = [
        IndexInfo(f"by-{n}", 3, f"h{n}", hash_kind, f"r{n}" if has else None, range_kind if has else None, shows)
        for n, (hash_kind, range_kind, has, shows) in enumerate(drawn)
    ]
    indexes.append(IndexInfo("some", 3, "h", "N", projection="INCLUDE", non_key=("a", "b")))
    info = TableInfo(
        "t-1", "visits", "alice", 3, range_key="sk" if ranged else None, range_type="N" if ranged else None
    )
    info = msgspec.structs.replace(info, indexes=tuple(indexes), status="CREATING")
    derived = schema.derived(info)
    schema.check_definition(derived)
    assert schema.table_info(derived, "t-1", "alice", 3, 0.0) == info
    sent = msgspec.json.encode(info)
    assert msgspec.json.decode(sent, type=TableInfo) == info


def test_a_plain_index_is_sent_as_it_always_was() -> None:
    """The size of a membership is what the event was about: it must not grow with what an index may be."""
    assert msgspec.json.encode(IndexInfo("by-g1", 7, "g1")) == b'{"name":"by-g1","partitions":7,"hash_key":"g1"}'


# ---------------------------------------------------------------- changes of a definition


def update(**members: Any) -> bodies.UpdateTable:
    given_: bodies.UpdateTable = parse("UpdateTable", {"TableName": "visits"} | members)
    return given_


def created(new: dict[str, Any], **kinds: str) -> bodies.UpdateTable:
    defined = {"AttributeDefinitions": attributes(**kinds)} if kinds else {}
    return update(GlobalSecondaryIndexUpdates=[{"Create": new}], **defined)


def test_an_index_added_and_removed_leaves_the_definition_as_it_was() -> None:
    before = definition()
    after = schema.updated(before, created(index("by-day", "day", "sk", Projection=include("who")), day="N"))
    schema.check_definition(after)
    assert after.GlobalSecondaryIndexes is not None
    info = schema.index_info(after, after.GlobalSecondaryIndexes[-1], 5, "CREATING")
    assert info == IndexInfo("by-day", 5, "day", "N", "sk", "S", "INCLUDE", ("who",), "CREATING")
    assert schema.updated(after, update(GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-day"}}])) == after
    assert schema.without_index(after, "by-day") == before
    bare = schema.without_index(before, "by-gk")
    assert bare.GlobalSecondaryIndexes is None
    assert [a.AttributeName for a in bare.AttributeDefinitions] == ["pk", "sk"]


@pytest.mark.parametrize(
    ("change", "kind", "problem"),
    [
        (created(index()), ValidationError, "Attempting to create an index which already exists: by-gk"),
        (created(index("by-day", "day")), ValidationError, "not defined in AttributeDefinitions. Keys: [day]"),
        (created(index("by-day", "gk"), gk="N"), ValidationError, "gk is S and cannot become N"),
        (created(index("by-sk", "sk"), day="N"), ValidationError, "Some AttributeDefinitions are not used"),
        (created(index("by-sk", "sk", Projection={})), ValidationError, "GlobalSecondaryIndexUpdates[0].Create.Proj"),
        (
            created(index("by-sk", "sk", ProvisionedThroughput=UNITS)),
            ValidationError,
            "GlobalSecondaryIndexUpdates[0].Create.ProvisionedThroughput: must not be given",
        ),
        (
            update(GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-day"}}]),
            ResourceNotFoundError,
            "Index: by-day not found",
        ),
        (update(BillingMode="PROVISIONED"), ValidationError, "ProvisionedThroughput: is missing"),
        (update(ProvisionedThroughput=UNITS), ValidationError, "must not be given with BillingMode PAY_PER_REQUEST"),
    ],
)
def test_updates_refused(change: bodies.UpdateTable, kind: type[ApiError], problem: str) -> None:
    with pytest.raises(kind) as error:
        schema.updated(definition(), change)
    assert problem in error.value.message


def test_the_twenty_first_index_is_over_the_limit() -> None:
    full = definition(GlobalSecondaryIndexes=[index(f"by-{n:02}") for n in range(20)])
    with pytest.raises(LimitExceededError, match="limit of 20"):
        schema.updated(full, created(index("by-20")))


def test_the_billing_mode_may_change_to_and_fro() -> None:
    before = definition()
    provisioned = schema.updated(before, update(BillingMode="PROVISIONED", ProvisionedThroughput=UNITS))
    schema.check_definition(provisioned)
    assert schema.updated(provisioned, update(BillingMode="PAY_PER_REQUEST")) == before
    more = schema.updated(provisioned, update(ProvisionedThroughput={"ReadCapacityUnits": 7, "WriteCapacityUnits": 8}))
    assert more.ProvisionedThroughput == bodies.Throughput(7, 8)


def test_a_table_takes_one_change_at_a_time() -> None:
    info = TableInfo("t-1", "visits", "alice", 1)
    schema.check_changeable(info, "ACTIVE")
    with pytest.raises(ResourceInUseError, match="Table is being updated: visits"):
        schema.check_changeable(info, "UPDATING")


# ---------------------------------------------------------------- where items live

INFO = TableInfo(
    "t-1",
    "visits",
    "alice",
    4,
    range_key="sk",
    range_type="N",
    indexes=(
        IndexInfo("by-gk", 4, "gk", "S", "n", "N", "KEYS_ONLY"),
        IndexInfo("whole", 4, "gk", "S"),
        IndexInfo("some", 4, "gk", "S", projection="INCLUDE", non_key=("v", "absent")),
        IndexInfo("new", 4, "gk", "S", status="CREATING"),
        IndexInfo("old", 4, "gk", "S", status="DELETING"),
    ),
)
WHOLE: values.Item = {
    "pk": {"S": "a"},
    "sk": {"N": "7"},
    "gk": {"S": "g"},
    "n": {"N": "1"},
    "v": {"S": "v"},
    "w": {"L": []},
}


def test_an_item_and_its_key_live_at_the_same_place() -> None:
    key = {"pk": WHOLE["pk"], "sk": WHOLE["sk"]}
    assert targets.item_target(INFO, WHOLE) == targets.key_target(INFO, key)
    assert targets.key_target(INFO, key).key == encode_key("S", "a", "N", "7")
    assert targets.key_pair(INFO, key) == ("a", "7")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pk": None}, "Missing the key pk in the item"),
        ({"pk": {"N": "1"}}, "Type mismatch for key pk expected: S actual: N"),
        ({"pk": {"S": ""}}, "empty string value. Key: pk"),
        ({"pk": {"S": "x" * 2049}}, "Size of hashkey has exceeded the maximum size limit of 2048 bytes. Key: pk"),
        ({"gk": {"N": "1"}}, "Type mismatch for Index Key gk Expected: S Actual: N IndexName: by-gk"),
        ({"n": {"NULL": True}}, "Type mismatch for Index Key n Expected: N Actual: NULL IndexName: by-gk"),
        ({"gk": {"S": ""}}, "empty string value. Key: gk"),
        ({"gk": {"S": "x" * 2049}}, "Key: gk"),
    ],
)
def test_items_that_cannot_be_placed(changes: dict[str, Any], problem: str) -> None:
    item = {name: value for name, value in (WHOLE | changes).items() if value is not None}
    with pytest.raises(ValidationError) as error:
        targets.item_target(INFO, item)
    assert problem in error.value.message


def test_the_range_key_has_1024_bytes() -> None:
    info = TableInfo("t-1", "visits", "alice", 4, range_key="sk", range_type="B")
    item = values.item({"pk": {"S": "a"}, "sk": {"B": "AAAA" * 341 + "AA=="}}, "Item")
    targets.item_target(info, item)
    with pytest.raises(ValidationError, match=r"range keys has exceeded the size limit of 1024 bytes\. Key: sk"):
        targets.item_target(info, values.item({"pk": {"S": "a"}, "sk": {"B": "AAAA" * 342}}, "Item"))


@pytest.mark.parametrize(
    "key", [{}, {"pk": {"S": "a"}}, WHOLE, {"pk": {"S": "a"}, "sk": {"S": "7"}}, {"pk": {"S": "a"}, "n": {"N": "7"}}]
)
def test_a_key_must_be_just_the_key(key: values.Item) -> None:
    with pytest.raises(ValidationError, match="The provided key element does not match the schema"):
        targets.key_target(INFO, key)


def test_indexes_are_sparse() -> None:
    by_gk, whole = INFO.indexes[:2]
    assert targets.index_keys(by_gk, WHOLE) == ("g", "1")
    assert targets.index_keys(whole, WHOLE) == ("g", None)
    for changes in ({"n": {"S": "1"}}, {"gk": {"S": ""}}, {"gk": {"S": "x" * 2049}}):
        assert targets.index_keys(by_gk, WHOLE | changes) is None
    assert targets.index_keys(by_gk, {"pk": WHOLE["pk"], "gk": WHOLE["gk"]}) is None


def test_what_an_index_keeps() -> None:
    by_gk, whole, some = INFO.indexes[:3]
    assert targets.index_item(INFO, whole, WHOLE) == WHOLE
    assert set(targets.index_item(INFO, by_gk, WHOLE)) == {"pk", "sk", "gk", "n"}
    assert set(targets.index_item(INFO, some, WHOLE)) == {"pk", "sk", "gk", "v"}


def test_a_batch_may_not_name_a_key_twice() -> None:
    one, two = targets.Target(0, b"a"), targets.Target(0, b"b")
    targets.check_distinct([("visits", one), ("visits", two), ("other", one)])
    with pytest.raises(ValidationError, match="Provided list of item keys contains duplicates"):
        targets.check_distinct([("visits", one), ("visits", two), ("visits", targets.Target(0, b"a"))])


# ---------------------------------------------------------------- pages

PARTS = {":p": {"S": "a"}, ":g": {"S": "g"}, ":n": {"N": "1.0"}}


def query(condition: str, used: str, **members: Any) -> pages.Reading:
    """``used``: the placeholders of values, by their letters."""
    given_ = {"ExpressionAttributeValues": {f":{u}": PARTS[f":{u}"] for u in used}}
    body = {"TableName": "visits", "KeyConditionExpression": condition} | given_ | members
    return pages.reading(INFO, parse("Query", body))


def test_a_query_of_the_table_and_of_an_index() -> None:
    found = query("pk = :p AND sk > :n", "pn", Select="COUNT")
    assert found.condition == KeyCondition("a", ">", ("1",), frozenset({":p", ":n"}))
    assert (found.index, found.projection, found.start, found.counts) == (None, None, None, True)
    found = query("gk = :g", "g", IndexName="by-gk", ProjectionExpression="#n", ExpressionAttributeNames={"#n": "n"})
    assert found.index is INFO.indexes[0] and found.projection is not None
    assert found.projection.apply(WHOLE) == {"n": {"N": "1"}}
    assert pages.reading(INFO, parse("Scan", {"TableName": "visits"})).condition is None


@pytest.mark.parametrize(
    ("condition", "used", "members", "problem"),
    [
        ("pk = :p", "pn", {}, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:n}"),
        (
            "pk = :p",
            "p",
            {"ExpressionAttributeNames": {"#a": "a"}},
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}",
        ),
        ("gk = :g", "g", {}, "Query condition missed key schema element: pk"),
        ("pk = :p", "p", {"IndexName": "by-gk"}, "Query condition missed key schema element: gk"),
        ("gk = :g", "g", {"IndexName": "none"}, "The table does not have the specified index: none"),
        ("gk = :g", "g", {"IndexName": "old"}, "The table does not have the specified index: old"),
        ("gk = :g", "g", {"IndexName": "new"}, "Cannot read from backfilling global secondary index: new"),
        ("gk = :g", "g", {"IndexName": "whole", "ConsistentRead": True}, "Consistent reads are not supported on"),
        ("gk = :g", "g", {"IndexName": "by-gk", "Select": "ALL_ATTRIBUTES"}, "because its projection type is not ALL"),
        (
            "gk = :g",
            "g",
            {"IndexName": "some", "ProjectionExpression": "v.a, w, x.y"},
            "Global secondary index some does not project [w, x]",
        ),
    ],
)
def test_queries_refused(condition: str, used: str, members: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        query(condition, used, **members)
    assert problem in error.value.message


def test_a_read_by_key_must_use_its_names() -> None:
    wanted = {"Keys": [ITEM], "ProjectionExpression": "#a", "ExpressionAttributeNames": {"#a": "v", "#b": "w"}}
    batch_ = parse("BatchGetItem", {"RequestItems": {"visits": wanted}})
    with pytest.raises(ValidationError, match=r"keys: \{#b\}"):
        pages.projected(batch_.RequestItems["visits"])
    get = parse("GetItem", {"TableName": "visits", "Key": ITEM, "ProjectionExpression": "v"})
    shown = pages.projected(get)
    assert shown is not None and shown.apply(WHOLE) == {"v": {"S": "v"}}
    assert pages.projected(parse("GetItem", {"TableName": "visits", "Key": ITEM})) is None


def test_the_last_key_of_a_page_starts_the_next() -> None:
    last = pages.last_key(INFO, None, WHOLE)
    assert last == {"pk": {"S": "a"}, "sk": {"N": "7"}}
    assert query("pk = :p AND sk > :n", "pn", ExclusiveStartKey=last).start == StartKey(("a", "7"))
    last = pages.last_key(INFO, INFO.indexes[0], WHOLE)
    assert set(last) == {"pk", "sk", "gk", "n"}
    started = query("gk = :g", "g", IndexName="by-gk", ExclusiveStartKey=last).start
    assert started == StartKey(("a", "7"), ("g", "1"))


@pytest.mark.parametrize(
    ("start", "members", "problem"),
    [
        ({"pk": {"S": "a"}}, {}, "The provided starting key is invalid: it must have exactly pk, sk"),
        ({"pk": {"S": "a"}, "sk": {"S": "7"}}, {}, "The provided starting key is invalid: The provided key element"),
        ({"pk": {"S": "a"}, "sk": {"N": "x"}}, {}, "The provided starting key is invalid: The parameter cannot be"),
        ({"pk": {"S": "b"}, "sk": {"N": "7"}}, {}, "outside query boundaries based on provided conditions"),
        ({"pk": {"S": "a"}, "sk": {"N": "1"}}, {}, "does not match the range key predicate"),
    ],
)
def test_starting_keys_refused(start: Any, members: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        query("pk = :p AND sk > :n", "pn", ExclusiveStartKey=start, **members)
    assert problem in error.value.message


def test_a_starting_key_of_an_index_needs_the_keys_of_both() -> None:
    whole = pages.last_key(INFO, INFO.indexes[0], WHOLE)
    for changed in (
        {k: v for k, v in whole.items() if k != "n"},
        {k: v for k, v in whole.items() if k != "sk"},
        whole | {"v": {"S": "v"}},
        whole | {"n": {"S": "1"}},
    ):
        with pytest.raises(ValidationError, match="The provided starting key is invalid"):
            pages.start_key(INFO, INFO.indexes[0], changed)


@given(st.integers(1, 60), st.integers(1, 80))
def test_segments_share_the_partitions(partitions: int, total: int) -> None:
    found = [p for number in range(total) for p in pages.segment(partitions, number, total)]
    assert found == list(range(partitions)) == list(pages.segment(partitions, None, None))

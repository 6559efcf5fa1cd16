"""The requests of the differential test that are wrong, sent as the bare bytes: no client helps to make them.

Grouped by what is wrong; a case's id is group/what. What both sides refuse alike, one does not do, or one takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .differential import Case
from .differential_cases import BLOBS, LABELS, NUMBERS, PLAIN, SPARE, WIDE, WORDS, attributes, index, keys, table

X = {"pk": {"S": "x"}}


def errors() -> Iterator[Case]:
    for group in (envelopes, gets, values, puts, tables, updates, queries, scans, projections, batches, unsupported):
        for name, op, body in group():
            yield Case(f"{group.__name__}/{name}", op, body, "raw")


Wrong = Iterator[tuple[str, str, Any]]


def envelopes() -> Wrong:
    yield "not-json", "GetItem", b"{"
    yield "empty", "GetItem", b""
    yield "a-list", "GetItem", []
    yield "no-table", "GetItem", {"Key": X}
    yield "table-is-a-number", "GetItem", {"TableName": 5, "Key": X}
    yield "table-is-null", "GetItem", {"TableName": None, "Key": X}
    yield "table-too-short", "GetItem", {"TableName": "ab", "Key": X}
    yield "table-too-long", "GetItem", {"TableName": "t" * 256, "Key": X}
    yield "table-with-blank", "GetItem", {"TableName": "a table", "Key": X}
    yield "operation", "FlyToTheMoon", {"TableName": PLAIN}
    yield "operation-in-lower-case", "getitem", {"TableName": PLAIN, "Key": X}
    yield "unknown-member", "GetItem", {"TableName": PLAIN, "Key": X, "Colour": "red"}
    yield "list-limit-0", "ListTables", {"Limit": 0}
    yield "list-limit-101", "ListTables", {"Limit": 101}
    yield "list-limit-text", "ListTables", {"Limit": "ten"}


def gets() -> Wrong:
    for op in ("GetItem", "DeleteItem"):
        keys_given: dict[str, Any] = {
            "none": {},
            "of-other-table": {"id": {"S": "x"}},
            "too-many": X | {"sk": {"S": "x"}},
            "of-wrong-type": {"pk": {"N": "1"}},
            "empty": {"pk": {"S": ""}},
            "too-long": {"pk": {"S": "k" * 2049}},
            "null": None,
            "a-list": [],
            "a-text": "x",
            "a-bare-value": {"pk": "x"},
            "no-type": {"pk": {}},
        }
        for name, key in keys_given.items():
            yield f"{op}-key-{name}", op, {"TableName": PLAIN, "Key": key}
        yield f"{op}-without-key", op, {"TableName": PLAIN}
        yield f"{op}-half-key", op, {"TableName": WIDE, "Key": {"pk": {"S": "a"}}}
        yield f"{op}-no-such-table", op, {"TableName": "nowhere", "Key": X}
    yield "consistent-is-a-text", "GetItem", {"TableName": PLAIN, "Key": X, "ConsistentRead": "yes"}
    empty = {"pk": {"B": "AGs="}, "sk": {"B": ""}}
    yield "empty-bytes", "GetItem", {"TableName": BLOBS, "Key": empty}
    yield "range-key-too-long", "GetItem", {"TableName": WORDS, "Key": X | {"sk": {"S": "k" * 1025}}}


def values() -> Wrong:
    given: dict[str, Any] = {
        "string-is-a-number": {"S": 5},
        "string-is-null": {"S": None},
        "number-is-a-number": {"N": 5},
        "number-is-text": {"N": "five"},
        "number-is-empty": {"N": ""},
        "number-is-nan": {"N": "NaN"},
        "number-is-infinite": {"N": "Infinity"},
        "number-is-hexadecimal": {"N": "0x10"},
        "number-with-underscore": {"N": "1_000"},
        "number-with-blank": {"N": " 1"},
        "number-with-39-digits": {"N": "1" * 39},
        "number-too-large": {"N": "1E+126"},
        "number-too-small": {"N": "1E-131"},
        "bytes-not-base64": {"B": "%%%"},
        "bytes-without-padding": {"B": "YQ"},
        "bytes-a-number": {"B": 5},
        "bool-is-text": {"BOOL": "true"},
        "bool-is-a-number": {"BOOL": 1},
        "null-is-false": {"NULL": False},
        "null-is-text": {"NULL": "true"},
        "list-is-an-object": {"L": {}},
        "list-of-bare-values": {"L": ["x"]},
        "map-is-a-list": {"M": []},
        "map-of-bare-values": {"M": {"x": "y"}},
        "set-is-empty": {"SS": []},
        "number-set-is-empty": {"NS": []},
        "byte-set-is-empty": {"BS": []},
        "set-is-text": {"SS": "x"},
        "set-has-twins": {"SS": ["a", "b", "a"]},
        "number-set-has-twins": {"NS": ["1", "1"]},
        "number-set-has-equals": {"NS": ["1", "1.0"]},
        "byte-set-has-twins": {"BS": ["YQ==", "YQ=="]},
        "set-of-numbers": {"SS": [1]},
        "number-set-of-text": {"NS": ["one"]},
        "two-types": {"S": "x", "N": "1"},
        "no-type": {},
        "unknown-type": {"X": "x"},
        "type-in-lower-case": {"s": "x"},
        "bare-text": "x",
        "bare-null": None,
    }
    for name, value in given.items():
        yield name, "PutItem", {"TableName": PLAIN, "Item": X | {"v": value}}
    nested: dict[str, Any] = {"S": "deep"}
    for _ in range(33):
        nested = {"L": [nested]}
    yield "too-deep", "PutItem", {"TableName": PLAIN, "Item": X | {"v": nested}}
    yield "too-large", "PutItem", {"TableName": PLAIN, "Item": X | {"v": {"S": "x" * (400 * 1024)}}}
    yield "too-large-by-names", "PutItem", {"TableName": PLAIN, "Item": X | {"n" * (400 * 1024): {"S": ""}}}


def puts() -> Wrong:
    given: dict[str, Any] = {
        "no-key": {"v": {"S": "x"}},
        "nothing": {},
        "null": None,
        "a-list": [],
        "key-of-wrong-type": {"pk": {"N": "1"}},
        "key-a-set": {"pk": {"SS": ["x"]}},
        "key-empty": {"pk": {"S": ""}},
        "key-too-long": {"pk": {"S": "k" * 2049}},
    }
    for name, item in given.items():
        yield name, "PutItem", {"TableName": PLAIN, "Item": item}
    yield "no-item", "PutItem", {"TableName": PLAIN}
    yield "no-such-table", "PutItem", {"TableName": "nowhere", "Item": X}
    yield "number-key-too-long", "PutItem", {"TableName": NUMBERS, "Item": {"pk": {"N": "1" * 39}}}
    yield "no-range-key", "PutItem", {"TableName": WORDS, "Item": X}
    yield "range-key-empty", "PutItem", {"TableName": WORDS, "Item": X | {"sk": {"S": ""}}}
    yield "range-key-too-long", "PutItem", {"TableName": WORDS, "Item": X | {"sk": {"S": "k" * 1025}}}
    wide = X | {"sk": {"N": "1"}}
    yield "index-key-of-wrong-type", "PutItem", {"TableName": WIDE, "Item": wide | {"color": {"N": "1"}}}
    yield "index-key-null", "PutItem", {"TableName": WIDE, "Item": wide | {"color": {"NULL": True}}}
    yield "index-key-empty", "PutItem", {"TableName": WIDE, "Item": wide | {"color": {"S": ""}}}
    yield "index-key-too-long", "PutItem", {"TableName": WIDE, "Item": wide | {"color": {"S": "k" * 2049}}}
    yield "return-values-unknown", "PutItem", {"TableName": PLAIN, "Item": X, "ReturnValues": "EVERYTHING"}
    yield "return-values-new", "PutItem", {"TableName": PLAIN, "Item": X, "ReturnValues": "ALL_NEW"}


def tables() -> Wrong:
    key, pk = keys("pk"), attributes(pk="S")
    good = table("", key, pk)
    units = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    both = {"GlobalSecondaryIndexes": [index("one", keys("a")), index("one", keys("a"))]}
    defined = {"AttributeDefinitions": attributes(pk="S", a="S")}
    changes: dict[str, dict[str, Any]] = {
        "exists": {"TableName": WIDE},
        "name-too-short": {"TableName": "ab"},
        "name-with-blank": {"TableName": "a table"},
        "no-attributes": {"AttributeDefinitions": []},
        "key-not-defined": {"AttributeDefinitions": attributes(other="S")},
        "attribute-not-used": {"AttributeDefinitions": attributes(pk="S", other="S")},
        "attribute-twice": {"AttributeDefinitions": [*pk, *pk]},
        "attribute-a-bool": {"AttributeDefinitions": attributes(pk="BOOL")},
        "no-keys": {"KeySchema": []},
        "two-hash-keys": defined | {"KeySchema": [*key, {"AttributeName": "a", "KeyType": "HASH"}]},
        "range-key-alone": {"KeySchema": [{"AttributeName": "pk", "KeyType": "RANGE"}]},
        "range-key-first": defined | {"KeySchema": keys("pk", "a")[::-1]},
        "same-key-twice": {"KeySchema": keys("pk", "pk")},
        "three-keys": defined | {"KeySchema": [*keys("pk", "a"), *keys("a")]},
        "key-type-unknown": {"KeySchema": [{"AttributeName": "pk", "KeyType": "SORT"}]},
        "units-on-demand": {"ProvisionedThroughput": units},
        "no-units": {"BillingMode": "PROVISIONED"},
        "units-0": {"BillingMode": "PROVISIONED", "ProvisionedThroughput": units | {"ReadCapacityUnits": 0}},
        "billing-unknown": {"BillingMode": "FREE"},
        "no-index-in-list": {"GlobalSecondaryIndexes": []},
        "index-twice": defined | both,
        "index-key-not-defined": {"GlobalSecondaryIndexes": [index("one", keys("a"))]},
        "index-name-too-short": defined | {"GlobalSecondaryIndexes": [index("on", keys("a"))]},
        "index-projection-unknown": defined | {"GlobalSecondaryIndexes": [index("one", keys("a"), "SOME")]},
        "index-include-nothing": defined | {"GlobalSecondaryIndexes": [index("one", keys("a"), "INCLUDE")]},
        "index-all-and-names": defined | {"GlobalSecondaryIndexes": [index("one", keys("a"), "ALL", "b")]},
        "21-indexes": defined | {"GlobalSecondaryIndexes": [index(f"i{n:02}", keys("a")) for n in range(21)]},
    }
    for name, change in changes.items():
        yield name, "CreateTable", good | {"TableName": f"never-{name}"} | change
    yield "describe-nobody", "DescribeTable", {"TableName": "nowhere"}
    yield "delete-nobody", "DeleteTable", {"TableName": "nowhere"}
    yield "describe-nothing", "DescribeTable", {}


def updates() -> Wrong:
    def update(*changes: Any, **more: Any) -> dict[str, Any]:
        return {"TableName": SPARE, "GlobalSecondaryIndexUpdates": list(changes)} | more

    defined = {"AttributeDefinitions": attributes(pk="S", size="N", a="S", b="S")}
    one, two = ({"Create": index(name, keys(name[0]))} for name in ("a-index", "b-index"))
    yield "nothing", "UpdateTable", {"TableName": SPARE}
    yield "empty-list", "UpdateTable", update()
    yield "no-such-table", "UpdateTable", update(one, **defined, TableName="nowhere")
    yield "delete-unknown", "UpdateTable", update({"Delete": {"IndexName": "nobody"}})
    yield "create-existing", "UpdateTable", update({"Create": index("by-size", keys("a"))}, **defined)
    yield "create-without-definition", "UpdateTable", update(one)
    yield "create-two", "UpdateTable", update(one, two, **defined)
    yield "create-and-delete", "UpdateTable", update({"Create": one["Create"], "Delete": {"IndexName": "by-size"}})
    yield "neither", "UpdateTable", update({})


def queries() -> Wrong:
    p = {":p": {"S": "a"}}

    def query(condition: str, values: Any = None, **more: Any) -> dict[str, Any]:
        body = {"TableName": WIDE, "KeyConditionExpression": condition, "ExpressionAttributeValues": values or p}
        return {k: v for k, v in (body | more).items() if v is not None}

    s = p | {":s": {"N": "1"}}
    conditions: dict[str, tuple[str, Any]] = {
        "empty": ("", p),
        "no-hash-key": ("sk = :s", {":s": {"N": "1"}}),
        "hash-key-larger": ("pk > :p", p),
        "hash-key-begins": ("begins_with(pk, :p)", p),
        "hash-key-between": ("pk BETWEEN :p AND :p", p),
        "hash-key-twice": ("pk = :p AND pk = :p", p),
        "other-attribute": ("pk = :p AND other = :s", s),
        "three-conditions": ("pk = :p AND sk > :s AND sk < :s", s),
        "or": ("pk = :p OR sk = :s", s),
        "not": ("NOT pk = :p", p),
        "unequal": ("pk = :p AND sk <> :s", s),
        "in": ("pk = :p AND sk IN (:s)", s),
        "contains": ("pk = :p AND contains(sk, :s)", s),
        "attribute-exists": ("pk = :p AND attribute_exists(sk)", p),
        "size": ("pk = :p AND size(sk) = :s", s),
        "begins-with-number": ("pk = :p AND begins_with(sk, :s)", s),
        "value-not-defined": ("pk = :q", p),
        "value-not-used": ("pk = :p", s),
        "name-not-defined": ("#k = :p", p),
        "hash-of-wrong-type": ("pk = :p", {":p": {"N": "1"}}),
        "sort-of-wrong-type": ("pk = :p AND sk = :s", p | {":s": {"S": "1"}}),
        "between-of-two-types": ("pk = :p AND sk BETWEEN :s AND :p", s),
        "between-upside-down": ("pk = :p AND sk BETWEEN :b AND :s", s | {":b": {"N": "2"}}),
        "reserved-word": ("size = :s", {":s": {"N": "1"}}),
        "ends-after-and": ("pk = :p AND", p),
        "ends-after-operator": ("pk =", p),
        "two-operators": ("pk == :p", p),
        "no-operator": ("pk :p", p),
        "open-parenthesis": ("(pk = :p", p),
        "close-parenthesis": ("pk = :p)", p),
        "comma": ("pk = :p, sk = :s", s),
        "literal-text": ('pk = "a"', None),
        "literal-number": ("pk = :p AND sk = 1", p),
        "strange-character": ("pk = :p AND sk = %s", p),
        "between-without-and": ("pk = :p AND sk BETWEEN :s :s", s),
        "double-parentheses": ("((pk = :p)) AND ((sk = :s))", s),
        "value-on-the-left": (":p = pk", p),
        "path": ("pk.x = :p", p),
        "value-is-a-set": ("pk = :p", {":p": {"SS": ["a"]}}),
        "value-malformed": ("pk = :p", {":p": {"N": "one"}}),
        "value-without-colon": ("pk = :p", {"p": {"S": "a"}}),
        "empty-hash": ("pk = :p", {":p": {"S": ""}}),
    }
    for name, (condition, given) in conditions.items():
        yield name, "Query", query(condition, given)
    yield "no-condition", "Query", {"TableName": WIDE}
    yield "no-values", "Query", {"TableName": WIDE, "KeyConditionExpression": "pk = :p"}
    yield "values-empty", "Query", query("pk = :p") | {"ExpressionAttributeValues": {}}
    yield "names-empty", "Query", query("pk = :p", ExpressionAttributeNames={})
    yield "name-not-used", "Query", query("pk = :p", ExpressionAttributeNames={"#k": "pk"})
    yield "name-without-hash", "Query", query("pk = :p", ExpressionAttributeNames={"k": "pk"})
    yield "no-such-table", "Query", query("pk = :p", TableName="nowhere")
    yield "no-such-index", "Query", query("pk = :p", IndexName="nobody")
    yield "table-key-at-index", "Query", query("pk = :p", IndexName="by-color")
    yield "consistent-index", "Query", query("color = :p", IndexName="by-color", ConsistentRead=True)
    yield "limit-0", "Query", query("pk = :p", Limit=0)
    yield "limit-negative", "Query", query("pk = :p", Limit=-1)
    yield "limit-text", "Query", query("pk = :p", Limit="ten")
    yield "start-incomplete", "Query", query("pk = :p", ExclusiveStartKey={"pk": {"S": "a"}})
    start = {"pk": {"S": "a"}, "sk": {"N": "1"}}
    yield "start-of-wrong-type", "Query", query("pk = :p", ExclusiveStartKey=start | {"sk": {"S": "1"}})
    yield "start-too-much", "Query", query("pk = :p", ExclusiveStartKey=start | {"x": {"S": "1"}})
    yield "start-elsewhere", "Query", query("pk = :p", ExclusiveStartKey=start | {"pk": {"S": "b"}})
    yield "start-without-index-key", "Query", query("color = :p", IndexName="by-color", ExclusiveStartKey=start)
    yield "select-unknown", "Query", query("pk = :p", Select="SOME")
    yield "select-count-projected", "Query", query("pk = :p", Select="COUNT", ProjectionExpression="sk")
    yield "select-specific-alone", "Query", query("pk = :p", Select="SPECIFIC_ATTRIBUTES")
    yield "select-projected-of-table", "Query", query("pk = :p", Select="ALL_PROJECTED_ATTRIBUTES")
    yield "select-all-of-keys-only", "Query", query(
        "#s = :s", {":s": {"N": "1"}}, TableName=LABELS, IndexName="by-size", Select="ALL_ATTRIBUTES",
        ExpressionAttributeNames={"#s": "size"})  # fmt: skip
    yield "forward-is-text", "Query", query("pk = :p", ScanIndexForward="no")


def scans() -> Wrong:
    yield "no-such-table", "Scan", {"TableName": "nowhere"}
    yield "no-such-index", "Scan", {"TableName": WIDE, "IndexName": "nobody"}
    yield "limit-0", "Scan", {"TableName": WIDE, "Limit": 0}
    yield "start-incomplete", "Scan", {"TableName": WIDE, "ExclusiveStartKey": {"pk": {"S": "a"}}}
    yield "start-of-wrong-type", "Scan", {"TableName": PLAIN, "ExclusiveStartKey": {"pk": {"N": "1"}}}
    yield "consistent-index", "Scan", {"TableName": WIDE, "IndexName": "by-color", "ConsistentRead": True}
    yield "select-unknown", "Scan", {"TableName": WIDE, "Select": "SOME"}
    yield "segment-alone", "Scan", {"TableName": WIDE, "Segment": 0}
    yield "segments-alone", "Scan", {"TableName": WIDE, "TotalSegments": 2}
    yield "segment-too-high", "Scan", {"TableName": WIDE, "Segment": 2, "TotalSegments": 2}


def projections() -> Wrong:
    given = {
        "empty": ("", None),
        "comma": (",", None),
        "ends-with-comma": ("s,", None),
        "twice": ("s, s", None),
        "overlap": ("#m, #m.x", {"#m": "map"}),
        "reserved-word": ("name", None),
        "reserved-word-in-path": ("x.name", None),
        "name-not-defined": ("#x", None),
        "name-not-used": ("s", {"#x": "x"}),
        "index-negative": ("s[-1]", None),
        "index-text": ("s[a]", None),
        "index-not-closed": ("s[1", None),
        "starts-with-index": ("[1]", None),
        "two-dots": ("s..n", None),
        "ends-with-dot": ("s.", None),
        "value": (":v", None),
        "operator": ("s = n", None),
        "strange-character": ("s; n", None),
        "number-first": ("1s", None),
    }
    for name, (expression, names) in given.items():
        body: dict[str, Any] = {"TableName": PLAIN, "Key": X, "ProjectionExpression": expression}
        yield name, "GetItem", body | ({"ExpressionAttributeNames": names} if names else {})
    yield "names-alone", "GetItem", {"TableName": PLAIN, "Key": X, "ExpressionAttributeNames": {"#x": "x"}}


def batches() -> Wrong:
    def get(*wanted: Any, **more: Any) -> dict[str, Any]:
        return {"RequestItems": {PLAIN: {"Keys": list(wanted)} | more}}

    def write(*requests: Any, name: str = PLAIN) -> dict[str, Any]:
        return {"RequestItems": {name: list(requests)}}

    put, delete = {"PutRequest": {"Item": X}}, {"DeleteRequest": {"Key": X}}
    yield "get-nothing", "BatchGetItem", {"RequestItems": {}}
    yield "get-no-keys", "BatchGetItem", get()
    yield "get-101", "BatchGetItem", get(*({"pk": {"S": f"k{n}"}} for n in range(101)))
    yield "get-twice", "BatchGetItem", get(X, X)
    yield "get-wrong-key", "BatchGetItem", get({"id": {"S": "x"}})
    yield "get-wrong-type", "BatchGetItem", get({"pk": {"N": "1"}})
    yield "get-no-such-table", "BatchGetItem", {"RequestItems": {"nowhere": {"Keys": [X]}}}
    yield "get-no-request-items", "BatchGetItem", {}
    yield "write-nothing", "BatchWriteItem", {"RequestItems": {}}
    yield "write-no-requests", "BatchWriteItem", write()
    yield "write-26", "BatchWriteItem", write(*({"PutRequest": {"Item": {"pk": {"S": f"k{n}"}}}} for n in range(26)))
    yield "write-put-twice", "BatchWriteItem", write(put, put)
    yield "write-put-and-delete", "BatchWriteItem", write(put, delete)
    yield "write-both-in-one", "BatchWriteItem", write(put | delete)
    yield "write-neither", "BatchWriteItem", write({})
    yield "write-wrong-key", "BatchWriteItem", write({"DeleteRequest": {"Key": {"id": {"S": "x"}}}})
    yield "write-no-key", "BatchWriteItem", write({"PutRequest": {"Item": {"v": {"S": "x"}}}})
    yield "write-empty-key", "BatchWriteItem", write({"PutRequest": {"Item": {"pk": {"S": ""}}}})
    yield "write-no-such-table", "BatchWriteItem", write(put, name="nowhere")
    large = [{"PutRequest": {"Item": {"pk": {"S": f"l{n}"}, "v": {"S": "x" * (400 * 1024)}}}} for n in range(2)]
    yield "write-too-large", "BatchWriteItem", write(*large)


def unsupported() -> Wrong:
    """What the front end does not do: it says so, and does nothing of it."""
    item = {"TableName": PLAIN, "Item": {"pk": {"S": "conditional"}}}
    values = {":v": {"S": "v"}}
    yield "UpdateItem", "UpdateItem", {"TableName": PLAIN, "Key": X, "UpdateExpression": "REMOVE v"}
    yield "condition", "PutItem", item | {"ConditionExpression": "attribute_not_exists(pk)"}
    yield "expected", "PutItem", item | {"Expected": {"pk": {"Exists": False}}}
    yield "return-old", "PutItem", item | {"ReturnValues": "ALL_OLD"}
    yield "return-capacity", "PutItem", item | {"ReturnConsumedCapacity": "TOTAL"}
    yield "delete-condition", "DeleteItem", {"TableName": PLAIN, "Key": X, "ConditionExpression": "attribute_exists(v)"}
    condition = {"TableName": PLAIN, "KeyConditionExpression": "pk = :v", "ExpressionAttributeValues": values}
    yield "query-filter", "Query", condition | {"FilterExpression": "n = :v"}
    yield "scan-filter", "Scan", {"TableName": PLAIN, "FilterExpression": "n = :v", "ExpressionAttributeValues": values}
    yield "attributes-to-get", "GetItem", {"TableName": PLAIN, "Key": X, "AttributesToGet": ["v"]}
    legacy = {"pk": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]}}
    yield "key-conditions", "Query", {"TableName": PLAIN, "KeyConditions": legacy}
    put = {"Put": {"TableName": PLAIN, "Item": {"pk": {"S": "transacted"}}}}
    yield "TransactWriteItems", "TransactWriteItems", {"TransactItems": [put]}
    yield "TransactGetItems", "TransactGetItems", {"TransactItems": [{"Get": {"TableName": PLAIN, "Key": X}}]}
    yield "ExecuteStatement", "ExecuteStatement", {"Statement": f"SELECT * FROM {PLAIN} WHERE pk = 'x'"}
    yield "DescribeTimeToLive", "DescribeTimeToLive", {"TableName": PLAIN}
    yield "DescribeContinuousBackups", "DescribeContinuousBackups", {"TableName": PLAIN}
    yield "DescribeEndpoints", "DescribeEndpoints", {}
    local = {"LocalSecondaryIndexes": [index("local", keys("pk", "a"))]}
    defined = attributes(pk="S", sk="S", a="S")
    yield "local-index", "CreateTable", table("local-made", keys("pk", "sk"), defined, **local)
    stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}}
    yield "stream", "CreateTable", table("stream-made", keys("pk"), attributes(pk="S"), **stream)
    tags = {"Tags": [{"Key": "k", "Value": "v"}]}
    yield "tags", "CreateTable", table("tags-made", keys("pk"), attributes(pk="S"), **tags)
    yield "deletion-protection", "UpdateTable", {"TableName": SPARE, "DeletionProtectionEnabled": False}

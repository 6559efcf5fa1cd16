"""The calls of the differential test: tables, items, and every way to read them that both sides know.

Order matters: `setup` makes and fills the tables that `reads` and `differential_errors` ask about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .differential import Case

WIDE, WORDS, BLOBS, NUMBERS, PLAIN = "wide", "words", "blobs", "numbers", "plain"
LABELS = "labels"  # what is projected here are whole numbers: moto fails on others
SPARE = "spare"  # for changes that one side may make although it should not
TABLES = (BLOBS, LABELS, NUMBERS, PLAIN, SPARE, WIDE, WORDS)
ON_DEMAND = {"BillingMode": "PAY_PER_REQUEST"}
# In order of value; text order, or floating point, would sort them differently.
SORT_NUMBERS = [
    *("-1" + "0" * 20, "-12.5", "-2", "-0.001", "0", "0.0000000000000000000000000000000000001", "0.5", "3", "20"),
    *("1234567890123456789012345678901234567", "12345678901234567890123456789012345678"),
    *("9" * 38, "1" + "0" * 100),
]
SORT_WORDS = ["", "a", "aa", "ab", "b", "ba", "Z", "z", "é", "日本", "😀", "~", "a\x00b"][1:]
SORT_BLOBS = [b"\x00", b"\x00\x00", b"\x00\x01", b"\x01", b"a", b"ab", b"\x7f", b"\x80", b"\xff", b"\xff\x00"]

EVERY_TYPE = {
    "s": {"S": "text, ünïcödé 😀 \u0000 \"'"},
    "empty": {"S": ""},
    "n": {"N": "-1.5"},
    "digits": {"N": "0." + "12345678901234567890123456789012345678"},
    "large": {"N": "9" * 38 + "0" * 87},
    "b": {"B": b"\x00\xff"},
    "no-bytes": {"B": b""},
    "yes": {"BOOL": True},
    "no": {"BOOL": False},
    "null": {"NULL": True},
    "list": {"L": [{"S": "x"}, {"N": "1"}, {"L": []}, {"M": {}}]},
    "map": {"M": {"inner": {"L": [{"M": {"deep": {"S": "found"}}}, {"S": "second"}]}, "with.dot": {"N": "7"}}},
    "ss": {"SS": ["b", "a", ""]},
    "ns": {"NS": ["10", "-2.5", "3"]},
    "bs": {"BS": [b"b", b"a"]},
}

SHAPES = {name: EVERY_TYPE[name] for name in ("s", "yes", "null", "list", "map")} | {"n": {"N": "7"}}


def keys(hash_key: str, range_key: str | None = None) -> list[dict[str, str]]:
    both = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return both + ([{"AttributeName": range_key, "KeyType": "RANGE"}] if range_key else [])


def attributes(**kinds: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def index(name: str, schema: list[dict[str, str]], projection: str = "ALL", *more: str) -> dict[str, Any]:
    projected: dict[str, Any] = {"ProjectionType": projection}
    if more:
        projected["NonKeyAttributes"] = list(more)
    return {"IndexName": name, "KeySchema": schema, "Projection": projected}


def table(name: str, schema: list[dict[str, str]], defined: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    return {"TableName": name, "KeySchema": schema, "AttributeDefinitions": defined} | ON_DEMAND | more


def setup() -> Iterator[Case]:
    """Tables of all key types, by name: an implementation may list them in order of creation. The runner waits for
    them after this."""
    yield Case("create/blobs", "CreateTable", table(BLOBS, keys("pk", "sk"), attributes(pk="B", sk="B")))
    by = [
        index("by-size", keys("size"), "KEYS_ONLY"),
        index("by-label", keys("color", "label"), "INCLUDE", "extra"),
    ]
    defined = attributes(pk="S", sk="N", color="S", size="N", label="S")
    yield Case("create/labels", "CreateTable", table(LABELS, keys("pk", "sk"), defined, GlobalSecondaryIndexes=by))
    yield Case("create/numbers", "CreateTable", table(NUMBERS, keys("pk"), attributes(pk="N")))
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}
    provisioned = table(PLAIN, keys("pk"), attributes(pk="S"), ProvisionedThroughput=units, BillingMode="PROVISIONED")
    yield Case("create/plain", "CreateTable", provisioned)
    one = [index("by-size", keys("size"), "KEYS_ONLY")]
    spare = table(SPARE, keys("pk"), attributes(pk="S", size="N"), GlobalSecondaryIndexes=one)
    yield Case("create/spare", "CreateTable", spare)
    by, defined = [index("by-color", keys("color", "sk"))], attributes(pk="S", sk="N", color="S")
    yield Case("create/wide", "CreateTable", table(WIDE, keys("pk", "sk"), defined, GlobalSecondaryIndexes=by))
    yield Case("create/words", "CreateTable", table(WORDS, keys("pk", "sk"), attributes(pk="S", sk="S")))


def put(case: str, table_name: str, item: dict[str, Any], **more: Any) -> Case:
    return Case(case, "PutItem", {"TableName": table_name, "Item": item} | more)


def get(case: str, table_name: str, key: dict[str, Any], **more: Any) -> Case:
    return Case(case, "GetItem", {"TableName": table_name, "Key": key, "ConsistentRead": True} | more)


def fill() -> Iterator[Case]:
    for number, sk in enumerate(SORT_NUMBERS):
        item = {"pk": {"S": "a"}, "sk": {"N": sk}, "color": {"S": ("red", "blue")[number % 2]}, "extra": {"N": sk}}
        yield put(f"fill/wide-a-{number}", WIDE, item)
    for number in range(12):
        item = {"pk": {"S": "a"}, "sk": {"N": str(number)}, "color": {"S": ("red", "blue")[number % 2]}}
        item |= {"size": {"N": str(number % 3)}, "label": {"S": f"l{number:02}"}}
        item |= {"extra": {"BOOL": True}, "other": {"L": [{"N": str(number)}]}}
        yield put(f"fill/labels-a-{number}", LABELS, item)
    for number in range(4):  # the index attributes are there, or some, or none
        item = {"pk": {"S": "b"}, "sk": {"N": str(100 + number)}, "extra": {"S": "b"}}
        item |= {"color": {"S": "red"}} if number < 2 else {}
        item |= {"size": {"N": "1"}} if number == 1 else {}
        yield put(f"fill/wide-b-{number}", WIDE, item)
        yield put(f"fill/labels-b-{number}", LABELS, item)
    for word in SORT_WORDS:
        yield put(f"fill/words-{word!a}", WORDS, {"pk": {"S": "w"}, "sk": {"S": word}, "len": {"N": "1"}})
    for blob in SORT_BLOBS:
        yield put(f"fill/blobs-{blob.hex()}", BLOBS, {"pk": {"B": b"\x00k"}, "sk": {"B": blob}})
    yield put("fill/plain-every-type", PLAIN, {"pk": {"S": "every"}} | EVERY_TYPE)
    yield put("fill/plain-shapes", PLAIN, {"pk": {"S": "shapes"}} | SHAPES)


def describe() -> Iterator[Case]:
    for name in TABLES:
        yield Case(f"describe/{name}", "DescribeTable", {"TableName": name})
    yield Case("list/all", "ListTables", {})
    yield Case("list/two", "ListTables", {"Limit": 2})
    yield Case("list/after", "ListTables", {"ExclusiveStartTableName": "numbers", "Limit": 1})
    yield Case("list/after-nobody", "ListTables", {"ExclusiveStartTableName": "nobody"})
    yield Case("list/after-last", "ListTables", {"ExclusiveStartTableName": "zzz"})


def items() -> Iterator[Case]:
    every = {"pk": {"S": "every"}}
    yield get("get/every-type", PLAIN, every)
    yield get("get/eventual", PLAIN, every, ConsistentRead=False)
    yield get("get/nobody", PLAIN, {"pk": {"S": "nobody"}})
    for number, sk in enumerate(SORT_NUMBERS):
        yield get(f"get/wide-{number}", WIDE, {"pk": {"S": "a"}, "sk": {"N": sk}})
    # Numbers come back as numbers do: one spelling, and one key whatever the spelling.
    for given in ("1.50", "+7", "007", "1e3", "1E-3", "-0", "0.0", "100000", ".5", "5.", "1E+125", "-1E-130"):
        yield put(f"number/put-{given}", NUMBERS, {"pk": {"N": given}, "again": {"N": given}})
        yield get(f"number/get-{given}", NUMBERS, {"pk": {"N": given}})
    yield put("put/replaces", PLAIN, {"pk": {"S": "one"}, "a": {"S": "old"}, "gone": {"S": "x"}})
    yield put("put/replaced", PLAIN, {"pk": {"S": "one"}, "a": {"S": "new"}})
    yield get("put/is-replaced", PLAIN, {"pk": {"S": "one"}})
    yield Case("delete/one", "DeleteItem", {"TableName": PLAIN, "Key": {"pk": {"S": "one"}}})
    yield get("delete/is-gone", PLAIN, {"pk": {"S": "one"}})
    yield Case("delete/again", "DeleteItem", {"TableName": PLAIN, "Key": {"pk": {"S": "one"}}})
    yield put("size/just-fits", PLAIN, {"pk": {"S": "large"}, "x": {"S": "x" * (400 * 1024 - 8)}})
    # One side refuses it, and what follows must find the same items.
    yield Case("size/removed", "DeleteItem", {"TableName": PLAIN, "Key": {"pk": {"S": "large"}}})
    yield put("size/key-just-fits", PLAIN, {"pk": {"S": "k" * 2048}})
    yield put("size/sort-just-fits", WORDS, {"pk": {"S": "size"}, "sk": {"S": "k" * 1024}})
    nested: dict[str, Any] = {"S": "deep"}
    for _ in range(31):
        nested = {"L": [nested]}
    yield put("size/depth-just-fits", PLAIN, {"pk": {"S": "deep"}, "l": nested})
    projections = {
        "one": "s",
        "some": "s, n, yes",
        "absent": "nothing",
        "absent-too": "s, nobody.nowhere[3].never",
        "nested": "#map.#inner[0].deep",
        "second": "#map.#inner[1]",
        "both": "#map.#inner[0].deep, #map.#inner[1]",
        "element": "#list[1]",
        "elements": "#list[0], #list[2]",
        "beyond": "#list[99]",
        "dotted": "#map.#dot",
        "whole": "#map",
    }
    names = {"#map": "map", "#inner": "inner", "#list": "list", "#dot": "with.dot"}
    for name, expression in projections.items():
        used = {k: v for k, v in names.items() if k in expression}
        more: dict[str, Any] = {"ProjectionExpression": expression}
        more |= {"ExpressionAttributeNames": used} if used else {}
        yield get(f"projection/{name}", PLAIN, {"pk": {"S": "shapes"}}, **more)


def query(case: str, table_name: str, condition: str, values: dict[str, Any], **more: Any) -> Case:
    unordered = more.pop("unordered", False)
    body = {"TableName": table_name, "KeyConditionExpression": condition, "ExpressionAttributeValues": values}
    return Case(case, "Query", body | more, "pages" if "Limit" in more else "call", unordered)


def queries() -> Iterator[Case]:
    """Every operator, on tables and indexes of every type of sort key, both directions, whole and in pages."""
    places = [
        ("wide", WIDE, {}, ("pk", {"S": "a"}), ("sk", "N", "-2", "20")),
        ("words", WORDS, {}, ("pk", {"S": "w"}), ("sk", "S", "aa", "z")),
        ("blobs", BLOBS, {}, ("pk", {"B": b"\x00k"}), ("sk", "B", b"\x00\x01", b"\x80")),
        ("by-color", WIDE, {"IndexName": "by-color"}, ("color", {"S": "red"}), ("sk", "N", "-2", "20")),
        ("by-label", LABELS, {"IndexName": "by-label"}, ("color", {"S": "red"}), ("label", "S", "l02", "l08")),
    ]
    for place, name, where, (hash_key, hash_value), (sort, kind, low, high) in places:
        conditions: dict[str, tuple[str, dict[str, Any]]] = {"hash": ("#h = :h", {})}
        for operator in ("=", "<", "<=", ">", ">="):
            conditions[operator] = (f"#h = :h AND #s {operator} :low", {":low": {kind: low}})
        between = {":low": {kind: low}, ":high": {kind: high}}
        conditions["between"] = ("#h = :h AND #s BETWEEN :low AND :high", between)
        if kind != "N":
            begin = low[:1]
            conditions["begins"] = ("#h = :h AND begins_with(#s, :low)", {":low": {kind: begin}})
        for what, (condition, values) in conditions.items():
            names = {"#h": hash_key} | ({"#s": sort} if "#s" in condition else {})
            for forward in (True, False):
                for limit in (None, 2):
                    more: dict[str, Any] = where | {"ExpressionAttributeNames": names, "ScanIndexForward": forward}
                    more |= {"Limit": limit} if limit else {}
                    label = f"query/{place}-{what}-{'up' if forward else 'down'}{'-paged' if limit else ''}"
                    yield query(label, name, condition, values | {":h": hash_value}, **more)
    a = {":p": {"S": "a"}}
    yield query("query/nobody", WIDE, "pk = :p", {":p": {"S": "nobody"}})
    yield query("query/lower-case-and", WIDE, "pk = :p and sk > :s", a | {":s": {"N": "0"}})
    yield query("query/parentheses", WIDE, "(pk = :p) AND (sk > :s)", a | {":s": {"N": "0"}})
    yield query("query/sort-first", WIDE, "sk > :s AND pk = :p", a | {":s": {"N": "0"}})
    yield query("query/no-blanks", WIDE, "pk=:p AND sk>=:s", a | {":s": {"N": "0"}})
    yield query("query/other-spelling", WIDE, "pk = :p AND sk = :s", a | {":s": {"N": "0.50"}})
    yield query("query/consistent", WIDE, "pk = :p", a, ConsistentRead=True)
    yield query("query/count", WIDE, "pk = :p", a, Select="COUNT")
    yield query("query/count-paged", WIDE, "pk = :p", a, Select="COUNT", Limit=5)
    yield query("query/all-attributes", WIDE, "pk = :p", a, Select="ALL_ATTRIBUTES")
    yield query("query/projected", LABELS, "pk = :p", a, ProjectionExpression="sk, extra")
    yield query("query/specific", LABELS, "pk = :p", a, Select="SPECIFIC_ATTRIBUTES", ProjectionExpression="sk")
    yield Case("query/one-page", "Query", {"TableName": WIDE, "Limit": 3, "KeyConditionExpression": "pk = :p",
                                           "ExpressionAttributeValues": a})  # fmt: skip
    red = {":p": {"S": "red"}}
    at = {"IndexName": "by-color", "KeyConditionExpression": "color = :p", "ExpressionAttributeValues": red}
    yield Case("query/one-page-of-index", "Query", {"TableName": WIDE, "Limit": 3} | at)
    one = {":p": {"N": "1"}}
    size = {"#size": "size"}
    yield query("query/by-size", LABELS, "#size = :p", one, IndexName="by-size", ExpressionAttributeNames=size,
                unordered=True)  # fmt: skip
    yield query("query/by-size-paged", LABELS, "#size = :p", one, IndexName="by-size", ExpressionAttributeNames=size,
                Limit=2, unordered=True)  # fmt: skip
    yield query("query/index-projected", LABELS, "color = :p", red, IndexName="by-label", ProjectionExpression="extra")
    yield query("query/index-count", LABELS, "color = :p", red, IndexName="by-label", Select="COUNT")
    yield query("query/index-all-projected", LABELS, "color = :p", red, IndexName="by-label",
                Select="ALL_PROJECTED_ATTRIBUTES")  # fmt: skip


def scans() -> Iterator[Case]:
    """A scan has no order, and neither have its pages: what is compared is all of it."""
    # Not the numbers: sorting them would mix up their spellings.
    for name in (BLOBS, LABELS, PLAIN, SPARE, WIDE, WORDS):
        yield Case(f"scan/{name}", "Scan", {"TableName": name}, "pages", True)
        yield Case(f"scan/{name}-paged", "Scan", {"TableName": name, "Limit": 2}, "pages", True)
    for name, of in (("by-color", WIDE), ("by-size", LABELS), ("by-label", LABELS)):
        yield Case(f"scan/{name}", "Scan", {"TableName": of, "IndexName": name}, "pages", True)
    yield Case("scan/count", "Scan", {"TableName": WIDE, "Select": "COUNT"})
    yield Case("scan/consistent", "Scan", {"TableName": WORDS, "ConsistentRead": True}, "pages", True)
    yield Case("scan/segment", "Scan", {"TableName": WORDS, "Segment": 0, "TotalSegments": 1}, "pages", True)
    yield Case("scan/projected", "Scan", {"TableName": LABELS, "ProjectionExpression": "pk, extra"}, "pages", True)


def batches() -> Iterator[Case]:
    puts = [{"PutRequest": {"Item": {"pk": {"S": f"batch-{n}"}, "n": {"N": str(n)}}}} for n in range(25)]
    yield Case("batch/put-25", "BatchWriteItem", {"RequestItems": {PLAIN: puts}})
    asked = [{"pk": {"S": f"batch-{n}"}} for n in range(0, 30, 3)]
    for consistent in (True, False):
        of = {PLAIN: {"Keys": asked, "ConsistentRead": consistent}}
        yield Case(f"batch/get-{consistent}", "BatchGetItem", {"RequestItems": of}, "call", True)
    two = {
        PLAIN: {"Keys": asked[:2], "ProjectionExpression": "#n", "ExpressionAttributeNames": {"#n": "n"}},
        WORDS: {"Keys": [{"pk": {"S": "w"}, "sk": {"S": "a"}}]},
    }
    yield Case("batch/get-two-tables", "BatchGetItem", {"RequestItems": two}, "call", True)
    gone = [{"DeleteRequest": {"Key": {"pk": {"S": f"batch-{n}"}}}} for n in range(20)]
    mixed = {PLAIN: [*gone, {"PutRequest": {"Item": {"pk": {"S": "mixed"}}}}],
             WORDS: [{"PutRequest": {"Item": {"pk": {"S": "x"}, "sk": {"S": "mixed"}}}}]}  # fmt: skip
    yield Case("batch/mixed", "BatchWriteItem", {"RequestItems": mixed})
    yield Case("batch/get-after", "BatchGetItem", {"RequestItems": {PLAIN: {"Keys": asked}}}, "call", True)
    yield get("batch/mixed-is-there", WORDS, {"pk": {"S": "x"}, "sk": {"S": "mixed"}})


def moving() -> Iterator[Case]:
    """Index entries follow their items."""
    at = {"IndexName": "by-color", "ConsistentRead": False}
    green, black = {":p": {"S": "green"}}, {":p": {"S": "black"}}
    item = {"pk": {"S": "m"}, "sk": {"N": "1"}, "color": {"S": "green"}, "note": {"S": "one"}}
    yield put("moving/put", WIDE, item)
    yield query("moving/there", WIDE, "color = :p", green, **at)
    yield put("moving/other-attribute", WIDE, item | {"note": {"S": "two"}})
    yield query("moving/follows", WIDE, "color = :p", green, **at)
    yield put("moving/other-color", WIDE, item | {"color": {"S": "black"}})
    yield query("moving/left", WIDE, "color = :p", green, **at)
    yield query("moving/arrived", WIDE, "color = :p", black, **at)
    yield put("moving/no-color", WIDE, {"pk": {"S": "m"}, "sk": {"N": "1"}})
    yield query("moving/left-the-index", WIDE, "color = :p", black, **at)
    yield put("moving/back", WIDE, item)
    yield Case("moving/delete", "DeleteItem", {"TableName": WIDE, "Key": {"pk": {"S": "m"}, "sk": {"N": "1"}}})
    yield query("moving/deleted", WIDE, "color = :p", green, **at)


def add_index() -> Iterator[Case]:
    new = index("by-length", keys("len", "sk"), "KEYS_ONLY")
    yield Case("update/add", "UpdateTable", {
        "TableName": WORDS, "AttributeDefinitions": attributes(pk="S", sk="S", len="N"),
        "GlobalSecondaryIndexUpdates": [{"Create": new}]})  # fmt: skip


def use_index() -> Iterator[Case]:
    yield Case("update/described", "DescribeTable", {"TableName": WORDS})
    one, length = {":p": {"N": "1"}}, {"#l": "len"}
    for forward in (True, False):
        yield query(f"update/backfilled-{forward}", WORDS, "#l = :p", one, IndexName="by-length",
                    ExpressionAttributeNames=length, ScanIndexForward=forward)  # fmt: skip
    yield put("update/put-after", WORDS, {"pk": {"S": "w"}, "sk": {"S": "later"}, "len": {"N": "1"}})
    yield query("update/sees-later", WORDS, "#l = :p", one, IndexName="by-length", ExpressionAttributeNames=length)


def remove_index() -> Iterator[Case]:
    gone = [{"Delete": {"IndexName": "by-length"}}]
    yield Case("update/remove", "UpdateTable", {"TableName": WORDS, "GlobalSecondaryIndexUpdates": gone})


def without_index() -> Iterator[Case]:
    yield Case("update/described-without", "DescribeTable", {"TableName": WORDS})
    length = {"#l": "len"}
    yield query("update/gone", WORDS, "#l = :p", {":p": {"N": "1"}}, IndexName="by-length",
                ExpressionAttributeNames=length)  # fmt: skip


def drop() -> Iterator[Case]:
    for name in TABLES:
        if name != SPARE:
            yield Case(f"drop/{name}", "DeleteTable", {"TableName": name})


def dropped() -> Iterator[Case]:
    yield Case("dropped/describe", "DescribeTable", {"TableName": PLAIN})
    yield Case("dropped/again", "DeleteTable", {"TableName": PLAIN})
    yield put("dropped/put", PLAIN, {"pk": {"S": "x"}})
    yield Case("dropped/list", "ListTables", {})

"""Queries and scans: which rows are asked for, which of their attributes told, and where the next page starts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall_services.frontend import pages
from cellwall_services.frontend.errors import ValidationError
from cellwall_services.frontend.expressions import KeyCondition
from cellwall_services.frontend.pages import StartKey

from .frontend_requests import INFO, ITEM, WHOLE, parse

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

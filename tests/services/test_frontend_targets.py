"""Where items live: their keys, the partitions and index entries that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from cellwall.keys import encode_key
from cellwall.model import TableInfo
from cellwall_services.frontend import targets, values
from cellwall_services.frontend.errors import ValidationError

from .frontend_requests import INFO, WHOLE


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

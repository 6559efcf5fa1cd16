"""Attribute values: which are allowed, their canonical form, their sizes, and what the errors say."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.keys import canonical_number
from cellwall_services.frontend import values
from cellwall_services.frontend.errors import ApiError, SerializationError, ValidationError

number = st.integers(-(10**37), 10**37).map(str)
binary = st.binary(max_size=6).map(lambda b: base64.b64encode(b).decode())
text = st.text(max_size=6)


def _set(kind: str, member: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(member, min_size=1, max_size=4, unique=True).map(lambda found: {kind: found})


scalar = st.one_of(
    text.map(lambda v: {"S": v}),
    number.map(lambda v: {"N": v}),
    binary.map(lambda v: {"B": v}),
    st.booleans().map(lambda v: {"BOOL": v}),
    st.just({"NULL": True}),
    _set("SS", text),
    _set("NS", number),
    _set("BS", binary),
)
attribute = st.recursive(
    scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: {"L": v}),
        st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3).map(lambda v: {"M": v}),
    ),
    max_leaves=8,
)
items = st.dictionaries(st.text(min_size=1, max_size=6), attribute, max_size=4)


def dumb(value: dict[str, Any]) -> dict[str, Any]:
    """The twin: what canonical means, without sizes, places or limits."""
    ((kind, content),) = value.items()
    if kind == "L":
        return {"L": [dumb(v) for v in content]}
    if kind == "M":
        return {"M": {k: dumb(v) for k, v in content.items()}}
    if kind == "N":
        return {"N": canonical_number(content)}
    return {kind: sorted(content)} if kind in ("SS", "BS", "NS") else {kind: content}


@given(items)
def test_values_round_trip(item: dict[str, Any]) -> None:
    canonical = values.item(item, "Item")
    assert canonical == {name: dumb(value) for name, value in item.items()}
    assert values.decode(values.encode(canonical)) == canonical
    assert values.item(canonical, "Item") == canonical
    turned = dict(reversed(item.items()))
    assert values.encode(values.item(turned, "Item")) == values.encode(canonical)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*values.TYPES, "x")), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(json_values)
def test_any_json_is_a_value_or_a_clear_error(raw: Any) -> None:
    try:
        canonical, size_bytes = values.value(raw, "Item.a")
    except ApiError as error:
        assert "Item.a" in error.message and error.status == 400
    else:
        assert size_bytes >= 0 and len(canonical) == 1


@pytest.mark.parametrize(
    ("raw", "expected", "place"),
    [
        ({}, ValidationError, "Item.a"),
        ({"S": "x", "N": "1"}, ValidationError, "Item.a"),
        ({"X": "x"}, ValidationError, "Item.a"),
        ({"S": None}, ValidationError, "Item.a"),
        (None, ValidationError, "Item.a"),
        ("x", SerializationError, "Item.a"),
        ({"S": 1}, SerializationError, "Item.a.S"),
        ({"B": "a"}, SerializationError, "Item.a.B"),
        ({"B": "a b="}, SerializationError, "Item.a.B"),
        ({"NULL": False}, ValidationError, "Item.a.NULL"),
        ({"BOOL": "true"}, SerializationError, "Item.a.BOOL"),
        ({"NS": ["1", "1.0"]}, ValidationError, "Item.a.NS"),
        ({"L": [{"S": "x"}, {"N": ""}]}, ValidationError, "Item.a.L[1].N"),
        ({"M": {"k": {"SS": "x"}}}, SerializationError, "Item.a.M.k.SS"),
        ({"M": {"": {"S": "x"}}}, ValidationError, "Item.a.M"),
    ],
)
def test_value_errors_name_the_place(raw: Any, expected: type[ApiError], place: str) -> None:
    with pytest.raises(expected) as error:
        values.item({"a": raw}, "Item")
    assert f"{place} " in error.value.message.replace(":", " ") + " "


def test_nesting_and_size_limits() -> None:
    deep: dict[str, Any] = {"S": "x"}
    for _ in range(values.NESTING_MAX):
        deep = {"L": [deep]}
    values.item({"a": deep}, "Item")
    with pytest.raises(ValidationError, match="Nesting"):
        values.item({"a": {"M": {"b": deep}}}, "Item")
    values.item({"a": {"S": "x" * (values.ITEM_BYTES_MAX - 1)}}, "Item")
    with pytest.raises(ValidationError, match="Item size"):
        values.item({"a": {"S": "x" * values.ITEM_BYTES_MAX}}, "Item")


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("", "cannot be converted to a numeric value: ''"),
        (" 1", "cannot be converted to a numeric value: ' 1'"),
        ("٣", "cannot be converted to a numeric value: '٣'"),
        ("1E9999999999", "Number overflow"),
        ("1E" + "9" * 99, "cannot be converted to a numeric value: '1E999"),
        ("1_000", "cannot be converted to a numeric value: '1_000'"),
        ("0x10", "cannot be converted to a numeric value: '0x10'"),
        ("NaN", "cannot be converted to a numeric value: 'NaN'"),
        ("-Infinity", "cannot be converted to a numeric value: '-Infinity'"),
        ("1" * 39, "more than 38 significant digits"),
        ("-0." + "1" * 39, "more than 38 significant digits"),
        ("1E126", "Number overflow"),
        ("-1E126", "Number overflow"),
        ("1E-131", "Number underflow"),
    ],
)
def test_numbers_refused(number: str, problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        values.item({"a": {"NS": ["1", number]}}, "Item")
    assert problem in error.value.message and "Item.a.NS[1]" in error.value.message


@pytest.mark.parametrize("number", ["9" * 38, "1" + "0" * 125, "-" + "9" * 38 + "0" * 88, "1E-130", "1" * 38 + "000"])
def test_numbers_of_38_digits(number: str) -> None:
    assert values.item({"a": {"N": number}}, "Item") == {"a": {"N": canonical_number(number)}}


@pytest.mark.parametrize(
    ("item", "expected_bytes"),
    [  # Developer Guide, "DynamoDB item sizes and formats"
        ({}, 0),
        ({"ab": {"S": "é"}}, 2 + 2),
        ({"a": {"N": "-123"}}, 1 + 3),
        ({"a": {"B": "AAEC"}}, 1 + 3),
        ({"a": {"BOOL": False}, "b": {"NULL": True}}, 1 + 1 + 1 + 1),
        ({"a": {"L": [{"S": "x"}, {"S": ""}]}}, 1 + 3 + (1 + 1) + 1),
        ({"a": {"M": {"bc": {"S": "x"}}}}, 1 + 3 + (2 + 1 + 1)),
    ],
)
def test_sizes(item: Any, expected_bytes: int) -> None:
    as_map_bytes = values.CONTAINER_BYTES + len(item)  # what a map has over an item
    assert values.value({"M": item}, "Item.m")[1] == expected_bytes + as_map_bytes


@pytest.mark.parametrize("kind", ["SS", "NS", "BS"])
def test_an_empty_set_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"not be empty: Item.a.{kind}"):
        values.item({"a": {kind: []}}, "Item")

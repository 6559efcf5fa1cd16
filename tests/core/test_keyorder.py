"""Bytes in the store sort like range keys, and a key condition's bounds hold just the keys that satisfy it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellwall import keyorder
from cellwall.errors import Refused
from cellwall.keys import KeyOp, base_key, canonical_number, encode_key, index_key, key_range

Value = str | bytes

figures = st.one_of(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-1200, 1200))
# Every exponent the protocol has, and many close neighbours.
numbers = st.builds(lambda n, e: f"{n}e{e}", figures, st.one_of(st.integers(-130, 88), st.integers(-3, 3))).filter(
    lambda text: not Decimal(text) or -130 <= Decimal(text).adjusted() <= 125
)
# Zeros and 255 are what an escape could get wrong.
blobs = st.lists(st.sampled_from([0, 1, 0x42, 0xFE, 0xFF]), max_size=4).map(bytes)
texts = st.text(st.sampled_from("\x00\x01a\xffé\uffff\U00010000"), max_size=4)
OF_TYPE: dict[str, st.SearchStrategy[Value]] = {"N": numbers, "S": texts, "B": blobs}


def rank(kind: str, value: Value) -> Any:
    """The dumb twin's order."""
    if kind == "N":
        return Decimal(str(value))
    return value.encode() if isinstance(value, str) else value


@given(numbers, numbers)
@example("-1.5", "-1")
@example("-0", "1e-130")
@example("9" * 38 + "e87", "1e125")
def test_numbers_sort_by_value(a: str, b: str) -> None:
    first, second = (keyorder.number(canonical_number(text)) for text in (a, b))
    assert (first < second) == (Decimal(a) < Decimal(b))
    assert (first == second) == (Decimal(a) == Decimal(b))


@pytest.mark.parametrize("kind", OF_TYPE)
@given(data=st.data())
def test_items_and_entries_sort_by_range_key(kind: str, data: st.DataObject) -> None:
    a, b = data.draw(OF_TYPE[kind]), data.draw(OF_TYPE[kind])
    bases = st.tuples(st.sampled_from("SB"), blobs).map(lambda hashed: encode_key(*hashed))
    x, y = data.draw(bases), data.draw(bases)
    assert (encode_key("S", "h", kind, a) < encode_key("S", "h", kind, b)) == (rank(kind, a) < rank(kind, b))
    left, right = index_key("S", "h", kind, a, x), index_key("S", "h", kind, b, y)
    assert (left < right) == ((rank(kind, a), x) < (rank(kind, b), y))
    assert (left == right) == ((rank(kind, a), x) == (rank(kind, b), y))


parts = st.tuples(st.sampled_from("SB"), blobs)
schemas = st.one_of(parts.map(lambda h: (*h, None, b"")), st.builds(lambda h, r: (*h, *r), parts, parts))


@given(schemas, schemas, schemas, schemas)
def test_entries_of_different_items_or_index_keys_differ(a: Any, b: Any, x: Any, y: Any) -> None:
    def entry(schema: Any, item: Any) -> bytes:
        hash_type, hash_key, range_type, range_key = schema
        return index_key(hash_type, hash_key, range_type, range_key, encode_key(*item))

    left, right = entry(a, x), entry(b, y)
    assert (left == right) == ((a, x) == (b, y))
    assert base_key(left) == encode_key(*x)


SATISFIES: dict[str | None, Callable[..., bool]] = {
    None: lambda r: True,
    "=": lambda r, v: r == v,
    "<": lambda r, v: r < v,
    "<=": lambda r, v: r <= v,
    ">": lambda r, v: r > v,
    ">=": lambda r, v: r >= v,
    "BETWEEN": lambda r, v, w: v <= r <= w,
    "begins_with": lambda r, v: r.startswith(v),
}


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("op", SATISFIES)
@given(data=st.data())
def test_a_range_holds_what_a_filter_keeps(op: KeyOp | None, index: bool, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from("SB" if op == "begins_with" else "NSB"))
    wanted, *others = data.draw(st.lists(blobs, min_size=1, max_size=3, unique=True))
    rows = data.draw(st.lists(st.tuples(st.sampled_from([wanted, *others]), OF_TYPE[kind]), max_size=8))
    operands = 0 if op is None else 2 if op == "BETWEEN" else 1
    near = st.one_of(OF_TYPE[kind], st.sampled_from([value for _, value in rows])) if rows else OF_TYPE[kind]
    values = [data.draw(near) for _ in range(operands)]

    first, last = key_range("B", wanted, kind, op, values, index=index)
    assert last
    for hash_key, value in rows:
        base = encode_key("S", data.draw(texts))
        key = index_key("B", hash_key, kind, value, base) if index else encode_key("B", hash_key, kind, value)
        ranks = [rank(kind, v) for v in values]
        assert (first <= key < last) == (hash_key == wanted and SATISFIES[op](rank(kind, value), *ranks))


@given(st.lists(blobs, min_size=2, unique=True), blobs)
def test_without_a_range_key_it_holds_the_hash_key_alone(hashes: list[bytes], base: bytes) -> None:
    for index in (False, True):
        first, last = key_range("B", hashes[0], None, None, [], index=index)
        keys = [index_key("B", h, None, b"", encode_key("B", base)) if index else encode_key("B", h) for h in hashes]
        assert [first <= key < last for key in keys] == [True] + [False] * (len(hashes) - 1)


@pytest.mark.parametrize(
    ("range_type", "op", "values"),
    [("N", "begins_with", ["1"]), (None, "=", ["x"]), ("S", "BETWEEN", ["x"]), ("S", "=", []), ("S", "<>", ["x"])],
)
def test_conditions_that_mean_nothing_are_refused(range_type: str | None, op: KeyOp, values: list[str]) -> None:
    with pytest.raises(Refused):
        key_range("S", "h", range_type, op, values, index=False)


@given(blobs, blobs)
def test_beyond_is_the_end_of_a_prefix(prefix: bytes, other: bytes) -> None:
    end = keyorder.beyond(prefix)
    assert other.startswith(prefix) == (prefix <= other and (not end or other < end))

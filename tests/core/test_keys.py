"""Keys: equal keys have equal bytes and hash, different keys different bytes (I7)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.keys import canonical_number, encode_key, key_hash, partition_for
from cellwall.model import hash_slice

numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=8)
keys = st.one_of(
    st.tuples(st.just("S"), st.text(max_size=8)),
    st.tuples(st.just("B"), st.binary(max_size=8)),
    st.tuples(st.just("N"), numbers.map(str)),
)


@given(numbers)
def test_numbers_keep_their_value(value: Decimal) -> None:
    text = canonical_number(str(value))
    assert Decimal(text) == value
    assert "E" not in text and not text.startswith("+")
    assert canonical_number(text) == text


@given(numbers, numbers)
def test_equal_numbers_have_one_spelling(a: Decimal, b: Decimal) -> None:
    assert (canonical_number(str(a)) == canonical_number(str(b))) == (a == b)
    assert canonical_number(f"{a:e}") == canonical_number(str(a))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.50e1", "15"),
        ("-0", "0"),
        ("0e500", "0"),
        ("+007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1E125", "1" + "0" * 125),
        ("-1e-130", "-0." + "0" * 129 + "1"),
        ("9" * 38, "9" * 38),
        ("1" + "0" * 100, "1" + "0" * 100),
    ],
)
def test_numbers(text: str, canonical: str) -> None:
    assert canonical_number(text) == canonical


@pytest.mark.parametrize(
    "text", ["", "x", "1e", "NaN", "Infinity", "1 ", "١", "1_0", "0x1", "1e126", "1e-131", "9" * 39]
)
def test_numbers_refused(text: str) -> None:
    with pytest.raises(Refused):
        canonical_number(text)


def test_a_long_refused_number_is_not_repeated_whole() -> None:
    with pytest.raises(Refused) as error:
        canonical_number("1" * 100_000)
    assert len(str(error.value)) < 200


@given(keys, keys, keys, keys)
def test_encoding_is_injective(
    h1: tuple[str, str | bytes], r1: tuple[str, str | bytes], h2: tuple[str, str | bytes], r2: tuple[str, str | bytes]
) -> None:
    def same(a: tuple[str, str | bytes], b: tuple[str, str | bytes]) -> bool:
        if a[0] == b[0] == "N":
            return Decimal(str(a[1])) == Decimal(str(b[1]))
        return a == b

    assert (encode_key(*h1, *r1) == encode_key(*h2, *r2)) == (same(h1, h2) and same(r1, r2))
    assert encode_key(*h1) != encode_key(*h2, *r2)
    if same(h1, h2):
        assert key_hash(*h1) == key_hash(*h2)


@given(keys, st.integers(1, 50))
def test_partition_holds_the_hash(key: tuple[str, str | bytes], partitions: int) -> None:
    lo, hi = hash_slice(partition_for(*key, partitions), partitions)
    assert int(lo, 16) <= key_hash(*key) < (int(hi, 16) if hi else 1 << 64)


def test_hash_is_fixed() -> None:
    """Data on disk and seeded load depend on it: a change must be noticed."""
    assert key_hash("S", "k-1") == key_hash("S", b"k-1")
    assert key_hash("N", "1.0") == key_hash("N", "1")
    assert f"{key_hash('S', 'k-1'):016x}" == "dfbc43774dc335ab"


def test_unknown_type_is_refused() -> None:
    with pytest.raises(Refused):
        key_hash("BOOL", "x")

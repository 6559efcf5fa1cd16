"""Keys: their canonical form, their bytes in the store, what a key condition spans there, and their hash.

Decides which number two spellings denote, under which bytes an item or an index entry is kept and which
partition holds it. Never touches items. Invariant I10: equal keys have equal bytes and hash, different keys
different bytes, and under one hash key the bytes sort like the range keys (`keyorder`); the front end, the
load generator and the simulation all take them from here.

    an item          hash key (type, length, bytes) | range key (type, bytes that sort)
    an index entry   hash key (type, length, bytes) | range key (type, escaped bytes that sort) | END | the item's key
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

from . import keyorder
from .errors import Refused
from .model import partition_of

KeyOp = Literal["=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"]

KEY_TYPES = ("S", "N", "B")

# The four figures below: DynamoDB Developer Guide, "Service, account, and table quotas".
NUMBER_DIGITS_MAX = 38
NUMBER_EXPONENT_MAX = 125  # largest magnitude 9.99…E+125
NUMBER_EXPONENT_MIN = -130  # smallest magnitude 1E-130
HASH_KEY_BYTES_MAX, RANGE_KEY_BYTES_MAX = 2048, 1024

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", re.ASCII)


def canonical_number(text: str) -> str:
    """The one spelling of a number: plain decimal, no exponent, no needless zero ("1.50e1" -> "15")."""
    if not _NUMBER.fullmatch(text):
        raise Refused(f"{_short(text)} is not a number")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Refused(f"{_short(text)} is not a number") from None
    if not value:
        return "0"
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # only NaN and infinity have another kind, and the pattern lets none in
    figures = "".join(map(str, digits)).rstrip("0")
    if len(figures) > NUMBER_DIGITS_MAX:
        raise Refused(f"{_short(text)} has more than {NUMBER_DIGITS_MAX} significant digits")
    if not NUMBER_EXPONENT_MIN <= value.adjusted() <= NUMBER_EXPONENT_MAX:
        raise Refused(f"{_short(text)} is out of range: the magnitude must be from 1E-130 to 9.99…E+125")
    exponent += len(digits) - len(figures)
    return ("-" if sign else "") + _plain(figures, exponent)


def key_bytes(kind: str, value: bytes | str) -> bytes:
    """One key attribute's bytes: UTF-8 of a string, the canonical number, or the bytes themselves."""
    if kind == "N":
        return canonical_number(value if isinstance(value, str) else value.decode("ascii", "replace")).encode()
    if kind not in KEY_TYPES:
        raise Refused(f"key type: {kind!r} is not one of {', '.join(KEY_TYPES)}")
    return value.encode() if isinstance(value, str) else value


def encode_key(
    hash_type: str, hash_key: bytes | str, range_type: str | None = None, range_key: bytes | str = b""
) -> bytes:
    """The bytes under which a replica keeps an item. The length before the hash key keeps it injective."""
    head = _head(hash_type, hash_key)
    return head if range_type is None else head + range_type.encode() + _sortable(range_type, range_key)


def index_key(
    hash_type: str, hash_key: bytes | str, range_type: str | None, range_key: bytes | str, base_key: bytes
) -> bytes:
    """The bytes of an entry in an index's partition; ``base_key``: the item's own, as of `encode_key`.

    Entries of one index hash key sort by index range key, then by the item's key."""
    head = _head(hash_type, hash_key)
    if range_type is not None:
        head += range_type.encode() + keyorder.escape(_sortable(range_type, range_key))
    return head + keyorder.END + base_key


def base_key(index_key: bytes) -> bytes:
    """The key of the item that an index entry stands for."""
    after_hash = 3 + int.from_bytes(index_key[1:3], "big")
    return index_key[index_key.index(keyorder.END, after_hash) + len(keyorder.END) :]


def key_range(
    hash_type: str,
    hash_key: bytes | str,
    range_type: str | None,
    op: KeyOp | None,
    values: Sequence[bytes | str],
    *,
    index: bool,
) -> tuple[bytes, bytes]:
    """(first, last): first <= key < last holds for just the keys that satisfy a condition. ``last`` is never b"".

    ``op`` None: every range key. ``values``: the operands, two for BETWEEN. ``index``: keys as of `index_key`,
    otherwise as of `encode_key`. A condition that nothing satisfies (BETWEEN 2 AND 1) gives first >= last.
    """
    head = _head(hash_type, hash_key)
    if op is None:
        return head, keyorder.beyond(head)
    if range_type is None:
        raise Refused(f"{op}: there is no range key")
    if len(values) != (2 if op == "BETWEEN" else 1):
        raise Refused(f"{op}: {len(values)} operands")
    head += range_type.encode()

    def at(value: bytes | str) -> bytes:
        """Where rows with this range key begin."""
        data = _sortable(range_type, value)
        return head + (keyorder.escape(data) + keyorder.END if index else data)

    def after(value: bytes | str) -> bytes:
        """Where rows with a higher range key begin."""
        return keyorder.beyond(at(value)) if index else at(value) + b"\x00"

    match op:
        case "=":
            return at(values[0]), after(values[0])
        case "<":
            return head, at(values[0])
        case "<=":
            return head, after(values[0])
        case ">":
            return after(values[0]), keyorder.beyond(head)
        case ">=":
            return at(values[0]), keyorder.beyond(head)
        case "BETWEEN":
            return at(values[0]), after(values[1])
        case "begins_with":
            if range_type == "N":
                raise Refused("begins_with: not for numbers")
            data = _sortable(range_type, values[0])
            prefix = head + (keyorder.escape(data) if index else data)
            return prefix, keyorder.beyond(prefix)
    raise Refused(f"key condition: {op!r} is not an operator")


def key_hash(hash_key_type: str, hash_key: bytes | str) -> int:
    """The 64-bit hash that places an item: the first 8 bytes of BLAKE2b over type and hash key."""
    digest = hashlib.blake2b(hash_key_type.encode() + key_bytes(hash_key_type, hash_key), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def partition_for(hash_key_type: str, hash_key: bytes | str, partitions: int) -> int:
    """The partition that holds a hash key."""
    return partition_of(key_hash(hash_key_type, hash_key), partitions)


def _head(hash_type: str, hash_key: bytes | str) -> bytes:
    """What all keys with this hash key begin with, and no others."""
    first = key_bytes(hash_type, hash_key)
    return hash_type.encode() + len(first).to_bytes(2, "big") + first


def _sortable(kind: str, value: bytes | str) -> bytes:
    data = key_bytes(kind, value)
    return keyorder.number(data.decode()) if kind == "N" else data


def _plain(figures: str, exponent: int) -> str:
    if exponent >= 0:
        return figures.lstrip("0") + "0" * exponent
    whole, part = figures[:exponent], figures[exponent:]
    return f"{whole.lstrip('0') or '0'}.{part.rjust(-exponent, '0')}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")

"""Primary keys: their canonical form, their bytes in the store, and their hash.

Decides which number two spellings denote, under which bytes an item is kept and which partition holds
it. Never touches items. Invariant I7: equal keys have equal bytes and hash, different keys different
bytes; the front end, the load generator and the simulation all take both from here.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal, InvalidOperation

from .errors import Refused
from .model import partition_of

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
    first = key_bytes(hash_type, hash_key)
    head = hash_type.encode() + len(first).to_bytes(2, "big") + first
    if range_type is None:
        return head
    return head + range_type.encode() + key_bytes(range_type, range_key)


def key_hash(hash_key_type: str, hash_key: bytes | str) -> int:
    """The 64-bit hash that places an item: the first 8 bytes of BLAKE2b over type and hash key."""
    digest = hashlib.blake2b(hash_key_type.encode() + key_bytes(hash_key_type, hash_key), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def partition_for(hash_key_type: str, hash_key: bytes | str, partitions: int) -> int:
    """The partition that holds a hash key."""
    return partition_of(key_hash(hash_key_type, hash_key), partitions)


def _plain(figures: str, exponent: int) -> str:
    if exponent >= 0:
        return figures.lstrip("0") + "0" * exponent
    whole, part = figures[:exponent], figures[exponent:]
    return f"{whole.lstrip('0') or '0'}.{part.rjust(-exponent, '0')}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")

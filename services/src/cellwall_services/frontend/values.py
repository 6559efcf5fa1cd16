"""Attribute values: which are allowed, how large they are, and their one canonical form.

Decides on single values and whole items. Never knows a table (keys are checked in `schema`). An item
that passed `item` is stored and answered as it is, so equal items have equal bytes.
"""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from cellwall.errors import Refused
from cellwall.keys import (
    HASH_KEY_BYTES_MAX,
    NUMBER_DIGITS_MAX,
    NUMBER_EXPONENT_MAX,
    RANGE_KEY_BYTES_MAX,
    canonical_number,
)

from .errors import SerializationError, ValidationError

Item = dict[str, dict[str, Any]]
KeyValue = str | bytes  # of a key attribute: text, canonical number, or the bytes themselves
Role = Literal["hash", "range"]

# DynamoDB Developer Guide, "Service, account, and table quotas" and "Naming rules and data types".
ITEM_BYTES_MAX = 400 * 1024
NESTING_MAX = 32
ATTRIBUTE_NAME_BYTES_MAX = 65535
CONTAINER_BYTES = 3  # overhead of a list or map; one more byte for each member ("Item sizes and formats")

TYPES = ("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS")
_NUMERIC = frozenset("0123456789+-.eE")
_SET_OF = {"SS": "S", "NS": "N", "BS": "B"}
_EMPTY_SETS = {  # DynamoDB's own words
    "SS": "An string set  may not be empty",
    "NS": "An number set  may not be empty",
    "BS": "Binary sets should not be empty",
}

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Item] = msgspec.json.Decoder(Item)


def item(raw: object, place: str) -> Item:
    """The canonical item, or an error that names the place. Refuses more than 400 KB."""
    checked, total_bytes = _members(raw, place, 0)
    if total_bytes > ITEM_BYTES_MAX:
        raise ValidationError(
            f"Item size has exceeded the maximum allowed size: {place} has {total_bytes} bytes, "
            f"at most {ITEM_BYTES_MAX} are allowed"
        )
    return checked


def encode(value: Item) -> bytes:
    """The bytes a replica keeps: canonical JSON, members sorted."""
    return _encoder.encode(value)


def decode(stored: bytes) -> Item:
    return _decoder.decode(stored)


def key_data(value: dict[str, Any]) -> KeyValue:
    """The content of a canonical S, N or B."""
    ((kind, content),) = value.items()
    data: str = content
    return base64.b64decode(data) if kind == "B" else data


def key_value(value: dict[str, Any], name: str, role: Role) -> KeyValue:
    """The content of a key attribute, its size checked."""
    data = key_data(value)
    size_bytes = len(data.encode() if isinstance(data, str) else data)
    if size_bytes == 0:
        kind = "string" if isinstance(data, str) else "binary"
        raise ValidationError(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            f"empty {kind} value. Key: {name}"
        )
    if role == "hash" and size_bytes > HASH_KEY_BYTES_MAX:
        raise ValidationError(
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of "
            f"{HASH_KEY_BYTES_MAX} bytes. Key: {name}"
        )
    if role == "range" and size_bytes > RANGE_KEY_BYTES_MAX:
        raise ValidationError(
            "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size "
            f"limit of {RANGE_KEY_BYTES_MAX} bytes. Key: {name}"
        )
    return data


def value(raw: object, place: str, depth: int = 0) -> tuple[dict[str, Any], int]:
    """The canonical value and its size in bytes."""
    given = {} if raw is None else raw
    if not isinstance(given, dict):
        raise SerializationError(f"{place}: expected an attribute value such as {{'S': 'text'}}, got {_kind(raw)}")
    typed = [(kind, content) for kind, content in given.items() if content is not None]  # null is as good as nothing
    if len(typed) != 1:
        problem = "has more than one datatypes set" if typed else "is empty"
        raise ValidationError(
            f"Supplied AttributeValue {problem}, must contain exactly one of the supported datatypes: {place}"
        )
    ((kind, content),) = typed
    inner = f"{place}.{kind}"
    if kind in ("S", "N", "B"):
        text, size_bytes = _scalar(kind, content, inner)
        return {kind: text}, size_bytes
    if kind in _SET_OF:
        return _set(kind, content, inner)
    if kind == "BOOL":
        _expect(content, bool, "a boolean", inner)
        return {"BOOL": content}, 1
    if kind == "NULL":
        _expect(content, bool, "a boolean", inner)
        if content is not True:
            raise ValidationError(
                "One or more parameter values were invalid: Null attribute value types must have the value of true: "
                f"{inner}"
            )
        return {"NULL": True}, 1
    if kind == "L":
        return _list(content, inner, depth)
    if kind == "M":
        members, size_bytes = _members(content, inner, depth + 1)
        return {"M": members}, size_bytes + CONTAINER_BYTES + len(members)
    raise ValidationError(f"{place}: {kind!r} is not a type; use one of {', '.join(TYPES)}")


def binary(text: str, place: str) -> bytes:
    """The bytes of a base64 text; strict, so that one value has one spelling."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SerializationError(f"{place}: not base64") from None


def _scalar(kind: str, content: object, place: str) -> tuple[str, int]:
    if not isinstance(content, str):
        raise SerializationError(f"{place}: expected a string, got {_kind(content)}")
    if kind == "S":
        return content, len(content.encode())
    if kind == "B":
        data = binary(content, place)
        return base64.b64encode(data).decode(), len(data)
    try:
        number = canonical_number(content)
    except Refused:
        raise ValidationError(f"{_number_problem(content)}: {place}") from None
    digits = sum(c.isdigit() for c in number.strip("0"))
    return number, (digits + 1) // 2 + 1  # about one byte for two digits, and one more


def _number_problem(text: str) -> str:
    """DynamoDB's words for what `canonical_number` refused."""
    try:
        number = Decimal(text) if _NUMERIC.issuperset(text) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if number.is_nan():
        return f"The parameter cannot be converted to a numeric value: {text[:50]!r}"
    if len("".join(map(str, number.as_tuple().digits)).rstrip("0")) > NUMBER_DIGITS_MAX:
        return f"Attempting to store more than {NUMBER_DIGITS_MAX} significant digits in a Number"
    if number.adjusted() > NUMBER_EXPONENT_MAX:
        return "Number overflow. Attempting to store a number with magnitude larger than supported range"
    return "Number underflow. Attempting to store a number with magnitude smaller than supported range"


def _set(kind: str, content: object, place: str) -> tuple[dict[str, Any], int]:
    _expect(content, list, "a list", place)
    assert isinstance(content, list)
    if not content:
        raise ValidationError(f"One or more parameter values were invalid: {_EMPTY_SETS[kind]}: {place}")
    total_bytes = CONTAINER_BYTES
    members: list[str] = []
    for number, raw in enumerate(content):
        text, size_bytes = _scalar(_SET_OF[kind], raw, f"{place}[{number}]")
        members.append(text)
        total_bytes += size_bytes + 1
    if len(set(members)) != len(members):
        raise ValidationError(
            f"One or more parameter values were invalid: Input collection contains duplicates: {place}"
        )
    return {kind: sorted(members)}, total_bytes


def _list(content: object, place: str, depth: int) -> tuple[dict[str, Any], int]:
    _expect(content, list, "a list", place)
    assert isinstance(content, list)
    _check_depth(depth + 1, place)
    total_bytes = CONTAINER_BYTES
    members = []
    for number, raw in enumerate(content):
        member, size_bytes = value(raw, f"{place}[{number}]", depth + 1)
        members.append(member)
        total_bytes += size_bytes + 1
    return {"L": members}, total_bytes


def _members(raw: object, place: str, depth: int) -> tuple[Item, int]:
    _expect(raw, dict, "an object", place)
    assert isinstance(raw, dict)
    _check_depth(depth, place)
    total_bytes = 0
    members: Item = {}
    for name, member in raw.items():
        name_bytes = len(name.encode())
        if not 1 <= name_bytes <= ATTRIBUTE_NAME_BYTES_MAX:
            raise ValidationError(f"{place}: an attribute name must have 1 to {ATTRIBUTE_NAME_BYTES_MAX} bytes")
        members[name], size_bytes = value(member, f"{place}.{name}", depth)
        total_bytes += name_bytes + size_bytes
    return members, total_bytes


def _check_depth(depth: int, place: str) -> None:
    if depth > NESTING_MAX:
        raise ValidationError(
            f"Nesting Levels have exceeded supported limits: {place[:200]} is deeper than {NESTING_MAX}"
        )


def _expect(content: object, kind: type, wanted: str, place: str) -> None:
    if not isinstance(content, kind):
        raise SerializationError(f"{place}: expected {wanted}, got {_kind(content)}")


def _kind(content: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(content), "a number")

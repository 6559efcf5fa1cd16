"""Attribute values: which are allowed, how large they are, and their one canonical form.

Decides on single values and whole items. Never knows a table (keys are checked in `schema`). An item
that passed `item` is stored and answered as it is, so equal items have equal bytes.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from cellwall.errors import Refused
from cellwall.keys import canonical_number

from .errors import SerializationError, ValidationError

Item = dict[str, dict[str, Any]]

# DynamoDB Developer Guide, "Service, account, and table quotas" and "Naming rules and data types".
ITEM_BYTES_MAX = 400 * 1024
NESTING_MAX = 32
ATTRIBUTE_NAME_BYTES_MAX = 65535
CONTAINER_BYTES = 3  # overhead of a list or map; one more byte for each member ("Item sizes and formats")

TYPES = ("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS")
_SET_OF = {"SS": "S", "NS": "N", "BS": "B"}

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Item] = msgspec.json.Decoder(Item)


def item(raw: object, place: str) -> Item:
    """The canonical item, or an error that names the place. Refuses more than 400 KB."""
    checked, size_bytes = _members(raw, place, 0)
    if size_bytes > ITEM_BYTES_MAX:
        raise ValidationError(
            f"Item size has exceeded the maximum allowed size: {place} has {size_bytes} bytes, "
            f"at most {ITEM_BYTES_MAX} are allowed"
        )
    return checked


def encode(value: Item) -> bytes:
    """The bytes a replica keeps: canonical JSON, members sorted."""
    return _encoder.encode(value)


def decode(stored: bytes) -> Item:
    return _decoder.decode(stored)


def value(raw: object, place: str, depth: int = 0) -> tuple[dict[str, Any], int]:
    """The canonical value and its size in bytes."""
    if not isinstance(raw, dict):
        raise SerializationError(f"{place}: expected an attribute value such as {{'S': 'text'}}, got {_kind(raw)}")
    if len(raw) != 1:
        raise ValidationError(
            f"Supplied AttributeValue has more than one or no datatype set: {place} must contain exactly one of "
            + ", ".join(TYPES)
        )
    ((kind, content),) = raw.items()
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
            raise ValidationError(f"One or more parameter values were invalid: {inner} must be true")
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
    except Refused as error:
        raise ValidationError(f"The parameter cannot be converted to a numeric value: {place}: {error}") from None
    digits = sum(c.isdigit() for c in number.strip("0"))
    return number, (digits + 1) // 2 + 1  # about one byte for two digits, and one more


def _set(kind: str, content: object, place: str) -> tuple[dict[str, Any], int]:
    _expect(content, list, "a list", place)
    assert isinstance(content, list)
    if not content:
        raise ValidationError(f"One or more parameter values were invalid: {place}: a set may not be empty")
    total_bytes = CONTAINER_BYTES
    members: list[str] = []
    for number, raw in enumerate(content):
        text, size_bytes = _scalar(_SET_OF[kind], raw, f"{place}[{number}]")
        members.append(text)
        total_bytes += size_bytes + 1
    if len(set(members)) != len(members):
        raise ValidationError(f"One or more parameter values were invalid: {place} contains duplicates")
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

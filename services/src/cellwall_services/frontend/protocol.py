"""What a request says: the operation, the customer, and the body as a typed value.

Decides from headers and bytes only; never looks at a table. What we do not support is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from . import members
from .bodies import KINDS, Operation
from .errors import (
    IncompleteSignatureError,
    MissingTokenError,
    SerializationError,
    UnknownOperationError,
    ValidationError,
)

TARGET_PREFIX = "DynamoDB_20120810."

_CREDENTIAL = re.compile(r"Credential=([^/\s,=]+)/[^/\s,]+/[^/\s,]+/[^/\s,]+/aws4_request(?=[,\s]|$)")
_AT = r"(?: - at `\$\.?(.*)`)?"
_UNKNOWN_MEMBER = re.compile(r"Object contains unknown field `(.*?)`" + _AT, re.DOTALL)
_NO_MEMBER = re.compile(r"(?:Object missing required field `(.*?)`|Expected `.*?`, got `null`)" + _AT)


def operation_name(headers: Mapping[str, str]) -> str:
    """The operation that X-Amz-Target names."""
    target = headers.get("X-Amz-Target", "")
    name = target.removeprefix(TARGET_PREFIX)
    if not target:
        raise UnknownOperationError(f"header X-Amz-Target is missing; it must be {TARGET_PREFIX}OPERATION")
    if name == target or name not in KINDS:
        raise UnknownOperationError(
            f"X-Amz-Target: {target[:100]!r} is not supported; use {TARGET_PREFIX} with one of {', '.join(KINDS)}"
        )
    return name


def customer(headers: Mapping[str, str]) -> str:
    """The access key of an AWS4-HMAC-SHA256 Authorization header. The signature is not checked."""
    header = headers.get("Authorization", "")
    if not header:
        raise MissingTokenError("Request is missing Authentication Token: header Authorization is missing")
    scheme, _, rest = header.partition(" ")
    found = _CREDENTIAL.search(rest)
    if scheme != "AWS4-HMAC-SHA256" or not found:
        raise IncompleteSignatureError(
            "header Authorization: must be 'AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …'"
        )
    return found.group(1)


def parse(name: str, body: bytes) -> Operation:
    """The body as the operation's type, its plain members checked."""
    kind = KINDS[name]
    try:
        operation: Operation = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _translated(name, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SerializationError(f"{name}: the body is not JSON ({error})") from None
    members.check(operation)
    return operation


def _translated(name: str, text: str) -> SerializationError | ValidationError:
    """msgspec names the place as `$.A.B`. A wrong JSON type is a SerializationException, as at DynamoDB; null is
    as good as nothing."""
    unknown = _UNKNOWN_MEMBER.fullmatch(text)
    if unknown:
        member, place = unknown.groups()
        return ValidationError(f"{name}: {_joined(place, member[:100])} is not supported here")
    absent = _NO_MEMBER.fullmatch(text)
    if absent:
        member, place = absent.groups()
        return members.violated(_joined(place, member), None, "not be null")
    text = f"{name}: {text.replace('`', chr(39))}"
    return SerializationError(text) if ": Expected " in text else ValidationError(text)


def _joined(*path: str | None) -> str:
    return ".".join(part for part in path if part)

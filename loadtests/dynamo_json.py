"""What a planned request looks like on the wire, and what an answer (or its absence) means.

Decides bytes, headers and outcomes in the DynamoDB JSON protocol (2012-08-10); never sends anything. Keeps the
rule of three outcomes: a write that was on its way when the answer failed is unknown, never refused; only a
put that certainly left no trace counts as refused.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Literal

import msgspec

from cellwall.history import Outcome

Op = Literal["put", "get", "get-eventual"]

TARGET = {"put": "PutItem", "get": "GetItem", "get-eventual": "GetItem"}

HASH_KEY = "pk"  # TableInfo.hash_key's default; catalogue tables have no other
VALUE = "v"


class Answer(msgspec.Struct, frozen=True):
    """How a request ended. ``code`` is the error's short name ("" when done), ``value`` what a read found."""

    outcome: Outcome
    code: str = ""
    value: int = 0


def headers(op: Op, customer: str) -> dict[str, str]:
    """The access key names the customer. The signature is a fixed word: the front end checks none."""
    return {
        "X-Amz-Target": f"DynamoDB_20120810.{TARGET[op]}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={customer}/20150920/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=unsigned",
    }


def body(op: Op, table: str, key: str, value: int) -> bytes:
    if op == "put":
        item = {HASH_KEY: {"S": key}, VALUE: {"N": str(value)}}
        return msgspec.json.encode({"TableName": table, "Item": item})
    consistent = op == "get"
    return msgspec.json.encode({"TableName": table, "Key": {HASH_KEY: {"S": key}}, "ConsistentRead": consistent})


def answered(op: Op, status: int, payload: bytes) -> Answer:
    """An answer came. A 503 and every 4xx say that nothing happened; any other error leaves a write unknown."""
    if status == 200:
        if op == "put":
            return Answer("done")
        value = _value(payload)
        return Answer("refused", "bad-answer") if value is None else Answer("done", "", value)
    code = _error_name(payload) or f"http-{status}"
    harmless = op != "put" or status == 503 or 400 <= status < 500
    return Answer("refused" if harmless else "unknown", code)


def unanswered(op: Op, error: Exception) -> Answer:
    """No answer came. A connection that was never made carried nothing; one that was lost may have."""
    if isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.errno == errno.ECONNREFUSED):
        return Answer("refused", "unreachable")
    return Answer("unknown" if op == "put" else "refused", "connection-lost")


TIME_OUT = Answer("unknown", "time-out")
CAPPED = Answer("refused", "generator-cap")  # never sent: too many in flight
CUT_SHORT = Answer("unknown", "cut-short")  # the generator was ended before the answer came


def _error_name(payload: bytes) -> str:
    """ "com.amazonaws.dynamodb.v20120810#ServiceUnavailable" -> "ServiceUnavailable" """
    document = _object(payload)
    name = document.get("__type") if document is not None else None
    return name.rpartition("#")[2] if isinstance(name, str) else ""


def _value(payload: bytes) -> int | None:
    """The sequence number a read found, 0 for no item, None for an answer that makes no sense."""
    document = _object(payload)
    if document is None:
        return None
    if "Item" not in document:
        return 0
    try:
        return int(document["Item"][VALUE]["N"])
    except (KeyError, TypeError, ValueError):
        return None


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except msgspec.DecodeError:
        return None

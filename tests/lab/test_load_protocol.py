"""What the load generator makes of answers: `loadtests/dynamo_json.py` and its percentile, without a process."""

from __future__ import annotations

import errno
import importlib.util
import json
import socket
from pathlib import Path
from types import ModuleType

import pytest

LOADTESTS = Path(__file__).parents[2] / "loadtests"


def load(name: str) -> ModuleType:
    """By path: the folder is no package, and only locust puts it on the import path."""
    spec = importlib.util.spec_from_file_location(f"loadtests_{name}", LOADTESTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wire = load("dynamo_json")


def error(name: str) -> bytes:
    return json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": "x"}).encode()


@pytest.mark.parametrize(
    ("op", "status", "payload", "want"),
    [
        ("put", 200, b"{}", ("done", "", 0)),
        ("put", 503, error("ServiceUnavailable"), ("refused", "ServiceUnavailable", 0)),
        ("put", 400, error("ResourceNotFoundException"), ("refused", "ResourceNotFoundException", 0)),
        ("put", 413, b"too large", ("refused", "http-413", 0)),
        ("put", 500, error("InternalServerError"), ("unknown", "InternalServerError", 0)),
        ("put", 502, b"<html>", ("unknown", "http-502", 0)),
        ("put", 500, b"[1]", ("unknown", "http-500", 0)),
        ("put", 500, b'{"__type": 7}', ("unknown", "http-500", 0)),
        ("get", 200, b'{"Item": {"pk": {"S": "k-0001"}, "v": {"N": "42"}}}', ("done", "", 42)),
        ("get-eventual", 200, b"{}", ("done", "", 0)),
        ("get", 200, b'{"Item": {"pk": {"S": "k-0001"}}}', ("refused", "bad-answer", 0)),
        ("get", 200, b'{"Item": {"v": {"N": "many"}}}', ("refused", "bad-answer", 0)),
        ("get", 200, b'{"Item": nu', ("refused", "bad-answer", 0)),
        ("get", 500, error("InternalServerError"), ("refused", "InternalServerError", 0)),
        ("get-eventual", 503, error("ServiceUnavailable"), ("refused", "ServiceUnavailable", 0)),
    ],
)
def test_outcome_of_an_answer(op: str, status: int, payload: bytes, want: tuple[str, str, int]) -> None:
    answer = wire.answered(op, status, payload)
    assert (answer.outcome, answer.code, answer.value) == want


@pytest.mark.parametrize(
    ("problem", "write", "read", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused", "refused", "unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "refused", "refused", "unreachable"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "unknown", "refused", "connection-lost"),
        (BrokenPipeError(errno.EPIPE, "x"), "unknown", "refused", "connection-lost"),
        (ValueError("half an answer"), "unknown", "refused", "connection-lost"),
    ],
)
def test_outcome_without_an_answer(problem: Exception, write: str, read: str, code: str) -> None:
    assert (wire.unanswered("put", problem).outcome, wire.unanswered("put", problem).code) == (write, code)
    assert (wire.unanswered("get", problem).outcome, wire.unanswered("get", problem).code) == (read, code)


def test_requests_are_dynamodb_json() -> None:
    assert json.loads(wire.body("put", "table-0", "k-0003", 17)) == {
        "TableName": "table-0",
        "Item": {"pk": {"S": "k-0003"}, "v": {"N": "17"}},
    }
    for op, consistent in (("get", True), ("get-eventual", False)):
        assert json.loads(wire.body(op, "table-0", "k-0003", 0)) == {
            "TableName": "table-0",
            "Key": {"pk": {"S": "k-0003"}},
            "ConsistentRead": consistent,
        }
    assert wire.headers("put", "c-1")["X-Amz-Target"] == "DynamoDB_20120810.PutItem"
    assert wire.headers("get-eventual", "c-1") == {
        "X-Amz-Target": "DynamoDB_20120810.GetItem",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=c-1/20150920/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=unsigned",
    }


def test_p99_is_the_nearest_rank() -> None:
    p99 = load("load_records").p99
    assert p99([]) == 0
    assert p99([0.3]) == 0.3
    assert p99([float(n) for n in range(100, 0, -1)]) == 99
    assert p99([float(n) for n in range(1, 51)]) == 50

"""The front end as a customer sees it: boto3 against the real process, over a fake metadata node and storage."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from cellwall import history
from cellwall.keys import encode_key, partition_for
from cellwall.model import partition_key
from cellwall.quorum import Version

from . import frontend_world as W

pytestmark = pytest.mark.usefixtures("healed")


@pytest.fixture(scope="module")
def world() -> Iterator[Any]:
    world = W.FakeWorld()
    world.place("alice", "pets")
    world.place("alice", "toys")
    world.place("bob", "pets", group=1)
    world.start()
    yield world
    world.stop()


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def put(client: Any, key: str, value: int, table: str = "pets") -> None:
    client.put_item(TableName=table, Item={"pk": {"S": key}, "value": {"N": str(value)}})


def get(client: Any, key: str, table: str = "pets", consistent: bool = True) -> int | None:
    found = client.get_item(TableName=table, Key={"pk": {"S": key}}, ConsistentRead=consistent)
    return int(found["Item"]["value"]["N"]) if "Item" in found else None


def where(table: str, key: str) -> tuple[str, bytes]:
    return partition_key(table, "", partition_for("S", key, 2)), encode_key("S", key)


# ---------------------------------------------------------------- items


def test_item_round_trip(alice: Any) -> None:
    item = {
        "pk": {"S": "rex"},
        "n": {"N": "1.50"},
        "b": {"B": b"\x00\xff"},
        "yes": {"BOOL": True},
        "none": {"NULL": True},
        "list": {"L": [{"S": ""}, {"M": {"ü": {"NS": ["3", "1"]}}}]},
        "set": {"BS": [b"b", b"a"]},
    }
    answer = alice.put_item(TableName="pets", Item=item)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    for consistent in (True, False):
        found = alice.get_item(TableName="pets", Key={"pk": {"S": "rex"}}, ConsistentRead=consistent)["Item"]
        assert found == item | {
            "n": {"N": "1.5"},
            "list": {"L": [{"S": ""}, {"M": {"ü": {"NS": ["1", "3"]}}}]},
            "set": {"BS": [b"a", b"b"]},
        }
    alice.delete_item(TableName="pets", Key={"pk": {"S": "rex"}})
    assert get(alice, "rex") is None
    alice.delete_item(TableName="pets", Key={"pk": {"S": "never there"}})


def test_tenants_do_not_see_each_other(alice: Any, front: Any) -> None:
    bob, eve = front.customer("bob"), front.customer("eve")
    put(alice, "same", 1)
    put(bob, "same", 2)
    assert (get(alice, "same"), get(bob, "same")) == (1, 2)
    assert bob.list_tables()["TableNames"] == ["pets"]
    assert eve.list_tables()["TableNames"] == []
    with pytest.raises(ClientError) as error:
        get(bob, "same", table="toys")
    assert code(error) == ("ResourceNotFoundException", 400)
    with pytest.raises(ClientError) as error:
        eve.describe_table(TableName="pets")
    assert code(error) == ("ResourceNotFoundException", 400)


# ---------------------------------------------------------------- quorum


def test_one_of_three_down(alice: Any, world: Any) -> None:
    world.down = {"s-0a"}
    put(alice, "one", 1)
    assert get(alice, "one") == 1
    world.down, world.cut = set(), {"s-0b"}
    put(alice, "one", 2)
    assert get(alice, "one") == 2


def test_quorum_lost(alice: Any, world: Any) -> None:
    put(alice, "lost", 1)
    partition, key = where("t-00000", "lost")
    W.wait_until(lambda: ("s-0c", partition, key) in world.rows)  # two acknowledgements suffice, the third comes later
    world.down = {"s-0a", "s-0b", "s-0c"}
    with pytest.raises(ClientError) as error:
        put(alice, "lost", 2)
    assert code(error) == ("ServiceUnavailable", 503)  # refused: nothing is stored
    world.down = {"s-0a", "s-0b"}
    assert get(alice, "lost", consistent=False) == 1  # any one will do
    with pytest.raises(ClientError) as error:
        get(alice, "lost")
    assert code(error) == ("ServiceUnavailable", 503)
    with pytest.raises(ClientError) as error:
        put(alice, "lost", 3)
    assert code(error) == ("InternalServerError", 500)  # unknown: one replica has it
    world.down, world.cut = set(), {"s-0a", "s-0b", "s-0c"}
    with pytest.raises(ClientError) as error:
        alice.delete_item(TableName="pets", Key={"pk": {"S": "lost"}})
    assert code(error) == ("InternalServerError", 500)
    with pytest.raises(ClientError) as error:
        get(alice, "lost", consistent=False)
    assert code(error) == ("ServiceUnavailable", 503)


def test_read_repair_before_the_answer(alice: Any, world: Any) -> None:
    partition, key = where("t-00000", "torn")
    newer = Version(1, 0, "x")
    item = msgspec.json.encode({"pk": {"S": "torn"}, "value": {"N": "7"}})
    world.rows["s-0a", partition, key] = (newer, item)
    world.down = {"s-0c"}
    assert get(alice, "torn") == 7
    assert world.rows["s-0b", partition, key] == (newer, item)
    world.down = {"s-0a"}  # the one that had it alone
    assert get(alice, "torn") == 7


def test_read_repair_without_quorum_is_no_answer(alice: Any, world: Any) -> None:
    """The newer version is seen, but cannot be put on a second replica: telling it could be taken back."""
    partition, key = where("t-00000", "half")
    world.rows["s-0a", partition, key] = (Version(1, 0, "x"), b'{"pk":{"S":"half"}}')
    world.down = {"s-0b", "s-0c"}
    with pytest.raises(ClientError) as error:
        get(alice, "half")
    assert code(error) == ("ServiceUnavailable", 503)


def test_a_version_seen_is_never_undercut(alice: Any, world: Any) -> None:
    """A replica holds a version of a clock that runs an hour ahead; a read tells us, our write then wins."""
    partition, key = where("t-00000", "ahead")
    ahead = Version(9_000_000_000_000, 5, "other")
    for zone in "abc":
        world.rows[f"s-0{zone}", partition, key] = (ahead, b'{"pk":{"S":"ahead"},"value":{"N":"1"}}')
    assert get(alice, "ahead") == 1
    put(alice, "ahead", 2)
    assert get(alice, "ahead") == 2


# ---------------------------------------------------------------- tables

GSI = {
    "IndexName": "by-owner",
    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "ALL"},
}


def create(client: Any, name: str, **members: Any) -> Any:
    return client.create_table(
        **{
            "TableName": name,
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "at", "AttributeType": "N"},
                {"AttributeName": "owner", "AttributeType": "S"},
            ],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            "GlobalSecondaryIndexes": [GSI],
            "BillingMode": "PAY_PER_REQUEST",
        }
        | members
    )["TableDescription"]


def status(client: Any, name: str) -> str:
    return str(client.describe_table(TableName=name)["Table"]["TableStatus"])


def test_table_life(alice: Any, world: Any) -> None:
    world.renewing = False
    loads = world.map_loads
    described = create(alice, "visits")
    assert described["TableStatus"] == "CREATING"
    assert described["GlobalSecondaryIndexes"][0]["IndexName"] == "by-owner"
    with pytest.raises(ClientError) as error:
        create(alice, "visits")
    assert code(error) == ("ResourceInUseException", 400)
    with pytest.raises(ClientError) as error:
        alice.put_item(TableName="visits", Item={"pk": {"S": "a"}, "at": {"N": "1"}})
    assert code(error) == ("ResourceNotFoundException", 400)
    with pytest.raises(ClientError) as error:
        alice.delete_table(TableName="visits")
    assert code(error) == ("ResourceInUseException", 400)
    table = W.wait_until(lambda: [t for t in world.tables.values() if t.name == "visits"])[0]
    assert status(alice, "visits") == "CREATING"  # posted, but no server has confirmed

    world.renewing = True
    W.wait_until(lambda: status(alice, "visits") == "ACTIVE")
    W.wait_until(lambda: world.tables[table.id].status == "ACTIVE")
    placed = {s: [a for a in records if a.table == table.id] for s, records in world.lists.items()}
    assert {s for s, records in placed.items() if records} == {"s-0a", "s-0b", "s-0c"}  # alice's group
    assert sum(map(len, placed.values())) == (2 + 2) * 3  # two partitions, and two of the index
    for at in ("1", "2"):
        alice.put_item(TableName="visits", Item={"pk": {"S": "a"}, "at": {"N": at}, "owner": {"S": at}})
    key = {"pk": {"S": "a"}, "at": {"N": "2.0"}}
    assert alice.get_item(TableName="visits", Key=key)["Item"]["owner"] == {"S": "2"}
    assert "visits" in alice.list_tables()["TableNames"]

    assert alice.delete_table(TableName="visits")["TableDescription"]["TableStatus"] == "DELETING"
    alice.get_waiter("table_not_exists").wait(TableName="visits", WaiterConfig={"Delay": 1, "MaxAttempts": 8})
    with pytest.raises(ClientError) as error:
        status(alice, "visits")
    assert code(error) == ("ResourceNotFoundException", 400)
    assert not any(a.table == table.id for records in world.lists.values() for a in records)
    assert "visits" not in alice.list_tables()["TableNames"]
    assert world.map_loads == loads  # our own changes are no reason to load the map again
    assert create(alice, "visits")["TableId"] != table.id
    W.wait_until(lambda: status(alice, "visits") == "ACTIVE")
    assert "Item" not in alice.get_item(TableName="visits", Key=key)


def test_list_is_paged(front: Any, world: Any) -> None:
    carol = front.customer("carol")
    for number in range(3):
        create(carol, f"list-{number}")
    assert carol.list_tables(Limit=2)["LastEvaluatedTableName"] == "list-1"
    pages = carol.get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 2})
    assert [p["TableNames"] for p in pages] == [["list-0", "list-1"], ["list-2"]]
    for number in range(3):
        W.wait_until(lambda n=number: status(carol, f"list-{n}") == "ACTIVE")


def test_a_change_by_somebody_else_is_loaded(front: Any, world: Any) -> None:
    dave = front.customer("dave")
    world.place("dave", "late", group=1)
    world.version += 1
    W.wait_until(lambda: dave.list_tables()["TableNames"] == ["late"])
    put(dave, "k", 1, table="late")


def test_placed_table_described_and_deleted(front: Any, world: Any) -> None:
    erin = front.customer("erin")
    table = world.place("erin", "old")
    world.version += 1
    described = W.wait_until(lambda: erin.list_tables()["TableNames"]) and erin.describe_table(TableName="old")["Table"]
    assert described["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    world.renewing = False
    erin.delete_table(TableName="old")
    assert erin.delete_table(TableName="old")["TableDescription"]["TableStatus"] == "DELETING"
    world.renewing = True
    W.wait_until(lambda: erin.list_tables()["TableNames"] == [])
    assert not any(a.table == table.id for records in world.lists.values() for a in records)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "members", "expected", "named"),
    [
        ("put_item", {"Item": {"pk": {"S": ""}}}, "ValidationException", "Key: pk"),
        ("put_item", {"Item": {"pk": {"N": "1"}}}, "ValidationException", "key pk"),
        ("put_item", {"Item": {"x": {"N": "1"}}}, "ValidationException", "key pk"),
        ("put_item", {"Item": {"pk": {"S": "k" * 2049}}}, "ValidationException", "2048"),
        ("put_item", {"Item": {"pk": {"S": "k"}, "v": {"N": "1x"}}}, "ValidationException", "Item.v.N"),
        ("put_item", {"Item": {"pk": {"S": "k"}, "v": {"SS": []}}}, "ValidationException", "may not be empty"),
        ("put_item", {"Item": {"pk": {"S": "k"}, "v": {"S": "x" * 409600}}}, "ValidationException", "Item size"),
        ("put_item", {"Item": {"pk": {"S": "k"}, "v": {"S": "x" * 17 * 1024 * 1024}}}, "ValidationException", "body"),
        ("put_item", {"Item": {"pk": {"S": "k"}}, "ReturnValues": "ALL_OLD"}, "ValidationException", "ReturnValues"),
        ("put_item", {"Item": {"pk": {"S": "k"}}, "ConditionExpression": "a = b"}, "ValidationException", "Condition"),
        ("get_item", {"Key": {"pk": {"S": "k"}, "x": {"S": "k"}}}, "ValidationException", "Key must have"),
        ("get_item", {"Key": {"pk": {"S": "k"}}, "ProjectionExpression": "a,"}, "ValidationException", "Projection"),
        ("update_item", {"Key": {"pk": {"S": "k"}}}, "UnknownOperationException", "UpdateItem"),
        ("query", {}, "ValidationException", "KeyCondition"),
        ("query", {"KeyConditionExpression": "pk = :v", "FilterExpression": "a = b"}, "ValidationException", "Filter"),
    ],
)
def test_refused_by_name(alice: Any, call: str, members: dict[str, Any], expected: str, named: str) -> None:
    with pytest.raises(ClientError) as error:
        getattr(alice, call)(TableName="pets", **members)
    assert code(error) == (expected, 400)
    assert named in error.value.response["Error"]["Message"]


AUTHORIZED = {
    "X-Amz-Target": "DynamoDB_20120810.GetItem",
    "Authorization": "AWS4-HMAC-SHA256 Credential=alice/20150920/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=00",
}


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (AUTHORIZED, b"{", "SerializationException"),
        (AUTHORIZED, b"[1]", "SerializationException"),
        (AUTHORIZED, b'{"TableName": 5, "Key": {}}', "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets", "Key": []}', "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets", "Key": {"pk": "x"}}', "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets", "Key": {"pk": {"S": "\xff"}}}', "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets", "Key": {"pk": {"S": "\\ud800"}}}', "SerializationException"),
        (AUTHORIZED, b"[" * 100_000, "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets", "Key": {"pk": {"L": ' + b"[" * 5000, "SerializationException"),
        (AUTHORIZED, b'{"TableName": "pets"}', "ValidationException"),
        (AUTHORIZED, b'{"TableName": "a b", "Key": {}}', "ValidationException"),
        (AUTHORIZED | {"Authorization": ""}, b"{}", "MissingAuthenticationTokenException"),
        (AUTHORIZED | {"Authorization": "Basic eDp5"}, b"{}", "IncompleteSignatureException"),
        (AUTHORIZED | {"Authorization": "AWS4-HMAC-SHA256 Credential=/x"}, b"{}", "IncompleteSignatureException"),
        (AUTHORIZED | {"X-Amz-Target": "GetItem"}, b"{}", "UnknownOperationException"),
        ({}, b"{}", "UnknownOperationException"),
    ],
)
def test_malformed(front: Any, headers: dict[str, str], body: bytes, expected: str) -> None:
    request = urllib.request.Request(front.url + "/", data=body, headers=headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=3)
    with error.value as answer:
        data = answer.read()
    assert error.value.code == 400
    assert error.value.headers["Content-Type"] == "application/x-amz-json-1.0"
    assert int(error.value.headers["x-amz-crc32"]) == zlib.crc32(data)
    assert json.loads(data)["__type"].endswith("#" + expected)


def test_other_paths_and_metrics(front: Any, alice: Any) -> None:
    put(alice, "counted", 1)
    assert front.get("/nowhere")[0] == 400
    text = front.get("/metrics")[1]
    assert 'cellwall_frontend_requests_total{operation="PutItem",outcome="done"}' in text
    assert "cellwall_frontend_request_seconds_bucket" in text


# ---------------------------------------------------------------- stuck, killed, wrong


def test_stuck_workflow_survives_a_kill(tmp_path: Path) -> None:
    world = W.FakeWorld()
    world.place("alice", "pets")
    world.start()
    front = W.FrontEnd(world, tmp_path)
    front.start()
    try:
        alice = front.customer("alice")
        put(alice, "kept", 1)
        world.metadata_stuck = True
        create(alice, "stuck")
        assert status(alice, "stuck") == "CREATING"
        assert get(alice, "kept") == 1  # customers do not need the metadata service
        world.metadata_stuck, world.renewing = False, False
        W.wait_until(lambda: any(t.name == "stuck" for t in world.tables.values()))
        assert status(alice, "stuck") == "CREATING"
        front.kill()
        world.renew()  # the servers confirm while the front end is away
        front.start()
        assert get(alice, "kept") == 1
        W.wait_until(lambda: status(alice, "stuck") == "ACTIVE")
        world.metadata_stuck = True
        alice.delete_table(TableName="stuck")
        assert status(alice, "stuck") == "DELETING"
        front.kill()
        world.metadata_stuck, world.renewing = False, True
        front.start()
        W.wait_until(lambda: "stuck" not in alice.list_tables()["TableNames"])
        put(alice, "kept", 2)
        assert get(alice, "kept") == 2
    finally:
        assert front.stop() == 0
        world.stop()
    records = list(history.decode((tmp_path / "frontend.ndjson").read_bytes().splitlines(keepends=True)))
    assert all(isinstance(r, history.ProcessSample) for r in records)

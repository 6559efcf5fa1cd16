"""Secondary indexes as a customer sees them: kept up, added, filled, removed; and front ends killed in every step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from cellwall_services.wire import Workflow

from . import frontend_world as W

pytestmark = pytest.mark.usefixtures("healed")

BY_OWNER = {
    "IndexName": "by-owner",
    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["note"]},
}
TYPES = [{"AttributeName": "owner", "AttributeType": "S"}, {"AttributeName": "at", "AttributeType": "N"}]
PK = [{"AttributeName": "pk", "AttributeType": "S"}]


@pytest.fixture(scope="module")
def world() -> Iterator[Any]:
    world = W.FakeWorld()
    for customer in ("alice", "bob"):
        world.place(customer, "pets")
    world.start()
    yield world
    world.stop()


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def pet(name: str, owner: str | None = None, at: int = 1, **more: str) -> dict[str, Any]:
    item: dict[str, Any] = {"pk": {"S": name}, "at": {"N": str(at)}} | {k: {"S": v} for k, v in more.items()}
    return item | ({"owner": {"S": owner}} if owner else {})


def owned(client: Any, owner: str, table: str = "pets", **members: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.query(
        TableName=table,
        IndexName="by-owner",
        KeyConditionExpression="#o = :o",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":o": {"S": owner}},
        **members,
    )["Items"]
    return found


def names(client: Any, owner: str, table: str = "pets") -> list[str]:
    return [item["pk"]["S"] for item in owned(client, owner, table)]


def described(client: Any, table: str = "pets") -> dict[str, Any]:
    found: dict[str, Any] = client.describe_table(TableName=table)["Table"]
    return found


def status(client: Any, table: str = "pets") -> str:
    return str(described(client, table)["TableStatus"])


def add(client: Any, table: str = "pets") -> Any:
    changes = [{"Create": BY_OWNER}]
    return client.update_table(TableName=table, AttributeDefinitions=PK + TYPES, GlobalSecondaryIndexUpdates=changes)[
        "TableDescription"
    ]


def remove(client: Any, table: str = "pets") -> Any:
    changes = [{"Delete": {"IndexName": "by-owner"}}]
    return client.update_table(TableName=table, GlobalSecondaryIndexUpdates=changes)["TableDescription"]


def test_an_index_is_kept_up(alice: Any, world: Any) -> None:
    alice.create_table(
        TableName="visits",
        AttributeDefinitions=PK + TYPES,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[BY_OWNER],
        BillingMode="PAY_PER_REQUEST",
    )
    alice.get_waiter("table_exists").wait(TableName="visits", WaiterConfig={"Delay": 1, "MaxAttempts": 8})
    alice.put_item(TableName="visits", Item=pet("rex", "ann", at=10, note="n", colour="red"))
    alice.put_item(TableName="visits", Item=pet("tom", "ann", at=9))
    alice.put_item(TableName="visits", Item=pet("stray"))
    W.wait_until(lambda: names(alice, "ann", "visits") == ["tom", "rex"])
    assert owned(alice, "ann", "visits", ScanIndexForward=False, Limit=1) == [pet("rex", "ann", at=10, note="n")]

    alice.put_item(TableName="visits", Item=pet("rex", "bob"))
    W.wait_until(lambda: (names(alice, "ann", "visits"), names(alice, "bob", "visits")) == (["tom"], ["rex"]))
    alice.delete_item(TableName="visits", Key={"pk": {"S": "tom"}})
    alice.put_item(TableName="visits", Item=pet("rex"))
    W.wait_until(lambda: not names(alice, "ann", "visits") and not names(alice, "bob", "visits"))
    with pytest.raises(ClientError) as error:
        owned(alice, "ann", "visits", ConsistentRead=True)
    assert code(error) == "ValidationException"
    assert "Consistent reads are not supported on global secondary indexes" in str(error.value)


def test_entries_of_an_index_that_cannot_be_written_come_later_also_after_a_kill(
    alice: Any, front: Any, world: Any
) -> None:
    """The replicas of the index are gone, those of the table are not: the write is done, the entry is due."""
    bob = front.customer("bob")
    add(bob)
    W.wait_until(lambda: status(bob) == "ACTIVE")
    index = {a.key for records in world.lists.values() for a in records if a.index == "by-owner"}
    hidden = {server: world.applied[server] & index for server in world.servers}
    for server in world.servers:
        world.applied[server] -= index
    bob.put_item(TableName="pets", Item=pet("rex", "ann"))
    bob.put_item(TableName="pets", Item=pet("rex", "zoe"))
    assert "cellwall_frontend_index_outbox_entries 0.0" not in front.get("/metrics")[1]
    front.kill()
    front.start()
    for server in world.servers:
        world.applied[server] |= hidden[server]
    W.wait_until(lambda: names(bob, "zoe") == ["rex"])
    assert names(bob, "ann") == []
    W.wait_until(lambda: "cellwall_frontend_index_outbox_entries 0.0" in front.get("/metrics")[1])


def test_a_write_of_unknown_outcome_is_seen_through(alice: Any, front: Any, world: Any) -> None:
    """One replica has it, the customer was told nothing: table and index agree in the end."""
    carol = front.customer("carol")
    world.place("carol", "pets")
    world.version += 1
    W.wait_until(lambda: carol.list_tables()["TableNames"])
    add(carol)
    W.wait_until(lambda: status(carol) == "ACTIVE")
    carol.put_item(TableName="pets", Item=pet("rex", "ann"))
    W.wait_until(lambda: names(carol, "ann") == ["rex"])
    world.down = {"s-0a", "s-0b"}
    with pytest.raises(ClientError) as error:
        carol.put_item(TableName="pets", Item=pet("rex", "zoe"))
    assert code(error) == "InternalServerError"
    world.down = set()
    W.wait_until(lambda: (names(carol, "ann"), names(carol, "zoe")) == ([], ["rex"]))
    found = carol.get_item(TableName="pets", Key={"pk": {"S": "rex"}}, ConsistentRead=True)
    assert found["Item"] == pet("rex", "zoe")


def test_one_change_at_a_time(alice: Any, front: Any, world: Any) -> None:
    world.renewing = False
    assert add(alice)["TableStatus"] == "UPDATING"
    for change in (add, remove, lambda client: client.delete_table(TableName="pets")):
        with pytest.raises(ClientError) as error:
            change(alice)
        assert code(error) == "ResourceInUseException"
    alice.put_item(TableName="pets", Item=pet("rex", "ann"))  # a table that is updated is in use
    with pytest.raises(ClientError) as error:
        owned(alice, "ann")
    assert code(error) == "ValidationException"
    world.renewing = True
    W.wait_until(lambda: status(alice) == "ACTIVE")
    W.wait_until(lambda: names(alice, "ann") == ["rex"])
    remove(alice)
    W.wait_until(lambda: status(alice) == "ACTIVE")
    with pytest.raises(ClientError) as error:
        owned(alice, "ann")
    assert "does not have the specified index" in str(error.value)
    with pytest.raises(ClientError) as error:
        remove(alice)
    assert code(error) == "ResourceNotFoundException"
    assert front.workflows() == []


def test_writes_while_an_index_is_added_are_in_it(front: Any, world: Any) -> None:
    dave = front.customer("dave")
    world.place("dave", "pets")
    world.version += 1
    W.wait_until(lambda: dave.list_tables()["TableNames"])
    world.renewing = False
    add(dave)
    number = 0
    while status(dave) != "ACTIVE":
        number += 1
        dave.put_item(TableName="pets", Item=pet(f"pet-{number % 7}", f"owner-{number % 3}", at=number))
        world.renewing = number > 7
    expected: dict[str, list[str]] = {}
    for item in sorted(dave.scan(TableName="pets")["Items"], key=lambda item: int(item["at"]["N"])):
        expected.setdefault(item["owner"]["S"], []).append(item["pk"]["S"])
    assert expected
    W.wait_until(lambda: {o: names(dave, o) for o in ("owner-0", "owner-1", "owner-2") if names(dave, o)} == expected)


def test_a_front_end_killed_in_every_step_goes_on(tmp_path: Path) -> None:
    world = W.FakeWorld()
    table = world.place("alice", "pets")
    world.start()
    front = W.FrontEnd(world, tmp_path)
    front.start(admin_timeout_s=0.2)

    def at_step(step: str, **expected: Any) -> None:
        """It waits in this step, says so, and still does after a kill."""

        def waits() -> bool:
            found = msgspec.convert(front.workflows(), list[Workflow])
            return [w.step for w in found] == [step] and all(getattr(found[0], k) for k in expected)

        for killed in (False, True):
            W.wait_until(waits)
            (found,) = msgspec.convert(front.workflows(), list[Workflow])
            assert (found.customer, found.table, found.state, found.index) == ("alice", "pets", "UPDATING", "by-owner")
            for member, value in expected.items():
                assert value in getattr(found, member)
            if not killed:
                front.kill()
                front.start(admin_timeout_s=0.2)

    try:
        alice = front.customer("alice")
        alice.put_item(TableName="pets", Item=pet("rex", "ann", note="n", colour="red"))
        world.changes_stuck = True
        assert add(alice)["GlobalSecondaryIndexes"][0]["IndexStatus"] == "CREATING"
        at_step("post", trouble="no answer within")
        world.changes_stuck, world.renewing = False, False
        at_step("confirm", servers="s-0b")
        alice.put_item(TableName="pets", Item=pet("tom", "ann", at=0))
        world.down, world.renewing = {"s-0a", "s-0b"}, True
        at_step("backfill", trouble="s-0")
        assert described(alice)["GlobalSecondaryIndexes"][0]["Backfilling"] is True
        world.down, world.changes_stuck = set(), True
        at_step("finish", trouble="no answer within")
        alice.put_item(TableName="pets", Item=pet("kim", "ann", at=2))
        assert status(alice) == "UPDATING"
        world.changes_stuck = False
        W.wait_until(lambda: status(alice) == "ACTIVE")
        W.wait_until(lambda: names(alice, "ann") == ["tom", "rex", "kim"])
        assert owned(alice, "ann")[1] == pet("rex", "ann", note="n")
        placed = [a for records in world.lists.values() for a in records if a.index == "by-owner"]
        assert len(placed) == 2 * 3
        assert [(i.name, i.status, i.range_type) for i in world.tables[table.id].indexes] == [
            ("by-owner", "ACTIVE", "N")
        ]

        world.renewing = False
        assert remove(alice)["GlobalSecondaryIndexes"][0]["IndexStatus"] == "DELETING"
        at_step("confirm", servers="s-0a")
        world.renewing = True
        W.wait_until(lambda: status(alice) == "ACTIVE")
        assert "GlobalSecondaryIndexes" not in described(alice)
        assert described(alice)["AttributeDefinitions"] == PK
        assert not any(a.index for records in world.lists.values() for a in records)
        assert world.tables[table.id].indexes == ()
        alice.put_item(TableName="pets", Item=pet("rex", "bob"))
        add(alice)
        W.wait_until(lambda: status(alice) == "ACTIVE")
        W.wait_until(lambda: (names(alice, "ann"), names(alice, "bob")) == (["tom", "kim"], ["rex"]))
    finally:
        assert front.stop() == 0
        world.stop()

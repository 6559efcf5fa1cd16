"""Query, Scan and the batches, as boto3 sees them: pages, paginators, the resource API, a missing quorum."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

from . import frontend_world as W

pytestmark = pytest.mark.usefixtures("healed")

SCORES = [-12.5, -1, 0, 0.5, 1, 2, 10, 100]


@pytest.fixture(scope="module")
def world() -> Iterator[Any]:
    world = W.FakeWorld()
    world.place("alice", "pets", partitions=5)
    world.start()
    yield world
    world.stop()


@pytest.fixture(scope="module")
def resource(front: Any) -> Any:
    return front.resource("alice")


@pytest.fixture(scope="module")
def alice(resource: Any) -> Any:
    """In Python's own types."""
    return resource.meta.client


@pytest.fixture(scope="module")
def games(resource: Any) -> Any:
    """Two players with a score a game; numbers sort as numbers."""
    table = resource.create_table(
        TableName="games",
        KeySchema=[{"AttributeName": "player", "KeyType": "HASH"}, {"AttributeName": "score", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "player", "AttributeType": "S"},
            {"AttributeName": "score", "AttributeType": "N"},
            {"AttributeName": "level", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-level",
                "KeySchema": [
                    {"AttributeName": "level", "KeyType": "HASH"},
                    {"AttributeName": "score", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    W.wait_until(lambda: table.meta.client.describe_table(TableName="games")["Table"]["TableStatus"] == "ACTIVE")
    with table.batch_writer() as batch:
        for player in ("ann", "bob"):
            for score in SCORES:
                batch.put_item(Item={"player": player, "score": Decimal(str(score)), "level": "l1", "extra": "e"})
    return table


def scores(items: list[Any]) -> list[float]:
    return [float(item["score"]) for item in items]


def test_range_keys_sort_and_select(games: Any) -> None:
    ann = Key("player").eq("ann")
    assert scores(games.query(KeyConditionExpression=ann)["Items"]) == SCORES
    assert scores(games.query(KeyConditionExpression=ann, ScanIndexForward=False)["Items"]) == SCORES[::-1]
    for condition, expected in [
        (Key("score").lt(0), [-12.5, -1]),
        (Key("score").lte(0), [-12.5, -1, 0]),
        (Key("score").gt(2), [10, 100]),
        (Key("score").gte(2), [2, 10, 100]),
        (Key("score").eq(Decimal("0.5")), [0.5]),
        (Key("score").between(-1, 1), [-1, 0, 0.5, 1]),
    ]:
        for consistent in (False, True):
            found = games.query(KeyConditionExpression=ann & condition, ConsistentRead=consistent)
            assert scores(found["Items"]) == expected
            assert (found["Count"], found["ScannedCount"]) == (len(expected), len(expected))
    assert games.query(KeyConditionExpression=Key("player").eq("nobody"))["Items"] == []


@pytest.mark.parametrize("forward", [True, False])
def test_pages_of_a_query_add_up(games: Any, forward: bool) -> None:
    found: list[float] = []
    start: dict[str, Any] = {}
    for _ in range(len(SCORES) + 1):
        page = games.query(KeyConditionExpression=Key("player").eq("ann"), Limit=3, ScanIndexForward=forward, **start)
        assert page["Count"] <= 3
        found += scores(page["Items"])
        if "LastEvaluatedKey" not in page:
            break
        assert page["LastEvaluatedKey"] == {"player": "ann", "score": page["Items"][-1]["score"]}
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert found == (SCORES if forward else SCORES[::-1])


def test_the_paginator_of_a_query(alice: Any, games: Any) -> None:
    pages = alice.get_paginator("query").paginate(
        TableName="games",
        KeyConditionExpression="player = :p",
        ExpressionAttributeValues={":p": "ann"},
        PaginationConfig={"PageSize": 3},
    )
    found = [page["Items"] for page in pages]
    assert scores([item for items in found for item in items]) == SCORES
    assert [len(items) for items in found[:2]] == [3, 3]


def test_counts_and_projections(games: Any) -> None:
    ann = Key("player").eq("ann")
    counted = games.query(KeyConditionExpression=ann, Select="COUNT")
    assert counted["Count"] == len(SCORES) and "Items" not in counted
    shown = games.query(KeyConditionExpression=ann, ProjectionExpression="extra, nothing", Limit=1)
    assert shown["Items"] == [{"extra": "e"}] and "player" in shown["LastEvaluatedKey"]
    got = games.get_item(Key={"player": "ann", "score": 1}, ProjectionExpression="score")
    assert got["Item"] == {"score": 1}


def test_an_index_is_queried_and_scanned_in_pages(games: Any) -> None:
    def ready() -> bool:
        return bool(games.scan(IndexName="by-level", Select="COUNT")["Count"] == 2 * len(SCORES))

    W.wait_until(ready)
    level = Key("level").eq("l1")
    found: list[Any] = []
    start: dict[str, Any] = {}
    while True:
        page = games.query(IndexName="by-level", KeyConditionExpression=level, Limit=3, **start)
        found += page["Items"]
        if "LastEvaluatedKey" not in page:
            break
        assert page["LastEvaluatedKey"].keys() == {"player", "score", "level"}
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert scores(found) == [score for score in SCORES for _ in range(2)]
    assert all(item.keys() == {"player", "score", "level"} for item in found)
    assert len({(item["player"], item["score"]) for item in found}) == 2 * len(SCORES)
    few = games.query(IndexName="by-level", KeyConditionExpression=level & Key("score").between(1, 2))
    assert scores(few["Items"]) == [1, 1, 2, 2]


def test_scans_and_their_paginator(alice: Any, resource: Any) -> None:
    pets = resource.Table("pets")
    with pets.batch_writer() as batch:
        for number in range(40):
            batch.put_item(Item={"pk": f"pet-{number}", "n": number})
        batch.delete_item(Key={"pk": "pet-7"})
    expected = {f"pet-{number}" for number in range(40)} - {"pet-7"}
    for limit in (1, 7, 1000):
        pages = alice.get_paginator("scan").paginate(TableName="pets", PaginationConfig={"PageSize": limit})
        found = [item["pk"] for page in pages for item in page["Items"]]
        assert sorted(found) == sorted(expected)
    segments = [pets.scan(Segment=n, TotalSegments=3, ConsistentRead=True)["Items"] for n in range(3)]
    assert sorted(item["pk"] for items in segments for item in items) == sorted(expected)
    assert sum(bool(items) for items in segments) > 1
    key = pets.scan(Segment=0, TotalSegments=5)["Items"][0]["pk"]
    with pytest.raises(ClientError) as error:
        pets.scan(Segment=4, TotalSegments=5, ExclusiveStartKey={"pk": key})
    assert "starting key is invalid" in str(error.value)


def test_a_page_ends_at_a_megabyte(resource: Any) -> None:
    pets = resource.Table("pets")
    for number in range(4):
        pets.put_item(Item={"pk": f"large-{number}", "text": "x" * 390_000})
    sizes: list[int] = []
    start: dict[str, Any] = {}
    while True:
        page = pets.scan(**start)
        sizes.append(sum(len(item.get("text", "")) for item in page["Items"]))
        if "LastEvaluatedKey" not in page:
            break
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert sum(sizes) == 4 * 390_000
    assert len(sizes) > 1 and max(sizes) <= 3 * 390_000
    for number in range(4):
        pets.delete_item(Key={"pk": f"large-{number}"})


def test_batches(alice: Any, games: Any) -> None:
    written = alice.batch_write_item(
        RequestItems={
            "pets": [{"PutRequest": {"Item": {"pk": "b1", "n": 1}}}, {"DeleteRequest": {"Key": {"pk": "never"}}}],
            "games": [{"PutRequest": {"Item": {"player": "zoe", "score": 5}}}],
        }
    )
    assert written["UnprocessedItems"] == {}
    found = alice.batch_get_item(
        RequestItems={
            "pets": {"Keys": [{"pk": "b1"}, {"pk": "never"}], "ConsistentRead": True, "ProjectionExpression": "n"},
            "games": {"Keys": [{"player": "zoe", "score": 5}]},
        }
    )
    assert found["UnprocessedKeys"] == {}
    assert found["Responses"] == {"pets": [{"n": 1}], "games": [{"player": "zoe", "score": 5}]}
    alice.delete_item(TableName="games", Key={"player": "zoe", "score": 5})


@pytest.mark.parametrize("kind", ["write", "get"])
def test_a_batch_that_is_wrong_anywhere_does_nothing(alice: Any, kind: str) -> None:
    with pytest.raises(ClientError) as error:
        if kind == "get":
            alice.batch_get_item(RequestItems={"pets": {"Keys": [{"pk": "b1"}]}, "nothing": {"Keys": [{"pk": "b1"}]}})
        else:
            put = {"PutRequest": {"Item": {"pk": "half"}}}
            alice.batch_write_item(RequestItems={"pets": [put], "nothing": [put]})
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert "Item" not in alice.get_item(TableName="pets", Key={"pk": "half"}, ConsistentRead=True)
    same = {"PutRequest": {"Item": {"pk": "same"}}}
    with pytest.raises(ClientError) as error:
        alice.batch_write_item(RequestItems={"pets": [same, same]})
    assert "duplicates" in str(error.value)


def test_what_has_no_quorum_is_given_back(alice: Any, front: Any, world: Any) -> None:
    """Half of the items lie in a group that is down; the others are read and written."""
    table = world.place("alice", "far", group=1)
    world.version += 1
    W.wait_until(lambda: "far" in alice.list_tables()["TableNames"])
    assert table.name == "far"
    puts = [{"PutRequest": {"Item": {"pk": f"k{number}", "n": number}}} for number in range(3)]
    for down in ({"s-1a", "s-1b", "s-1c"}, {"s-1a", "s-1b"}):
        world.down = down
        left = alice.batch_write_item(RequestItems={"pets": puts, "far": puts})["UnprocessedItems"]
        assert left == {"far": puts}
        keys = {"Keys": [{"pk": f"k{number}"} for number in range(3)], "ConsistentRead": True}
        found = alice.batch_get_item(RequestItems={"pets": keys, "far": keys})
        assert found["UnprocessedKeys"] == {"far": keys}
        assert len(found["Responses"]["pets"]) == 3 and found["Responses"]["far"] == []
        with pytest.raises(ClientError) as error:
            alice.scan(TableName="far", ConsistentRead=True)
        assert error.value.response["Error"]["Code"] == "ServiceUnavailable"
    world.down = set()
    assert alice.batch_write_item(RequestItems=left)["UnprocessedItems"] == {}
    assert alice.scan(TableName="far", ConsistentRead=True)["Count"] == 3

"""Tables that are created, changed and deleted during an outage: stuck for all to see, finished by themselves after it.

The outage is the metadata service's CPU limit, set so low that no renewal gets its answer in time. Nobody tells a
workflow that it is over.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from typing import Any

import pytest

from ..waiting import until
from .conftest import READY_S, RENEW_EVERY_S, Walk, customer

STARVED = "0.01"  # of one core: 10 ms in each second, for 50 servers that ask again and again for 1 ms of work
BY_OWNER = {
    "IndexName": "by-owner",
    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "ALL"},
}
ITEM = {"pk": {"S": "1"}, "owner": {"S": "ann"}}


def attributes(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def create(db: Any, name: str) -> None:
    schema = [{"AttributeName": "pk", "KeyType": "HASH"}]
    db.create_table(
        TableName=name, KeySchema=schema, AttributeDefinitions=attributes("pk"), BillingMode="PAY_PER_REQUEST"
    )


def statuses(db: Any) -> dict[str, str]:
    """Of all tables of the customer that there are."""
    found = {}
    for name in db.list_tables()["TableNames"]:
        with suppress(db.exceptions.ResourceNotFoundException):  # deleted meanwhile
            found[name] = db.describe_table(TableName=name)["Table"]["TableStatus"]
    return found


def test_tables_stick_during_an_outage_and_finish_by_themselves(walk: Walk) -> None:
    walk.up("--out", "run")
    with closing(customer(walk.folder / "run" / "monolith", "me")) as db:
        for name in ("changed", "dropped"):
            create(db, name)
        until("both are ACTIVE", lambda: statuses(db) == {"changed": "ACTIVE", "dropped": "ACTIVE"}, READY_S)
        for name in ("changed", "dropped"):
            db.put_item(TableName=name, Item=ITEM)
        assert walk.state()["tables_in_flight"] == []

        assert walk.run("limit-cpu", STARVED).returncode == 0
        until("more than half of the servers are out", lambda: walk.state()["window"]["servers_out"] > 25, READY_S)
        create(db, "new")
        db.update_table(
            TableName="changed",
            AttributeDefinitions=attributes("pk", "owner"),
            GlobalSecondaryIndexUpdates=[{"Create": BY_OWNER}],
        )
        db.delete_table(TableName="dropped")
        stuck = {"new": "CREATING", "changed": "UPDATING", "dropped": "DELETING"}

        def in_flight() -> dict[str, str]:
            return {table["table"]: table["state"] for table in walk.state()["tables_in_flight"]}

        def waiting() -> bool:
            """All three, for longer than a change takes (about a period); and nothing gets on meanwhile."""
            state = walk.state()
            found = state["tables_in_flight"]
            assert {table["table"]: table["state"] for table in found} == stuck
            return all(state["now_s"] - table["since_s"] > 2 * RENEW_EVERY_S for table in found)

        until("all three are listed", lambda: in_flight() == stuck)
        until("they have waited for long", waiting, READY_S)
        assert statuses(db) == stuck
        shown = walk.run("watch", "--once").stdout
        assert "monolith: stuck" in shown
        for name, state in stuck.items():
            at = r"(post|confirm, \d+ servers have not confirmed: s-\d+)"
            line = rf"^table me/{name}: {state}( by-owner)? for \d+ s, at {at}"
            assert re.search(line, shown, re.MULTILINE), shown

        assert walk.run("limit-cpu", str(1 / float(STARVED))).returncode == 0
        until("all is done", lambda: statuses(db) == {"changed": "ACTIVE", "new": "ACTIVE"}, READY_S)
        until("nobody waits any more", lambda: walk.state()["tables_in_flight"] == [], READY_S)
        with pytest.raises(db.exceptions.ResourceNotFoundException):
            db.get_item(TableName="dropped", Key={"pk": ITEM["pk"]})
        found = db.query(
            TableName="changed",
            IndexName="by-owner",
            KeyConditionExpression="#o = :o",
            ExpressionAttributeNames={"#o": "owner"},
            ExpressionAttributeValues={":o": ITEM["owner"]},
        )
        assert found["Items"] == [ITEM], "what was there before is in the new index"
        db.put_item(TableName="new", Item=ITEM)

"""Definitions of tables and their changes: which are allowed, how they are described, what servers are sent of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.model import IndexInfo, TableInfo
from cellwall_services.frontend import bodies, schema
from cellwall_services.frontend.errors import (
    ApiError,
    LimitExceededError,
    ResourceInUseError,
    ResourceNotFoundError,
    ValidationError,
)

from .frontend_requests import parse

UNITS = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
HASH = {"AttributeName": "pk", "KeyType": "HASH"}


def index(name: str = "by-gk", *keys: str, **changes: Any) -> dict[str, Any]:
    kinds = zip(keys or ("gk",), ("HASH", "RANGE"), strict=False)
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in kinds],
        "Projection": {"ProjectionType": "ALL"},
    } | changes


def attributes(**kinds: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def definition(**changes: Any) -> schema.Definition:
    body = {
        "TableName": "visits",
        "AttributeDefinitions": attributes(pk="S", sk="S", gk="S"),
        "KeySchema": [HASH, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [index()],
        "BillingMode": "PAY_PER_REQUEST",
    }
    new: schema.Definition = parse("CreateTable", body | changes)
    schema.check_definition(new)
    return new


def include(*names: str) -> dict[str, Any]:
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names)}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TableName": "ab"}, "TableName"),
        ({"KeySchema": []}, "KeySchema"),
        ({"KeySchema": [HASH, HASH]}, "KeySchema"),
        ({"KeySchema": [HASH, HASH | {"KeyType": "RANGE"}]}, "have the same name: KeySchema"),
        ({"KeySchema": [HASH | {"AttributeName": "zz"}]}, "not defined in AttributeDefinitions. Keys: [zz]"),
        (
            {"KeySchema": [HASH]},
            "Some AttributeDefinitions are not used. AttributeDefinitions: [pk, sk, gk], keys used",
        ),
        ({"AttributeDefinitions": attributes(pk="S") * 2}, "two attributes with the same name"),
        ({"GlobalSecondaryIndexes": []}, "GlobalSecondaryIndexes"),
        ({"GlobalSecondaryIndexes": [index(), index()]}, "Duplicate index name: by-gk: GlobalSecondaryIndexes[1]"),
        ({"GlobalSecondaryIndexes": [index(f"by-{n}") for n in range(21)]}, "per-table limit of 20"),
        ({"GlobalSecondaryIndexes": [index("x")]}, "GlobalSecondaryIndexes[0].IndexName"),
        ({"GlobalSecondaryIndexes": [index("by-zz", "zz")]}, "GlobalSecondaryIndexes[0].KeySchema"),
        ({"GlobalSecondaryIndexes": [index(Projection={})]}, "GlobalSecondaryIndexes[0].Projection"),
        ({"GlobalSecondaryIndexes": [index(Projection={"ProjectionType": "INCLUDE"})]}, "NonKeyAttributes is not"),
        (
            {"GlobalSecondaryIndexes": [index(Projection={"ProjectionType": "ALL", "NonKeyAttributes": ["a"]})]},
            "ProjectionType is ALL, but NonKeyAttributes is specified",
        ),
        ({"GlobalSecondaryIndexes": [index(Projection=include(*map(str, range(21))))]}, "at most 20 different"),
        ({"GlobalSecondaryIndexes": [index(Projection=include("a", "a"))]}, "at most 20 different"),
        (
            {
                "GlobalSecondaryIndexes": [
                    index(f"by-{n}", Projection=include(*(f"{n}-{m}" for m in range(20)))) for n in range(6)
                ]
            },
            "NonKeyAttributes exceeds the per-table limit of 100",
        ),
        ({"GlobalSecondaryIndexes": [index(ProvisionedThroughput=UNITS)]}, "GlobalSecondaryIndexes[0].Provisioned"),
        ({"BillingMode": "PROVISIONED"}, "ProvisionedThroughput"),
        ({"BillingMode": "FREE"}, "BillingMode"),
        ({"ProvisionedThroughput": UNITS}, "ProvisionedThroughput"),
        ({"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "BOOL"}]}, "AttributeType"),
    ],
)
def test_definitions_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as error:
        definition(**changes)
    assert named in error.value.message


def test_definition_described() -> None:
    new = definition(
        BillingMode="PROVISIONED",
        GlobalSecondaryIndexes=[index(ProvisionedThroughput=UNITS)],
        ProvisionedThroughput=UNITS,
    )
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    assert (info.hash_key, info.range_key, info.range_type, info.indexes[0].partitions) == ("pk", "sk", "S", 4)
    described = msgspec.to_builtins(schema.describe(info, new, "CREATING"))
    assert described["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
    (shown,) = described["GlobalSecondaryIndexes"]
    assert shown["Projection"] == {"ProjectionType": "ALL"} and shown["IndexStatus"] == "CREATING"
    assert "Backfilling" not in shown


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ACTIVE", {"IndexStatus": "ACTIVE"}),
        ("CREATING", {"IndexStatus": "CREATING", "Backfilling": True}),
        ("DELETING", {"IndexStatus": "DELETING"}),
    ],
)
def test_an_index_shows_its_own_status(status: str, expected: dict[str, Any]) -> None:
    new = definition()
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    info = msgspec.structs.replace(info, indexes=(msgspec.structs.replace(info.indexes[0], status=status),))
    (shown,) = schema.describe(info, new, "UPDATING")["GlobalSecondaryIndexes"]
    assert {k: v for k, v in shown.items() if k in ("IndexStatus", "Backfilling")} == expected
    (shown,) = schema.describe(info, new, "DELETING")["GlobalSecondaryIndexes"]
    assert shown["IndexStatus"] == "DELETING" and "Backfilling" not in shown


kinds = st.sampled_from("SNB")


@given(
    st.booleans(), st.lists(st.tuples(kinds, kinds, st.booleans(), st.sampled_from(["ALL", "KEYS_ONLY"])), max_size=4)
)
def test_a_derived_definition_says_what_the_table_info_says(
    ranged: bool, drawn: list[tuple[str, str, bool, str]]
) -> None:
    indexes = [
        IndexInfo(f"by-{n}", 3, f"h{n}", hash_kind, f"r{n}" if has else None, range_kind if has else None, shows)
        for n, (hash_kind, range_kind, has, shows) in enumerate(drawn)
    ]
    indexes.append(IndexInfo("some", 3, "h", "N", projection="INCLUDE", non_key=("a", "b")))
    info = TableInfo(
        "t-1", "visits", "alice", 3, range_key="sk" if ranged else None, range_type="N" if ranged else None
    )
    info = msgspec.structs.replace(info, indexes=tuple(indexes), status="CREATING")
    derived = schema.derived(info)
    schema.check_definition(derived)
    assert schema.table_info(derived, "t-1", "alice", 3, 0.0) == info
    sent = msgspec.json.encode(info)
    assert msgspec.json.decode(sent, type=TableInfo) == info


def test_a_plain_index_is_sent_as_it_always_was() -> None:
    """The size of a membership is what the event was about: it must not grow with what an index may be."""
    assert msgspec.json.encode(IndexInfo("by-g1", 7, "g1")) == b'{"name":"by-g1","partitions":7,"hash_key":"g1"}'


# ---------------------------------------------------------------- changes of a definition


def update(**members: Any) -> bodies.UpdateTable:
    given_: bodies.UpdateTable = parse("UpdateTable", {"TableName": "visits"} | members)
    return given_


def created(new: dict[str, Any], **kinds: str) -> bodies.UpdateTable:
    defined = {"AttributeDefinitions": attributes(**kinds)} if kinds else {}
    return update(GlobalSecondaryIndexUpdates=[{"Create": new}], **defined)


def test_an_index_added_and_removed_leaves_the_definition_as_it_was() -> None:
    before = definition()
    after = schema.updated(before, created(index("by-day", "day", "sk", Projection=include("who")), day="N"))
    schema.check_definition(after)
    assert after.GlobalSecondaryIndexes is not None
    info = schema.index_info(after, after.GlobalSecondaryIndexes[-1], 5, "CREATING")
    assert info == IndexInfo("by-day", 5, "day", "N", "sk", "S", "INCLUDE", ("who",), "CREATING")
    assert schema.updated(after, update(GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-day"}}])) == after
    assert schema.without_index(after, "by-day") == before
    bare = schema.without_index(before, "by-gk")
    assert bare.GlobalSecondaryIndexes is None
    assert [a.AttributeName for a in bare.AttributeDefinitions] == ["pk", "sk"]


@pytest.mark.parametrize(
    ("change", "kind", "problem"),
    [
        (created(index()), ValidationError, "Attempting to create an index which already exists: by-gk"),
        (created(index("by-day", "day")), ValidationError, "not defined in AttributeDefinitions. Keys: [day]"),
        (created(index("by-day", "gk"), gk="N"), ValidationError, "gk is S and cannot become N"),
        (created(index("by-sk", "sk"), day="N"), ValidationError, "Some AttributeDefinitions are not used"),
        (created(index("by-sk", "sk", Projection={})), ValidationError, "GlobalSecondaryIndexUpdates[0].Create.Proj"),
        (
            created(index("by-sk", "sk", ProvisionedThroughput=UNITS)),
            ValidationError,
            "GlobalSecondaryIndexUpdates[0].Create.ProvisionedThroughput: must not be given",
        ),
        (
            update(GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-day"}}]),
            ResourceNotFoundError,
            "Index: by-day not found",
        ),
        (update(BillingMode="PROVISIONED"), ValidationError, "ProvisionedThroughput: is missing"),
        (update(ProvisionedThroughput=UNITS), ValidationError, "must not be given with BillingMode PAY_PER_REQUEST"),
    ],
)
def test_updates_refused(change: bodies.UpdateTable, kind: type[ApiError], problem: str) -> None:
    with pytest.raises(kind) as error:
        schema.updated(definition(), change)
    assert problem in error.value.message


def test_the_twenty_first_index_is_over_the_limit() -> None:
    full = definition(GlobalSecondaryIndexes=[index(f"by-{n:02}") for n in range(20)])
    with pytest.raises(LimitExceededError, match="limit of 20"):
        schema.updated(full, created(index("by-20")))


def test_the_billing_mode_may_change_to_and_fro() -> None:
    before = definition()
    provisioned = schema.updated(before, update(BillingMode="PROVISIONED", ProvisionedThroughput=UNITS))
    schema.check_definition(provisioned)
    assert schema.updated(provisioned, update(BillingMode="PAY_PER_REQUEST")) == before
    more = schema.updated(provisioned, update(ProvisionedThroughput={"ReadCapacityUnits": 7, "WriteCapacityUnits": 8}))
    assert more.ProvisionedThroughput == bodies.Throughput(7, 8)


def test_a_table_takes_one_change_at_a_time() -> None:
    info = TableInfo("t-1", "visits", "alice", 1)
    schema.check_changeable(info, "ACTIVE")
    with pytest.raises(ResourceInUseError, match="Table is being updated: visits"):
        schema.check_changeable(info, "UPDATING")

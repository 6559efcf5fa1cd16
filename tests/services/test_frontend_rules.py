"""The front end's pure rules: attribute values, definitions, placing, catalog, versions, exit status."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused, Unavailable
from cellwall.keys import canonical_number
from cellwall.model import CellEntry, CellMap, ServerEntry, TableInfo
from cellwall.quorum import Version
from cellwall_services.config import FrontendConfig, load
from cellwall_services.frontend import placing, protocol, schema, values
from cellwall_services.frontend.__main__ import serve
from cellwall_services.frontend.catalog import Catalog, CellTables
from cellwall_services.frontend.clock import AHEAD_MS, Clock
from cellwall_services.frontend.errors import ApiError, SerializationError, ValidationError
from cellwall_services.frontend.ledger import Entry, Ledger

# ---------------------------------------------------------------- attribute values

number = st.integers(-(10**37), 10**37).map(str)
binary = st.binary(max_size=6).map(lambda b: base64.b64encode(b).decode())
text = st.text(max_size=6)


def _set(kind: str, member: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(member, min_size=1, max_size=4, unique=True).map(lambda found: {kind: found})


scalar = st.one_of(
    text.map(lambda v: {"S": v}),
    number.map(lambda v: {"N": v}),
    binary.map(lambda v: {"B": v}),
    st.booleans().map(lambda v: {"BOOL": v}),
    st.just({"NULL": True}),
    _set("SS", text),
    _set("NS", number),
    _set("BS", binary),
)
attribute = st.recursive(
    scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: {"L": v}),
        st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3).map(lambda v: {"M": v}),
    ),
    max_leaves=8,
)
items = st.dictionaries(st.text(min_size=1, max_size=6), attribute, max_size=4)


def dumb(value: dict[str, Any]) -> dict[str, Any]:
    """The twin: what canonical means, without sizes, places or limits."""
    ((kind, content),) = value.items()
    if kind == "L":
        return {"L": [dumb(v) for v in content]}
    if kind == "M":
        return {"M": {k: dumb(v) for k, v in content.items()}}
    if kind == "N":
        return {"N": canonical_number(content)}
    return {kind: sorted(content)} if kind in ("SS", "BS", "NS") else {kind: content}


@given(items)
def test_values_round_trip(item: dict[str, Any]) -> None:
    canonical = values.item(item, "Item")
    assert canonical == {name: dumb(value) for name, value in item.items()}
    assert values.decode(values.encode(canonical)) == canonical
    assert values.item(canonical, "Item") == canonical
    turned = dict(reversed(item.items()))
    assert values.encode(values.item(turned, "Item")) == values.encode(canonical)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*values.TYPES, "x")), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(json_values)
def test_any_json_is_a_value_or_a_clear_error(raw: Any) -> None:
    try:
        canonical, size_bytes = values.value(raw, "Item.a")
    except ApiError as error:
        assert "Item.a" in error.message and error.status == 400
    else:
        assert size_bytes >= 0 and len(canonical) == 1


@pytest.mark.parametrize(
    ("raw", "expected", "place"),
    [
        ({}, ValidationError, "Item.a"),
        ({"S": "x", "N": "1"}, ValidationError, "Item.a"),
        ({"X": "x"}, ValidationError, "Item.a"),
        ({"S": 1}, SerializationError, "Item.a.S"),
        ({"B": "a"}, SerializationError, "Item.a.B"),
        ({"B": "a b="}, SerializationError, "Item.a.B"),
        ({"NULL": False}, ValidationError, "Item.a.NULL"),
        ({"BOOL": "true"}, SerializationError, "Item.a.BOOL"),
        ({"NS": ["1", "1.0"]}, ValidationError, "Item.a.NS"),
        ({"L": [{"S": "x"}, {"N": ""}]}, ValidationError, "Item.a.L[1].N"),
        ({"M": {"k": {"SS": "x"}}}, SerializationError, "Item.a.M.k.SS"),
        ({"M": {"": {"S": "x"}}}, ValidationError, "Item.a.M"),
    ],
)
def test_value_errors_name_the_place(raw: Any, expected: type[ApiError], place: str) -> None:
    with pytest.raises(expected) as error:
        values.item({"a": raw}, "Item")
    assert f"{place} " in error.value.message.replace(":", " ")


def test_nesting_and_size_limits() -> None:
    deep: dict[str, Any] = {"S": "x"}
    for _ in range(values.NESTING_MAX):
        deep = {"L": [deep]}
    values.item({"a": deep}, "Item")
    with pytest.raises(ValidationError, match="Nesting"):
        values.item({"a": {"M": {"b": deep}}}, "Item")
    values.item({"a": {"S": "x" * (values.ITEM_BYTES_MAX - 1)}}, "Item")
    with pytest.raises(ValidationError, match="Item size"):
        values.item({"a": {"S": "x" * values.ITEM_BYTES_MAX}}, "Item")


# ---------------------------------------------------------------- definitions


def definition(**changes: Any) -> protocol.Operation:
    body = {
        "TableName": "visits",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "gk")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [index()],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return protocol.parse("CreateTable", json.dumps(body | changes).encode())


def index(**changes: Any) -> dict[str, Any]:
    return {
        "IndexName": "by-gk",
        "KeySchema": [{"AttributeName": "gk", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    } | changes


HASH = {"AttributeName": "pk", "KeyType": "HASH"}
UNITS = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TableName": "ab"}, "TableName"),
        ({"KeySchema": []}, "KeySchema"),
        ({"KeySchema": [HASH, HASH]}, "KeySchema"),
        ({"KeySchema": [HASH, HASH | {"KeyType": "RANGE"}]}, "KeySchema"),
        ({"KeySchema": [HASH | {"AttributeName": "zz"}]}, "zz"),
        ({"KeySchema": [HASH]}, "'sk'"),
        ({"GlobalSecondaryIndexes": []}, "GlobalSecondaryIndexes"),
        ({"GlobalSecondaryIndexes": [index(), index()]}, "GlobalSecondaryIndexes[1].IndexName"),
        ({"GlobalSecondaryIndexes": [index(Projection={})]}, "GlobalSecondaryIndexes[0].Projection"),
        ({"GlobalSecondaryIndexes": [index(Projection={"ProjectionType": "INCLUDE"})]}, "NonKeyAttributes"),
        ({"GlobalSecondaryIndexes": [index(ProvisionedThroughput=UNITS)]}, "GlobalSecondaryIndexes[0].Provisioned"),
        ({"BillingMode": "PROVISIONED"}, "ProvisionedThroughput"),
        ({"BillingMode": "FREE"}, "BillingMode"),
        ({"ProvisionedThroughput": UNITS}, "ProvisionedThroughput"),
        ({"StreamSpecification": {}}, "StreamSpecification"),
        ({"LocalSecondaryIndexes": []}, "LocalSecondaryIndexes"),
        ({"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "BOOL"}]}, "AttributeType"),
    ],
)
def test_definitions_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as error:
        new = definition(**changes)
        assert isinstance(new, protocol.CreateTable)
        schema.check_definition(new)
    assert named in error.value.message


def test_definition_described() -> None:
    provisioned = {"GlobalSecondaryIndexes": [index(ProvisionedThroughput=UNITS)], "ProvisionedThroughput": UNITS}
    new = definition(BillingMode="PROVISIONED", **provisioned)
    assert isinstance(new, protocol.CreateTable)
    schema.check_definition(new)
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    assert (info.hash_key, info.range_key, info.range_type, info.indexes[0].partitions) == ("pk", "sk", "S", 4)
    described = msgspec.to_builtins(schema.describe(info, new, "CREATING"))
    assert described["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
    assert described["GlobalSecondaryIndexes"][0]["Projection"] == {"ProjectionType": "ALL"}


def test_index_keys_of_items_are_checked() -> None:
    new = definition()
    assert isinstance(new, protocol.CreateTable)
    info = schema.table_info(new, "t-1", "alice", 4, 1.0)
    item: values.Item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    assert schema.item_target(info, new, item) == schema.key_target(info, item)
    with pytest.raises(ValidationError, match=r"Item\.gk"):
        schema.item_target(info, new, item | {"gk": {"N": "1"}})
    with pytest.raises(ValidationError, match=r"Item\.sk.*1024"):
        schema.item_target(info, new, item | {"sk": {"S": "x" * 1025}})


# ---------------------------------------------------------------- placing, catalog, versions


def fleet(groups: int = 2, per_zone: int = 2) -> dict[str, ServerEntry]:
    return {
        f"s-{g}{z}{n}": ServerEntry(f"s-{g}{z}{n}", f"cell-{g}", 0, z, g)
        for g in range(groups)
        for z in "abc"
        for n in range(per_zone)
    }


@given(st.integers(1, 9), st.integers(0, 3), st.integers(1, 4))
def test_placed_over_three_zones_and_evenly(partitions: int, indexes: int, per_zone: int) -> None:
    servers = fleet(per_zone=per_zone)
    new = definition()
    assert isinstance(new, protocol.CreateTable)
    info = schema.table_info(new, "t-1", "alice", partitions, 0.0)
    info = msgspec.structs.replace(
        info, indexes=tuple(msgspec.structs.replace(info.indexes[0], name=f"i{n}") for n in range(indexes))
    )
    placed = placing.place(info, 1, servers, {})
    assert all(servers[s].group == 1 for s in placed)
    found: dict[str, dict[int, str]] = {}
    for server, records in placed.items():
        for a in records:
            found.setdefault(a.key, {})[a.replica] = server
    assert len(found) == partitions * (1 + indexes)
    for replicas in found.values():
        assert sorted(replicas) == [0, 1, 2]
        assert {servers[s].zone for s in replicas.values()} == set("abc")
    for zone in "abc":
        loads = [len(placed.get(s.id, ())) for s in servers.values() if s.group == 1 and s.zone == zone]
        assert max(loads) - min(loads) <= 1
    triples = [
        (key[1], int(key[2]), partitions, tuple(found["/".join(key)][r] for r in range(3)))
        for key in (k.split("/") for k in found)
    ]
    again = placing.collect(info, triples)
    assert {s: sorted(a.key for a in r) for s, r in again.items()} == {
        s: sorted(a.key for a in r) for s, r in placed.items()
    }


def test_group_of_the_customer_else_the_emptiest() -> None:
    servers = fleet()
    assert placing.choose_group(servers, {"s-0a0": 5}, None) == 1
    assert placing.choose_group(servers, {}, None) == 0
    assert placing.choose_group(servers, {"s-0a0": 5}, "s-0b1") == 0
    with pytest.raises(Refused, match="zones"):
        placing.place(TableInfo("t", "t", "c", 1), 0, {s: e for s, e in servers.items() if e.zone != "c"}, {})


def test_catalog_prefers_the_cell_that_serves_the_servers() -> None:
    """While a placement group moves, both cells list its partitions; the published map says which counts."""
    catalog = Catalog()
    servers = fleet(groups=2, per_zone=1)
    published = CellMap(1, {c: CellEntry(c, {}, {}, []) for c in ("cell-0", "cell-1")}, servers)
    info = TableInfo("t-1", "pets", "alice", 2)
    for cell, group in (("cell-0", 1), ("cell-1", 1)):
        tables = CellTables(1, {info.id: info}, {}, {}, {})
        trio = [f"s-{group}{z}0" for z in ("abc" if cell == "cell-1" else "cba")]
        catalog.set_route(tables, (info.id, ""), 1, trio)
        catalog.install(cell, tables)
    assert catalog.replicas("t-1", "", 1, published) == ("s-1a0", "s-1b0", "s-1c0")
    assert catalog.replicas("t-1", "", 0, published) is None
    assert catalog.find("alice", "pets") == info
    assert catalog.find("bob", "pets") is None
    catalog.keep_cells(["cell-0"])
    assert catalog.replicas("t-1", "", 1, published) == ("s-1c0", "s-1b0", "s-1a0")


@given(st.lists(st.one_of(st.integers(-5000, 30_000), st.none()), max_size=20))
def test_versions_rise_whatever_the_clock_does_and_over_restarts(steps: list[int | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wall_ms = [1_000_000]
        clock = Clock(Path(folder) / "clock", "f", lambda: wall_ms[0])
        last = clock.next()
        for step in steps:
            if step is None:
                clock = Clock(Path(folder) / "clock", "f", lambda: wall_ms[0])
            else:
                wall_ms[0] += step
                clock.observe(Version(wall_ms[0] - 1000, 3, "z"))
            version = clock.next()
            assert version > last
            last = version


def test_clock_is_written_seldom(tmp_path: Path) -> None:
    now_ms = 1_000_000
    clock = Clock(tmp_path / "clock", "f", lambda: now_ms)
    clock.next()
    bound = (tmp_path / "clock").read_text()
    now_ms += AHEAD_MS - 1
    clock.next()
    assert (tmp_path / "clock").read_text() == bound
    (tmp_path / "clock").write_text("soon")
    with pytest.raises(Refused, match="milliseconds"):
        Clock(tmp_path / "clock", "f")


def test_what_cannot_be_kept_is_refused_and_not_lost(tmp_path: Path) -> None:
    """A full disk, as far as a test can have one: the folder is gone, the database closed."""
    (tmp_path / "data").mkdir()
    clock = Clock(tmp_path / "data" / "clock", "f", lambda: 1_000_000)
    (tmp_path / "data").rmdir()
    for _ in range(2):
        with pytest.raises(Unavailable, match="clock"):
            clock.next()
    ledger = Ledger(tmp_path / "tables.sqlite")
    new = definition()
    assert isinstance(new, protocol.CreateTable)
    entry = Entry(schema.table_info(new, "t-1", "alice", 4, 1.0), new, "CREATING")
    ledger.close()
    with pytest.raises(Unavailable, match="ledger"):
        ledger.put(entry)
    assert ledger.live("alice", "visits") is None
    ledger = Ledger(tmp_path / "tables.sqlite")
    ledger.put(entry)
    ledger.close()
    ledger = Ledger(tmp_path / "tables.sqlite")
    assert ledger.unfinished() == [entry] and ledger.live_names("alice") == ["visits"]
    ledger.put(msgspec.structs.replace(entry, state="DELETED"))
    assert ledger.unfinished() == [] and ledger.live("alice", "visits") is None
    ledger.close()
    (tmp_path / "broken.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(Refused, match=r"broken\.sqlite"):
        Ledger(tmp_path / "broken.sqlite")


# ---------------------------------------------------------------- settings


def config_file(tmp_path: Path, **changes: Any) -> str:
    (tmp_path / "map.json").write_bytes(msgspec.json.encode(CellMap(1, {}, {})))
    config = {"name": "f", "listen": "127.0.0.1:1", "map_path": str(tmp_path / "map.json")}
    config |= {"data_dir": str(tmp_path / "data"), "records": str(tmp_path / "r.ndjson")}
    (tmp_path / "c.json").write_text(json.dumps(config | changes))
    return str(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"listen": "nowhere"}, "nowhere"),
        ({"map_path": "absent.json"}, "absent.json"),
        ({"table_partitions": 0}, "table_partitions"),
        ({"name": "a/b"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_settings_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        await serve(load(FrontendConfig, [config_file(tmp_path, **changes)]), asyncio.Event())


def test_a_port_that_cannot_be_bound_ends_with_one_line_and_status_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "cellwall_services.frontend", config_file(tmp_path, listen=listen)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 3
    assert listen in ended.stderr and len(ended.stderr.splitlines()) == 1

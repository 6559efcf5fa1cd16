"""The front end's pure rules: placing, catalog, versions, exit status."""

from __future__ import annotations

import asyncio
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
from cellwall.model import CellEntry, CellMap, ServerEntry, TableInfo
from cellwall.quorum import Version
from cellwall_services.config import FrontendConfig, load
from cellwall_services.frontend import placing, schema
from cellwall_services.frontend.__main__ import serve
from cellwall_services.frontend.catalog import Catalog, CellTables
from cellwall_services.frontend.clock import AHEAD_MS, Clock
from cellwall_services.frontend.ledger import Entry, Ledger

from .frontend_world import FakeWorld, FrontEnd, wait_until

# ---------------------------------------------------------------- placing, catalog, versions


def definition() -> schema.Definition:
    body = {
        "TableName": "visits",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "gk")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-gk",
                "KeySchema": [{"AttributeName": "gk", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return msgspec.convert(body, schema.Definition)


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
    counts = {"": partitions} | {f"i{n}": partitions for n in range(indexes)}
    info = TableInfo("t-1", "visits", "alice", partitions)
    routes = placing.place(counts, lambda _: 1, servers, {})
    placed = placing.assignments(info, routes)
    assert placed.keys() == placing.holders(routes)
    assert all(servers[s].group == 1 for s in placed)
    found: dict[str, dict[int, str]] = {}
    for server, records in placed.items():
        for a in records:
            found.setdefault(a.key, {})[a.replica] = server
            assert set(a.peers) == {*routes[a.index][a.partition]} - {server}
    assert len(found) == partitions * (1 + indexes)
    for replicas in found.values():
        assert sorted(replicas) == [0, 1, 2]
        assert {servers[s].zone for s in replicas.values()} == set("abc")
    for zone in "abc":
        loads = [len(placed.get(s.id, ())) for s in servers.values() if s.group == 1 and s.zone == zone]
        assert max(loads) - min(loads) <= 1


def test_a_partition_goes_to_its_group_and_to_the_emptiest_there() -> None:
    servers = fleet(per_zone=2)
    routes = placing.place({"by-gk": 4}, lambda p: p % 2, servers, {"s-1a0": 9, "s-0b1": 9})
    assert [{servers[s].group for s in triple} for triple in routes["by-gk"]] == [{0}, {1}, {0}, {1}]
    used = placing.holders(routes)
    assert "s-1a0" not in used and "s-0b1" not in used


def test_group_of_the_customer_else_the_emptiest() -> None:
    servers = fleet()
    assert placing.choose_group(servers, {"s-0a0": 5}, None) == 1
    assert placing.choose_group(servers, {}, None) == 0
    assert placing.choose_group(servers, {"s-0a0": 5}, "s-0b1") == 0
    with pytest.raises(Refused, match="zones"):
        placing.place({"": 1}, lambda _: 0, {s: e for s, e in servers.items() if e.zone != "c"}, {})


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
        ({"map_path": "/"}, "map_path|/: cannot be read"),
        ({"table_partitions": 0}, "table_partitions"),
        ({"name": "a/b"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_settings_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        await serve(load(FrontendConfig, [config_file(tmp_path, **changes)]), asyncio.Event())


def test_a_map_that_comes_after_it_is_waited_for(tmp_path: Path) -> None:
    world = FakeWorld()
    world.place("c", "visits")
    world.start()
    front = FrontEnd(world, tmp_path)
    try:
        front.launch(map_path=str(tmp_path / "later.json"))
        wait_until(lambda: front.status("/ready") == 503)
        (tmp_path / "map.json").replace(tmp_path / "later.json")
        wait_until(front.ready)
        assert front.customer("c").describe_table(TableName="visits")["Table"]["TableStatus"] == "ACTIVE"
    finally:
        front.stop()
        world.stop()


def test_a_port_that_cannot_be_bound_ends_with_one_line_and_status_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "cellwall_services.frontend", config_file(tmp_path, listen=listen)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 3
    assert listen in ended.stderr and len(ended.stderr.splitlines()) == 1

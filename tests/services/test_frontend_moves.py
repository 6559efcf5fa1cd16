"""What the front end does while placement groups move between cells: its catalog, its loads and its workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Unavailable
from cellwall.model import CellEntry, CellMap, ServerEntry, TableInfo
from cellwall_services.frontend import placing, turns, workflows
from cellwall_services.frontend.catalog import Catalog, CellTables
from cellwall_services.frontend.ledger import Entry, Ledger
from cellwall_services.frontend.maps import MapFile, MapLoader
from cellwall_services.frontend.metrics import Metrics
from cellwall_services.frontend.workflows import Workflows
from cellwall_services.wire import TableChange

from .test_frontend_rules import definition

CELLS = ("cell-0", "cell-1", "cell-2")
GROUPS = 4


def published(cell_of: list[int], version: int = 1) -> CellMap:
    """Groups of three servers, one a zone, each group in one cell."""
    servers = {
        f"s-{g}{z}": ServerEntry(f"s-{g}{z}", CELLS[cell], 0, z, g) for g, cell in enumerate(cell_of) for z in "abc"
    }
    return CellMap(version, {cell: CellEntry(cell, {}, {}, [[]]) for cell in CELLS}, servers)


def trio(group: int) -> tuple[str, ...]:
    return tuple(f"s-{group}{z}" for z in "abc")


# ---------------------------------------------------------------- the catalog


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[TableInfo, list[int]]]:
    """Each with the group of every partition: one for all, or striped."""
    out = []
    for number in range(draw(st.integers(0, 5))):
        groups = draw(st.lists(st.integers(0, GROUPS - 1), min_size=1, max_size=4))
        striped = draw(st.booleans())
        groups = groups if striped else groups[:1] * len(groups)
        out.append((TableInfo(f"t-{number}", f"n-{number}", "alice", len(groups)), groups))
    return out


def loaded(world: list[tuple[TableInfo, list[int]]], cell_of: list[int]) -> Catalog:
    """As if every cell had just been loaded: the twin."""
    catalog = Catalog()
    for number, cell in enumerate(CELLS):
        mine = {s: 0 for group, home in enumerate(cell_of) if home == number for s in trio(group)}
        found = CellTables(1, {}, {}, dict.fromkeys(mine, 1), mine)
        for info, groups in world:
            for partition, group in enumerate(groups):
                if cell_of[group] == number:
                    found.tables[info.id] = info
                    catalog.set_route(found, (info.id, ""), partition, trio(group))
                    for server in trio(group):
                        found.records[server] += 1
        catalog.install(cell, found)
    return catalog


def shown(catalog: Catalog) -> Any:
    """All that it knows, by name: numbers of servers depend on who came first."""
    names = {number: name for name, number in catalog._numbers.items()}
    return {
        cell: (
            known.tables,
            {key: [names.get(n) for n in route] for key, route in known.routes.items()},
            known.epochs,
            known.records,
            {info: catalog.homes(info) for info in known.tables},
        )
        for cell, known in catalog.cells.items()
    }


def stripped(what: Any) -> Any:
    """Routes may end in partitions that are elsewhere: a fresh load does not list those."""
    return {
        cell: (tables, {key: _rstrip(route) for key, route in routes.items()}, *rest)
        for cell, (tables, routes, *rest) in what.items()
    }


def _rstrip(route: list[str | None]) -> list[str | None]:
    while route and route[-1] is None:
        route = route[:-1]
    return route


HOMES = st.lists(st.integers(0, 2), min_size=GROUPS, max_size=GROUPS)


@given(tables(), HOMES, st.lists(HOMES, max_size=3))
def test_a_catalog_that_follows_the_map_is_as_if_loaded_anew(
    world: list[tuple[TableInfo, list[int]]], start: list[int], steps: list[list[int]]
) -> None:
    catalog = loaded(world, start)
    before = start
    for homes in steps:
        went = catalog.follow(published(homes))
        assert sorted(went) == sorted((CELLS[a], CELLS[b]) for a, b in zip(before, homes, strict=True) if a != b)
        assert stripped(shown(catalog)) == stripped(shown(loaded(world, homes)))
        for info, groups in world:
            for partition, group in enumerate(groups):
                assert catalog.replicas(info.id, "", partition, published(homes)) == trio(group)
        before = homes


def test_a_move_that_the_map_shows_costs_no_load(tmp_path: Path) -> None:
    """The cells' versions rise once when the move ends; before and after, nobody is asked for a map."""
    catalog = loaded([(TableInfo("t-0", "pets", "alice", 1), [0])], [0, 0, 1, 1])
    loader = MapLoader(MapFile(tmp_path / "map.json"), None, catalog, Metrics())  # type: ignore[arg-type]
    loader._follow(published([1, 0, 1, 1]))
    assert all(loader._is_current(cell, 1) for cell in CELLS), "the move has not ended yet"
    assert loader._is_current("cell-0", 2) and loader._is_current("cell-1", 2)
    assert not loader._is_current("cell-2", 2), "somebody else changed it"
    assert not loader._is_current("cell-0", 3)


# ---------------------------------------------------------------- workflows


class Cells:
    """Two cells as an `Admin` knows them: who is on the move is refused, who is elsewhere is not known."""

    def __init__(self) -> None:
        self.owner = dict.fromkeys(trio(0), "cell-0")
        self.frozen = False
        self.infos: dict[tuple[str, str], TableInfo] = {}  # by cell and table
        self.lists: dict[str, set[str]] = {server: set() for server in trio(0)}
        self.refused = 0
        self.confirmed_at: list[str] = []
        self.quiet = False  # nobody confirms

    async def change_table(self, cell: str, change: TableChange) -> dict[str, int]:
        here = (cell, change.table.id)
        known = bool(change.assignments) or here in self.infos
        if self.frozen or not known or any(self.owner[server] != cell for server in change.assignments):
            self.refused += 1
            raise Unavailable(f"{cell}: status 409 or 404")
        self.infos[here] = change.table
        for server in change.assignments:
            self.lists[server].add(change.table.id)
        return dict.fromkeys(change.assignments, 2)

    async def confirmed(self, cell: str, servers: set[str]) -> dict[str, int]:
        self.confirmed_at.append(cell)
        return {s: 2 if self.owner[s] == cell and not self.quiet else 0 for s in servers}

    def move(self) -> None:
        """As the end of a move leaves it: all of the group in the other cell."""
        self.owner = dict.fromkeys(trio(0), "cell-1")
        self.infos = {("cell-1", table): info for (_, table), info in self.infos.items()}
        self.frozen = False


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(workflows, "RETRY_S", 0.01)
    monkeypatch.setattr(turns, "POLL_CONFIRMED_S", 0.01)
    yield


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", ["post", "confirm", "finish"])
async def test_a_table_is_made_though_its_group_moves_meanwhile(tmp_path: Path, step: str) -> None:
    cells, catalog, ledger = Cells(), Catalog(), Ledger(tmp_path / "tables.sqlite")
    current = [published([0])]
    loader = MapLoader(MapFile(tmp_path / "map.json"), None, catalog, Metrics())  # type: ignore[arg-type]
    catalog.install("cell-0", CellTables(1, {}, {}, {}, dict.fromkeys(trio(0), 0)))
    running = Workflows(ledger, cells, catalog, loader, None, lambda: current[0], Metrics())  # type: ignore[arg-type]
    info = TableInfo("t-9", "visits", "alice", 2, status="CREATING")
    new = definition()
    routes = {"": [trio(0), trio(0)]}
    entry = Entry(info, new, "CREATING", "post", routes=routes)
    if step == "finish":
        placed = placing.assignments(info, routes)
        await cells.change_table("cell-0", TableChange(info, placed))
        catalog.add("cell-0", info, routes, list(trio(0)))
        entry = msgspec.structs.replace(entry, step="finish")
    cells.frozen, cells.quiet = step != "confirm", step == "confirm"
    ledger.put(entry)
    running.start(entry)
    if step == "confirm":
        await until(lambda: len(cells.confirmed_at) > 2)
    else:
        await until(lambda: cells.refused > 1)
    cells.move()
    # The source has dropped the group and this front end has not heard yet: still nothing is lost or given up.
    asked = cells.refused, len(cells.confirmed_at)
    await until(lambda: (cells.refused, len(cells.confirmed_at)) > (asked[0] + 1, asked[1]) or step == "confirm")
    cells.quiet = False
    current[0] = published([1], 2)
    loader._follow(current[0])
    await until(lambda: not running.unfinished())
    assert cells.infos == {("cell-1", "t-9"): msgspec.structs.replace(info, status="ACTIVE")}
    assert all(tables == {"t-9"} for tables in cells.lists.values())
    assert catalog.homes("t-9") == ["cell-1"]
    await running.close()
    ledger.close()

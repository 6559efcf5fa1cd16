"""However many workflows there are, a cell is asked for one thing at a time."""

from __future__ import annotations

import asyncio

import pytest

from cellwall.errors import Unavailable
from cellwall.model import TableInfo
from cellwall_services.frontend import turns
from cellwall_services.frontend.turns import Turns
from cellwall_services.wire import TableChange

CHANGE = TableChange(TableInfo("t-1", "orders", "c-1", 1))


class Cells:
    """Stands in for `Admin`; every request waits until ``go`` is set."""

    def __init__(self) -> None:
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.asked: list[set[str]] = []
        self.go = asyncio.Event()
        self.error: Unavailable | None = None

    async def _request(self, cell: str) -> None:
        self.under_way[cell] = self.under_way.get(cell, 0) + 1
        self.most[cell] = max(self.most.get(cell, 0), self.under_way[cell])
        await self.go.wait()
        self.under_way[cell] -= 1
        if self.error is not None:
            raise self.error

    async def change_table(self, cell, change):
        await self._request(cell)
        return {"s-1": 2}

    async def confirmed(self, cell, servers):
        self.asked.append(set(servers))
        await self._request(cell)
        return dict.fromkeys(servers, 7)


@pytest.fixture
def cells(monkeypatch) -> Cells:
    monkeypatch.setattr(turns, "POLL_CONFIRMED_S", 0.0)
    return Cells()


async def until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_changes_of_a_cell_follow_one_another_and_cells_do_not_wait_for_each_other(cells):
    mine = Turns(cells)
    todo = [asyncio.create_task(mine.change_table(cell, CHANGE)) for cell in ("cell-0", "cell-1") for _ in range(50)]
    await until(lambda: cells.under_way == {"cell-0": 1, "cell-1": 1})
    cells.go.set()
    assert await asyncio.gather(*todo) == [{"s-1": 2}] * 100
    assert cells.most == {"cell-0": 1, "cell-1": 1}


async def test_questions_of_many_workflows_are_one_and_one_is_under_way(cells):
    mine = Turns(cells)
    first = [asyncio.create_task(mine.confirmed("cell-0", {f"s-{n}"})) for n in range(50)]
    await until(lambda: cells.asked)
    later = asyncio.create_task(mine.confirmed("cell-0", {"s-99"}))
    await asyncio.sleep(0)
    cells.go.set()
    assert await asyncio.gather(*first) == [{f"s-{n}": 7 for n in range(50)}] * 50
    assert await later == {"s-99": 7}
    assert cells.asked == [{f"s-{n}" for n in range(50)}, {"s-99"}] and cells.most == {"cell-0": 1}
    await mine.close()


async def test_a_failure_is_told_to_all_and_forgotten(cells):
    mine = Turns(cells)
    cells.go.set()
    cells.error = Unavailable("no node")
    for failed in await asyncio.gather(*(mine.confirmed("cell-0", {"s-1"}) for _ in range(3)), return_exceptions=True):
        assert isinstance(failed, Unavailable)
    with pytest.raises(Unavailable):
        await mine.change_table("cell-0", CHANGE)
    cells.error = None
    assert await mine.confirmed("cell-0", {"s-1"}) == {"s-1": 7}
    assert await mine.change_table("cell-0", CHANGE) == {"s-1": 2}


async def test_whoever_asked_may_go(cells):
    mine = Turns(cells)
    gone = asyncio.create_task(mine.confirmed("cell-0", {"s-1"}))
    stays = asyncio.create_task(mine.confirmed("cell-0", {"s-2"}))
    await until(lambda: cells.asked)
    gone.cancel()
    cells.go.set()
    assert await stays == {"s-1": 7, "s-2": 7}

"""Steps of moves are asked one at a time, and what cells told is kept as plans expect it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from cellwall.moves import Copy, Holding, Request
from cellwall_operator.actions import GroupStep
from cellwall_operator.errors import Conflict, Unknown
from cellwall_operator.group_steps import GroupSteps
from cellwall_operator.objects import Told

KEY = ("default", "world")
HOLDING = Holding(0, {"s-1": Copy("leaving", 3, 1, 1, 9)})


def step(verb: Any, move: int = 3) -> GroupStep:
    return GroupStep("world-cell-0", "10.0.0.1:7002", verb, Request(move, ["s-1"]), 4.0)


class Cell:
    """Answers what it is told to, once it may."""

    def __init__(self) -> None:
        self.answers: list[bytes | Exception] = []
        self.asked: list[tuple[str, str, float, Request]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.woken = 0

    async def call(self, what: str, method: str, url: str, timeout_s: float, body: bytes) -> bytes:
        self.asked.append((method, url, timeout_s, msgspec.json.decode(body, type=Request)))
        await self.may.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wake(self, key: tuple[str, str]) -> None:
        assert key == KEY
        self.woken += 1


async def told(cell: Cell, steps: GroupSteps, asked: GroupStep, answer: bytes | Exception) -> Told:
    cell.answers.append(answer)
    before = cell.woken
    assert steps.begin(KEY, asked)
    async with asyncio.timeout(5):
        while cell.woken == before:
            await asyncio.sleep(0)
    return steps.told(KEY)["world-cell-0"]


async def test_a_cell_is_asked_one_thing_at_a_time() -> None:
    cell = Cell()
    steps = GroupSteps(cell.call, cell.wake)
    cell.may.clear()
    cell.answers = [msgspec.json.encode(HOLDING)]
    assert steps.begin(KEY, step("freeze"))
    assert not steps.begin(KEY, step("freeze"))
    assert steps.told(KEY)["world-cell-0"].running
    cell.may.set()
    async with asyncio.timeout(5):
        while not cell.woken:
            await asyncio.sleep(0)
    found = steps.told(KEY)["world-cell-0"]
    assert (found.holding, found.running, found.trouble) == (HOLDING, False, "")
    assert cell.asked == [("POST", "http://10.0.0.1:7002/groups/freeze", 4.0, Request(3, ["s-1"]))]


async def test_trouble_stays_until_a_step_succeeds_and_a_look_does_not_hide_it() -> None:
    cell = Cell()
    steps = GroupSteps(cell.call, cell.wake)
    good = msgspec.json.encode(HOLDING)
    first = await told(cell, steps, step("look"), good)
    failed = await told(cell, steps, step("freeze"), Conflict("the group is on the move"))
    assert (failed.holding, failed.at_s, failed.trouble) == (HOLDING, first.at_s, "the group is on the move")
    looked = await told(cell, steps, step("look"), good)
    assert (looked.trouble, looked.trouble_s) == (failed.trouble, failed.trouble_s) and looked.at_s >= failed.trouble_s
    assert (await told(cell, steps, step("freeze"), good)).trouble == ""
    assert "no answer" in (await told(cell, steps, step("look"), Unknown("no answer in time"))).trouble
    assert (await told(cell, steps, step("look"), b"nonsense")).trouble
    # Of another move nothing is carried over.
    other = await told(cell, steps, step("look", 4), good)
    assert (other.move, other.trouble) == (4, "")


async def test_a_service_that_is_forgotten_is_asked_no_more() -> None:
    cell = Cell()
    steps = GroupSteps(cell.call, cell.wake)
    cell.may.clear()
    steps.begin(KEY, step("freeze"))
    await asyncio.sleep(0)
    steps.forget(KEY)
    await asyncio.sleep(0)
    assert steps.told(KEY) == {} and cell.woken == 0

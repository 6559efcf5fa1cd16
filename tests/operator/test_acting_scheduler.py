"""The scheduler: bursts become one look, no key waits for another, and what fails is not done in a hurry."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from cellwall_operator import scheduler as module
from cellwall_operator.cache import Key
from cellwall_operator.scheduler import Look, Scheduler, backoff_s

A, B = ("n", "a"), ("n", "b")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COALESCE_S", 0.02)
    monkeypatch.setattr(module, "FAILED_GAP_S", 0.05)


class Looks:
    def __init__(self) -> None:
        self.done: list[Key] = []
        self.running: set[Key] = set()
        self.keys = [A]
        self.ended: list[Key] = []
        self.noticed: list[float] = []
        self.then: Callable[[Key], Look] = lambda key: Look()
        self.hold: dict[Key, asyncio.Event] = {}

    async def reconcile(self, key: Key) -> Look:
        assert key not in self.running, "twice at once"
        self.running.add(key)
        try:
            if key in self.hold:
                await self.hold[key].wait()
            self.done.append(key)
            return self.then(key)
        finally:
            self.running.discard(key)


@asynccontextmanager
async def running(looks: Looks, resync_s: float = 3600.0) -> Any:
    scheduler = Scheduler(
        looks.reconcile,
        lambda: looks.keys,
        looks.ended.append,
        looks.noticed.append,
        resync_s,
        Random(1),
        time.monotonic,
    )
    task = asyncio.create_task(scheduler.run())
    await asyncio.sleep(0)
    try:
        yield scheduler
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(said: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not said():
            await asyncio.sleep(0.005)


async def test_every_service_is_looked_at_first() -> None:
    looks = Looks()
    looks.keys = [A, B]
    async with running(looks):
        await until(lambda: sorted(looks.done) == [A, B])


async def test_a_burst_is_one_look_and_a_change_meanwhile_another() -> None:
    looks = Looks()
    async with running(looks) as scheduler:
        await until(lambda: looks.done == [A])
        looks.hold[A] = asyncio.Event()
        for _ in range(50):
            scheduler.wake(A)
        await until(lambda: looks.running)
        scheduler.wake(A)
        assert scheduler.oldest_s() > 0
        looks.hold.pop(A).set()
        await until(lambda: len(looks.done) == 3)
        await until(lambda: scheduler.oldest_s() == 0)
        assert len(looks.noticed) == 3
    assert looks.done == [A, A, A]


async def test_no_key_waits_for_another() -> None:
    looks = Looks()
    looks.keys = [A, B]
    looks.hold[A] = asyncio.Event()
    async with running(looks) as scheduler:
        await until(lambda: A in looks.running and B in looks.done)
        scheduler.wake(B)
        await until(lambda: looks.done.count(B) == 2)
        assert A in looks.running
        assert scheduler.oldest_s() == 0  # A is being looked at, however long it takes


async def test_a_plan_may_ask_for_another_look() -> None:
    looks = Looks()
    looks.then = lambda key: Look(again_s=0.01)
    async with running(looks):
        await until(lambda: len(looks.done) > 3)


async def test_what_changed_something_is_looked_at_again_until_it_rests() -> None:
    looks = Looks()
    looks.then = lambda key: Look(now=len(looks.done) < 5)
    async with running(looks) as scheduler:
        await until(lambda: len(looks.done) == 5)
        scheduler.wake(A)
        await until(lambda: len(looks.done) == 6)


async def test_without_a_change_there_is_still_a_look_now_and_then() -> None:
    looks = Looks()
    async with running(looks, resync_s=0.02):
        await until(lambda: len(looks.done) > 3)


async def test_a_bug_is_tried_again_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_MIN_S", 0.01)
    looks = Looks()
    looks.keys = [A, B]

    def then(key: Key) -> Look:
        if key == A and looks.done.count(A) < 3:
            raise RuntimeError("bug")
        return Look()

    looks.then = then
    async with running(looks):
        await until(lambda: looks.done.count(A) == 3)
        assert looks.done.count(B) == 1


async def test_a_key_that_is_gone_ends() -> None:
    looks = Looks()
    async with running(looks) as scheduler:
        await until(lambda: looks.done == [A])
        looks.keys = []
        scheduler.wake(A)
        await until(lambda: looks.ended == [A])
        assert len(scheduler) == 0
        looks.keys = [A]
        scheduler.wake(A)
        await until(lambda: looks.done == [A, A, A])


async def test_when_leadership_ends_everything_ends() -> None:
    looks = Looks()
    looks.hold[A] = asyncio.Event()
    async with running(looks) as scheduler:
        await until(lambda: looks.running)
    assert looks.running == set() and looks.ended == [A]
    scheduler.wake(A)
    assert len(scheduler) == 0 and scheduler.oldest_s() == 0


def test_backoff_grows_to_a_minute() -> None:
    rng = Random(1)
    waits = [backoff_s(n, rng) for n in range(1, 12)]
    assert 0.5 <= waits[0] <= 1.5 and all(30 <= wait <= 90 for wait in waits[6:])
    assert len(set(waits)) == len(waits)

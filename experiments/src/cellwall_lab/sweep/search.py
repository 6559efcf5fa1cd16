"""The two ways of sweeping that choose their own levels: bisection of a boundary, and load stepped up and down.

Decides which runs that takes; what a search knows is `statistics.boundary`'s, what a loop is `statistics.hysteresis`'s.
Every level's runs are kept like any other run, so an interrupted search asks for nothing twice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from cellwall.errors import Refused

from .. import verbs
from ..statistics.boundary import Level, Search
from ..statistics.hysteresis import Reading, schedule
from . import runner
from .engines import world_of
from .points import STRIKE, Grid, Point, distinct, settings_of
from .runner import Job, Means
from .store import Store, by_point
from .world import place

BOUNDARIES, LOOPS = "boundaries.json", "loops.json"
STEPS = 12  # levels each way are one more (guess)
# At least 5 relaxation times (research 01 §5): a cut that does not tip it heals within 10 s (research 07).
HOLD_S = 50.0
READ_S = 10.0

T = TypeVar("T")


class Searched(msgspec.Struct, frozen=True):
    """One place's search: along ``key``, all else as its labels say."""

    grid: str
    labels: dict[str, str]
    key: str
    search: Search


class Looped(msgspec.Struct, frozen=True):
    """One place and seed: shares of servers out as the load went up and down, in units of the point's own."""

    grid: str
    labels: dict[str, str]
    seed: int
    readings: list[Reading]


def search(
    grids: Sequence[Grid], seeds: Sequence[int], span: tuple[str, float, float], tolerance: float | None, means: Means
) -> None:
    key, low, high = span
    for one in distinct(grids):
        _check_key(one, key)
    empty = Search(low, high, (high - low) / 32 if tolerance is None else tolerance)
    if not empty.tolerance > 0:
        raise Refused(f"--tolerance: {empty.tolerance:g} is not allowed; it must be > 0")
    rounds = 2 + math.ceil(math.log2(max(2.0, (high - low) / empty.tolerance)))
    found = [Searched(grid.name, place.labels, key, empty) for grid in grids for place in grid.places]
    points = [place.point for grid in grids for place in grid.places]
    for number in range(rounds + 1):
        levels = [one.search.next_level() for one in found]
        todo = [
            (k, point.having(key, level))
            for k, (point, level) in enumerate(zip(points, levels, strict=True))
            if level is not None
        ]
        if not todo:
            break
        means.console.print(f"round {number + 1} of at most {rounds}", highlight=False)
        # A round is one of many: the budget is the whole search's.
        runner.sweep(
            [point for _, point in todo], seeds, msgspec.structs.replace(means, budget_s=means.budget_s / rounds)
        )
        rows = by_point(means.store.read()[0])
        for k, point in todo:
            mine = [row for row in rows[point.id] if row["seed"] in seeds]
            level = Level(float(point.value(key)), sum(row["stuck"] for row in mine), len(mine))
            found[k] = msgspec.structs.replace(found[k], search=found[k].search.having_seen(level))
        means.store.write(BOUNDARIES, msgspec.json.format(msgspec.json.encode(found)))


def step_load(grids: Sequence[Grid], seeds: Sequence[int], span: tuple[str, float, float], means: Means) -> None:
    """The load stepped by the CPU limit: what a record costs, in shares of the limit, times the level."""
    _, low, high = span
    if low <= 0:
        raise Refused(f"--hysteresis: {low:g} is not allowed; a load must be > 0")
    means.store.open(means.manifest)
    todo = [
        (grid.name, place.labels, place.point, seed, low, high)
        for grid in grids
        for place in grid.places
        for seed in seeds
    ]
    done = loops(means.store)
    known = {(one.grid, repr(one.labels), one.seed) for one in done}
    todo = [one for one in todo if (one[0], repr(one[1]), one[3]) not in known]
    if todo:
        for number, (_, looped) in enumerate(runner.in_workers(_step_load, todo, means)):
            done.append(looped)
            means.store.write(LOOPS, msgspec.json.format(msgspec.json.encode(done)))
            means.console.print(f"{number + 1} of {len(todo)} loops", highlight=False)


def boundaries(store: Store) -> list[Searched]:
    return _read(store, BOUNDARIES, Searched)


def loops(store: Store) -> list[Looped]:
    return _read(store, LOOPS, Looped)


def _step_load(task: tuple[str, dict[str, str], Point, int, float, float], job: Job) -> Looped:
    grid, labels, point, seed, low, high = task
    world = world_of(place(point, seed, job.costs), job.costs)
    readings = []

    async def course() -> None:
        before = 1.0
        for level, up in schedule(low, high, STEPS):
            await world.carry_out(verbs.LimitCpu(factor=before / level))
            before = level
            await world.carry_out(verbs.Wait(for_s=HOLD_S - READ_S))
            shares = []
            for _ in range(int(READ_S)):
                await world.carry_out(verbs.Wait(for_s=1.0))
                window: verbs.WindowStats = await world.carry_out(verbs.Window(last_s=1.0))
                shares.append(window.servers_out / window.servers)
            readings.append(Reading(level, up, sum(shares) / len(shares)))

    asyncio.run(course())
    return Looped(grid, labels, seed, readings)


def _check_key(point: Point, key: str) -> None:
    known = settings_of(point)
    value = known.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        numbers = [path for path, v in known.items() if isinstance(v, float)]
        raise Refused(f"--boundary: {key} is not a number; it must be one of {', '.join(numbers)}")
    if key in STRIKE or isinstance(value, float):
        return
    raise Refused(f"--boundary: {key} takes whole numbers only; use --grid {key}=…")


def _read(store: Store, name: str, kind: type[T]) -> list[T]:
    try:
        return msgspec.json.decode((store.path / name).read_bytes(), type=list[kind])  # type: ignore[valid-type]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"{store.path / name}: cannot be used ({error})") from None

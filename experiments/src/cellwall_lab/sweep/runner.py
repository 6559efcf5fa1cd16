"""Runs of a sweep in worker processes: what is left to do, how long it will take, and doing it.

Decides order, batches and whether the budget suffices; never what a run is. Finished batches are kept at once, so that
the same command goes on after a kill. Workers die with this process.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cellwall.capacity import Costs
from cellwall.errors import Refused, Unavailable

from ..children import die_with_parent
from .points import Point
from .simulate import Run, row, simulate
from .store import Manifest, Row, Store
from .world import layout_key, place

BATCH_S = 15.0  # of one worker's time: what a kill may lose (guess)
ENTRY_S = 40.0  # simulated seconds before the trigger: entering, a clean period
LINE_EVERY_S = 10.0

A = TypeVar("A")
B = TypeVar("B")


class Job(msgspec.Struct, frozen=True):
    """What every run of a sweep shares."""

    costs: Costs
    columns: list[str]
    marks: dict[str, Any]


class Means(msgspec.Struct, frozen=True):
    """What a sweep is carried out with."""

    manifest: Manifest
    job: Job
    jobs: int
    budget_s: float
    store: Store
    console: Console


def sweep(points: Sequence[Point], seeds: Sequence[int], means: Means) -> None:
    """All points with all seeds that are not there yet. Nothing is left behind where the budget is too small."""
    store, console = means.store, means.console
    runs = left(points, seeds, known(store))
    if not runs:
        store.open(means.manifest)
        return
    console.print(f"{len(points)} points × {len(seeds)} seeds, {len(runs)} runs to do; {store.path}", highlight=False)
    first, rows, pace = probe(runs, means.job)
    runs.remove(first)
    expected_s = check_budget(runs, pace, means.jobs, means.budget_s)
    store.open(means.manifest)
    store.append(rows)
    console.print(f"about {words(expected_s)} with {means.jobs} jobs", highlight=False)
    carry_out(runs, means, pace)


def known(store: Store) -> set[tuple[str, int]]:
    """The runs that are there."""
    rows, unreadable = store.read()
    for text in unreadable:
        print(f"cellwall: warning: {text}: its runs are run again", file=sys.stderr)
    return {(row["point"], row["seed"]) for row in rows}


def weight(point: Point) -> float:
    """What a run costs, relative to others: simulated server-seconds."""
    return point.spec.fleet.servers * (ENTRY_S + point.watch_s)


def left(points: Sequence[Point], seeds: Sequence[int], done: set[tuple[str, int]]) -> list[Run]:
    """Runs to do, those of one layout side by side."""
    runs = [Run(point, seed) for point in points for seed in seeds if (point.id, seed) not in done]
    return sorted(runs, key=lambda run: layout_key(run.point, run.seed))


class Pace(msgspec.Struct, frozen=True):
    """How fast this machine is: seconds for a server of a layout, and for a unit of a run's weight."""

    layout_s: float
    run_s: float

    def seconds(self, runs: Sequence[Run]) -> float:
        """One worker's time; runs of one layout share it."""
        layouts = {layout_key(run.point, run.seed): run.point.spec.fleet.servers for run in runs}
        return self.layout_s * sum(layouts.values()) + self.run_s * sum(weight(run.point) for run in runs)


def probe(runs: Sequence[Run], job: Job) -> tuple[Run, list[Row], Pace]:
    """Do the dearest run; its rows, and what that says of the pace."""
    dearest = max(runs, key=lambda run: weight(run.point))
    marks_s = [time.monotonic()]
    place(dearest.point, dearest.seed, job.costs)
    marks_s.append(time.monotonic())
    _rows([dearest], job)  # the first also loads what the engine needs
    marks_s.append(time.monotonic())
    rows = _rows([dearest], job)
    marks_s.append(time.monotonic())
    return (
        dearest,
        rows,
        Pace(
            (marks_s[1] - marks_s[0]) / dearest.point.spec.fleet.servers,
            (marks_s[3] - marks_s[2]) / weight(dearest.point),
        ),
    )


def check_budget(runs: Sequence[Run], pace: Pace, jobs: int, budget_s: float) -> float:
    """The estimate in seconds; refused if it is beyond the budget, with the way out."""
    expected_s = pace.seconds(runs) / min(jobs, max(1, len(runs)))
    if expected_s > budget_s:
        seeds = len({run.seed for run in runs})
        fewer = max(1, int(seeds * budget_s / expected_s))
        raise Refused(
            f"--budget: {len(runs)} runs would take about {words(expected_s)} with {jobs} jobs, more than "
            f"{words(budget_s)}; allow more (--budget {words(expected_s * 1.2, option=True)}), ask for fewer seeds "
            f"(about {fewer}), or for a part of the grids (--only)"
        )
    return expected_s


def batches(runs: Sequence[Run], pace: Pace) -> list[list[Run]]:
    """Runs of one layout together, about BATCH_S each; the longest first, so that no worker is left with them."""
    found = []
    for _, group in itertools.groupby(runs, key=lambda run: layout_key(run.point, run.seed)):
        batch: list[Run] = []
        for run in group:
            if batch and pace.seconds([*batch, run]) > BATCH_S:
                found.append(batch)
                batch = []
            batch.append(run)
        found.append(batch)
    return sorted(found, key=lambda batch: -pace.seconds(batch))


def carry_out(runs: Sequence[Run], means: Means, pace: Pace) -> None:
    """All of them, kept batch by batch."""
    if not runs:
        return
    todo = batches(runs, pace)
    with _Shown(len(runs), sum(pace.seconds(batch) for batch in todo), means.console) as shown:
        for batch, rows in in_workers(_rows, todo, means):
            means.store.append(rows)
            shown.advance(len(batch), pace.seconds(batch))


def in_workers(work: Callable[[A, Job], B], todo: Sequence[A], means: Means) -> Iterator[tuple[A, B]]:
    """Each piece of work with its result, as they come."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(min(means.jobs, len(todo)), context, _begin, (os.getpid(),))
    try:
        waiting = {pool.submit(work, piece, means.job): piece for piece in todo}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool:
        raise Unavailable(
            f"a worker process died; what was finished is kept in {means.store.path}, the same command with --out "
            "goes on (fewer --jobs need less memory)"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def words(duration_s: float, *, option: bool = False) -> str:
    """A duration for people, or as --budget takes it: never less than it is."""
    size_s, name = (1, "s") if duration_s < 90 else (60, "min") if duration_s < 5400 else (3600, "h")
    if option:
        return f"{math.ceil(duration_s / size_s)}{name[0]}"
    return f"{duration_s / size_s:.{1 if name == 'h' or duration_s < 10 else 0}f} {name}"


def _rows(runs: Sequence[Run], job: Job) -> list[Row]:
    return [row(simulate(run.point, run.seed, job.costs), job.columns, job.marks) for run in runs]


def _begin(parent_pid: int) -> None:
    """A worker's start. Ctrl-C is the parent's business: what is half done is finished and kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid, signal.SIGKILL)()


class _Shown:
    """A bar in a terminal, a line every ten seconds elsewhere; both with an estimate of what is left."""

    def __init__(self, runs: int, total: float, console: Console) -> None:
        self._runs, self._total, self._console = runs, total, console
        self._done, self._part = 0, 0.0
        self._start_s = self._line_s = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._bar.add_task(f"0 of {runs} runs", total=total) if self._bar else None

    def __enter__(self) -> _Shown:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, runs: int, part: float) -> None:
        self._done += runs
        self._part += part
        now_s = time.monotonic()
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._part, description=f"{self._done} of {self._runs} runs")
        elif now_s - self._line_s >= LINE_EVERY_S or self._done == self._runs:
            self._line_s = now_s
            spent_s = now_s - self._start_s
            rest_s = spent_s * (self._total - self._part) / self._part
            self._console.print(
                f"{self._done} of {self._runs} runs in {words(spent_s)}, about {words(rest_s)} left", highlight=False
            )

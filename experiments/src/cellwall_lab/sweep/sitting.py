"""One sitting of a sweep: from the command line's words to rows, a table and a page.

Decides what is refused before anything is run, and what is told at the end; what is run, `points` and `search` decide.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from cellwall.errors import Refused

from ..made import Made
from ..runfolder import stamp
from . import compare as comparing
from . import form, runner
from .page import render
from .points import STRIKE, Grid, distinct, settings_of
from .runner import Means
from .search import search, step_load
from .store import GridMade, Manifest, Row, Store, calibration
from .summary import HEAD, SHORT, cells_of, told
from .world import check_costs

PLAIN_WIDTH = 160  # characters


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed."""

    experiment: str
    grid: list[str]
    only: list[str]
    seeds: str
    boundary: str | None
    tolerance: float | None
    hysteresis: str | None
    settings: list[str]
    watch_s: float | None
    budget: str
    jobs: int | None
    calibration: Path | None
    out: Path | None


def carry_out(wish: Wish) -> int:
    console = _console()
    if wish.boundary and wish.hysteresis:
        raise Refused("--boundary: not allowed with --hysteresis; ask for one of them")
    seeds, budget_s = form.seeds(wish.seeds), form.duration_s(wish.budget)
    costs = calibration(wish.calibration)
    asked = form.asked(wish.experiment, wish.grid, wish.only, wish.settings, wish.watch_s)
    check_costs(distinct(asked.grids), costs.costs)
    store = Store(form.folder(asked.experiment, wish.out, stamp()))
    manifest = store.check(
        Manifest(
            experiment=asked.experiment,
            command=_command(store.path),
            made=Made.here(),
            costs=costs.costs,
            mark=costs.mark,
            seeds=seeds,
            columns=_columns(asked.grids),
            grids=[GridMade.of(one) for one in asked.grids],
        )
    )
    if manifest.mark:
        print(f"cellwall: warning: {manifest.mark}; the results are marked", file=sys.stderr)
    job = runner.Job(manifest.costs, manifest.columns, {"mark": manifest.mark, "version": manifest.made.version})
    means = Means(manifest, job, wish.jobs or os.cpu_count() or 1, budget_s, store, console)
    if wish.hysteresis:
        step_load(asked.grids, seeds, form.span(f"load={wish.hysteresis}", "--hysteresis"), means)
    elif wish.boundary:
        search(asked.grids, seeds, form.span(wish.boundary), wish.tolerance, means)
    else:
        runner.sweep(distinct(asked.grids), seeds, means)
    return _finish(store, console)


def compare(a: Path, b: Path, measures: Sequence[str]) -> int:
    return comparing.command(Store(a), Store(b), measures, _console())


def _console() -> Console:
    """As wide as a table needs where nobody's terminal says how wide it is."""
    return Console(soft_wrap=True) if sys.stdout.isatty() else Console(soft_wrap=True, width=PLAIN_WIDTH)


def _finish(store: Store, console: Console) -> int:
    rows, _ = store.read()
    for table in _tables(store.manifest(), rows):
        console.print(table)
    sick = sum(not row["healthy_before"] for row in rows)
    if sick:
        console.print(f"{sick} of {len(rows)} runs were not healthy before the trigger", highlight=False)
    console.print(f"report: {render(store)}", highlight=False)
    return 0


def _tables(manifest: Manifest, rows: Sequence[Row]) -> list[Table]:
    """For the terminal: the main figures only, the page has them all."""
    made = []
    for grid in manifest.grids:
        found = told(grid, rows)
        table = Table(title=grid.name)
        for name in ("place", *SHORT):
            table.add_column(name, no_wrap=True)
        for place in found:
            cells = dict(zip(HEAD, cells_of(place), strict=True))
            label = ", ".join(f"{axis.rpartition('.')[2]} {place.labels[axis]}" for axis in grid.axes)
            table.add_row(label, *(cells[name] for name in SHORT))
        if found:
            made.append(table)
    return made


def _columns(grids: list[Grid]) -> list[str]:
    """Settings that some grid varies: by an axis of their own, or within a mapping."""
    flat = [settings_of(point) for point in distinct(grids)]
    return [path for path in flat[0] if path not in STRIKE and len({repr(one[path]) for one in flat}) > 1]


def _command(path: Path) -> str:
    words = ["cellwall", *sys.argv[1:]]
    return shlex.join(words if "--out" in words else [*words, "--out", str(path)])

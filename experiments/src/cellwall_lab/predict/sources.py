"""From an experiment or plain numbers to the cells that the forecast is asked about (from a run: `recorded`).

Decides where each figure comes from; predicts nothing. What the model does not cover (another queue discipline, work
that is not dropped) is refused, naming the setting, rather than answered wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from cellwall.capacity import TYPICAL, Costs, total_cores
from cellwall.errors import Refused
from cellwall.forecast import check, struck
from cellwall.meanfield import Cell, Sizes, classes
from cellwall.placement import cell_id, make_layout, server_id
from cellwall.spec import RenewalPolicy, RetryPolicy, WorldSpec

from .. import experiment as experiments
from .. import settings
from ..backends import targets

CUT = 0.25  # of the servers: the reference trigger
SPREAD = 0.3  # large memberships lie evenly within ± 30 % of their mean (research 07, set R2), and
SPREAD_CLASSES = 7  # are so many classes to the model

Row = tuple[str, str, int]  # server, its cell, records of its membership


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: cells by name, with the servers cut in them. ``notes``: what the source itself tells about it."""

    title: str
    cells: dict[str, Cell]
    cut_s: float
    notes: list[str] = []


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Anybody's system. CPU in milliseconds of one renewal of a large membership, of any other, and of accepting a
    request; ``cpu``: cores of the whole service; ``cut``: share of the servers."""

    servers: int
    large_share: float
    large_ms: float
    small_ms: float
    request_ms: float
    renew_s: float
    timeout_s: float
    wait_s: float
    cpu: float
    cells: int
    cut: float
    cut_s: float
    spread: bool


def of_experiment(name: str, arm: str | None, assignments: list[str], seed: int | None) -> Case:
    """An arm as the simulation would build it, at the costs of a typical machine."""
    experiment = experiments.load(name)
    chosen = arm or next(iter(experiment.extension.arms))
    run = experiments.resolve(experiment, chosen, overrides=settings.parse(assignments), seed=seed, force=True)
    layout = make_layout(run.spec, lambda part: Random(f"{run.seed}/{part}"))
    rows = [(server_id(s), cell_id(layout.cell[s]), layout.records[s]) for s in range(layout.fleet.servers)]
    cut = {server_id(s) for s in targets.struck(run.targets, layout)}
    return Case(
        title=f"{experiment.name}, arm {chosen}, seed {run.seed}",
        cells=cells_of(run.spec, rows, cut, TYPICAL, total_cores(run.spec, layout.fleet, TYPICAL)),
        cut_s=run.line.cut_s,
        notes=[f"{costs_text(TYPICAL)}: what a typical machine needs; a run folder knows its own", *run.warnings],
    )


def of_numbers(n: Numbers) -> Case:
    """Cells of equal size; a cut strikes one after the other, or (``spread``) all alike."""
    wait = RetryPolicy(wait_min_s=0.5 * n.wait_s, wait_max_s=1.5 * n.wait_s)
    policy = RenewalPolicy(renew_every_s=n.renew_s, time_limit_s=n.timeout_s, retry=wait)
    large, others = n.servers * n.large_share / n.cells, n.servers * (1 - n.large_share) / n.cells
    even = [1 - SPREAD + SPREAD * (2 * i + 1) / SPREAD_CLASSES for i in range(SPREAD_CLASSES)]
    sizes = [Sizes(large / SPREAD_CLASSES, factor * n.large_ms / 1e3) for factor in even if large]
    sizes += [Sizes(others, n.small_ms / 1e3)] if others else []
    cell = Cell(sizes=tuple(sizes), cores=n.cpu / n.cells, request_s=n.request_ms / 1e3, policy=policy)
    shares = [n.cut if n.spread else min(1.0, max(0.0, n.cut * n.cells - i)) for i in range(n.cells)]
    return Case(
        title=f"{n.servers} servers, {n.cells} cells" if n.cells > 1 else f"{n.servers} servers, one cell",
        cells={cell_id(i): struck(check(cell), share) for i, share in enumerate(shares)},
        cut_s=n.cut_s,
    )


def cells_of(spec: WorldSpec, rows: Sequence[Row], cut: set[str], costs: Costs, cores: float) -> dict[str, Cell]:
    """Without anybody cut (a run that was not struck) the reference share of every cell is."""
    if spec.metadata.discipline != "processor-sharing":
        raise Refused(_not_modelled("metadata.discipline", spec.metadata.discipline, "processor-sharing"))
    if not spec.metadata.drop_abandoned:
        raise Refused(_not_modelled("metadata.drop_abandoned", "false", "true"))
    found = {}
    for name in sorted({cell for _, cell, _ in rows}):
        mine = [(max(1, records), server in cut) for server, cell, records in rows if cell == name]
        sizes = classes([records * costs.c_record_s for records, _ in mine], [hit for _, hit in mine])
        cell = Cell(sizes=sizes, cores=cores / spec.cells, request_s=costs.c_request_s, policy=spec.renewal)
        found[name] = cell if cut else struck(cell, CUT)
    return found


def _not_modelled(field: str, value: str, right: str) -> str:
    return f"{field}: {value} is not modelled, only {right}; `cellwall run --backend simulation` plays it"


def costs_text(costs: Costs) -> str:
    return f"{costs.c_record_s * 1e6:.2f} µs a record, {costs.c_request_s * 1e3:.2f} ms a request"

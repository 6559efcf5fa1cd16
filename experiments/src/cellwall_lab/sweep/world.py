"""A point and a seed made into a world: where everything lives, how much CPU there is, whom the trigger strikes.

Decides those; runs nothing. The CPU limit follows from the fleet by the rule of `cellwall.capacity` whatever the
number of cells, so that arms differ in one thing: where they shall not, a grid sets `cpu.factor` or the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from random import Random

import msgspec
import numpy as np
import numpy.typing as npt

from cellwall.capacity import Costs, total_cores
from cellwall.placement import Fleet, Layout, make_fleet, make_layout
from cellwall.spec import ZONES, FleetSpec, WorldSpec

from .points import Point, Strike

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


class Customers(msgspec.Struct, frozen=True):
    """All base-table partitions: the servers of their replicas (P × 3), whose they are, and their share of that
    customer's requests (the customer's sum is 1: within a table keys are spread evenly by their hash)."""

    replicas: Ints
    customer: Ints
    weight: Floats
    names: list[str]
    load: Floats  # each customer's share of all requests


class Placed(msgspec.Struct, frozen=True):
    """``cell[s]``: a server's cell."""

    point: Point
    seed: int
    layout: Layout
    customers: Customers
    cell: Ints
    struck: list[int]


def place(point: Point, seed: int, costs: Costs) -> Placed:
    spec = msgspec.structs.replace(point.spec, seed=seed)
    by = (seed, spec.cells, spec.fleet, spec.placement, spec.shuffle_cells, spec.metadata.partitions)
    layout, customers = _made(*by)
    cores = _cores(spec, layout.fleet, costs)
    # No requests: what customers meet follows from who is in service (`impact`), without sampling noise.
    spec = msgspec.structs.replace(
        spec,
        cpu=msgspec.structs.replace(spec.cpu, total_cores=cores, factor=1.0),
        load=msgspec.structs.replace(spec.load, rps=0.0),
    )
    layout = msgspec.structs.replace(layout, spec=spec)
    return Placed(point, seed, layout, customers, np.array(layout.cell, np.int32), struck(point.strike, layout))


def layout_key(point: Point, seed: int) -> str:
    """Runs with the same key share their layout, which is a third of a run's time."""
    spec = point.spec
    return repr((seed, spec.cells, spec.fleet, spec.placement, spec.shuffle_cells, spec.metadata.partitions))


def struck(strike: Strike, layout: Layout) -> list[int]:
    """The servers cut, at least one. Nested: a larger share of the same seed strikes these and more."""
    fleet, cell = layout.fleet, layout.cell
    rng = Random(f"{layout.spec.seed}/cut/sweep")
    ranked: list[tuple[float, int]] = []  # a server's rank within its group, so that every group gives its share
    for servers in fleet.groups():
        order = rng.sample(servers, len(servers))
        ranked += [((k + rng.random()) / len(order), s) for k, s in enumerate(order)]
    ranked.sort()
    everybody = [s for _, s in ranked]
    if strike.trigger == "cell":
        chosen = [s for s in everybody if cell[s] == 0]
    elif strike.trigger == "packed":
        return sorted(
            _first(sorted(everybody, key=lambda s: cell[s]), strike.share)
        )  # stable: ranks stay within a cell
    elif strike.trigger == "zone":
        chosen = [s for s in everybody if fleet.zone[s] == ZONES[0]]
    else:
        chosen = everybody
    return sorted(_first(chosen, strike.share))


def _first(servers: list[int], share: float) -> list[int]:
    return servers[: max(1, round(share * len(servers)))]


def check_costs(points: Iterable[Point], costs: Costs) -> None:
    """Refuse, before anything is run, a fleet whose memberships are too short for these costs."""
    for spec in {repr((p.spec.fleet, p.spec.cpu, p.spec.renewal)): p.spec for p in points}.values():
        _cores(spec, make_fleet(spec.fleet, lambda name: Random(f"0/{name}")), costs)


def _cores(spec: WorldSpec, fleet: Fleet, costs: Costs) -> float:
    # The floor of `total_cores` is the limiter's, and here is none: so it is asked in milli-cores.
    return total_cores(spec, fleet, Costs(1000 * costs.c_record_s, 1000 * costs.c_request_s)) / 1000


@lru_cache(maxsize=1)  # one is a hundred megabytes; runs come ordered by `layout_key`
def _made(
    seed: int, cells: int, fleet: FleetSpec, placement: str, shuffle_cells: int, partitions: int
) -> tuple[Layout, Customers]:
    spec = msgspec.convert(
        {"seed": seed, "cells": cells, "placement": placement, "shuffle_cells": shuffle_cells}
        | {"fleet": msgspec.to_builtins(fleet), "metadata": {"partitions": partitions}},
        WorldSpec,
    )
    layout = make_layout(spec, lambda name: Random(f"{seed}/{name}"))
    return layout, _customers(layout)


def _customers(layout: Layout) -> Customers:
    names = sorted({table.info.customer for table in layout.tables})
    number = {name: n for n, name in enumerate(names)}
    tables = [table.replicas[""] for table in layout.tables]
    sizes = np.array([len(triples) for triples in tables])
    owner = np.array([number[table.info.customer] for table in layout.tables], np.int32)
    weight = np.array([table.weight for table in layout.tables])
    asked = np.bincount(owner, weights=weight)
    replicas = np.fromiter(_servers(tables), np.int32, 3 * int(sizes.sum())).reshape(-1, 3)
    per_partition = weight / asked[owner] / sizes
    return Customers(replicas, np.repeat(owner, sizes), np.repeat(per_partition, sizes), names, asked / asked.sum())


def _servers(tables: list[list[tuple[int, int, int]]]) -> Iterable[int]:
    return (server for triples in tables for triple in triples for server in triple)

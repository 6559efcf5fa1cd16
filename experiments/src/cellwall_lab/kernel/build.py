"""From a world as the lab describes it to the kernel's input, and a refusal of what the kernel does not cover.

Decides which verbs have an action in the kernel, and each account's share of requests by key; places nothing
(`placement` does) and runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellwall import renewal
from cellwall.arrivals import key_text
from cellwall.capacity import Costs, total_cores
from cellwall.errors import Refused
from cellwall.keys import key_hash
from cellwall.model import partition_of
from cellwall.placement import Layout, PlacedTable, cell_id
from cellwall.spec import WorldSpec

from .. import verbs
from ..backends.catalogue import make_catalogue
from ..backends.chance import beginnings
from ..backends.targets import named_cells, struck
from ..backends.timeline import to_ns
from .model import PARTS, Accounts, Action, Cut, Floats, KernelInput, Limit, Pause, Resume, Weight

Script = Sequence[tuple[float, Any]]  # (seconds from the start, verb), in order


def kernel_input(
    spec: WorldSpec,
    layout: Layout,
    costs: Costs,
    script: Script,
    *,
    until_s: float,
    window_s: float = 1.0,
    trace: bool = False,
) -> KernelInput:
    """The world that `simulation.SimulatedWorld` makes of the same spec, layout and costs, with this done to it.

    The world starts as there, all cells in waves. What waits for a condition, asks a node for anything but a renewal
    or changes who owns what is refused: run the core.
    """
    per_node = total_cores(spec, layout.fleet, costs) / spec.cells / spec.nodes_per_cell
    cores = np.full((spec.cells, spec.nodes_per_cell), per_node)
    start: Script = [(0.0, verbs.Resume())]
    return KernelInput(
        cell=np.array(layout.cell),
        partition=np.array(layout.partition),
        records=np.array(layout.records),
        chance=np.array(beginnings(spec.seed, layout.fleet.servers), np.uint64),
        cores=cores,
        renewal=spec.renewal,
        metadata=spec.metadata,
        costs=costs,
        accounts=accounts_of(layout, spec),
        actions=tuple(_actions([*start, *script], layout, costs, cores)),
        until_ns=to_ns(until_s),
        window_ns=to_ns(window_s),
        trace=trace,
    )


# ---------------------------------------------------------------- what is done


def _actions(script: Script, layout: Layout, costs: Costs, cores: Floats) -> list[Action]:
    """Verbs with the figures that the simulation would find at that moment."""
    actions: list[Action] = []
    cells, limit = [cell_id(c) for c in range(len(cores))], cores.copy()
    if [at_s for at_s, _ in script] != sorted(at_s for at_s, _ in script):
        raise Refused("kernel: script: not in order of time")
    for at_s, verb in script:
        at_ns = to_ns(at_s)
        match verb:
            case verbs.Cut():
                actions.append(Cut(at_ns, to_ns(verb.for_s), tuple(struck(verb.targets, layout))))
            case verbs.LimitCpu(for_s=None):
                for cell in _numbers(verb.cell, cells):
                    actions.append(Limit(at_ns, cell, verb.factor))
                    limit[cell] *= verb.factor
            case verbs.Pause():
                actions += [Pause(at_ns, cell) for cell in _numbers(verb.cell, cells)]
            case verbs.Resume():
                for cell in _numbers(verb.cell, cells):
                    over_s = _reentry_over_s(cell, layout, costs, limit) if verb.over_s is None else verb.over_s
                    actions.append(Resume(at_ns, cell, to_ns(over_s)))
            case verbs.Weight():
                numbers = _numbers(verb.cell, cells)
                actions += [Weight(at_ns, cell, verb.partition, verb.percent) for cell in numbers]
            case _:
                raise Refused(f"kernel: {type(verb).__name__}: the kernel does not cover it; run the core's simulation")
    return actions


def _numbers(cells: str, known: list[str]) -> list[int]:
    return [known.index(name) for name in named_cells(cells, known)]


def _reentry_over_s(cell: int, layout: Layout, costs: Costs, limit: Floats) -> float:
    mine = [records for c, records in zip(layout.cell, layout.records, strict=True) if c == cell]
    cores = sum(limit[cell].tolist())
    return renewal.reentry_over_s(sum(mine), len(mine), costs.c_record_s, costs.c_request_s, cores)


# ---------------------------------------------------------------- whose requests


def accounts_of(layout: Layout, spec: WorldSpec) -> Accounts:
    """One account for each customer, in the catalogue's order; a target for each key of each of its tables."""
    catalogue = make_catalogue(layout)
    tables = {table.info.id: table for table in layout.tables}
    hashes = [key_hash("S", key_text(number)) for number in range(spec.load.keys_per_table)]
    servers: list[tuple[int, int, int]] = []
    account: list[int] = []
    parts: list[int] = []
    for number, customer in enumerate(catalogue.customers):
        weight = sum(table.weight for table in customer.tables)
        shares = [table.weight / weight / len(hashes) for table in customer.tables for _ in hashes]
        servers += [_replicas(tables[table.id], hashed) for table in customer.tables for hashed in hashes]
        account += [number] * len(shares)
        parts += whole_parts(shares)
    return Accounts(
        servers=np.array(servers, np.int64).reshape(-1, 3),
        account=np.array(account, np.int64),
        parts=np.array(parts, np.int64),
        weight=np.array([customer.weight for customer in catalogue.customers]),
        eventual_ratio=spec.load.eventual_read_ratio,
    )


def _replicas(table: PlacedTable, hashed: int) -> tuple[int, int, int]:
    return table.replicas[""][partition_of(hashed, table.info.partitions)]


def whole_parts(shares: Sequence[float]) -> list[int]:
    """Shares that make 1 as whole parts that make PARTS: the largest remainders are rounded up."""
    exact = [share * PARTS for share in shares]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[: PARTS - sum(parts)]:
        parts[i] += 1
    return parts

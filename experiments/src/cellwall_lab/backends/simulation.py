"""The simulated world: the core's state machines in a discrete-event loop, as a world server.

`python -m cellwall_lab.backends.simulation ARM_CONFIG.json`. Decides nothing about renewal, admission,
placement or quorum (the core does); it carries verbs out on the engine. Simulated time passes only inside
verbs that wait: `wait`, `admin-probe`, `add-capacity`. Same spec and seed, same bytes of history.

Not simulated: the limiter's 100 ms grain, the store's own CPU, the storage hosts' and front end's work.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cellwall import history, renewal
from cellwall.capacity import TYPICAL, Costs, total_cores
from cellwall.errors import CellwallError, Refused, Unknown
from cellwall.placement import Layout, cell_id, make_layout, server_id
from cellwall.spec import WorldSpec

from .. import verbs
from . import tail
from .calibrate import costs_of
from .chance import Stream, beginnings
from .config import REFUSED_STATUS, ArmConfig
from .engine import Cell, Loop, Node, Servers
from .fleet_view import CellFacts, fleet_state
from .live import Live
from .server import OneAtATime, enter, serve
from .simulated_customers import Customers
from .simulated_failures import SimulatedFailures
from .targets import named_cells, worst
from .world_record import world_record

SAMPLE_EVERY_S = 1.0
STEP_S = 0.25  # how often a condition is looked at


class SimulatedWorld:
    """The engine with its customers, and the verbs on them."""

    def __init__(self, config: ArmConfig, costs: Costs, layout: Layout | None = None) -> None:
        """``layout``: the spec's own, if somebody has made it already."""
        spec = config.spec
        self._config, self._spec, self._costs = config, spec, costs
        self._loop = Loop()
        self.records: list[history.Record] = []
        layout = self._layout = layout or make_layout(spec, self._rng)
        self._cores = total_cores(spec, layout.fleet, costs)
        self._cells = {cell_id(c): self._make_cell(cell_id(c)) for c in range(spec.cells)}
        names = [server_id(s) for s in range(layout.fleet.servers)]
        place = [
            (self._cells[cell_id(layout.cell[s])], layout.partition[s], layout.records[s])
            for s in range(layout.fleet.servers)
        ]
        servers = {name: (cell.name, records) for name, (cell, _, records) in zip(names, place, strict=True)}
        self._live = Live(spec, servers, spec.fleet.large_records / 2)
        self._emit(world_record(0.0, config, layout, costs, self._cores))
        chances = [Stream(begin) for begin in beginnings(spec.seed, len(names))]
        self._servers = Servers(self._loop, names, place, spec.renewal, chances, self._emit)
        self._customers = Customers(self._loop, layout, self._servers.available, self._rng, self._emit)
        self._failures = SimulatedFailures(self._loop, layout, self._servers, self._cells, self._emit, self._let_back)
        self._loop.at(SAMPLE_EVERY_S, self._sample)

    def start(self) -> None:
        """First start in waves, with customers, until everybody is in."""
        for cell in self._cells.values():
            self._let_in(cell, None)
        self._customers.set_rate(self._spec.load.rps)
        deadline_s = 10 * self._spec.renewal.renew_every_s
        while self._live.out and self._loop.now_s < deadline_s:
            self._loop.run_until(self._loop.now_s + STEP_S)

    async def carry_out(self, verb: Any) -> Any:
        match verb:
            case verbs.Load():
                self._customers.set_rate(verb.rps)
            case verbs.Wait():
                return self._wait(verb)
            case verbs.Cut() | verbs.Kill() | verbs.NodeLoss() | verbs.Release() | verbs.Poison():
                return self._failures.strike(verb)
            case verbs.LimitCpu():
                if verb.for_s is not None or verb.factor <= 0:
                    raise Refused("limit-cpu: factor must be > 0, and a limit that expires is not offered")
                return self._over_cells("limit-cpu", verb.cell, lambda c: self._limit(c, verb.factor))
            case verbs.AdminProbe():
                return self._over_cells("admin-probe", verb.cell, lambda c: self._map(c, 0, verb.deadline_s))
            case verbs.AddCapacity():
                cell = verb.cell if verb.cell != "*" else ",".join(self._live.sick_cells()) or "*"
                return self._over_cells("add-capacity", cell, lambda c: self._add_node(c, verb.deadline_s))
            case verbs.Pause():
                return self._over_cells("pause", verb.cell, self._pause)
            case verbs.Resume():
                return self._over_cells("resume", verb.cell, lambda c: self._let_in(c, verb.over_s))
            case verbs.Weight():
                return self._over_cells("weight", verb.cell, lambda c: self._weight(c, verb))
            case verbs.Window():
                return self._live.window(self._loop.now_s, verb.last_s)
            case verbs.Faults():
                return list(self._live.faults.values())
            case verbs.Fleet():
                return self._fleet()
            case verbs.MarkPhase():
                self._emit(history.Phase(t=self._loop.now_s, name=verb.name))
            case verbs.Skip():
                self._emit(verb.record(self._loop.now_s))
            case verbs.Stop():
                self._customers.set_rate(0.0)
                if verb.audit:
                    self._customers.audit()
            case verbs.GrowIndexes():
                raise Refused("grow-indexes: simulated memberships do not grow; it must be --backend local")
            case _:
                raise Refused(f"{type(verb).__name__}: no such verb here")
        return None

    async def close(self) -> None:
        tail.write(sorted(self.records, key=lambda record: record.t), Path(self._config.out) / "history.ndjson")

    # ------------------------------------------------------------ verbs

    def _wait(self, verb: verbs.Wait) -> verbs.Waited:
        start_s = self._loop.now_s
        if verb.until is None:
            self._loop.run_until(start_s + (verb.for_s or 0.0))
            return verbs.Waited(True, verb.for_s or 0.0)
        if verb.deadline_s is None:
            raise Refused("wait: deadline_s is missing; a condition is never waited for without one")
        while not (met := self._live.holds(verb.until, self._loop.now_s)):
            if self._loop.now_s - start_s >= verb.deadline_s:
                break
            self._loop.run_until(self._loop.now_s + STEP_S)
        return verbs.Waited(met, self._loop.now_s - start_s)

    def _limit(self, cell: Cell, factor: float) -> verbs.StepResult:
        for node in cell.nodes:
            node.cores *= factor
        return verbs.StepResult("done", 0.0)

    def _map(self, cell: Cell, partition: int, deadline_s: float | None) -> verbs.StepResult:
        """One administrative request: the map of one metadata partition, from the cell's first node."""
        if deadline_s is None:
            deadline_s = 2 * self._spec.renewal.time_limit_s
        layout = self._layout
        records = sum(layout.records[s] for s in self._servers_of(cell) if layout.partition[s] == partition)
        node, request, start_s = cell.nodes[0], self._servers.next_request(), self._loop.now_s
        answered: list[float] = []
        node.arrive(request, partition, records, lambda: answered.append(self._loop.now_s), admin=True)
        while not answered and self._loop.now_s < start_s + deadline_s:
            self._loop.run_until(min(self._loop.now_s + 0.01, start_s + deadline_s))
        if not answered:
            node.gone(request)
            raise Unknown(f"time-out: map of partition {partition} after {deadline_s:g} s")
        return verbs.StepResult("done", answered[0] - start_s)

    def _add_node(self, cell: Cell, deadline_s: float | None) -> verbs.StepResult:
        """A node with as much CPU as the cell has takes over half of the metadata partitions of the first."""
        source = cell.nodes[0]
        taken = [p for p, owners in enumerate(cell.owners) if source in owners][1::2]
        took_s = sum(self._map(cell, p, deadline_s).took_s for p in taken)
        node = self._make_node(cell.name, len(cell.nodes), sum(n.cores for n in cell.nodes))
        cell.add(node, taken)
        return verbs.StepResult("done", took_s)

    def _pause(self, cell: Cell) -> verbs.StepResult:
        cell.paused = True
        return verbs.StepResult("done", 0.0)

    def _let_in(self, cell: Cell, over_s: float | None) -> verbs.StepResult:
        over_s = self._reentry_over_s(cell) if over_s is None else over_s
        self._servers.pace(self._servers_of(cell), self._loop.now_s, over_s, self._spec.metadata.partitions)
        cell.paused = False
        return verbs.StepResult("done", 0.0, f"waves over {over_s:.1f} s")

    def _let_back(self, cell: Cell) -> None:
        """By waves, unless nobody is let in."""
        if not cell.paused:
            self._let_in(cell, None)

    def _reentry_over_s(self, cell: Cell) -> float:
        mine = self._servers_of(cell)
        records, cores = sum(self._layout.records[s] for s in mine), sum(node.cores for node in cell.nodes)
        return renewal.reentry_over_s(records, len(mine), self._costs.c_record_s, self._costs.c_request_s, cores)

    def _weight(self, cell: Cell, verb: verbs.Weight) -> verbs.StepResult:
        partitions = self._spec.metadata.partitions
        if not 0 <= verb.partition < partitions:
            raise Refused(f"weight.partition: {verb.partition} is not allowed; it must be in 0..{partitions - 1}")
        if not 0 <= verb.percent <= 100:
            raise Refused(f"weight.percent: {verb.percent} is not allowed; it must be in 0..100")
        for node in cell.nodes:
            node.set_weight(verb.partition, verb.percent)
        return verbs.StepResult("done", 0.0)

    # ------------------------------------------------------------ inside

    def _fleet(self) -> verbs.FleetState:
        """Without retrieval times: a simulated node keeps no statistics."""
        cells = {
            name: CellFacts(nodes=len(cell.nodes), limit_cores=sum(n.cores for n in cell.nodes), paused=cell.paused)
            for name, cell in self._cells.items()
        }
        rows, name = self._layout.rows(), self._config.name or self._config.arm
        return fleet_state(name=name, spec=self._spec, rows=rows, live=self._live, now_s=self._loop.now_s, cells=cells)

    def _over_cells(self, step: str, cells: str, act: Callable[[Cell], verbs.StepResult]) -> verbs.StepResult:
        """Carry a step out in one cell after the other, and record each."""
        results = {}
        for name in named_cells(cells, self._cells):
            start_s = self._loop.now_s
            try:
                result = act(self._cells[name])
            except Unknown as error:
                result = verbs.StepResult("unknown", self._loop.now_s - start_s, str(error))
            results[name] = result
            self._emit(
                history.Step(
                    t=start_s, step=step, cell=name, outcome=result.outcome, took_s=result.took_s, reason=result.reason
                )
            )
        return worst(results)

    def _servers_of(self, cell: Cell) -> list[int]:
        return [s for s in range(self._layout.fleet.servers) if cell_id(self._layout.cell[s]) == cell.name]

    def _make_cell(self, name: str) -> Cell:
        per_node = self._cores / self._spec.cells / self._spec.nodes_per_cell
        nodes = [self._make_node(name, i, per_node) for i in range(self._spec.nodes_per_cell)]
        return Cell(name, nodes, self._spec.metadata.partitions)

    def _make_node(self, cell: str, number: int, cores: float) -> Node:
        return Node(self._loop, f"{cell}-node-{number}", cell, self._spec.metadata, self._costs, cores)

    def _sample(self) -> None:
        for cell in self._cells.values():
            for node in cell.nodes:
                self._emit(node.sample())
                limit = history.CpuLimit(
                    t=self._loop.now_s, node=node.name, limit_cores=node.cores, cpu_s=node.cpu_s, stopped_ratio=0.0
                )
                self._emit(limit)
        self._loop.at(self._loop.now_s + SAMPLE_EVERY_S, self._sample)

    def _emit(self, record: history.Record) -> None:
        self.records.append(record)
        self._live.add(record)

    def _rng(self, name: str) -> Random:
        return Random(f"{self._spec.seed}/{name}")


async def main(config: ArmConfig) -> None:
    spec: WorldSpec = config.spec
    spec.check(force=config.force)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    world = SimulatedWorld(config, TYPICAL if config.calibration is None else costs_of(config.calibration))
    world.start()
    try:
        await serve(OneAtATime(world), stopped)
    finally:
        await world.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(enter(ArmConfig.read(Path(sys.argv[1])))))
    except Refused as refusal:
        print(f"cellwall: {refusal}", file=sys.stderr)
        sys.exit(REFUSED_STATUS)
    except CellwallError as failure:
        print(f"cellwall: {failure}", file=sys.stderr)
        sys.exit(1)

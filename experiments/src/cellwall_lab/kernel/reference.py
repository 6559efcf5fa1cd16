"""The core on the kernel's own input: what the kernel is held against, and measured against.

Decides nothing: it builds the engine's nodes, cells and servers, carries out the actions as `simulation` does, and
notes what happens to servers. Slow, and the definition of right.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cellwall import history

from ..backends.chance import Stream
from ..backends.engine import Cell, Node, Servers
from ..backends.timeline import NS, Loop
from .model import Action, Cut, KernelInput, Limit, Outcome, Pause, Resume, Trace, Weight

_ENDS = {"": Outcome.DONE, "time-out": Outcome.TIME_OUT, "unreachable": Outcome.UNREACHABLE}


class Reference:
    """One world on the core's engine."""

    def __init__(self, given: KernelInput) -> None:
        given.check()
        self.loop = Loop()
        self._given = given
        self._lines: list[tuple[int, int, int]] = []
        self._cut_now: list[set[int]] = []
        self._cells = [self._cell(number, cores) for number, cores in enumerate(given.cores.tolist())]
        numbers = zip(given.cell.tolist(), given.partition.tolist(), given.records.tolist(), strict=True)
        self.servers = Servers(
            self.loop,
            [str(s) for s in range(len(given.cell))],
            [(self._cells[cell], partition, records) for cell, partition, records in numbers],
            given.renewal,
            [Stream(begin) for begin in given.chance.tolist()],
            self._note,
        )
        self._lines.clear()  # everybody's "out from the start"

    def run(self) -> Trace:
        """All of it; the time that passes is simulated, the work is not."""
        for action in sorted(self._given.actions, key=lambda action: action.at_ns):
            if action.at_ns > self._given.until_ns:
                break
            self.loop.run_until_ns(action.at_ns)
            self._act(action)
        self.loop.run_until_ns(self._given.until_ns)
        columns = np.array(self._lines, np.int64).reshape(-1, 3).T
        return Trace(*columns)

    @property
    def events(self) -> int:
        return self.loop.events - self.loop.pending

    @property
    def available(self) -> npt.NDArray[np.bool_]:
        return np.array(self.servers.available)

    def _cell(self, number: int, cores: list[float]) -> Cell:
        given, name = self._given, f"cell-{number}"
        nodes = [
            Node(self.loop, f"{name}-node-{i}", name, given.metadata, given.costs, limit)
            for i, limit in enumerate(cores)
        ]
        return Cell(name, nodes, given.metadata.partitions)

    def _act(self, action: Action) -> None:
        match action:
            case Cut():
                struck = set(action.servers)
                self._cut_now.append(struck)
                self.servers.cut_off(list(action.servers))
                self.loop.at_ns(action.at_ns + action.for_ns, self._heal, struck)
            case Limit():
                for node in self._cells[action.cell].nodes:
                    node.cores *= action.factor
            case Pause():
                self._cells[action.cell].paused = True
            case Resume():
                mine = np.flatnonzero(self._given.cell == action.cell).tolist()
                from_s, over_s = self.loop.now_ns / NS, action.over_ns / NS
                self.servers.pace(mine, from_s, over_s, self._given.metadata.partitions)
                self._cells[action.cell].paused = False
            case Weight():
                for node in self._cells[action.cell].nodes:
                    node.set_weight(action.partition, action.percent)

    def _heal(self, struck: set[int]) -> None:
        self._cut_now.remove(struck)
        self.servers.cut = set().union(*self._cut_now)

    def _note(self, record: history.Record) -> None:
        match record:
            case history.Renewal():
                outcome = _ENDS[record.reason]
            case history.Availability():
                outcome = Outcome.IN if record.available else Outcome.OUT
            case _:
                return
        self._lines.append((self.loop.now_ns, int(record.server), int(outcome)))

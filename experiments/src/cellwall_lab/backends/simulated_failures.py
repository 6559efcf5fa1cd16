"""Faults of a simulated world: cuts, kills, bad releases and a poison table, with their ends and receipts.

Decides what of a failure the engine can show: a process that is gone answers nobody and loses what it had in hand; a
release spends more CPU, crashes or is behind in epochs. Invariant: as on a real backend, the history says off when it
is over, with a receipt, and what was killed is let in by waves where a real one is.

Not simulated: the loss of a machine, storage hosts by name, and the time that a process takes to start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cellwall import history
from cellwall.errors import Refused
from cellwall.placement import Layout, server_id
from cellwall.spec import RELEASES

from .. import verbs
from .engine import Cell, Loop, Servers
from .failures import servers_in, servers_of
from .indexes import largest_of
from .targets import struck

BACK_OFF_S = 4.0  # a crashed node's: `local_failures.BACK_OFF_S`, and about as long for it to start (guess)
Undo = Callable[[], dict[str, Any]]


class SimulatedFailures:
    """The faults of one simulated world. ``let_in``: paces a cell's servers that are out."""

    def __init__(
        self,
        loop: Loop,
        layout: Layout,
        servers: Servers,
        cells: Mapping[str, Cell],
        emit: Callable[[history.Record], None],
        let_in: Callable[[Cell], None],
    ) -> None:
        self._loop, self._layout, self._servers, self._cells = loop, layout, servers, cells
        self._emit, self._let_in = emit, let_in
        self._counts: Counter[str] = Counter()
        self._cut_now: dict[str, set[int]] = {}  # fault -> servers; cuts may overlap

    def strike(self, verb: Any) -> verbs.CutOn:
        match verb:
            case verbs.Cut():
                return self._cut("cut", struck(verb.targets, self._layout), verb.for_s)
            case verbs.Kill(what="zone"):
                names = set(servers_in(verb.of, self._layout))
                found = [s for s in range(self._layout.fleet.servers) if server_id(s) in names]
                return self._cut("kill", found, verb.for_s)
            case verbs.Kill(what="node" | "store"):
                return self._kill(verb)
            case verbs.Release():
                return self._release(verb)
            case verbs.Poison():
                return self._poison(verb)
            case _:
                raise Refused(f"{verb}: not simulated; it must be --backend local, or kubernetes")

    def _cut(self, kind: str, servers: list[int], for_s: float) -> verbs.CutOn:
        refused_before = self._servers.refused
        on = self._on(kind, [server_id(s) for s in servers], for_s, {"servers": len(servers)})

        def heal() -> dict[str, Any]:
            del self._cut_now[on.id]
            self._servers.cut = set().union(*self._cut_now.values())
            if kind == "kill":
                for cell in self._cells.values():
                    self._let_in(cell)
            return {"servers": len(servers), "refused": self._servers.refused - refused_before}

        self._cut_now[on.id] = set(servers)
        self._servers.cut_off(servers)
        return self._until(on, for_s, heal)

    def _kill(self, verb: verbs.Kill) -> verbs.CutOn:
        targets = servers_of(verb.of, "kill.of", self._layout)
        shared = verb.what == "store" and self._layout.spec.shared_store
        cells = [cell for cell in self._cells.values() if shared or cell.name == verb.of]
        on = self._on("kill", targets, verb.for_s, {"gone": [cell.name for cell in cells]})
        for cell in cells:
            cell.down = True
            self._servers.lose(cell)

        def start() -> dict[str, Any]:
            for cell in cells:
                cell.down = False
                if verb.what == "node":
                    self._let_in(cell)
            return {"gone": [cell.name for cell in cells], "back": [cell.name for cell in cells]}

        return self._until(on, verb.for_s, start)

    def _release(self, verb: verbs.Release) -> verbs.CutOn:
        targets = servers_of(verb.cell, "release.cell", self._layout)
        cell, bad, crashes = self._cells[verb.cell], RELEASES[verb.mode], 0
        on = self._on("release", targets, verb.for_s, {"mode": verb.mode})
        for node in cell.nodes:
            node.record_cpu_s = bad.record_cpu_s
        cell.epochs_behind = bad.epochs_behind

        def crash() -> None:
            nonlocal crashes
            crashes += 1
            cell.down = True
            self._servers.lose(cell)
            self._loop.at(self._loop.now_s + BACK_OFF_S, started)

        def started() -> None:
            cell.down, cell.crash_in = False, bad.crash_on

        if bad.crash_on:
            cell.crash, cell.crash_in = crash, bad.crash_on

        def withdrawn() -> dict[str, Any]:
            for node in cell.nodes:
                node.record_cpu_s = 0.0
            cell.epochs_behind, cell.crash, cell.down = 0, None, False
            return {"mode": verb.mode, "crashes": crashes}

        return self._until(on, verb.for_s, withdrawn)

    def _poison(self, verb: verbs.Poison) -> verbs.CutOn:
        servers_of(verb.cell, "poison.cell", self._layout)
        table = largest_of(verb.cell, self._layout)
        more = Counter(s for triple in table.replicas[""] for s in triple)
        records = [self._servers.grow(s, count * verb.indexes) for s, count in sorted(more.items())]
        said = {"table": f"{table.info.customer}/{table.info.name}", "indexes": verb.indexes}
        on = self._on("poison", [server_id(s) for s in sorted(more)], 0.0, said)
        return self._until(on, 0.0, lambda: {**said, "records": max(records)})

    def _on(self, kind: str, targets: list[str], for_s: float, receipt: dict[str, Any]) -> history.Fault:
        self._counts[kind] += 1
        now_s = self._loop.now_s
        on = history.Fault(
            t=now_s,
            id=f"{kind}-{self._counts[kind]}",
            fault=kind,
            state="on",
            targets=targets,
            receipt={"expires_s": now_s + for_s, **receipt},
        )
        self._emit(on)
        return on

    def _until(self, on: history.Fault, for_s: float, undo: Undo) -> verbs.CutOn:
        def end() -> None:
            receipt = undo()
            self._emit(msgspec.structs.replace(on, t=self._loop.now_s, state="off", receipt=receipt))

        self._loop.at(self._loop.now_s + for_s, end)
        return verbs.CutOn(on.id, len(on.targets))

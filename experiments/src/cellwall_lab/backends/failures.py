"""Failures of a cell's software and machines: on, over by themselves, each with its receipt.

Decides whom a failure strikes, when it is over and what the history says of it; how processes are killed, replaced and
brought back is the ground's. A failure's end is begun here, by the clock, whoever asked for it has died meanwhile.
Invariant: the history says off only when the ground has shown that what was struck is back; a failure whose undo fails
stays on, and says so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cellwall import history
from cellwall.errors import CellwallError, Refused
from cellwall.placement import Layout, cell_id, server_id
from cellwall.spec import ZONES

from .. import verbs
from .ground import Ground, Struck
from .indexes import Table, grow, largest_of

Receipt = dict[str, Any]


class Failures:
    """The failures of one running world."""

    def __init__(self, ground: Ground, record: Callable[[history.Record], None]) -> None:
        self._ground, self._record = ground, record
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: dict[str, int] = {}

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def strike(self, verb: Any) -> verbs.CutOn:
        """Carry out a verb that is a failure."""
        match verb:
            case verbs.Kill():
                return await self._kill(verb)
            case verbs.NodeLoss():
                _lasting("node-loss", verb.for_s)
                begun_s = time.time()
                lost = await self._ground.lose_node(verb.node, verb.for_s)
                self._mute(lost.servers, begun_s)
                return self._begin("node-loss", begun_s, lost.servers, verb.for_s, lost)
            case verbs.Release():
                return await self._release(verb)
            case verbs.Poison():
                return await self._poison(verb)
            case _:
                raise Refused(f"{type(verb).__name__}: no such failure here")

    async def _kill(self, verb: verbs.Kill) -> verbs.CutOn:
        _lasting("kill", verb.for_s)
        if verb.what in ("node", "store"):
            servers = servers_of(verb.of, "kill.of", self._ground.layout)
        elif verb.what == "zone":
            servers = servers_in(verb.of, self._ground.layout)
        else:
            servers = self._ground.carried_by(verb.of)
        begun_s = time.time()
        killed = await self._ground.kill(verb)
        if verb.what in ("host", "zone"):
            self._mute(servers, time.time())
        return self._begin("kill", begun_s, servers, verb.for_s, killed)

    def _mute(self, servers: list[str], t: float) -> None:
        """The dead do not say that they have left service."""
        cells = {row[0]: row[1] for row in self._ground.layout.rows()}
        for server in servers:
            out = history.Availability(t=t, server=server, cell=cells[server], available=False, reason="killed")
            self._record(out)

    async def _release(self, verb: verbs.Release) -> verbs.CutOn:
        _lasting("release", verb.for_s)
        if not verb.mode:
            raise Refused("release.mode: '' is not allowed; it must be slow, crash or epochs (it ends by itself)")
        servers = servers_of(verb.cell, "release.cell", self._ground.layout)
        begun_s = time.time()
        rolled = await self._ground.roll(verb.cell, verb.mode)
        # From since_s on nobody of another release answers.
        receipt = {"mode": verb.mode, "since_s": time.time(), **rolled.receipt}
        rolled = msgspec.structs.replace(rolled, receipt=receipt)
        return self._begin("release", begun_s, servers, verb.for_s, rolled)

    async def _poison(self, verb: verbs.Poison) -> verbs.CutOn:
        _lasting("poison", verb.deadline_s)
        layout = self._ground.layout
        servers_of(verb.cell, "poison.cell", layout)
        table = largest_of(verb.cell, layout)
        name = Table(table.info.customer, table.info.name)
        carriers = {s for triples in table.replicas.values() for triple in triples for s in triple}
        frontend, calls = await self._ground.door()
        more = verbs.GrowIndexes(tables=[str(name)], count=verb.indexes, deadline_s=verb.deadline_s)
        growing = asyncio.create_task(grow(more, layout.tables, frontend, calls))

        async def grown() -> Receipt:
            result = await growing
            return {"outcome": result.outcome, "took_s": round(result.took_s, 1), "said": result.reason}

        servers = [server_id(s) for s in sorted(carriers)]
        growth = Struck({"table": str(name), "indexes": verb.indexes}, grown, by_itself=True)
        return self._begin("poison", time.time(), servers, verb.deadline_s, growth)

    def _begin(self, kind: str, begun_s: float, servers: list[str], for_s: float, struck: Struck) -> verbs.CutOn:
        """Record that it is on, since its first blow, and see to its end."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        expires = {} if struck.by_itself else {"expires_s": time.time() + for_s}
        on = history.Fault(
            t=begun_s,
            id=f"{kind}-{self._counts[kind]}",
            fault=kind,
            state="on",
            targets=servers,
            receipt={**expires, **struck.receipt},
        )
        self._record(on)
        task = asyncio.create_task(self._end(on, 0.0 if struck.by_itself else for_s, struck.back))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return verbs.CutOn(on.id, len(servers))

    async def _end(self, on: history.Fault, in_s: float, back: Callable[[], Awaitable[Receipt]]) -> None:
        await asyncio.sleep(in_s)
        try:
            receipt = await back()
        except CellwallError as error:
            print(f"cellwall: {on.id}: still on: {error}", file=sys.stderr, flush=True)
            return
        off = history.Fault(
            t=time.time(), id=on.id, fault=on.fault, state="off", targets=on.targets, receipt={**on.receipt, **receipt}
        )
        self._record(off)


def servers_of(cell: str, field: str, layout: Layout) -> list[str]:
    """All servers of a cell."""
    found = [server_id(s) for s in range(layout.fleet.servers) if cell_id(layout.cell[s]) == cell]
    if not found:
        known = ", ".join(cell_id(c) for c in range(layout.spec.cells))
        raise Refused(f"{field}: {cell!r} is not a cell; it must be one of {known}")
    return found


def servers_in(zone: str, layout: Layout) -> list[str]:
    """All servers of a zone."""
    found = [server_id(s) for s in range(layout.fleet.servers) if layout.fleet.zone[s] == zone]
    if not found:
        raise Refused(f"kill.of: {zone!r} is not a zone; it must be one of {', '.join(ZONES)}")
    return found


def _lasting(verb: str, for_s: float) -> None:
    if not 0 < for_s < float("inf"):
        raise Refused(f"{verb}: for_s: {for_s!r} is not allowed; it must be > 0, for every failure ends by itself")

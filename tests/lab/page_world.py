"""A world to look at, without a world: 800 servers that play the event, for tests of the live page.

Its clock moves a second with each reading of the fleet, so five minutes pass in 300 readings. What happened is
scripted by `events`; verbs act on it from then on.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

from cellwall.errors import CellwallError
from cellwall.history import Availability, Renewal
from cellwall_lab import verbs
from cellwall_lab.verbs import CellView, CutOn, FaultState, FleetState, ServerView, StepResult, WindowStats

START_S = 1_790_000_000.0
LIMIT_S = 2.0
GROUP = 25


class PageWorld:
    """``cells`` of equal size. A server is large in every second group; large ones do not come back after a cut."""

    def __init__(self, servers: int = 800, cells: int = 1, name: str = "september") -> None:
        rng = random.Random(1)
        groups = servers // GROUP
        self.cells = [f"cell-{number}" for number in range(cells)]
        self.rows = [
            (
                f"s-{number:04d}",
                self.cells[number // GROUP * cells // groups],
                "abc"[number % 3],
                number // GROUP,
                rng.randint(1190, 2210) if number // GROUP % 2 == 0 else rng.randint(42, 128),
            )
            for number in range(servers)
        ]
        self.name, self.now_s, self.phase = name, START_S, "clean"
        self.out: dict[str, tuple[str, float]] = {}  # server -> why, since
        self.cut: tuple[set[str], float] = (set(), 0.0)
        self.paused: set[str] = set()
        self.limits = dict.fromkeys(self.cells, 0.38 / cells)
        self.nodes = dict.fromkeys(self.cells, 1)
        self.weights: dict[str, dict[int, float]] = {cell: {} for cell in self.cells}
        self.events: dict[int, Any] = {}  # second -> a verb, or a phase's name
        self.tables: list[dict[str, Any]] = []
        self.calls: list[Any] = []
        self.raises: dict[type, CellwallError] = {}
        self.gate: asyncio.Event | None = None  # a step is answered when it is set

    async def carry_out(self, verb: Any) -> Any:
        if type(verb) in self.raises:
            raise self.raises[type(verb)]
        if isinstance(verb, verbs.Fleet):
            await self._pass()
            return self._fleet()
        if isinstance(verb, verbs.Trace):
            return self._trace(verb.server)
        self.calls.append(verb)
        if self.gate is not None:
            await self.gate.wait()
        return self.act(verb)

    def act(self, verb: Any) -> Any:
        cells = self.cells if getattr(verb, "cell", "*") == "*" else [verb.cell]
        match verb:
            case verbs.Cut():
                struck = self._struck(verb.targets)
                self.cut = (struck, self.now_s + verb.for_s)
                for server in struck:
                    self.out[server] = ("link-lost", self.now_s)
                return CutOn("cut-1", len(struck))
            case verbs.Pause():
                self.paused |= set(cells)
            case verbs.Resume():
                self.paused -= set(cells)
                self.out.clear()
            case verbs.AddCapacity() if self.out and not self.paused:
                return StepResult("unknown", 4.0, "time-out")
            case verbs.AddCapacity():
                for cell in cells:
                    self.nodes[cell] += 1
            case verbs.LimitCpu():
                for cell in cells:
                    self.limits[cell] *= verb.factor
            case verbs.Weight():
                for cell in cells:
                    self.weights[cell][verb.partition] = verb.percent
        return StepResult("done", 0.1)

    def _struck(self, targets: verbs.Targets) -> set[str]:
        count = len(self.rows)
        if targets.domain is not None:
            return {row[0] for i, row in enumerate(self.rows) if i * 4 // count == targets.domain}
        if targets.spread is not None:
            return {row[0] for i, row in enumerate(self.rows) if i % GROUP < targets.spread * GROUP}
        return {row[0] for row in self.rows if row[2] == targets.zone}

    async def _pass(self) -> None:
        self.now_s += 1
        event = self.events.get(round(self.now_s - START_S))
        if isinstance(event, str):
            self.phase = event
        elif event is not None:
            self.act(event)
        struck, until_s = self.cut
        sick = {row[1] for row in self.rows if row[0] in self.out}
        rng = random.Random(self.now_s)
        for server, cell, _, _, records in self.rows:
            cut = server in struck and self.now_s < until_s
            if cell in self.paused:
                if server not in self.out and rng.random() < 0.12:
                    self.out[server] = ("unreachable", self.now_s)
            elif cell in sick and not cut:
                if records > 1000 and server not in self.out and rng.random() < 0.09:
                    self.out[server] = ("time-out", self.now_s)
                elif records < 1000 and server in self.out and rng.random() < 0.3:
                    del self.out[server]

    def _fleet(self) -> FleetState:
        struck, until_s = self.cut if self.now_s < self.cut[1] else (set(), 0.0)
        servers = []
        for server, cell, zone, group, records in self.rows:
            why, since_s = self.out.get(server, ("renewed", START_S))
            state = "cut" if server in struck else "out" if server in self.out else "in"
            servers.append(ServerView(server, cell, zone, group, records, state, why, since_s))  # type: ignore[arg-type]
        views = {}
        for cell in self.cells:
            mine = [server for server in servers if server.cell == cell]
            out = sum(server.state != "in" for server in mine)
            queue = 0 if cell in self.paused else round(0.7 * out)
            wave = 0.06 * math.sin(self.now_s / 5)
            views[cell] = CellView(
                servers=len(mine),
                out=out,
                queue=queue,
                oldest_s=1.9 if queue else 0.0,
                nodes=self.nodes[cell],
                limit_cores=self.limits[cell],
                paused=cell in self.paused,
                largest_records=max(server.records for server in mine),
                largest_retrieval_s=None if out > 0.2 * len(mine) or cell in self.paused else 0.9 + wave + out / 90,
                weights=self.weights[cell],
                answered=out < 0.2 * len(mine),
            )
        failed = round(500 * 1.03 * len(self.out) / len(self.rows))
        window = WindowStats(
            now_s=self.now_s, phase=self.phase, servers=len(servers), servers_out=len(self.out), requests=500,
            requests_failed=min(500, failed), renewals_done=200, renewals_failed=0, large_p99_s=1.0,
            steal_ratio=0.0, cells={},
        )  # fmt: skip
        faults = [FaultState("cut-1", "cut", len(struck), until_s)] if struck else []
        return FleetState(self.now_s, self.phase, self.name, LIMIT_S, servers, views, window, faults, self.tables)

    def _trace(self, server: str) -> list[Renewal | Availability]:
        cell = next(row[1] for row in self.rows if row[0] == server)
        trace: list[Renewal | Availability] = [
            Renewal(t=START_S + 3, server=server, cell=cell, outcome="done", waited_s=0.93, bytes=331_000, records=1834)
        ]
        if server in self.out:
            why, since_s = self.out[server]
            trace.append(Availability(t=since_s, server=server, cell=cell, available=False, reason=why))
            for k in range(6):
                trace.append(
                    Renewal(
                        t=since_s + 2.3 * k, server=server, cell=cell, outcome="unknown", waited_s=LIMIT_S,
                        reason="time-out", bytes=41_000,
                    )
                )  # fmt: skip
        return trace


def september(cells: int = 1) -> PageWorld:
    """The event: healthy, cut in second 120, settled, stuck."""
    world = PageWorld(cells=cells)
    world.events = {
        100: "cut",
        120: verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0),
        124: "settle",
        165: "stuck",
    }
    return world

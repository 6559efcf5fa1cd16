"""What operators do to a local world: probe, add a node, pause, resume, set limits and weights.

Decides how a step is carried out on the processes and that each is recorded with its outcome; never when one is
taken (that is the runbook). Invariant: a step that fails leaves the published map as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from cellwall import history
from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.model import CellEntry

from .. import verbs
from .http_calls import Calls
from .launch import start_node
from .limiter import Limit
from .live import Live
from .processes import BACKLOG
from .running import Running
from .targets import named_cells, worst

POLL_S = 0.1
HOSTS_FOLLOW_S = 5.0


class Steps:
    """The steps of one running world."""

    def __init__(self, running: Running, live: Live, calls: Calls, record: Callable[[history.Record], None]) -> None:
        self._run, self._live, self._calls, self._record = running, live, calls, record
        self._spec = running.layout.spec

    async def take(self, verb: Any) -> verbs.StepResult:
        """Carry out a verb that is a step."""
        match verb:
            case verbs.LimitCpu():
                return await self._limit_cpu(verb)
            case verbs.AdminProbe():
                return await self._over_cells("admin-probe", verb.cell, lambda c: self._probe(c, verb.deadline_s))
            case verbs.AddCapacity():
                cell = verb.cell if verb.cell != "*" else ",".join(self._live.sick_cells()) or "*"
                return await self._over_cells("add-capacity", cell, lambda c: self._add_node(c, verb.deadline_s))
            case verbs.Pause():
                return await self._over_cells("pause", verb.cell, self._pause)
            case verbs.Resume():
                return await self._over_cells("resume", verb.cell, lambda c: self._resume(c, verb.over_s))
            case verbs.Weight():
                return await self._over_cells("weight", verb.cell, lambda c: self._weight(c, verb))
            case _:
                raise Refused(f"{type(verb).__name__}: no such verb here")

    async def _limit_cpu(self, verb: verbs.LimitCpu) -> verbs.StepResult:
        if verb.for_s is not None:
            raise Refused("limit-cpu.for_s: a limit that expires is not offered here; set it again")
        factor = verb.factor
        if factor <= 0:
            raise Refused(f"limit-cpu.factor: {factor!r} is not allowed; it must be > 0")

        async def limit(cell: str) -> verbs.StepResult:
            for node in self._run.map.cells[cell].nodes:
                old = self._run.limits[node]
                self._run.limits[node] = Limit(node, old.pid, old.cores * factor)
            self._run.publish_limits()
            return verbs.StepResult("done", 0.0)

        return await self._over_cells("limit-cpu", verb.cell, limit)

    async def _over_cells(self, step: str, cells: str, act: Any) -> verbs.StepResult:
        """Carry a step out in several cells at once, and record each."""
        names = named_cells(cells, self._run.map.cells)

        async def one(cell: str) -> verbs.StepResult:
            now_s, started_s = time.time(), time.monotonic()
            try:
                result: verbs.StepResult = await act(cell)
            except Unknown as error:
                result = verbs.StepResult("unknown", time.monotonic() - started_s, str(error))
            except (Refused, Unavailable) as error:
                result = verbs.StepResult("refused", time.monotonic() - started_s, str(error))
            took_s = max(result.took_s, time.monotonic() - started_s)
            self._record(
                history.Step(t=now_s, step=step, cell=cell, outcome=result.outcome, took_s=took_s, reason=result.reason)
            )
            return verbs.StepResult(result.outcome, took_s, result.reason)

        return worst(dict(zip(names, await asyncio.gather(*map(one, names)), strict=True)))

    def _deadline_s(self, deadline_s: float | None) -> float:
        return 2 * self._spec.renewal.time_limit_s if deadline_s is None else deadline_s

    async def _probe(self, cell: str, deadline_s: float | None) -> verbs.StepResult:
        started_s = time.monotonic()
        node = next(iter(self._run.map.cells[cell].admin.values()))
        await self._calls.ask("GET", f"{node}/map/0", b"", self._deadline_s(deadline_s), decode=False)
        return verbs.StepResult("done", time.monotonic() - started_s)

    async def _add_node(self, cell: str, deadline_s: float | None) -> verbs.StepResult:
        """Start a node with as much CPU as the cell has, let it take over half of the metadata partitions
        from a running one, publish who owns what. Nothing changes unless all of it succeeds."""
        entry = self._run.map.cells[cell]
        deadline_s = self._deadline_s(deadline_s)
        source = next(iter(entry.admin))
        taken = [p for p, owners in enumerate(entry.owners) if source in owners][1::2]
        cores = sum(self._run.limits[node].cores for node in entry.nodes)
        node = await start_node(self._run, cell, may_end=True)
        if cell in self._run.paused:  # a pause holds for nodes that come in it, or their servers would not be paused
            self._close(node.name)
        try:
            self._run.limit(node.name, node.pid, cores)
            body = msgspec.json.encode({"source": entry.admin[source], "partitions": taken, "deadline_s": deadline_s})
            joined = await self._calls.ask("POST", f"{node.admin}/join", body, deadline_s * len(taken) + 5.0)
        except CellwallError:
            await self._drop(node.name)
            raise
        if joined["outcome"] != "done":
            await self._drop(node.name)
            took_s = sum(joined["took_s"])
            return verbs.StepResult(joined["outcome"], took_s, joined["reason"])
        owners = [[node.name] if p in taken else mine for p, mine in enumerate(entry.owners)]
        nodes, admin = {**entry.nodes, node.name: node.renewal}, {**entry.admin, node.name: node.admin}
        self._run.processes.must_stay(node.name)
        self._publish(msgspec.structs.replace(entry, nodes=nodes, admin=admin, owners=owners))
        return verbs.StepResult("done", sum(joined["took_s"]))

    async def _drop(self, node: str) -> None:
        self._run.unlimit(node)
        await asyncio.to_thread(self._run.processes.end, node)
        self._run.listeners.pop(node).close()

    async def _pause(self, cell: str) -> verbs.StepResult:
        """Shut the listeners down: the kernel refuses from now on, without asking the overloaded node."""
        self._run.paused.add(cell)
        for node in self._run.map.cells[cell].nodes:
            self._close(node)
        return verbs.StepResult("done", 0.0)

    def _close(self, node: str) -> None:
        with contextlib.suppress(OSError):  # closed already: a pause of what is paused
            self._run.listeners[node].shutdown(socket.SHUT_RDWR)

    async def _resume(self, cell: str, over_s: float | None) -> verbs.StepResult:
        """Publish the waves, wait until the hosts follow, open the listeners."""
        entry = self._run.map.cells[cell]
        cores = sum(self._run.limits[node].cores for node in entry.nodes)
        if over_s is None:
            over_s = self._run.reentry_over_s(cell, cores)
        # Servers hear of the waves before the door opens, else all would be there at once.
        start_s = time.time() + 0.5
        self._publish(msgspec.structs.replace(entry, reentry_from_s=start_s, reentry_over_s=over_s))
        await self._hosts_follow()
        for node in entry.nodes:
            self._run.listeners[node].listen(BACKLOG)
        self._run.paused.discard(cell)
        return verbs.StepResult("done", 0.0, f"waves over {over_s:.1f} s")

    async def _hosts_follow(self) -> None:
        deadline_s = time.monotonic() + HOSTS_FOLLOW_S
        while time.monotonic() < deadline_s:
            answers = await asyncio.gather(
                *(
                    self._calls.ask("GET", f"{host}/map-version", b"", HOSTS_FOLLOW_S)
                    for host in self._run.hosts.values()
                )
            )
            if all(answer["version"] >= self._run.map.version for answer in answers):
                return
            await asyncio.sleep(POLL_S)
        raise Unknown(f"the storage hosts did not follow the cell map within {HOSTS_FOLLOW_S:g} s")

    async def _weight(self, cell: str, verb: verbs.Weight) -> verbs.StepResult:
        body = msgspec.json.encode({"percent": verb.percent})
        for address in self._run.map.cells[cell].admin.values():
            answer = await self._calls.ask("PUT", f"{address}/weight/{verb.partition}", body, self._deadline_s(None))
            if answer["percent"] != verb.percent:
                raise Unknown(f"weight: asked for {verb.percent:g}, read back {answer['percent']:g}")
        self._run.weights.setdefault(cell, {})[verb.partition] = verb.percent
        return verbs.StepResult("done", 0.0)

    def _publish(self, entry: CellEntry) -> None:
        cell_map = self._run.map
        cells = {**cell_map.cells, entry.id: entry}
        self._run.map = msgspec.structs.replace(cell_map, version=cell_map.version + 1, cells=cells)
        self._run.processes.publish(self._run.map)

"""The ground of a local world: its processes, their listeners, the limiter and the published map.

Decides how each step is carried out on processes; what a step is and that it is recorded is `steps`, and what fails is
`local_failures`. Invariants: a step that fails leaves the published map as it was; one change of the map at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.model import CellEntry
from cellwall.spec import RELEASES, Mode

from ..verbs import Kill, StepResult
from . import local_failures
from .bringup import set_limits
from .ground import Asks, Ground, Struck
from .http_calls import Calls
from .launch import start_node
from .limiter import Limit
from .live import Live
from .machine import sample_host
from .pacing import reentry_over_s
from .processes import BACKLOG
from .running import Running

POLL_S = 0.1
HOSTS_FOLLOW_S = 5.0


class LocalGround(Ground):
    """The processes of one running world."""

    def __init__(self, running: Running) -> None:
        self._http = Calls()
        super().__init__(running.config, running.layout, running.recorder, self._http)
        self._run = running
        self.changing = asyncio.Lock()  # the map: a failure may end while a step is taken

    # ------------------------------------------------------------ what is there

    @property
    def cells(self) -> Collection[str]:
        return self._run.map.cells.keys()

    @property
    def frontend(self) -> str:
        return self._run.frontend

    def nodes(self, cell: str) -> int:
        return len(self._run.map.cells[cell].nodes)

    def admins(self, cell: str) -> list[str]:
        return list(self._run.map.cells[cell].admin.values())

    def limit_cores(self, cell: str) -> float:
        nodes = self._run.map.cells[cell].nodes
        return sum(self._run.limits[node].cores for node in nodes if node in self._run.limits)

    def host(self, server: str) -> str | None:
        entry = self._run.map.servers.get(server)
        return None if entry is None else entry.address

    def hosts(self, servers: Sequence[str]) -> list[str]:
        return list(self._run.hosts.values())  # one a zone: nearly every fault concerns all of them

    def check(self) -> None:
        self._run.processes.check()

    def watches(self, live: Live) -> list[Coroutine[Any, Any, None]]:
        return [sample_host(self.recorder)]

    # ------------------------------------------------------------ load and limits

    async def set_limits(self, live: Live) -> None:
        await set_limits(self._run, live)

    async def control(self, *, rps: float, stop: bool = False, audit: bool = True) -> None:
        self._run.control(rps=rps, stop=stop, audit=audit)

    async def load_ended(self, within_s: float) -> str:
        status = await asyncio.to_thread(self._run.processes.wait, "load", within_s)
        if status == 0:
            return ""
        text = "did not end" if status is None else f"ended with status {status}"
        return f"{text}: {self._run.processes.log_tail('load')}"

    async def door(self) -> tuple[str, Asks]:
        return self.frontend, self.calls

    async def multiply_limit(self, cell: str, factor: float) -> None:
        for node in self._run.map.cells[cell].nodes:
            old = self._run.limits.get(node)
            if old is None:
                raise Unavailable(f"{node} is not running")
            self._run.limits[node] = Limit(node, old.pid, old.cores * factor)
        self._run.publish_limits()

    # ------------------------------------------------------------ nodes

    async def add_node(self, cell: str, deadline_s: float) -> StepResult:
        """Start a node with as much CPU as the cell has, let it take over half of the metadata partitions
        from a running one, publish who owns what. Nothing changes unless all of it succeeds."""
        async with self.changing:
            return await self._add_node(cell, deadline_s)

    async def _add_node(self, cell: str, deadline_s: float) -> StepResult:
        entry = self._run.map.cells[cell]
        source = next(iter(entry.admin))
        taken = [p for p, owners in enumerate(entry.owners) if source in owners][1::2]
        cores = self.limit_cores(cell)
        node = await start_node(self._run, cell, may_end=True)
        if cell in self.paused:  # a pause holds for nodes that come in it, or their servers would not be paused
            self.close_door(node.name)
        try:
            self._run.limit(node.name, node.pid, cores)
            body = msgspec.json.encode({"source": entry.admin[source], "partitions": taken, "deadline_s": deadline_s})
            joined = await self.calls.ask("POST", f"{node.admin}/join", body, deadline_s * len(taken) + 5.0)
        except CellwallError:
            await self.drop(node.name)
            raise
        if joined["outcome"] != "done":
            await self.drop(node.name)
            took_s = sum(joined["took_s"])
            return StepResult(joined["outcome"], took_s, joined["reason"])
        owners = [[node.name] if p in taken else mine for p, mine in enumerate(entry.owners)]
        nodes, admin = {**entry.nodes, node.name: node.renewal}, {**entry.admin, node.name: node.admin}
        self._run.processes.must_stay(node.name)
        self.publish(msgspec.structs.replace(entry, nodes=nodes, admin=admin, owners=owners))
        return StepResult("done", sum(joined["took_s"]))

    async def replace_nodes(self, cell: str, mode: Mode) -> dict[str, str]:
        """Roll a release out, a node more before one less: each node's place is taken by a new one's. Returns who took
        whose."""
        async with self.changing:
            entry = self._run.map.cells[cell]
            started = {}
            for old in entry.nodes:
                node = started[old] = await start_node(self._run, cell, may_end=True, release=RELEASES[mode])
                if cell in self.paused:
                    self.close_door(node.name)
                self._run.limit(node.name, node.pid, self._run.limits[old].cores)
            self.publish(
                msgspec.structs.replace(
                    entry,
                    nodes={node.name: node.renewal for node in started.values()},
                    admin={node.name: node.admin for node in started.values()},
                    owners=[[started[old].name for old in mine] for mine in entry.owners],
                )
            )
            await self._hosts_follow()
            for old, node in started.items():
                await self.drop(old)
                self._run.processes.must_stay(node.name)
            return {old: node.name for old, node in started.items()}

    async def drop(self, node: str) -> None:
        self._run.unlimit(node)
        await asyncio.to_thread(self._run.processes.end, node)
        self._run.listeners.pop(node).close()

    # ------------------------------------------------------------ pause and resume

    async def pause(self, cell: str) -> None:
        """Shut the listeners down: the kernel refuses from now on, without asking the overloaded node."""
        self.paused.add(cell)
        for node in self._run.map.cells[cell].nodes:
            self.close_door(node)

    def close_door(self, node: str) -> None:
        with contextlib.suppress(OSError):  # closed already: a pause of what is paused
            self._run.listeners[node].shutdown(socket.SHUT_RDWR)

    def open_door(self, node: str) -> None:
        self._run.listeners[node].listen(BACKLOG)

    async def resume(self, cell: str, over_s: float | None) -> str:
        async with self.changing:
            over_s = self.pace(cell, 0.5, over_s)
            # Servers hear of the waves before the door opens, else all would be there at once.
            await self._hosts_follow()
            for node in self._run.map.cells[cell].nodes:
                self.open_door(node)
            self.paused.discard(cell)
            return f"waves over {over_s:.1f} s"

    def pace(self, cell: str, in_s: float, over_s: float | None = None) -> float:
        """Publish waves for the cell's servers that are out, from ``in_s`` on; returns how long they last."""
        if over_s is None:
            over_s = reentry_over_s(self.layout, cell, self._run.costs, self.limit_cores(cell))
        entry = self._run.map.cells[cell]
        self.publish(msgspec.structs.replace(entry, reentry_from_s=time.time() + in_s, reentry_over_s=over_s))
        return over_s

    async def _hosts_follow(self) -> None:
        deadline_s = time.monotonic() + HOSTS_FOLLOW_S
        while time.monotonic() < deadline_s:
            answers = await asyncio.gather(
                *(
                    self.calls.ask("GET", f"{host}/map-version", b"", HOSTS_FOLLOW_S)
                    for host in self._run.hosts.values()
                )
            )
            if all(answer["version"] >= self._run.map.version for answer in answers):
                return
            await asyncio.sleep(POLL_S)
        raise Unknown(f"the storage hosts did not follow the cell map within {HOSTS_FOLLOW_S:g} s")

    def publish(self, entry: CellEntry) -> None:
        cell_map = self._run.map
        cells = {**cell_map.cells, entry.id: entry}
        self._run.map = msgspec.structs.replace(cell_map, version=cell_map.version + 1, cells=cells)
        self._run.processes.publish(self._run.map)

    # ------------------------------------------------------------ what can fail

    def carried_by(self, host: str) -> list[str]:
        return local_failures.carried_by(self._run, host)

    async def kill(self, verb: Kill) -> Struck:
        return await local_failures.kill(self, self._run, verb)

    async def lose_node(self, node: str, for_s: float) -> Struck:
        raise Refused("node-loss: a local world has no machines to lose; it must be --backend kubernetes, on kind")

    async def roll(self, cell: str, mode: Mode) -> Struck:
        return await local_failures.release(self, self._run, cell, mode)

    # ------------------------------------------------------------ the end

    async def end(self) -> None:
        await self._http.close()
        await asyncio.to_thread(self._run.processes.end_all)

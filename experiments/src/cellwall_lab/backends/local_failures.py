"""Processes of a local world killed, and nodes of another release put in their place; and how either is undone.

Decides which process a verb means, what is closed while it is gone, and how it comes back: as it was started, at the
same door, its servers let in by waves (design: a restart is a re-entry). When a failure is undone is not decided here
(`failures`). Invariant: a process that was killed is never taken for a crash of the world, and once it is
back its end is one again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from cellwall.errors import Refused
from cellwall.placement import server_id
from cellwall.spec import Mode

from ..verbs import Kill
from .ground import Struck
from .launch import store_of
from .running import Running, answers

if TYPE_CHECKING:
    from .local_ground import LocalGround

# A crashed node is started again after so long: one time limit (guess; a kubelet's first back-off is 10 s of an event
# that lasts hours).
BACK_OFF_S = 2.0
POLL_S = 0.05
HOST_START_S = 5.0  # guess: imports, and 270 SQLite files opened; its waves begin after it


def carried_by(run: Running, host: str) -> list[str]:
    """The servers of a storage host: here it carries those of a zone."""
    fleet = run.layout.fleet
    found = [server_id(s) for s in range(fleet.servers) if f"host-{fleet.zone[s]}" == host]
    if not found:
        raise Refused(f"kill.of: {host!r} is not a storage host; it must be one of {', '.join(run.hosts)}")
    return found


async def kill(ground: LocalGround, run: Running, verb: Kill) -> Struck:
    match verb.what:
        case "node":
            return await _kill_nodes(ground, run, verb.of)
        case "store":
            return await _kill_store(run, verb.of)
        case "host":
            return await _kill_host(ground, run, verb.of)
        case "zone":
            return await _kill_host(ground, run, f"host-{verb.of}")


async def _kill_nodes(ground: LocalGround, run: Running, cell: str) -> Struck:
    nodes = list(run.map.cells[cell].nodes)
    cores = {node: run.limits[node].cores for node in nodes}
    for node in nodes:
        ground.close_door(node)  # as the kernel does when nobody is left who holds it
        run.unlimit(node)
    gone = {node: run.processes.kill(node) for node in nodes}

    async def back() -> dict[str, Any]:
        for node in nodes:
            pid = run.processes.again(node)
            await answers(run, f"http://{run.map.cells[cell].admin[node]}/version", f"{node} to start again")
            run.limit(node, pid, cores[node])
            run.processes.must_stay(node)
        if cell not in ground.paused:
            await ground.resume(cell, None)
        return {"back": {node: run.processes.pid(node) for node in nodes}}

    return Struck({"gone": gone}, back)


async def _kill_store(run: Running, cell: str) -> Struck:
    name = store_of(run, cell)
    gone = {f"store-{name}": run.processes.kill(f"store-{name}")}
    cells = [entry for entry in run.map.cells.values() if store_of(run, entry.id) == name]

    async def back() -> dict[str, Any]:
        run.processes.store(name, filled=True)
        for entry in cells:  # a node says its store's version once it has it
            admin = next(iter(run.map.cells[entry.id].admin.values()))
            await answers(run, f"http://{admin}/version", f"the store of {entry.id} to answer again")
        run.processes.must_stay(f"store-{name}")
        return {"back": {f"store-{name}": run.processes.pid(f"store-{name}")}}

    return Struck({"gone": gone}, back)


async def _kill_host(ground: LocalGround, run: Running, host: str) -> Struck:
    gone = {host: run.processes.kill(host)}

    async def back() -> dict[str, Any]:
        async with ground.changing:
            for cell in run.map.cells:
                ground.pace(cell, HOST_START_S)  # before it starts, or its servers would ask all at once
        run.processes.again(host)
        await answers(run, f"http://{run.hosts[host]}/map-version", f"{host} to start again")
        run.processes.must_stay(host)
        return {"back": {host: run.processes.pid(host)}}

    return Struck({"gone": gone}, back)


async def release(ground: LocalGround, run: Running, cell: str, mode: Mode) -> Struck:
    rolled = await ground.replace_nodes(cell, mode)
    if mode != "crash":

        async def back() -> dict[str, Any]:
            return {"back": await ground.replace_nodes(cell, "")}

        return Struck({"rolled": rolled}, back)
    crashes = dict.fromkeys(rolled.values(), 0)
    for node in crashes:
        run.processes.may_end(node)
    supervising = asyncio.create_task(_start_again(ground, run, cell, crashes))

    async def withdrawn() -> dict[str, Any]:
        supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervising
        return {"back": await ground.replace_nodes(cell, ""), "crashes": sum(crashes.values())}

    return Struck({"rolled": rolled}, withdrawn)


async def _start_again(ground: LocalGround, run: Running, cell: str, crashes: dict[str, int]) -> None:
    """What a supervisor does with a node that ends, for as long as its release is out. Its crashes are counted."""
    while True:
        for node in crashes:
            if run.processes.poll(node) is None:
                continue
            crashes[node] += 1
            ground.close_door(node)
            await asyncio.sleep(BACK_OFF_S)
            pid = run.processes.again(node)
            run.processes.may_end(node)
            await answers(run, f"http://{run.map.cells[cell].admin[node]}/version", f"{node} to start again")
            run.limit(node, pid, run.limits[node].cores)
            if cell not in ground.paused:
                ground.open_door(node)
        await asyncio.sleep(POLL_S)

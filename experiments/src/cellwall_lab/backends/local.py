"""The local world: real processes on this machine, as a world server.

`python -m cellwall_lab.backends.local ARM_CONFIG.json` starts stores, metadata nodes, storage hosts, front
end, load and limiter, serves the verbs, and ends everything at `stop`, on SIGTERM, or when any child
crashes. Decides what a verb does to the processes; what they are is `processes`, how they are brought up
`bringup`. Invariant: a fault that it switches on expires in the service it strikes, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec

from cellwall import history
from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.model import CellEntry
from cellwall.placement import domain_servers, server_id, spread_servers

from .. import verbs
from . import tail
from .bringup import Running, bring_up, start_node
from .config import REFUSED_STATUS, ArmConfig
from .limiter import Limit
from .live import Live
from .machine import sample_host
from .processes import BACKLOG
from .recorder import WORLD_FILE
from .server import enter, serve

POLL_S = 0.1
SPREAD_RNG = "cut/spread"
LOAD_END_S = 45.0  # the audit's own bound is 30 s
HOSTS_FOLLOW_S = 5.0
ENTRY_PERIODS = 3  # guess: the waves of a first start last under one period when the machine is quiet
POLL_RECEIPT_S = 0.1


class LocalWorld:
    """A running world and its verbs."""

    def __init__(self, running: Running, live: Live) -> None:
        self._run = running
        self._spec = running.layout.spec
        self._live = live
        self._tail = tail.Tail(running.processes.records, skip=WORLD_FILE)
        self._http = aiohttp.ClientSession()
        self._tasks: list[asyncio.Task[None]] = []
        self._faults: set[asyncio.Task[None]] = set()
        self._cuts = 0
        self._stopped = False

    def watch(self, stopped: asyncio.Event) -> None:
        """Follow the records and the children from now on; a crash sets ``stopped``."""
        self._tasks.append(asyncio.create_task(self._follow(stopped)))
        self._tasks.append(asyncio.create_task(sample_host(self._run.recorder)))

    async def entered(self, stopped: asyncio.Event) -> None:
        """Wait for the first start's waves. A fleet that cannot enter is for the experiment to find unhealthy."""
        end_s = time.monotonic() + ENTRY_PERIODS * self._spec.renewal.renew_every_s
        while self._live.out and time.monotonic() < end_s and not stopped.is_set():
            await asyncio.sleep(POLL_S)

    async def carry_out(self, verb: Any) -> Any:
        self._run.processes.check()
        match verb:
            case verbs.Load():
                self._run.control(rps=verb.rps)
            case verbs.Wait():
                return await self._wait(verb)
            case verbs.Cut():
                return await self._cut(verb)
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
            case verbs.Window():
                return self._live.window(time.time(), verb.last_s)
            case verbs.Faults():
                return list(self._live.faults.values())
            case verbs.MarkPhase():
                self._record(history.Phase(t=time.time(), name=verb.name))
            case verbs.Skip():
                self._record(verb.record(time.time()))
            case verbs.Stop():
                await self._stop(audit=verb.audit)
            case _:
                raise Refused(f"{type(verb).__name__}: no such verb here")
        return None

    async def close(self) -> None:
        """End everything and merge what was recorded. Safe to call at any time, and again."""
        for task in (*self._tasks, *self._faults):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._faults, return_exceptions=True)
        await self._http.close()
        await asyncio.to_thread(self._run.processes.end_all)
        self._run.recorder.close()
        tail.merge(self._run.processes.records, self._run.processes.folder / "history.ndjson")

    # ------------------------------------------------------------ time

    async def _follow(self, stopped: asyncio.Event) -> None:
        while True:
            for record in self._tail.new():
                self._live.add(record)
            if text := self._run.processes.crashed():
                print(f"cellwall: {text}", file=sys.stderr, flush=True)
                stopped.set()
                return
            await asyncio.sleep(POLL_S)

    async def _wait(self, verb: verbs.Wait) -> verbs.Waited:
        started_s = time.monotonic()
        if verb.until is None:
            await self._sleep(verb.for_s or 0.0)
            return verbs.Waited(True, time.monotonic() - started_s)
        if verb.deadline_s is None:
            raise Refused("wait: deadline_s is missing; a condition is never waited for without one")
        while not (met := self._live.holds(verb.until, time.time())):
            if time.monotonic() - started_s >= verb.deadline_s:
                break
            await self._sleep(POLL_S)
        return verbs.Waited(met, time.monotonic() - started_s)

    async def _sleep(self, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, POLL_S))
            self._run.processes.check()

    # ------------------------------------------------------------ faults

    def _targets(self, targets: verbs.Targets) -> list[str]:
        fleet = self._run.layout.fleet
        if targets.domain is not None:
            chosen = domain_servers(fleet, targets.domain)
        elif targets.spread is not None:
            chosen = spread_servers(fleet, targets.spread, Random(f"{self._spec.seed}/{SPREAD_RNG}"))
        elif targets.zone is not None:
            chosen = [s for s, zone in enumerate(fleet.zone) if zone == targets.zone]
        else:
            return targets.servers or []
        return [server_id(s) for s in chosen]

    async def _cut(self, verb: verbs.Cut) -> verbs.CutOn:
        servers = self._targets(verb.targets)
        if not servers:
            raise Refused(f"cut.targets: {verb.targets} names no server")
        self._cuts += 1
        name = f"cut-{self._cuts}"
        body = msgspec.json.encode({"id": name, "servers": servers, "for_s": verb.for_s})
        now_s = time.time()
        answers = await asyncio.gather(
            *(self._call("PUT", f"{host}/faults/cut", body, 5.0) for host in self._run.hosts.values())
        )
        off_s = max(answer["off_s"] for answer in answers)
        receipt = {"expires_s": off_s, "servers": sum(answer["servers"] for answer in answers)}
        fault = history.Fault(t=now_s, id=name, fault="cut", state="on", targets=servers, receipt=receipt)
        self._record(fault)
        task = asyncio.create_task(self._await_receipt(fault, off_s))
        self._faults.add(task)
        task.add_done_callback(self._faults.discard)
        return verbs.CutOn(name, len(servers))

    async def _await_receipt(self, fault: history.Fault, off_s: float) -> None:
        """Wait until every host says that the cut is over, and record what it did. It ends without us."""
        await asyncio.sleep(max(0.0, off_s - time.time()))
        while True:
            answers = await asyncio.gather(
                *(self._call("GET", f"{host}/faults", b"", 5.0) for host in self._run.hosts.values())
            )
            if not any(state["id"] == fault.id for states in answers for state in states):
                break
            await asyncio.sleep(POLL_RECEIPT_S)
        # Off already, so asking it off only fetches the receipt.
        ends = await asyncio.gather(
            *(self._call("DELETE", f"{host}/faults/{fault.id}", b"", 5.0) for host in self._run.hosts.values())
        )
        receipt = {"servers": sum(e["servers"] for e in ends), "refused": sum(e["refused"] for e in ends)}
        off = history.Fault(
            t=max(e["off_s"] for e in ends),
            id=fault.id,
            fault="cut",
            state="off",
            targets=fault.targets,
            receipt=receipt,
        )
        self._record(off)

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

    # ------------------------------------------------------------ steps

    async def _over_cells(self, step: str, cells: str, act: Any) -> verbs.StepResult:
        """Carry a step out in several cells at once, and record each."""
        names = list(self._run.map.cells) if cells == "*" else cells.split(",")
        for name in names:
            if name not in self._run.map.cells:
                raise Refused(f"cell: {name!r} is not one of {', '.join(self._run.map.cells)}")

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

        results = await asyncio.gather(*map(one, names))
        order = ("done", "refused", "unknown")
        return max(results, key=lambda r: (order.index(r.outcome), r.took_s))

    def _deadline_s(self, deadline_s: float | None) -> float:
        return 2 * self._spec.renewal.time_limit_s if deadline_s is None else deadline_s

    async def _probe(self, cell: str, deadline_s: float | None) -> verbs.StepResult:
        started_s = time.monotonic()
        node = next(iter(self._run.map.cells[cell].admin.values()))
        await self._call("GET", f"{node}/map/0", b"", self._deadline_s(deadline_s), decode=False)
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
        try:
            self._run.limit(node.name, node.pid, cores)
            body = msgspec.json.encode({"source": entry.admin[source], "partitions": taken, "deadline_s": deadline_s})
            joined = await self._call("POST", f"{node.admin}/join", body, deadline_s * len(taken) + 5.0)
        except CellwallError:
            await self._drop(node.name)
            raise
        if joined["outcome"] != "done":
            await self._drop(node.name)
            took_s = sum(joined["took_s"])
            return verbs.StepResult(joined["outcome"], took_s, joined["reason"])
        owners = [[node.name] if p in taken else mine for p, mine in enumerate(entry.owners)]
        nodes, admin = {**entry.nodes, node.name: node.renewal}, {**entry.admin, node.name: node.admin}
        self._publish(msgspec.structs.replace(entry, nodes=nodes, admin=admin, owners=owners))
        return verbs.StepResult("done", sum(joined["took_s"]))

    async def _drop(self, node: str) -> None:
        self._run.unlimit(node)
        await asyncio.to_thread(self._run.processes.end, node)
        self._run.listeners.pop(node).close()

    async def _pause(self, cell: str) -> verbs.StepResult:
        """Shut the listeners down: the kernel refuses from now on, without asking the overloaded node."""
        for node in self._run.map.cells[cell].nodes:
            with contextlib.suppress(OSError):  # closed already: a pause of what is paused
                self._run.listeners[node].shutdown(2)
        return verbs.StepResult("done", 0.0)

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
        return verbs.StepResult("done", 0.0, f"waves over {over_s:.1f} s")

    async def _hosts_follow(self) -> None:
        deadline_s = time.monotonic() + HOSTS_FOLLOW_S
        while time.monotonic() < deadline_s:
            answers = await asyncio.gather(
                *(self._call("GET", f"{host}/map-version", b"", HOSTS_FOLLOW_S) for host in self._run.hosts.values())
            )
            if all(answer["version"] >= self._run.map.version for answer in answers):
                return
            await asyncio.sleep(POLL_S)
        raise Unknown(f"the storage hosts did not follow the cell map within {HOSTS_FOLLOW_S:g} s")

    async def _weight(self, cell: str, verb: verbs.Weight) -> verbs.StepResult:
        body = msgspec.json.encode({"percent": verb.percent})
        for address in self._run.map.cells[cell].admin.values():
            answer = await self._call("PUT", f"{address}/weight/{verb.partition}", body, self._deadline_s(None))
            if answer["percent"] != verb.percent:
                raise Unknown(f"weight: asked for {verb.percent:g}, read back {answer['percent']:g}")
        return verbs.StepResult("done", 0.0)

    async def _stop(self, *, audit: bool) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._run.control(rps=0.0, stop=True, audit=audit)
        status = await asyncio.to_thread(self._run.processes.wait, "load", LOAD_END_S)
        if status != 0:
            text = "did not end" if status is None else f"ended with status {status}"
            print(f"cellwall: load {text}: {self._run.processes.log_tail('load')}", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ inside

    def _publish(self, entry: CellEntry) -> None:
        cell_map = self._run.map
        cells = {**cell_map.cells, entry.id: entry}
        self._run.map = msgspec.structs.replace(cell_map, version=cell_map.version + 1, cells=cells)
        self._run.processes.publish(self._run.map)

    def _record(self, record: history.Record) -> None:
        # Told to `live` here and not by `_follow`, so that the next verb sees it.
        self._run.recorder.add(record)
        self._live.add(record)

    async def _call(self, method: str, url: str, body: bytes, timeout_s: float, *, decode: bool = True) -> Any:
        """One request with one deadline. Foreign errors end here."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.request(method, f"http://{url}", data=body or None, timeout=timeout) as response:
                data = await response.read()
                if response.status >= 400:
                    raise Refused(f"{method} {url}: {response.status} {data[:200].decode(errors='replace')}")
        except TimeoutError:
            raise Unknown(f"time-out: {method} {url.partition('/')[2]} after {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise Unavailable(f"{method} {url}: {error}") from None
        return msgspec.json.decode(data) if decode and data else data


async def main(config: ArmConfig) -> int:
    config.spec.check(force=config.force)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    running = await bring_up(config, stopped)
    if running is None:
        return 1
    layout = running.layout
    servers = {server_id(s): (f"cell-{layout.cell[s]}", layout.records[s]) for s in range(layout.fleet.servers)}
    world = LocalWorld(running, Live(layout.spec, servers, layout.spec.fleet.large_records / 2))
    world.watch(stopped)
    await world.entered(stopped)
    await serve(world, stopped)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(enter(ArmConfig.read(Path(sys.argv[1]))))))
    except Refused as refusal:
        print(f"cellwall: {refusal}", file=sys.stderr)
        sys.exit(REFUSED_STATUS)
    except CellwallError as failure:
        print(f"cellwall: {failure}", file=sys.stderr)
        sys.exit(1)

"""A running world and its verbs, the same on processes and on pods.

Decides what a verb means and when time has passed; how it is carried out is the ground's. Invariant: a fault that it
switches on expires in the service it strikes, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from cellwall import history
from cellwall.errors import CellwallError, Refused
from cellwall.placement import server_id

from .. import verbs
from ..living import page
from . import metrics, tail
from .config import REFUSED_STATUS, ArmConfig
from .cuts import Cuts
from .failures import Failures
from .fleet_view import fleet_state
from .fleet_watch import FleetWatch
from .ground import Ground
from .indexes import grow
from .live import Live
from .processes import free_port, write_json
from .recorder import WORLD_FILE
from .server import OneAtATime, enter, serve
from .steps import Steps

POLL_S = 0.1
TRACE_S = 5.0  # guess: a storage host is slow at most while it re-replicates
LOAD_END_S = 45.0  # the audit's own bound is 30 s
ENTRY_PERIODS = 3  # guess: the waves of a first start last under one period when the machine is quiet


class RunningWorld:
    """A world that has been brought up, and its verbs."""

    def __init__(self, ground: Ground, live: Live) -> None:
        self._ground = ground
        self._spec = ground.layout.spec
        self.live = live
        self.metrics = metrics.Metrics(live)
        self._tail = tail.Tail(ground.records, skip=WORLD_FILE)
        self._cuts = Cuts(ground, self._record)
        self._failures = Failures(ground, self._record)
        self._steps = Steps(ground, live, self._record)
        self._watch = FleetWatch(ground)
        self._rows = ground.layout.rows()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self.crash = ""  # what ended the world unasked

    def watch(self, stopped: asyncio.Event) -> None:
        """Follow the records and the services from now on; a crash sets ``stopped``."""
        self._tasks.append(asyncio.create_task(self._follow(stopped)))
        self._tasks += map(asyncio.create_task, self._ground.watches(self.live))

    async def entered(self, stopped: asyncio.Event) -> None:
        """Wait for the first start's waves. A fleet that cannot enter is for the experiment to find unhealthy."""
        end_s = time.monotonic() + ENTRY_PERIODS * self._spec.renewal.renew_every_s
        while self.live.out and time.monotonic() < end_s and not stopped.is_set():
            await asyncio.sleep(POLL_S)

    async def carry_out(self, verb: Any) -> Any:
        self._ground.check()
        match verb:
            case verbs.Load():
                await self._ground.control(rps=verb.rps)
            case verbs.Wait():
                return await self._wait(verb)
            case verbs.Cut():
                return await self._cuts.cut(verb)
            case verbs.Kill() | verbs.NodeLoss() | verbs.Release() | verbs.Poison():
                return await self._failures.strike(verb)
            case verbs.Window():
                return self.live.window(time.time(), verb.last_s)
            case verbs.Faults():
                return list(self.live.faults.values())
            case verbs.Fleet():
                return await self._fleet()
            case verbs.Trace():
                return await self._trace(verb.server)
            case verbs.GrowIndexes():
                return await self._grow_indexes(verb)
            case verbs.MarkPhase():
                self._record(history.Phase(t=time.time(), name=verb.name))
            case verbs.Skip():
                self._record(verb.record(time.time()))
            case verbs.Stop():
                await self._stop(audit=verb.audit)
            case _:
                return await self._steps.take(verb)
        return None

    async def close(self) -> None:
        """End everything and merge what was recorded. Safe to call at any time, and again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._cuts.close()
        await self._failures.close()
        await self._ground.end()
        self._ground.recorder.close()
        tail.merge(self._ground.records, self._ground.folder / "history.ndjson")

    # ------------------------------------------------------------ time

    async def _follow(self, stopped: asyncio.Event) -> None:
        while not self.crash:
            try:
                for record in self._tail.new():
                    self.live.add(record)
                    self.metrics.add(record)
                self._ground.check()
            except CellwallError as error:  # a watch that fails watches nobody
                self.crash = str(error)
            await asyncio.sleep(POLL_S)
        stopped.set()

    async def _wait(self, verb: verbs.Wait) -> verbs.Waited:
        started_s = time.monotonic()
        if verb.until is None:
            await self._sleep(verb.for_s or 0.0)
            return verbs.Waited(True, time.monotonic() - started_s)
        if verb.deadline_s is None:
            raise Refused("wait: deadline_s is missing; a condition is never waited for without one")
        while not (met := self.live.holds(verb.until, time.time())):
            if time.monotonic() - started_s >= verb.deadline_s:
                break
            await self._sleep(POLL_S)
        return verbs.Waited(met, time.monotonic() - started_s)

    async def _sleep(self, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, POLL_S))
            self._ground.check()

    async def _stop(self, *, audit: bool) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self._ground.control(rps=0.0, stop=True, audit=audit)
        if text := await self._ground.load_ended(LOAD_END_S):
            print(f"cellwall: load {text}", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ inside

    async def _trace(self, server: str) -> Any:
        host = self._ground.host(server)
        if host is None:
            raise Refused(f"trace.server: no server {server}")
        told = await self._ground.calls.ask("GET", f"{host}/servers/{server}/trace", b"", TRACE_S)
        return msgspec.convert(told, list[history.Renewal | history.Availability])

    async def _grow_indexes(self, verb: verbs.GrowIndexes) -> verbs.StepResult:
        now_s = time.time()
        result = await grow(verb, self._ground.layout.tables, *await self._ground.door())
        step = history.Step(t=now_s, step="grow-indexes", cell="*", outcome=result.outcome, took_s=result.took_s)
        self._record(msgspec.structs.replace(step, reason=result.reason))
        return result

    async def _fleet(self) -> verbs.FleetState:
        cells, tables = await self._watch.look()
        name = self._ground.config.name or self._ground.config.arm
        return fleet_state(
            name=name, spec=self._spec, rows=self._rows, live=self.live, now_s=time.time(), cells=cells, tables=tables
        )

    def _record(self, record: history.Record) -> None:
        # Told to `live` here and not by `_follow`, so that the next verb sees it.
        self._ground.recorder.add(record)
        self.live.add(record)


async def keep(ground: Ground, stopped: asyncio.Event) -> int:
    """Follow a world that has been brought up, set its limits, serve its verbs until ``stopped`` is set, end it.

    Returns the exit status: 1 if the world ended by itself."""
    layout, config = ground.layout, ground.config
    servers = {server_id(s): (f"cell-{layout.cell[s]}", layout.records[s]) for s in range(layout.fleet.servers)}
    world = RunningWorld(ground, Live(layout.spec, servers, layout.spec.fleet.large_records / 2))
    try:
        world.watch(stopped)
        await world.entered(stopped)
        await ground.set_limits(world.live)
        if not stopped.is_set():
            shared = OneAtATime(world)
            port = free_port()
            write_json(ground.folder / "configs" / "world.json", {"metrics_listen": f"127.0.0.1:{port}"})
            async with contextlib.AsyncExitStack() as doors:
                await doors.enter_async_context(metrics.serve(world.metrics, port))
                if config.page_port is not None:
                    await doors.enter_async_context(page.serve(shared, port=config.page_port))
                await serve(shared, stopped)
    finally:
        await world.close()
    if world.crash:  # the last line: a run quotes it as the reason why it does not count
        print(f"cellwall: {world.crash}", file=sys.stderr)
    return 1 if world.crash else 0


def run(main: Callable[[ArmConfig], Awaitable[int]]) -> int:
    """A backend's process: read ARM_CONFIG.json, keep the world, say on stderr's last line why it failed."""

    async def work() -> int:
        return await main(enter(ArmConfig.read(Path(sys.argv[1]))))

    try:
        return asyncio.run(work())
    except Refused as refusal:
        print(f"cellwall: {refusal}", file=sys.stderr)
        return REFUSED_STATUS
    except CellwallError as failure:
        print(f"cellwall: {failure}", file=sys.stderr)
        return 1

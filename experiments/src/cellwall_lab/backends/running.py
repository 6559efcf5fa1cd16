"""What runs where in a local world: the state that its bring-up leaves and its verbs act on.

Decides nothing; it waits, with deadlines, for children to answer.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from cellwall.arrivals import Control
from cellwall.capacity import Costs
from cellwall.errors import Unavailable
from cellwall.model import CellMap
from cellwall.placement import Layout

from .calibrate import Calibration
from .config import ArmConfig
from .limiter import Limit
from .processes import Processes, write_json
from .recorder import Recorder

UP_S = 60.0  # a child that is not up by then is not coming (guess)
POLL_S = 0.05


class Running:
    """Everything the verbs act on: what runs where, and the map as last published."""

    def __init__(self, config: ArmConfig, layout: Layout, stopped: asyncio.Event) -> None:
        self.config, self.layout, self.stopped = config, layout, stopped
        self.processes = Processes(Path(config.out))
        self.recorder = Recorder(self.processes.records)
        self.stores: list[str] = []
        self.listeners: dict[str, socket.socket] = {}
        self.limits: dict[str, Limit] = {}
        self.hosts: dict[str, str] = {}  # name -> address
        self.frontend = ""  # its address
        self.costs = Costs(0.0, 0.0)
        self.alone: Calibration | None = None  # of a node that serves nobody else; None where none is needed
        self.cores = 0.0  # the CPU limit of the whole metadata service
        self.map = CellMap(0, {}, {})
        self.nodes_started: dict[str, int] = {}

    def limit(self, node: str, pid: int, cores: float) -> None:
        self.limits[node] = Limit(node, pid, cores)
        self.publish_limits()

    def unlimit(self, node: str) -> None:
        self.limits.pop(node, None)
        self.publish_limits()

    def publish_limits(self) -> None:
        write_json(self.processes.folder / "limits.json", list(self.limits.values()))

    def control(self, *, rps: float, stop: bool = False, audit: bool = True) -> None:
        write_json(self.processes.folder / "load-control.json", Control(rps=rps, stop=stop, audit=audit))


async def answers(run: Running, url: str, what: str) -> None:
    """Wait until a GET is answered with 200."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        deadline_s = time.monotonic() + UP_S
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await _not_yet(run, what, deadline_s)


async def unless_stopped(work: Coroutine[Any, Any, None], stopped: asyncio.Event) -> bool:
    """Do this unless ``stopped`` is set first; whether it was done."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def until(run: Running, holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + UP_S
    while not holds():
        await _not_yet(run, what, deadline_s)


async def _not_yet(run: Running, what: str, deadline_s: float) -> None:
    run.processes.check()
    if time.monotonic() > deadline_s:
        raise Unavailable(f"waited {UP_S:g} s for {what}; see the logs folder of the run")
    await asyncio.sleep(POLL_S)

"""What a record and a request cost a metadata node on this machine, in CPU time.

Decides c0, and a first c, by asking a node that serves nobody else for large and for small memberships and reading its
CPU clock: two totals, two unknowns. Then c as it is in a storm, by a small one that hurts nobody, under a limit that is
about what it will be. Done once per run, on the base arm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from pathlib import Path

import aiohttp
import msgspec

from cellwall.capacity import Costs
from cellwall.errors import Refused, Unknown
from cellwall.history import NodeSample
from cellwall.placement import Layout, cell_id, server_id

from ..made import Made
from .limiter import cpu_clock

LARGE, SMALL = 60, 200  # memberships asked for in one round: about half a second of work
ROUNDS = 4  # per sitting
# Outstanding at once. A node under a limit is stopped for most of each period, so that requests meet it in bunches
# and share its trips to the store; asked one at a time a request costs twice as much (0.6 instead of 0.3 ms).
CONCURRENCY = 16
LOADED = 8  # outstanding at once beside the fleet's own renewals: a limited node is busy, and nobody waits as long as T
DEADLINE_S = 60.0
SAMPLE_S = 1.2  # nodes sample themselves about once a second


class Calibration(msgspec.Struct, frozen=True):
    """Costs, and what they were measured on. Written to `<arm>/calibration.json`."""

    c_record_s: float
    c_request_s: float
    records: int
    requests: int
    made: Made = msgspec.field(default_factory=Made.here)

    @property
    def costs(self) -> Costs:
        return Costs(self.c_record_s, self.c_request_s)


class Calibrator:
    """Rounds of large and of small memberships, over one or more sittings; the cheapest of each kind counts.

    Whatever else runs on a machine makes CPU time dearer, never cheaper: of the same code 3.6 to 5.7 µs a record were
    seen within minutes, so that an average says more about the neighbours than about the node."""

    def __init__(self, layout: Layout, address: str, pid: int) -> None:
        """``address``: a node's renewal door, ``pid``: its process, which must serve nobody else in a sitting."""
        self._layout, self._address, self._pid = layout, address, pid
        # From different halves, or a fleet of few servers would give the same total twice.
        smaller, larger = _halves(layout, cell_id(0))
        self._small, self._large = smaller[:SMALL], larger[-LARGE:]
        self._rounds: list[tuple[float, float]] = []

    async def sit(self) -> None:
        async with _session() as session:
            await _ask(session, self._address, self._small[:40], self._pid)  # the first pay for imports and caches
            for _ in range(ROUNDS):
                large_s = await _ask(session, self._address, self._large, self._pid)
                self._rounds.append((large_s, await _ask(session, self._address, self._small, self._pid)))

    def result(self) -> Calibration:
        large_s, small_s = (min(kind) for kind in zip(*self._rounds, strict=True))
        return solve(self._layout, self._large, self._small, large_s, small_s)


async def under_load(
    layout: Layout,
    doors: Mapping[str, Iterable[str]],
    alone: Calibration,
    samples: Callable[[], list[NodeSample]],
    for_s: float,
) -> Calibration:
    """The cost of a record in a storm: CPU that limited nodes spend in ``for_s`` seconds while LOADED large
    renewals are always outstanding beside the fleet's own, less what requests cost alone. ``doors``: by cell, its
    nodes' renewal addresses. ``samples``: each node's last sample, which counts records.

    A record costs 1.2 to 1.7 times what it costs a node that is alone, and in healthy traffic 1.1 to 1.4 times what it
    costs in a storm, whose requests share trips to the store; all of it moves with the host from one quarter of an
    hour to the next (13 runs). A cut ignites or does not by the storm's cost: so that is what is measured."""
    at = [(address, cell) for cell, addresses in doors.items() for address in addresses]
    each = max(1, LOADED // len(at))
    try:
        async with _session() as session, asyncio.TaskGroup() as group:
            asking = [
                group.create_task(_keep_asking(session, address, _halves(layout, cell)[1][n::each]))
                for address, cell in at
                for n in range(each)
            ]
            await asyncio.sleep(min(SAMPLE_S, for_s))  # the first sample must be of the load, too
            before = {sample.node: sample for sample in samples()}
            await asyncio.sleep(for_s)
            after = samples()
            for task in asking:
                task.cancel()
    except* (Refused, aiohttp.ClientError, TimeoutError) as failed:
        raise Unknown(f"calibration under load: {failed.exceptions[0]!r}; see the logs folder") from failed
    cpu_s = records = requests = 0.0
    for sample in after:
        if first := before.get(sample.node):
            cpu_s += sample.cpu_s - first.cpu_s
            records += sample.records - first.records
            requests += sample.answered + sample.abandoned - first.answered - first.abandoned
    c_record_s = (cpu_s - requests * alone.c_request_s) / records if records else 0.0
    if c_record_s <= 0:
        raise Unknown(f"calibration: {records:.0f} records in {for_s:g} s under load; see the logs folder")
    return Calibration(c_record_s, alone.c_request_s, int(records), int(requests))


def solve(layout: Layout, large: list[int], small: list[int], large_s: float, small_s: float) -> Calibration:
    """Costs from the CPU seconds that answering for these servers took: two totals, two unknowns."""
    n_large, n_small = (sum(layout.records[s] for s in servers) for servers in (large, small))
    # cpu = c · records + c0 · requests, twice.
    determinant = n_large * len(small) - n_small * len(large)
    c_record_s = (large_s * len(small) - small_s * len(large)) / determinant if determinant else 0.0
    c_request_s = (small_s - c_record_s * n_small) / len(small)
    if c_record_s <= 0 or c_request_s <= 0:
        raise Unknown(
            f"calibration: no sensible costs came out (c = {c_record_s * 1e6:.2f} µs a record, "
            f"c0 = {c_request_s * 1e3:.2f} ms a request); is the machine busy? see `cellwall doctor`"
        )
    return Calibration(c_record_s, c_request_s, n_large + n_small, len(large) + len(small))


def _halves(layout: Layout, cell: str) -> tuple[list[int], list[int]]:
    """A cell's servers by the size of their memberships: the smaller half, the larger half, each in order."""
    mine = [s for s in range(layout.fleet.servers) if cell_id(layout.cell[s]) == cell]
    mine.sort(key=lambda s: layout.records[s])
    return mine[: len(mine) // 2], mine[len(mine) // 2 :]


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0), timeout=aiohttp.ClientTimeout(total=DEADLINE_S)
    )


async def _ask(session: aiohttp.ClientSession, address: str, servers: list[int], pid: int) -> float:
    """CPU seconds the node spent on answering for these servers."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(server: int) -> None:
        async with gate:
            await _one(session, address, server)

    before_s = time.clock_gettime(cpu_clock(pid))
    await asyncio.gather(*map(one, servers))
    return time.clock_gettime(cpu_clock(pid)) - before_s


async def _keep_asking(session: aiohttp.ClientSession, address: str, servers: Iterable[int]) -> None:
    for server in cycle(servers):
        await _one(session, address, server)


async def _one(session: aiohttp.ClientSession, address: str, server: int) -> None:
    async with session.get(f"http://{address}/membership/{server_id(server)}") as response:
        body = await response.read()
        if response.status != 200:
            raise Refused(f"calibration: the node answered {response.status}: {body[:200]!r}")


def costs_of(path: str) -> Costs:
    """What the base arm of a run left for the others."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Calibration).costs
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"calibration: {path} cannot be used ({error})") from None

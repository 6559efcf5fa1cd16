"""What a record and a request cost a metadata node on this machine, in CPU time, on healthy traffic.

Decides c and c0 by asking a real node for large and for small memberships and reading its CPU clock: two totals,
two unknowns. Done once per run, on the base arm, before any limit is set.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import aiohttp
import msgspec

from cellwall.capacity import Costs
from cellwall.errors import Refused, Unknown
from cellwall.placement import Layout, server_id

from .limiter import cpu_clock

LARGE, SMALL = 60, 200  # memberships asked for in one round: about half a second of work
ROUNDS = 3  # of which the median counts: a neighbour's burst makes CPU time dearer too
# Outstanding at once. A node under a limit is stopped for most of each period, so that requests meet it in bunches
# and share its trips to the store; asked one at a time a request costs twice as much (0.6 instead of 0.3 ms).
CONCURRENCY = 16
DEADLINE_S = 60.0


class Calibration(msgspec.Struct, frozen=True):
    """Costs, and what they were measured on. Written to `<arm>/calibration.json`."""

    c_record_s: float
    c_request_s: float
    records: int
    requests: int

    @property
    def costs(self) -> Costs:
        return Costs(self.c_record_s, self.c_request_s)


async def calibrate(layout: Layout, address: str, pid: int) -> Calibration:
    """``address``: a node's renewal door, ``pid``: its process, which must serve nobody else now."""
    mine = [s for s in range(layout.fleet.servers) if layout.cell[s] == 0]
    mine.sort(key=lambda s: layout.records[s])
    # From different halves, or a fleet of few servers would give the same total twice.
    small, large = mine[: len(mine) // 2][:SMALL], mine[len(mine) // 2 :][-LARGE:]
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0), timeout=aiohttp.ClientTimeout(total=DEADLINE_S)
    ) as session:
        await _ask(session, address, small[:40], pid)  # first requests pay for imports and caches
        rounds = [
            (await _ask(session, address, large, pid), await _ask(session, address, small, pid)) for _ in range(ROUNDS)
        ]
    large_s, small_s = map(statistics.median, zip(*rounds, strict=True))
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


async def _ask(session: aiohttp.ClientSession, address: str, servers: list[int], pid: int) -> float:
    """CPU seconds the node spent on answering for these servers."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(server: int) -> None:
        async with gate, session.get(f"http://{address}/membership/{server_id(server)}") as response:
            body = await response.read()
            if response.status != 200:
                raise Refused(f"calibration: the node answered {response.status}: {body[:200]!r}")

    before_s = time.clock_gettime(cpu_clock(pid))
    await asyncio.gather(*map(one, servers))
    return time.clock_gettime(cpu_clock(pid)) - before_s

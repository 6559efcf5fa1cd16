"""What a record and a request cost a metadata node on this cluster, in CPU time.

Decides c and c0 from the nodes' own samples alone: CPU, records and requests of about every second. Two looks: first at
nodes without a limit that binds, which tells c of healthy traffic, and by it that of a storm; then at limited ones,
which small renewals ask in bursts through the API server, so that requests vary by themselves: that tells c0 as it is
under a limit, where requests meet a node in bunches (one at a time they cost it three times as much). Invariant: what
the samples cannot tell is Unknown, never a typical figure.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import median

import msgspec

from cellwall import history
from cellwall.errors import CellwallError, Unknown
from cellwall.history import NodeSample
from cellwall.placement import Layout, cell_id, server_id

from ..calibrate import CONCURRENCY, Calibration
from ..ground import Asks

BURST = 160  # memberships asked for in one burst: several times the fleet's own requests of a second (40)
SMALL_SHARE = 0.25  # of a cell's servers, the smallest: what is asked for is mostly the request
EVERY_S = 2.5  # a burst, and more than a second without
ASK_S = 10.0
LAST_S = 2.0  # a sample is a second apart from the next, and half a second and a stream away from its file (guess)
STORM_RATIO = 1 / 1.2  # c of a storm by c of healthy traffic: 0.70-0.91 in 13 local runs (decision 4); a guess here
INTERVALS_MIN = 6  # of samples, of all nodes together (guess)


class Spent(msgspec.Struct, frozen=True):
    """What a node did between two samples."""

    for_s: float
    cpu_s: float
    records: int
    requests: int


def spent(samples: Iterable[NodeSample]) -> list[Spent]:
    """The intervals between one node's samples, which are in order."""
    return [
        Spent(b.t - a.t, b.cpu_s - a.cpu_s, b.records - a.records, b.answered + b.abandoned - a.answered - a.abandoned)
        for a, b in pairwise(samples)
    ]


def at_rest(intervals: Sequence[Spent]) -> float:
    """CPU per second of a node that nobody asks. The median: its start is among them."""
    return median([i.cpu_s / i.for_s for i in intervals if not i.records and not i.requests and i.for_s > 0] or [0.0])


def costs(free: Sequence[Spent], limited: Sequence[Spent], rest_ratio: float) -> Calibration:
    """c0 by least squares of cpu - rest = c · records + c0 · requests over ``limited``; c by ``free``: all that healthy
    traffic costs beside its requests, by record (what a node costs at rest is in it), taken to a storm's."""
    xx = sum(i.records * i.records for i in limited)
    yy = sum(i.requests * i.requests for i in limited)
    xy = sum(i.records * i.requests for i in limited)
    xc = sum(i.records * (i.cpu_s - rest_ratio * i.for_s) for i in limited)
    yc = sum(i.requests * (i.cpu_s - rest_ratio * i.for_s) for i in limited)
    determinant = xx * yy - xy * xy
    c_request_s = (yc * xx - xc * xy) / determinant if determinant else 0.0
    records, requests = sum(i.records for i in free), sum(i.requests for i in free)
    healthy_s = (sum(i.cpu_s for i in free) - requests * c_request_s) / records if records else 0.0
    c_record_s = healthy_s * STORM_RATIO
    if min(len(free), len(limited)) < INTERVALS_MIN or c_record_s <= 0 or c_request_s <= 0:
        raise Unknown(
            f"calibration: no sensible costs came out of {len(free)} and {len(limited)} samples "
            f"(c = {c_record_s * 1e6:.2f} µs a record, c0 = {c_request_s * 1e3:.2f} ms a request); is the cluster "
            "busy? --set cpu.total_cores=0.4 needs no calibration"
        )
    return Calibration(c_record_s, c_request_s, records, requests)


async def on_healthy_traffic(
    layout: Layout,
    nodes: Mapping[str, Mapping[str, str]],
    calls: Asks,
    records: Path,
    for_s: float,
    limit: Callable[[], Awaitable[None]],
) -> Calibration:
    """``nodes``: by cell, each node's renewal address. ``records``: the folder that their samples arrive in. ``limit``
    sets a limit about as large as it will be. Takes a little more than twice ``for_s``."""
    began_s = time.time()
    await asyncio.sleep(for_s)
    ended_s = time.time()
    await limit()
    limited_s = time.time()
    for _ in range(max(1, round(for_s / EVERY_S))):
        resting = asyncio.create_task(asyncio.sleep(EVERY_S))
        share = BURST // len(nodes)
        await asyncio.gather(*(_burst(layout, cell, list(of.values()), calls, share) for cell, of in nodes.items()))
        await resting
    await asyncio.sleep(LAST_S)
    found = [_samples(records / f"{node}.ndjson") for of in nodes.values() for node in of]

    def between(from_s: float, to_s: float) -> list[Spent]:
        return [i for of in found for i in spent(s for s in of if from_s <= s.t < to_s)]

    return costs(between(began_s, ended_s), between(limited_s, math.inf), at_rest(between(0.0, began_s)))


def _samples(path: Path) -> list[NodeSample]:
    with path.open("rb") as lines:
        return [record for record in history.decode(lines) if isinstance(record, NodeSample)]


async def _burst(layout: Layout, cell: str, addresses: list[str], calls: Asks, count: int) -> None:
    """Ask for small memberships; their content is nobody's, and a failure of one is only one fewer."""
    mine = [s for s in range(layout.fleet.servers) if cell_id(layout.cell[s]) == cell]
    mine.sort(key=lambda s: layout.records[s])
    small = cycle(mine[: max(1, round(len(mine) * SMALL_SHARE))])
    gate = asyncio.Semaphore(CONCURRENCY)
    at = cycle(addresses)

    async def one(server: int) -> None:
        async with gate:
            try:
                await calls.ask("GET", f"{next(at)}/membership/{server_id(server)}", b"", ASK_S, decode=False)
            except CellwallError:
                return

    await asyncio.gather(*map(one, islice(small, count)))

"""What a record and a request cost a metadata node on this cluster, in CPU time, on healthy traffic.

Decides c and c0 from the nodes' own samples alone: CPU, records and requests of about every second, two unknowns. Small
renewals, asked for in bursts through the API server, make requests vary by themselves. Invariant: what the samples
cannot tell is Unknown, never a typical figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle, islice, pairwise

import msgspec

from cellwall.errors import CellwallError, Unknown
from cellwall.history import NodeSample
from cellwall.placement import Layout, cell_id, server_id

from ..calibrate import CONCURRENCY, Calibration
from ..ground import Asks

BURST = 160  # memberships asked for in one burst: several times the fleet's own requests of a second (40)
SMALL_SHARE = 0.25  # of a cell's servers, the smallest: what is asked for is mostly the request
EVERY_S = 3.0  # a burst, and more than a second without
ASK_S = 10.0
INTERVALS_MIN = 6  # of samples, of all nodes together (guess)


class Spent(msgspec.Struct, frozen=True):
    """What a node did between two samples."""

    cpu_s: float
    records: int
    requests: int


def spent(samples: Sequence[NodeSample]) -> list[Spent]:
    """The intervals between one node's samples, which are in order."""
    return [
        Spent(b.cpu_s - a.cpu_s, b.records - a.records, b.answered + b.abandoned - a.answered - a.abandoned)
        for a, b in pairwise(samples)
    ]


def fit(intervals: Sequence[Spent]) -> Calibration:
    """Least squares of cpu = c · records + c0 · requests, without a constant: a node at rest costs nothing."""
    records, requests = (sum(getattr(i, name) for i in intervals) for name in ("records", "requests"))
    xx = sum(i.records * i.records for i in intervals)
    yy = sum(i.requests * i.requests for i in intervals)
    xy = sum(i.records * i.requests for i in intervals)
    xc = sum(i.records * i.cpu_s for i in intervals)
    yc = sum(i.requests * i.cpu_s for i in intervals)
    determinant = xx * yy - xy * xy
    c_record_s = (xc * yy - yc * xy) / determinant if determinant else 0.0
    c_request_s = (yc * xx - xc * xy) / determinant if determinant else 0.0
    if len(intervals) < INTERVALS_MIN or c_record_s <= 0 or c_request_s <= 0:
        raise Unknown(
            f"calibration: no sensible costs came out of {len(intervals)} samples "
            f"(c = {c_record_s * 1e6:.2f} µs a record, c0 = {c_request_s * 1e3:.2f} ms a request); is the cluster "
            "busy? --set cpu.total_cores=0.4 needs no calibration"
        )
    return Calibration(c_record_s, c_request_s, records, requests)


class Watcher:
    """Collects every sample of every node while healthy traffic flows."""

    def __init__(self, samples: Callable[[], list[NodeSample]]) -> None:
        self._samples = samples
        self.of: dict[str, list[NodeSample]] = {}

    async def run(self) -> None:
        while True:
            for sample in self._samples():
                mine = self.of.setdefault(sample.node, [])
                if not mine or mine[-1].t < sample.t:
                    mine.append(sample)
            await asyncio.sleep(0.1)


async def on_healthy_traffic(
    layout: Layout, nodes: dict[str, list[str]], calls: Asks, samples: Callable[[], list[NodeSample]], for_s: float
) -> Calibration:
    """``nodes``: renewal addresses by cell, for the bursts."""
    watcher = Watcher(samples)
    watching = asyncio.create_task(watcher.run())
    try:
        for _ in range(max(1, round(for_s / EVERY_S))):
            resting = asyncio.create_task(asyncio.sleep(EVERY_S))
            await asyncio.gather(*(_burst(layout, cell, of, calls, BURST // len(nodes)) for cell, of in nodes.items()))
            await resting
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return fit([interval for of in watcher.of.values() for interval in spent(of)])


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

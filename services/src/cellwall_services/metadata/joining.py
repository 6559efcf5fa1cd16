"""How a new node of a running cell comes to know what it shall serve: it asks a node that serves.

Decides nothing but the order of these requests and what becomes of them. Real work for the node that is asked, which is
how adding capacity is locked out by overload.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp

from ..once import once
from ..wire import Join, Joined


async def take_over(join: Join) -> Joined:
    """Fetch the map of each partition from a running node, one administrative request with one deadline each.

    Stops at the first that fails: a node that knows half of what it should serve must serve nothing."""
    took_s: list[float] = []
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, middlewares=(once,)) as session:
        for partition in join.partitions:
            started_s = time.monotonic()
            try:
                async with asyncio.timeout(join.deadline_s):
                    async with session.get(f"http://{join.source}/map/{partition}") as response:
                        await response.read()
                        status = response.status
            except TimeoutError:
                took_s.append(time.monotonic() - started_s)
                return Joined("unknown", took_s, f"time-out: map of partition {partition} after {join.deadline_s:g} s")
            except aiohttp.ClientError as error:
                return Joined("refused", took_s, f"map of partition {partition}: {error}")
            took_s.append(time.monotonic() - started_s)
            if status != 200:
                return Joined("refused", took_s, f"map of partition {partition}: status {status}")
    return Joined("done", took_s)

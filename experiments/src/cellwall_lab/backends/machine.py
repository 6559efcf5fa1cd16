"""How busy the machine is, and how much of its CPU the hypervisor took away: the main confounder (research 06).

Decides nothing; a judge does.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from cellwall import history

from .recorder import Recorder


def cpu_ticks() -> tuple[int, int, int]:
    """(all, idle, stolen) clock ticks of all cores since boot, from the first line of /proc/stat."""
    with Path("/proc/stat").open() as file:
        fields = [int(text) for text in file.readline().split()[1:9]]
    return sum(fields), fields[3] + fields[4], fields[7]


async def sample_host(recorder: Recorder, every_s: float = 1.0) -> None:
    """Record the machine's steal and busy ratios until cancelled."""
    before = cpu_ticks()
    while True:
        await asyncio.sleep(every_s)
        now = cpu_ticks()
        total = max(1, now[0] - before[0])
        steal, idle = (now[2] - before[2]) / total, (now[1] - before[1]) / total
        recorder.add(history.HostSample(t=time.time(), steal_ratio=round(steal, 4), busy_ratio=round(1 - idle, 4)))
        before = now

"""Where a service's history records go: one NDJSON file per process, appended in the background.

Decides when lines reach the disk (every half second, and at the end); never what is recorded.
A process killed in between loses at most that half second, and `history.decode` drops a cut-off last line.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from cellwall import history

FLUSH_EVERY_S = 0.5  # guess: bounds what a kill loses, costs one write a process


class Recorder:
    """Buffers records and appends them to ``path``. `add` never blocks and never raises on I/O."""

    def __init__(self, path: Path) -> None:
        cut_off = _ends_in_a_line(path)
        self._file = path.open("ab")
        if cut_off:
            self._file.write(b"\n")
        self._lines: list[bytes] = []

    def add(self, record: history.Record) -> None:
        self._lines.append(history.encode(record))

    def flush(self) -> None:
        if self._lines:
            self._file.write(b"".join(self._lines))
            self._file.flush()
            self._lines.clear()

    async def run(self) -> None:
        """Flush until cancelled, then once more."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                self.flush()
        finally:
            self.flush()
            self._file.close()


async def sample_vitals(recorder: Recorder, name: str, every_s: float = 1.0) -> None:
    """Record this process's CPU, memory and event-loop lag p99 until cancelled.

    Lag is how late a 50 ms sleep wakes up; 20 of them make one sample, so p99 is their maximum.
    """
    pause_s = every_s / 20
    while True:
        worst_s = 0.0
        for _ in range(20):
            before_s = time.monotonic()
            await asyncio.sleep(pause_s)
            worst_s = max(worst_s, time.monotonic() - before_s - pause_s)
        recorder.add(
            history.ProcessSample(
                t=time.time(), name=name, cpu_s=time.process_time(), rss_bytes=_rss_bytes(), lag_s=round(worst_s, 6)
            )
        )


def _ends_in_a_line(path: Path) -> bool:
    """Whether an earlier process was killed in the middle of a line; what follows must not be glued to it."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _rss_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096

"""Where the generator's history records go: one NDJSON file, appended every half second, and its own vitals.

Decides when lines reach the disk and which lateness a second is summed up by; never what is recorded of a
request. A kill loses at most half a second; `history.decode` drops a cut-off last line. A disk that takes no
more ends `run` with the error: a generator whose records are lost must not go on.
"""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import gevent

from cellwall import history

FLUSH_EVERY_S = 0.5  # guess: bounds what a kill loses, costs two writes a second
FLUSHES_PER_SAMPLE = 2  # a sample a second, as every other process of a run (history.ProcessSample)
NAME = "load"
PAGE_BYTES = 4096


class Records:
    """Buffers records and appends them to ``path``. `flush` does not yield to other greenlets."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._lines: list[bytes] = []
        self._late_s: list[float] = []

    def add(self, record: history.Record) -> None:
        self._lines.append(history.encode(record))

    def sent(self, late_s: float) -> None:
        """A request was sent so late; goes into this second's sample."""
        self._late_s.append(late_s)

    def flush(self) -> None:
        if self._file.closed:
            return
        lines, self._lines = self._lines, []
        self._file.write(b"".join(lines))
        self._file.flush()

    def sample(self) -> None:
        late_s, self._late_s = self._late_s, []
        rss_pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.add(
            history.ProcessSample(
                t=round(time.time(), 6),
                name=NAME,
                cpu_s=round(time.process_time(), 6),
                rss_bytes=rss_pages * PAGE_BYTES,
                lag_s=round(p99(late_s), 6),
            )
        )

    def run(self) -> None:
        """Flush and sample for ever: a greenlet of its own."""
        for turn in itertools.count(1):
            gevent.sleep(FLUSH_EVERY_S)
            if turn % FLUSHES_PER_SAMPLE == 0:
                self.sample()
            self.flush()

    def close(self) -> None:
        """The last of it; what is added afterwards, by greenlets not yet killed, is dropped."""
        self.sample()
        self.flush()
        self._file.close()


def p99(values: list[float]) -> float:
    """The nearest-rank 99th percentile; 0 of nothing (an idle second has no lateness)."""
    if not values:
        return 0.0
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]

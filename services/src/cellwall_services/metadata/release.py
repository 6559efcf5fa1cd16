"""What a bad release of the metadata node does wrong (`cellwall.spec.Release`): it is slow, or it crashes.

Decides nothing: the settings do, and by default nothing is wrong. The third way, epochs that are too low, is part of
the answer and stands with it (`jobs`). Invariant: what it costs is real CPU under the node's own limit, no wait.
"""

from __future__ import annotations

import os
import sys
import time

CRASHED_STATUS = 70  # EX_SOFTWARE of sysexits.h


def burn(cpu_s: float) -> None:
    """Spend so much CPU time of this thread."""
    if cpu_s > 0:
        end_s = time.thread_time() + cpu_s
        while time.thread_time() < end_s:
            pass


class Crash:
    """Counts renewals since the node's start and ends the process, without a last word to anybody, on the n-th."""

    def __init__(self, crash_on: int) -> None:
        self._crash_on, self._renewals = crash_on, 0

    def renewal(self, server: str) -> None:
        self._renewals += 1
        if self._renewals == self._crash_on:
            print(f"cellwall-metadata: renewal {self._renewals}, of {server}: crashed", file=sys.stderr, flush=True)
            os._exit(CRASHED_STATUS)

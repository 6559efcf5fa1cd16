"""A CPU limit from outside: stop and continue whole processes so that they spend no more than their quota.

`python -m cellwall_lab.backends.limiter LIMITS.json RECORDS.ndjson` follows LIMITS.json (a list of
`Limit`, replaced atomically) and reads each process's CPU clock every TICK_S. A cgroup's rule: so much
CPU time per PERIOD_S; what is not used is lost, what was overrun is owed. The whole process is throttled:
accepting, administration and clean-up with the rest, and it holds no code for it.

Never ends a process. Invariant: when the limiter ends, by SIGTERM or because its parent died, everything it
stopped runs again. SIGKILL alone leaves processes stopped; who started them sees its crash and ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from cellwall import history

PERIOD_S = 0.1  # the kernel's default cpu.cfs_period_us
TICK_S = 0.003  # design §2: 0.15 asked, 0.1503 spent, 2 % of a core
FOLLOW_EVERY_S = 0.05
RECORD_EVERY_S = 1.0


class Limit(msgspec.Struct, frozen=True):
    """``cores`` of CPU for the process ``pid``, called ``node`` in the records."""

    node: str
    pid: int
    cores: float


def cpu_clock(pid: int) -> int:
    """The clock id of a process's CPU time on Linux (MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED); nanoseconds."""
    return (~pid << 3) | 2


class Throttle:
    """One process under a limit."""

    def __init__(self, limit: Limit, now_s: float) -> None:
        self.limit = limit
        self.spent_s = 0.0  # since the limit began
        self.stopped_s = 0.0
        self._clock = cpu_clock(limit.pid)
        self._first_s = self._zero_s = time.clock_gettime(self._clock)  # CPU time at which this period's count is 0
        self._period_s = now_s
        self._stopped = False
        self._last_s = now_s

    def tick(self, now_s: float) -> None:
        cpu_s = time.clock_gettime(self._clock)
        self.spent_s = cpu_s - self._first_s
        if self._stopped:
            self.stopped_s += now_s - self._last_s
        self._last_s = now_s
        quota_s = self.limit.cores * PERIOD_S
        periods = int((now_s - self._period_s) / PERIOD_S)
        if periods:
            owed_s = cpu_s - self._zero_s - periods * quota_s
            if not self._stopped:
                owed_s = max(owed_s, 0.0)  # unused is lost, as in a cgroup …
            owed_s = max(owed_s, -quota_s)  # … but what it could not use because we woke it late is not
            self._zero_s = cpu_s - owed_s
            self._period_s += periods * PERIOD_S
        over = cpu_s - self._zero_s >= quota_s
        if over != self._stopped:
            os.kill(self.limit.pid, signal.SIGSTOP if over else signal.SIGCONT)
            self._stopped = over

    def release(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.limit.pid, signal.SIGCONT)
        self._stopped = False


def follow(throttles: dict[str, Throttle], limits: list[Limit], now_s: float) -> None:
    """Begin, change and end limits so that they are as listed."""
    wanted = {limit.node: limit for limit in limits}
    for node in list(throttles):
        if node not in wanted or wanted[node].pid != throttles[node].limit.pid:
            throttles.pop(node).release()
    for node, limit in wanted.items():
        if node in throttles:
            throttles[node].limit = limit
        else:
            with contextlib.suppress(OSError):
                throttles[node] = Throttle(limit, now_s)


def main(limits_path: Path, records_path: Path) -> None:
    throttles: dict[str, Throttle] = {}
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    seen = b""
    follow_s = record_s = recorded_s = time.monotonic()
    with records_path.open("ab") as records:
        try:
            while not ending:
                now_s = time.monotonic()
                if now_s >= follow_s:
                    follow_s = now_s + FOLLOW_EVERY_S
                    with contextlib.suppress(FileNotFoundError):
                        # Its time would not do: two limits set in one tick of the kernel's clock have the same.
                        if (found := limits_path.read_bytes()) != seen:
                            seen = found
                            follow(throttles, msgspec.json.decode(found, type=list[Limit]), now_s)
                for node in list(throttles):
                    try:
                        throttles[node].tick(now_s)
                    except OSError:  # the process is gone; whoever started it will notice
                        del throttles[node]
                if now_s >= record_s:
                    record_s = now_s + RECORD_EVERY_S
                    for throttle in throttles.values():
                        records.write(history.encode(_record(throttle, now_s - recorded_s)))
                    records.flush()
                    recorded_s = now_s
                time.sleep(TICK_S)
        finally:
            for throttle in throttles.values():
                throttle.release()


def _record(throttle: Throttle, since_s: float) -> history.CpuLimit:
    stopped_s, throttle.stopped_s = throttle.stopped_s, 0.0
    return history.CpuLimit(
        t=time.time(),
        node=throttle.limit.node,
        limit_cores=throttle.limit.cores,
        cpu_s=round(throttle.spent_s, 6),
        stopped_ratio=round(stopped_s / since_s, 4) if since_s > 0 else 0.0,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

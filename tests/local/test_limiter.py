"""The CPU limiter as a process, over a child that would use a whole core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellwall import history
from cellwall_lab import children
from cellwall_lab.backends.limiter import Limit, cpu_clock
from cellwall_lab.backends.processes import write_json

from ..waiting import DEADLINE_S, alive, state, until

BUSY = "while True: pass"


def cpu_s(pid: int) -> float:
    return time.clock_gettime(cpu_clock(pid))


def measured(pid: int, for_s: float) -> float:
    """CPU seconds per second of wall time, over at least so long."""
    cpu0_s, began_s = cpu_s(pid), time.monotonic()
    while time.monotonic() < began_s + for_s:
        time.sleep(0.02)
    now_s = time.monotonic()
    return (cpu_s(pid) - cpu0_s) / (now_s - began_s)


class Bench:
    """Busy children and a limiter over them."""

    def __init__(self, folder: Path) -> None:
        self.limits_path, self.records_path = folder / "limits.json", folder / "limiter.ndjson"
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, code: str, *args: str | Path) -> subprocess.Popen[bytes]:
        self.children.append(children.start([sys.executable, "-c", code, *args]))
        return self.children[-1]

    def limiter(self) -> subprocess.Popen[bytes]:
        module = [sys.executable, "-m", "cellwall_lab.backends.limiter"]
        self.children.append(children.start([*module, self.limits_path, self.records_path]))
        return self.children[-1]

    def limit(self, **limits: tuple[int, float]) -> None:
        write_json(self.limits_path, [Limit(node, pid, cores) for node, (pid, cores) in limits.items()])

    def records(self) -> list[history.CpuLimit]:
        with self.records_path.open("rb") as lines:
            return [record for record in history.decode(lines) if isinstance(record, history.CpuLimit)]

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
            children.end(child, 0.2)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def runs_free(pid: int) -> None:
    """It is not stopped, goes on, and is never stopped again."""
    until("it goes on", lambda: state(pid) != "T")
    before_s = cpu_s(pid)
    while cpu_s(pid) < before_s + 0.15:
        assert state(pid) != "T"
        time.sleep(0.003)


def test_a_limit_holds_changes_and_ends_with_the_limiter(bench: Bench) -> None:
    busy = bench.start(BUSY)
    bench.limit(node=(busy.pid, 0.2))
    limiter = bench.limiter()
    until("the limit begins", lambda: state(busy.pid) == "T")
    assert 0.17 <= measured(busy.pid, 2.2) <= 0.23

    # Two limits may be set within one tick of the file system's clock.
    before = bench.limits_path.stat()
    bench.limit(node=(busy.pid, 0.5))
    os.utime(bench.limits_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    until("the limit follows", lambda: any(record.limit_cores == 0.5 for record in bench.records()))
    assert 0.4 <= measured(busy.pid, 1.0) <= 0.6

    first = bench.records()[0]
    assert (first.node, first.limit_cores) == ("node", 0.2)
    throttled = next(r for r in bench.records()[1:] if r.limit_cores == 0.2)
    assert throttled.cpu_s > 0 and 0.6 <= throttled.stopped_ratio <= 1.0

    bench.limit(node=(busy.pid, 0.05))
    until("the limit follows", lambda: bench.records()[-1].limit_cores == 0.05)
    until("it is stopped", lambda: state(busy.pid) == "T")
    limiter.terminate()
    assert limiter.wait(DEADLINE_S) == 0
    runs_free(busy.pid)


def test_a_limit_that_is_taken_away_lets_go(bench: Bench) -> None:
    busy = bench.start(BUSY)
    bench.limit(node=(busy.pid, 0.02))
    limiter = bench.limiter()
    until("the limit begins", lambda: state(busy.pid) == "T")
    bench.limit()
    runs_free(busy.pid)
    assert limiter.poll() is None


def test_when_its_parent_is_killed_everything_runs_again(bench: Bench) -> None:
    busy = bench.start(BUSY)
    bench.limit(node=(busy.pid, 0.02))
    code = (
        "import signal, sys; from cellwall_lab import children;"
        "child = children.start([sys.executable, '-m', 'cellwall_lab.backends.limiter', *sys.argv[1:3]]);"
        "open(sys.argv[3], 'w').write(str(child.pid)); signal.pause()"
    )
    pid_path = bench.limits_path.with_name("pid")
    parent = bench.start(code, bench.limits_path, bench.records_path, pid_path)
    until("the limit begins", lambda: pid_path.exists() and pid_path.read_text() != "" and state(busy.pid) == "T")
    parent.kill()
    parent.wait(DEADLINE_S)
    limiter_pid = int(pid_path.read_text())
    until("the limiter does not outlive its parent", lambda: not alive(limiter_pid))
    runs_free(busy.pid)


def test_a_process_that_ends_is_dropped_and_the_others_stay_limited(bench: Bench) -> None:
    gone, stays = bench.start(BUSY), bench.start(BUSY)
    bench.limit(gone=(gone.pid, 0.1), stays=(stays.pid, 0.1), never=(2**22 - 1, 0.1))
    limiter = bench.limiter()
    until("the limiter records", bench.records_path.exists)
    until("both are recorded", lambda: {record.node for record in bench.records()} == {"gone", "stays"})
    gone.kill()
    gone.wait(DEADLINE_S)
    until(
        "the one that ended is recorded no more", lambda: [r.node for r in bench.records()[-2:]] == ["stays", "stays"]
    )
    assert limiter.poll() is None
    until("the other is still limited", lambda: state(stays.pid) == "T")

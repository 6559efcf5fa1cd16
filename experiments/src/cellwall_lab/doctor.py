"""Whether this machine can hold a verdict, and which faults it can do; in less than twenty seconds.

Decides from measurements what is good enough; changes nothing and leaves nothing behind. A check that
cannot be made says so; it is never taken for a pass.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from cellwall.errors import Refused

from . import children
from .backends.binaries import store_binary

Grade = Literal["ok", "doubtful", "bad"]

CORES_MIN = 1.5  # design §2: CPU budget of the stuck phase on two cores
MEMORY_MIN_BYTES = 3 << 30  # issue 3: make demo in 3 GB or less
DISK_MIN_BYTES = 2 << 30  # guess: stores, SQLite files and histories of two arms, with room
FILES_MIN = 4096  # guess: 800 agents, their connections and their SQLite files
STEAL_BAD_RATIO = 0.20  # research 06: above it a run is void
STEAL_DOUBTFUL_RATIO = 0.05  # guess
BUSY_DOUBTFUL_RATIO = 0.30  # guess: two cores less the budget above
LATE_BAD_S = 0.020  # issue 3: the load generator's lateness
WATCH_S = 5.0
SLEEPS, SLEEP_S = 300, 0.003  # the limiter's tick (design §2)


class Check(msgspec.Struct, frozen=True):
    """One finding. ``text`` says what was found and, unless it is ok, what to do."""

    name: str
    grade: Grade
    text: str


def checks() -> Iterator[Check]:
    """All checks, one after the other, as they finish."""
    yield _platform()
    yield _cores()
    yield _memory()
    yield _disk()
    yield _files()
    yield _loopback()
    yield _store()
    yield from _process_control()
    yield _timer()
    yield _host()


def faults(found: list[Check]) -> dict[str, str]:
    """Which faults this machine can do, and how."""
    good = {check.name: check.grade != "bad" for check in found}
    limiter = good.get("cpu-clock", False) and good.get("stop-continue", False)
    return {
        "cut": "yes (a gate in the storage hosts)" if good.get("loopback") else "no: no loopback",
        "pause": "yes (the renewal listener is closed)" if good.get("loopback") else "no: no loopback",
        "limit-cpu": "yes (the limiter: CPU clock, SIGSTOP, SIGCONT)"
        if limiter
        else "no: see cpu-clock, stop-continue",
        "weight": "yes (a metadata partition's slots)",
        "kill": "yes (SIGKILL; started again when its time is over)" if good.get("store") else "no: see store",
        "release": "yes (a cell's nodes are replaced)" if good.get("loopback") else "no: no loopback",
        "poison": "yes (indexes, through the customers' door)" if good.get("loopback") else "no: no loopback",
        "node-loss": "no: this machine is not to be lost; --backend kubernetes on kind",
    }


def _store() -> Check:
    """A Redis or Valkey server, the system's or the bundled one, that can be started."""
    try:
        path = store_binary()
        done = subprocess.run([path, "--version"], capture_output=True, timeout=5, check=False)
    except Refused as error:
        return Check("store", "bad", str(error))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("store", "bad", f"{path} does not start ({error})")
    if done.returncode != 0:
        return Check("store", "bad", f"{path} --version ended with {children.exit_text(done.returncode)}")
    words = done.stdout.decode(errors="replace").split()
    return Check("store", "ok", f"{path.name} {next((w for w in words if w.startswith('v=')), '')}")


def _platform() -> Check:
    grade: Grade = "ok" if sys.platform == "linux" else "bad"
    text = f"{sys.platform}, Python {sys.version.split()[0]}"
    return Check("platform", grade, text if grade == "ok" else f"{text}; the local backend needs Linux")


def _cores() -> Check:
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    if cores >= 2:
        return Check("cores", "ok", f"{cores:g}")
    grade: Grade = "doubtful" if cores >= CORES_MIN else "bad"
    return Check(
        "cores", grade, f"{cores:g}; the stuck phase uses up to {CORES_MIN:g}: give it 2, or --backend simulation"
    )


def _memory() -> Check:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free_bytes = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return Check("memory", "doubtful", "/proc/meminfo cannot be read")
    return _enough("memory", free_bytes, MEMORY_MIN_BYTES, "close something, or use fewer servers")


def _disk() -> Check:
    free_bytes = shutil.disk_usage(Path.cwd()).free
    return _enough("disk", free_bytes, DISK_MIN_BYTES, "make room, or use --out on another disk")


def _enough(name: str, have_bytes: int, need_bytes: int, advice: str) -> Check:
    text = f"{have_bytes / (1 << 30):.1f} GiB free"
    if have_bytes >= need_bytes:
        return Check(name, "ok", text)
    return Check(name, "bad", f"{text}, {need_bytes / (1 << 30):.0f} GiB needed; {advice}")


def _files() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= FILES_MIN:
        return Check("open-files", "ok", "unlimited" if hard == resource.RLIM_INFINITY else str(hard))
    return Check("open-files", "bad", f"at most {hard}, {FILES_MIN} needed; raise `ulimit -Hn`")


def _loopback() -> Check:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 1.0):
            return Check("loopback", "ok", f"127.0.0.1, a free port was {server.getsockname()[1]}")
    except OSError as error:
        return Check("loopback", "bad", f"no connection to 127.0.0.1 ({error.strerror}); the services need it")


def _process_control() -> Iterator[Check]:
    """Read another process's CPU clock, stop it and let it go on: what the limiter does."""
    spinner = children.start(
        [sys.executable, "-S", "-E", "-c", "while True: pass"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield _try("cpu-clock", lambda: _clock_moves(spinner.pid))
        yield _try("stop-continue", lambda: _stops(spinner.pid))
    finally:
        children.end(spinner, 0.5)


def _try(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", check())
    except (OSError, RuntimeError) as error:
        return Check(name, "bad", f"{error}; CPU limits need it (a container may forbid it)")


def cpu_s(pid: int) -> float:
    """CPU time of another process, to the nanosecond (design §2: the limiter's clock)."""
    return time.clock_gettime(((~pid) << 3) | 2)


def _clock_moves(pid: int) -> str:
    before_s = cpu_s(pid)
    time.sleep(0.3)
    moved_s = cpu_s(pid) - before_s
    if moved_s <= 0:
        raise RuntimeError("another process's CPU clock stands still")
    return f"a spinning process spent {moved_s / 0.3:.2f} of a core"


def _stops(pid: int) -> str:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.1)
    before_s = cpu_s(pid)
    time.sleep(0.2)
    stopped_s = cpu_s(pid) - before_s
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.2)
    if stopped_s > 0.01:
        raise RuntimeError(f"a stopped process spent {stopped_s:.3f} s")
    if cpu_s(pid) - before_s <= stopped_s:
        raise RuntimeError("a continued process did not go on")
    return "SIGSTOP stops it, SIGCONT lets it go on"


def _timer() -> Check:
    """How late a short sleep ends: the limiter's and the load generator's grain."""
    late: list[float] = []
    for _ in range(SLEEPS):
        due_s = time.monotonic() + SLEEP_S
        time.sleep(SLEEP_S)
        late.append(time.monotonic() - due_s)
    p99_s = sorted(late)[int(0.99 * len(late))]
    text = f"a sleep of {1000 * SLEEP_S:.0f} ms ends {1000 * p99_s:.1f} ms late (p99)"
    if p99_s <= LATE_BAD_S / 4:
        return Check("timer", "ok", text)
    return Check("timer", "doubtful" if p99_s <= LATE_BAD_S else "bad", f"{text}; the machine is busy or shared")


def _host() -> Check:
    """CPU stolen by the hypervisor and used by others, over a few seconds."""
    first = _cpu_ticks()
    time.sleep(WATCH_S)
    last = _cpu_ticks()
    if first is None or last is None:
        return Check("host", "doubtful", "/proc/stat cannot be read: CPU steal is not known")
    spent = [b - a for a, b in zip(first, last, strict=True)]
    total = max(1, sum(spent))
    steal, busy = spent[7] / total, 1 - (spent[3] + spent[4]) / total
    text = f"over {WATCH_S:.0f} s {100 * steal:.1f} % of the CPU was stolen, {100 * busy:.0f} % busy"
    if steal > STEAL_BAD_RATIO:
        return Check("host", "bad", f"{text}; a run here would be void: try later or elsewhere")
    if steal > STEAL_DOUBTFUL_RATIO or busy > BUSY_DOUBTFUL_RATIO:
        return Check("host", "doubtful", f"{text}; close what else runs")
    return Check("host", "ok", text)


def _cpu_ticks() -> list[int] | None:
    """user nice system idle iowait irq softirq steal, of all cores (proc(5))."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    return ticks if len(ticks) == 8 else None

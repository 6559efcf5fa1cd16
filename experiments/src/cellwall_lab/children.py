"""Child processes that cannot outlive their parent.

Decides how a child is started and ended, nothing about what it does. Every child gets a signal from the
kernel when its parent dies (PR_SET_PDEATHSIG), so that `kill -9` of the runner leaves nothing behind,
and a session of its own, so that Ctrl-C reaches only the parent, which then ends its children in order.
A child that may be stopped (SIGSTOP) is told of its parent's death by SIGKILL: a stopped process takes no other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1  # linux/prctl.h

try:
    # Loaded before any fork: between fork and exec a child should do as little as it can.
    _PRCTL: Callable[..., int] | None = ctypes.CDLL(None, use_errno=True).prctl
except (OSError, AttributeError):  # not Linux: a parent killed by SIGKILL leaves its children running
    _PRCTL = None

Output = int | IO[bytes] | None


def die_with_parent(parent_pid: int, death_signal: int = signal.SIGTERM) -> Callable[[], None]:
    """A ``preexec_fn``: this child gets ``death_signal`` when the thread that started it ends."""

    def set_death_signal() -> None:
        if _PRCTL is not None:
            _PRCTL(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent_pid:  # the parent died before the line above
            os.kill(os.getpid(), death_signal)

    return set_death_signal


def start(
    args: Sequence[str | Path],
    *,
    stdout: Output = None,
    stderr: Output = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    death_signal: int = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, stdin closed. Call it from a thread that lives as long as the child."""
    return subprocess.Popen(
        [str(arg) for arg in args],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=None if env is None else dict(env),
        cwd=cwd,
        pass_fds=pass_fds,
        start_new_session=True,
        preexec_fn=die_with_parent(os.getpid(), death_signal),  # noqa: PLW1509 - two system calls, no lock, no import
    )


def end(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """SIGTERM, wait, then SIGKILL to whatever is left of its process group. Returns the exit status."""
    if process.poll() is None:
        ask_to_end(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    # Also when the child itself is gone: a grandchild of the same group may not be.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM; a process that whoever limits it left stopped would never see it, so it is continued as well."""
    process.terminate()
    process.send_signal(signal.SIGCONT)


def exit_text(status: int) -> str:
    """An exit status in words: "exit status 3", "killed by SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"

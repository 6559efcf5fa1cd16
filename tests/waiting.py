"""Waiting for what other processes do: conditions with a deadline, never a duration; and how a process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 15.0
POLL_S = 0.05


def until(what: str, holds: Callable[[], bool], within_s: float = DEADLINE_S, every_s: float = POLL_S) -> None:
    """Wait for a condition, looking every so often; fail by its name."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)


def state(pid: int) -> str:
    """R running, S sleeping, T stopped, Z ended …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    try:
        return state(pid) != "Z"
    except OSError:
        return False

"""Chaos Toolkit probes: numbers of the last seconds, for tolerances.

Each returns a number or raises, never None: a tolerance on nothing is a crash in Chaos Toolkit, and
no evidence is not health (rule 4 of honesty).
"""

from __future__ import annotations

from typing import Any

from cellwall.errors import Unknown

from ..verbs import Faults, FaultState, Window, WindowStats
from .actions import client

__all__ = ["faults_on", "large_renewal_p99_s", "queue_oldest_s", "requests_failed_ratio", "servers_out_ratio"]

Configuration = dict[str, Any]


def servers_out_ratio(configuration: Configuration) -> float:
    """Share of the storage servers that refuse customers now."""
    window = _window(5.0, configuration)
    if window.servers == 0:
        raise Unknown("no storage server is known to the world")
    return window.servers_out / window.servers


def requests_failed_ratio(configuration: Configuration, last_s: float = 5.0) -> float:
    """Share of customers' requests of the last seconds that failed."""
    window = _window(last_s, configuration)
    if window.requests == 0:
        raise Unknown(f"no customer request was due in the last {last_s:g} s")
    return window.requests_failed / window.requests


def faults_on(configuration: Configuration) -> int:
    """How many faults are on now."""
    states: list[FaultState] = client(configuration).call(Faults())
    return len(states)


def queue_oldest_s(configuration: Configuration) -> float:
    """Age of the oldest request in any cell's queue, seconds."""
    return max((cell.oldest_s for cell in _window(5.0, configuration).cells.values()), default=0.0)


def large_renewal_p99_s(configuration: Configuration, last_s: float = 20.0) -> float:
    """p99 of the wait for a large membership over the last seconds."""
    return _window(last_s, configuration).large_p99_s


def _window(last_s: float, configuration: Configuration) -> WindowStats:
    return client(configuration).call(Window(last_s=last_s))

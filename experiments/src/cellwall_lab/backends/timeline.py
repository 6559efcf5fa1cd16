"""Simulated time: whole nanoseconds, and what happens when.

Decides the order of events and nothing else. Invariant I10: no event is scheduled in the past, and ties are broken
by order of scheduling, so the same input gives the same run. Seconds become nanoseconds here and nowhere else;
sums of whole numbers are exact, so a kernel in another language comes to the same instants.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import msgspec

from cellwall.spec import RenewalPolicy, RetryPolicy

NS = 1_000_000_000  # in a second
DELAY_S = 0.001  # one way through the network and the kernel (guess; loopback is 0.1 ms)
DELAY_NS = 1_000_000

Act = Callable[..., None]


def to_ns(seconds: float) -> int:
    """The nearest nanosecond to an instant or a span that somebody named in seconds."""
    return round(seconds * NS)


def policy_in_ns(policy: RenewalPolicy) -> RenewalPolicy:
    """The same policy counted in nanoseconds. `cellwall.renewal` only adds and compares times, so it decides in
    whichever unit it is told; told nanoseconds, "now" is a whole number and stays exact."""
    retry = RetryPolicy(wait_min_s=policy.retry.wait_min_s * NS, wait_max_s=policy.retry.wait_max_s * NS)
    return msgspec.structs.replace(
        policy, renew_every_s=policy.renew_every_s * NS, time_limit_s=float(to_ns(policy.time_limit_s)), retry=retry
    )


def not_before(ns: float) -> int:
    """The first whole nanosecond that is not before an instant: nobody wakes earlier than the core said."""
    return math.ceil(ns)


class Loop:
    """`at` schedules; `run_until` passes time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0  # scheduled so far
        self._heap: list[tuple[int, int, Act, tuple[Any, ...]]] = []

    @property
    def now_s(self) -> float:
        return self.now_ns / NS

    @property
    def pending(self) -> int:
        return len(self._heap)

    def at(self, when_s: float, act: Act, *args: Any) -> None:
        self.at_ns(to_ns(when_s), act, *args)

    def at_ns(self, when_ns: int, act: Act, *args: Any) -> None:
        self.events += 1
        heapq.heappush(self._heap, (when_ns if when_ns > self.now_ns else self.now_ns, self.events, act, args))

    def run_until(self, until_s: float) -> None:
        self.run_until_ns(to_ns(until_s))

    def run_until_ns(self, until_ns: int) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until_ns:
            self.now_ns, _, act, args = pop(heap)
            act(*args)
        self.now_ns = max(self.now_ns, until_ns)

"""One logical storage server as its host carries it: its agent's state, its store, its trace.

Holds; decides nothing. Invariant: the random numbers of a server depend on the seed and its name
alone, so that two hosts that share the servers out differently draw the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from cellwall import history, renewal
from cellwall.model import ServerEntry, ServerId

from .calls import Meter
from .engine import Store

TRACE_RECORDS = 200  # wire: "at most 200"


class Attempt:
    """One renewal under way."""

    __slots__ = ("asked_s", "meter", "number", "task")

    def __init__(self, number: int, asked_s: float) -> None:
        self.number = number
        self.asked_s = asked_s
        self.meter = Meter()
        self.task: asyncio.Task[None] | None = None


class Server:
    """One logical storage server: its agent's state and what hangs on it."""

    __slots__ = (
        "agent", "attempt", "count", "entry", "id", "paced", "reason", "rng", "store", "timer",
        "trace", "verified",
    )  # fmt: skip

    def __init__(self, server: ServerId, seed: int, store: Store) -> None:
        self.id = server
        self.agent = renewal.Agent()
        self.rng = random.Random(f"{seed}:{server}")
        self.store = store
        self.entry: ServerEntry | None = None
        self.reason = "start"
        self.count = 0
        self.verified: tuple[int, bytes] | None = None  # epoch and digest of the list that local data match
        self.paced = (0.0, 0.0)  # the entry for which a place was drawn: from, over
        self.timer: asyncio.TimerHandle | None = None
        self.attempt: Attempt | None = None
        self.trace: deque[history.Renewal | history.Availability] = deque(maxlen=TRACE_RECORDS)

    @property
    def cell(self) -> str:
        return "" if self.entry is None else self.entry.cell

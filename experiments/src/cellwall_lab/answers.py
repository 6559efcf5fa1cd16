"""The forms of a world server's answers, the same on all backends.

Decides forms only; `verbs` says which verb gets which. All times are Unix seconds (simulated ones in the
simulation), and what nobody could tell is None, never a guess.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Waited(msgspec.Struct, frozen=True):
    """``met`` is always true for a plain wait; for a condition, whether it held before the deadline."""

    met: bool
    took_s: float


class CutOn(msgspec.Struct, frozen=True):
    """A fault is on. ``servers``: how many it strikes."""

    id: str
    servers: int


class StepResult(msgspec.Struct, frozen=True):
    """The worst outcome over the cells concerned; ``took_s`` of the slowest. ``cells``: each cell's own."""

    outcome: Literal["done", "refused", "unknown"]
    took_s: float
    reason: str = ""
    cells: dict[str, StepResult] = {}


class CellWindow(msgspec.Struct, frozen=True):
    """``queue`` requests in service and waiting, ``oldest_s`` age of the oldest; both of the last sample."""

    servers: int
    servers_out: int
    queue: int
    oldest_s: float


class WindowStats(msgspec.Struct, frozen=True):
    """Requests whose due instant lies in the window. ``phase`` is the current one, ``now_s`` Unix seconds
    (simulated ones in the simulation), ``large_p99_s`` the p99 wait of large renewals answered in it."""

    now_s: float
    phase: str
    servers: int
    servers_out: int
    requests: int
    requests_failed: int
    renewals_done: int
    renewals_failed: int
    large_p99_s: float
    steal_ratio: float
    cells: dict[str, CellWindow]


class FaultState(msgspec.Struct, frozen=True):
    id: str
    fault: str
    targets: int
    off_s: float | None  # Unix seconds at which it expires


class ServerView(msgspec.Struct, frozen=True):
    """One storage server as its records tell it. ``state`` "cut": out, and a cut strikes it now. ``since_s``:
    when it last entered or left service."""

    id: str
    cell: str
    zone: str
    group: int
    records: int  # of its last membership that arrived
    state: Literal["in", "out", "cut"]
    reason: str
    since_s: float


class CellView(msgspec.Struct, frozen=True):
    """``largest_retrieval_s``: the slowest retrieval, from the store into the answer, of its large memberships (half of
    the largest or more), each one's last, as the nodes say; None: nobody got one for a while, or no node answered
    (``answered``: its admin listener starves). ``weights``: metadata partitions with another weight than 100."""

    servers: int
    out: int
    queue: int
    oldest_s: float
    nodes: int
    limit_cores: float
    paused: bool
    largest_records: int
    largest_retrieval_s: float | None
    weights: dict[int, float]
    answered: bool = True


class FleetState(msgspec.Struct, frozen=True):
    """Everything there is to see of a running world. ``tables_in_flight``: changes of tables under way, as the
    front end tells them (`wire.Workflow`)."""

    now_s: float
    phase: str
    name: str
    time_limit_s: float
    servers: list[ServerView]
    cells: dict[str, CellView]
    window: WindowStats
    faults: list[FaultState]
    tables_in_flight: list[dict[str, Any]]

"""The kernel's memory: one table for each kind of thing, a row for each of them.

Decides what is remembered, and nothing else. Rows can be changed in place, and compiled code never allocates one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Table: TypeAlias = npt.NDArray[Any]  # of rows; mypy does not know their fields

NONE = -1
SPARE = 8  # room that one event may need beyond one place a server (a cut strikes all of them at once)
LAST = 2**62  # seq of what is done from outside: after all that is scheduled at its instant

PROCESSOR_SHARING, FIFO, LIFO = range(3)
DISCIPLINES = {"processor-sharing": PROCESSOR_SHARING, "fifo": FIFO, "lifo": LIFO}


def row(words: str, **others: Any) -> np.dtype[Any]:
    """A row of 64-bit whole numbers by these names, and of other columns."""
    return np.dtype([(name, np.int64) for name in words.split()] + list(others.items()), align=True)


# Where the world stands: the instant, numbers given to events and to requests, events done, the next step of the
# control, lines of the trace, the first free slot for a request and how many there are.
CLOCK = row("now_ns seq ids events step lines free frees")
# The fields of `renewal.Agent` that decide anything (``renewed``: epoch > 0), the number of the wake that counts, how
# many cuts are on, and the open request: its slot, number (0: none), node and beginning.
SERVER = row(
    "cell partition records asking attempts timer cuts open_slot open_id open_node open_since_ns",
    chance=np.uint64,
    paced_ns=np.float64,
    then_ns=np.float64,
    renewed=np.bool_,
    available=np.bool_,
)
# A request has a slot from its asking until its node forgets it. ``id`` 0: free, and ``following`` is the next free.
REQUEST = row("id server node left where number following before")
# ``slot``, ``id``, ``page``: what is being worked on, while ``busy``. ``owed``: requests whose own cost is not paid.
NODE = row("busy slot id page owed outstanding arrivals in_service waiting", cores=np.float64, cpu_ns=np.float64)
TURNS = row("head tail")  # by node: who is in service and not being worked on
QUEUE = row("head tail serving slots")  # by node × metadata partition: who waits, and how many are in service
CELL = row("out since_ns", paused=np.bool_)  # servers out, and since when that is not yet counted
TARGET = row("account parts up")  # by target: replicas in service
ACCOUNT = row("no_quorum no_replica since_ns")  # parts now without, and since when that is not yet counted
WAKING = row("t_ns seq who")
EVENT = row("t_ns seq kind who what")
STEP = row("t_ns seq kind cell other first count", value=np.float64)  # `control`
LINE = row("t_ns server outcome")  # of the trace


class Rules(NamedTuple):
    """What does not change: policies and costs in nanoseconds."""

    renew_ns: float
    jitter_ratio: float
    limit_ns: int
    wait_min_ns: float
    wait_max_ns: float
    discipline: int
    concurrency: int
    drop_abandoned: bool
    page_records: int
    partitions: int
    slots: int
    record_ns: float
    request_ns: float
    delay_ns: int
    nodes_per_cell: int
    window_ns: int
    traced: bool

"""A metadata node's admission and work order: whose turn is it, one page at a time.

Decides which request gets the next page of work; never reads, decodes or sends anything and never
looks at a clock. Both the node and the simulation drive it, so they share one queue discipline.
Invariant I4: no request is ever dropped or delayed by chance; it waits for a slot, for its turn, or it is
not worked for any more because its caller has gone.

    arrive ─► waiting (per discipline, slots of its metadata partition) ─► in service ─► page, page, … ─► finish
                └──────────────── gone (only when abandoned work is dropped) ────────┘
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from .spec import MetadataPolicy

ADMIN = -1  # the "metadata partition" of an administrative request in a lane of its own


class Admission:
    """Requests are named by any hashable id, unique while they are here.

    Processor sharing: every admitted request is in service and pages go round robin.
    fifo / lifo: at most ``policy.concurrency`` in service; the oldest / newest waiting one comes next.
    A lane of its own for administration is outside all of this: such a request never waits and takes nobody's slot.
    Weights scale the slots of a metadata partition: w % of them, rounded up, and none at 0.
    """

    def __init__(self, policy: MetadataPolicy, weights: Sequence[float] | None = None) -> None:
        self._policy = policy
        self._weights = list(weights) if weights is not None else [100.0] * policy.partitions
        self._waiting: dict[int, OrderedDict[int, int]] = {}  # metadata partition -> request -> arrival number
        self._arrivals = 0
        self._home: dict[int, int] = {}  # waiting request -> its metadata partition
        self._service: dict[int, int] = {}  # request -> metadata partition
        self._busy: dict[int, int] = {}  # metadata partition -> requests in service
        self._turns: OrderedDict[int, None] = OrderedDict()  # next turn first
        self._admin_turns: OrderedDict[int, None] = OrderedDict()

    # ------------------------------------------------------------ events

    def arrive(self, request: int, partition: int, *, admin: bool = False) -> None:
        """A request has been read. ``admin`` matters only when administration has a lane of its own."""
        if admin and self._policy.admin_lane == "own":
            self._start(request, ADMIN)
            return
        self._arrivals += 1
        self._waiting.setdefault(partition, OrderedDict())[request] = self._arrivals
        self._home[request] = partition
        self._fill(partition)

    def gone(self, request: int) -> bool:
        """The caller has hung up. True if the request was let go; False if it is worked on regardless."""
        if not self._policy.drop_abandoned:
            return False
        self.finish(request)
        return True

    def finish(self, request: int) -> None:
        """The request needs no more work; its turn, if any, is given up, so its name may be used again."""
        partition = self._home.pop(request, None)
        if partition is not None:
            del self._waiting[partition][request]
            return
        partition = self._service.pop(request, None)
        if partition is not None:
            self._busy[partition] -= 1
            (self._admin_turns if partition == ADMIN else self._turns).pop(request, None)
            self._fill(partition)

    def set_weight(self, partition: int, percent: float) -> None:
        """Traffic weight of a metadata partition: percent of its concurrency slots, 0–100."""
        self._weights[partition] = percent
        self._fill(partition)

    # ------------------------------------------------------------ work

    def next(self) -> int | None:
        """The request whose page is to be done now. Call `again` or `finish` for it afterwards."""
        for turns in (self._admin_turns, self._turns):
            if turns:
                return turns.popitem(last=False)[0]
        return None

    def again(self, request: int) -> None:
        """The request's page is done and it needs another: to the end of the round."""
        partition = self._service.get(request)
        if partition is not None:
            (self._admin_turns if partition == ADMIN else self._turns)[request] = None

    # ------------------------------------------------------------ what can be seen

    @property
    def in_service(self) -> int:
        return len(self._service)

    @property
    def waiting(self) -> int:
        return len(self._home)

    def weight(self, partition: int) -> float:
        return self._weights[partition]

    # ------------------------------------------------------------ inside

    def _slots(self, partition: int) -> int:
        return math.ceil(self._policy.slots_per_partition * self._weights[partition] / 100)

    def _fill(self, freed: int) -> None:
        """Start what may start after an arrival in, or a slot freed in, one metadata partition."""
        if self._policy.discipline == "processor-sharing":
            # Partitions share nothing but the CPU, so no other one can be concerned.
            queue = self._waiting.get(freed)
            while queue and self._busy.get(freed, 0) < self._slots(freed):
                self._start(next(iter(queue)), freed)
            return
        newest = self._policy.discipline == "lifo"
        while self._home and len(self._service) - self._busy.get(ADMIN, 0) < self._policy.concurrency:
            heads = [
                (queue[head], head, partition)
                for partition, queue in self._waiting.items()
                if queue and self._busy.get(partition, 0) < self._slots(partition)
                for head in [next(reversed(queue) if newest else iter(queue))]
            ]
            if not heads:
                return
            _, request, partition = max(heads) if newest else min(heads)
            self._start(request, partition)

    def _start(self, request: int, partition: int) -> None:
        if self._home.pop(request, None) is not None:
            del self._waiting[partition][request]
        self._service[request] = partition
        self._busy[partition] = self._busy.get(partition, 0) + 1
        (self._admin_turns if partition == ADMIN else self._turns)[request] = None

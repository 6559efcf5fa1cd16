"""A discrete-event engine for the metadata service and the storage fleet, over the core's state machines.

Decides only *when* things happen: page by page processor sharing of a node's CPU limit, one network
delay, timers. What happens is decided by `renewal.step` and `Admission`, the same code that the real
services run. Invariant I10: no event is scheduled in the past, and ties are broken by order of
scheduling, so the same input gives the same run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from cellwall import history, renewal
from cellwall.admission import Admission
from cellwall.capacity import Costs
from cellwall.spec import MetadataPolicy, RenewalPolicy

DELAY_S = 0.001  # one way through the network and the kernel (guess; loopback is 0.1 ms)

Emit = Callable[[history.Record], None]


class Loop:
    """Simulated time. `at` schedules; `run_until` passes time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when_s: float, act: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(when_s, self.now_s), self._count, act, args))

    def run_until(self, until_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            self.now_s, _, act, args = heapq.heappop(heap)
            act(*args)
        self.now_s = max(self.now_s, until_s)


class Node:
    """A metadata node: admission, and a CPU limit that is spent a page at a time."""

    def __init__(self, loop: Loop, name: str, cell: str, policy: MetadataPolicy, costs: Costs, cores: float) -> None:
        self.name, self.cell, self.cores = name, cell, cores
        self.admission = Admission(policy)
        self.cpu_s = 0.0
        self.answered = 0
        self.abandoned = 0
        self.records = 0
        self._loop, self._policy, self._costs = loop, policy, costs
        self._left: dict[int, int] = {}  # request -> records to do
        self._since: dict[int, float] = {}
        self._done: dict[int, Callable[[], None]] = {}
        self.record_cpu_s = 0.0  # what a bad release spends on each record beside the work
        self._overhead_s = 0.0  # CPU owed for requests accepted since the last page
        self._busy = False

    def arrive(
        self, request: int, partition: int, records: int, done: Callable[[], None], *, admin: bool = False
    ) -> None:
        self._left[request] = records
        self._since[request] = self._loop.now_s
        self._done[request] = done
        self._overhead_s += self._costs.c_request_s
        self.admission.arrive(request, partition, admin=admin)
        self._serve()

    def gone(self, request: int) -> None:
        """The caller has hung up."""
        if request in self._left:
            self.abandoned += 1
            if self.admission.gone(request):
                self._forget(request)
                self._serve()

    def set_weight(self, partition: int, percent: float) -> None:
        self.admission.set_weight(partition, percent)
        self._serve()  # an idle node would leave those it lets in waiting for the next arrival

    def sample(self) -> history.NodeSample:
        return history.NodeSample(
            t=self._loop.now_s,
            cell=self.cell,
            node=self.name,
            cpu_s=self.cpu_s,
            in_service=self.admission.in_service,
            waiting=self.admission.waiting,
            oldest_s=self.oldest_s(),
            answered=self.answered,
            abandoned=self.abandoned,
            records=self.records,
        )

    def oldest_s(self) -> float:
        return self._loop.now_s - min(self._since.values(), default=self._loop.now_s)

    def _serve(self) -> None:
        if self._busy:
            return
        request = self.admission.next()
        if request is None:
            return
        self._busy = True
        page = min(self._policy.page_records, self._left[request])
        work_s = self._overhead_s + page * (self._costs.c_record_s + self.record_cpu_s)
        self._overhead_s = 0.0
        self.cpu_s += work_s
        self._loop.at(self._loop.now_s + work_s / self.cores, self._page_done, request, page)

    def _page_done(self, request: int, page: int) -> None:
        self._busy = False
        self.records += page
        left = self._left.get(request)
        if left is not None:
            if left <= page:
                self.admission.finish(request)
                self.answered += 1
                done = self._done[request]
                self._forget(request)
                self._loop.at(self._loop.now_s + DELAY_S, done)
            else:
                self._left[request] = left - page
                self.admission.again(request)
        self._serve()

    def _forget(self, request: int) -> None:
        del self._left[request], self._since[request], self._done[request]


class Cell:
    """A cell's nodes, and who owns its metadata partitions. ``paused``: its renewal listener is closed; ``down``:
    nobody is there to answer. ``crash``: what happens on the n-th renewal from now, of a release that crashes."""

    def __init__(self, name: str, nodes: list[Node], partitions: int) -> None:
        self.name, self.nodes, self.paused, self.down = name, nodes, False, False
        self.epochs_behind = 0  # of a bad release
        self.crash: Callable[[], None] | None = None
        self.crash_in = 0
        self.owners: list[list[Node]] = [list(nodes) for _ in range(partitions)]
        self.outstanding: dict[str, int] = {node.name: 0 for node in nodes}

    def pick(self, partition: int) -> Node:
        """The owner with the fewest requests of the callers outstanding."""
        return min(self.owners[partition], key=lambda node: self.outstanding[node.name])

    def add(self, node: Node, taken: list[int]) -> None:
        """A new node owns these metadata partitions from now on, alone."""
        self.nodes.append(node)
        self.outstanding[node.name] = 0
        for partition in taken:
            self.owners[partition] = [node]


class Servers:
    """All storage servers' agents. ``place[s]`` is (cell, metadata partition, records)."""

    def __init__(
        self,
        loop: Loop,
        names: list[str],
        place: list[tuple[Cell, int, int]],
        policy: RenewalPolicy,
        rngs: list[Random],
        emit: Emit,
    ) -> None:
        self.available = [False] * len(names)
        self.cut: set[int] = set()
        self.refused = 0  # attempts that the cut prevented: its receipt
        self._loop, self._names, self._place = loop, names, place
        self._policy, self._rngs, self._emit = policy, rngs, emit
        self._agents = [renewal.Agent() for _ in names]
        self._timer = [0] * len(names)
        self._request = 0
        self._open: dict[int, tuple[int, float, Node, int]] = {}  # server -> attempt, asked at, node, request
        for s, name in enumerate(names):
            emit(history.Availability(t=0.0, server=name, cell=place[s][0].name, available=False, reason="start"))

    def tell(self, server: int, event: renewal.Event) -> None:
        agent, effects = renewal.step(self._agents[server], event, self._loop.now_s, self._policy, self._rngs[server])
        self._agents[server] = agent
        for effect in effects:
            match effect:
                case renewal.WakeAt(at_s):
                    self._timer[server] += 1
                    self._loop.at(at_s, self._wake, server, self._timer[server])
                case renewal.Ask(attempt, limit_s):
                    self._ask(server, attempt, limit_s)
                case renewal.Verify(attempt):
                    self.tell(server, renewal.Verified(attempt))
                case renewal.SetAvailable(available, reason):
                    self.available[server] = available
                    self._emit(
                        history.Availability(
                            t=self._loop.now_s,
                            server=self._names[server],
                            cell=self._place[server][0].name,
                            available=available,
                            reason=reason,
                        )
                    )

    def pace(self, servers: list[int], from_s: float, over_s: float, partitions: int) -> None:
        for s in servers:
            self.tell(s, renewal.entry(from_s, over_s, self._place[s][1], partitions, self._policy, self._rngs[s]))

    def cut_off(self, servers: list[int]) -> None:
        for s in servers:
            self.cut.add(s)
            self._hang_up(s, "unreachable")
            self.tell(s, renewal.LinkLost())

    def lose(self, cell: Cell) -> None:
        """Every request that the cell has in hand comes to nothing."""
        for s in [s for s in self._open if self._place[s][0] is cell]:
            attempt = self._open[s][0]
            self._hang_up(s, "unreachable")
            self.tell(s, renewal.Failed(attempt, "unreachable"))

    def grow(self, server: int, records: int) -> int:
        """A longer membership from now on; returns how long it is."""
        cell, partition, before = self._place[server]
        self._place[server] = (cell, partition, before + records)
        return before + records

    def next_request(self) -> int:
        self._request += 1
        return self._request

    def _wake(self, server: int, timer: int) -> None:
        if timer == self._timer[server]:
            self.tell(server, renewal.Wake())

    def _ask(self, server: int, attempt: int, limit_s: float) -> None:
        cell, partition, records = self._place[server]
        now_s = self._loop.now_s
        if server in self.cut or cell.paused or cell.down:
            self.refused += server in self.cut
            self._loop.at(now_s + DELAY_S, self._fail, server, attempt, now_s, "unreachable")
            return
        node, request = cell.pick(partition), self.next_request()
        cell.outstanding[node.name] += 1
        self._open[server] = (attempt, now_s, node, request)
        self._loop.at(now_s + DELAY_S, node.arrive, request, partition, records, lambda: self._answer(server, request))
        self._loop.at(now_s + limit_s, self._time_out, server, request)
        if cell.crash is not None:
            cell.crash_in -= 1
            if cell.crash_in == 0:
                self._loop.at(now_s + DELAY_S, cell.crash)

    def _answer(self, server: int, request: int) -> None:
        entry = self._open.get(server)
        if entry is None or entry[3] != request:
            return
        attempt, asked_s, node, _ = self._open.pop(server)
        cell, _, records = self._place[server]
        cell.outstanding[node.name] -= 1
        epoch = 1 - cell.epochs_behind
        if epoch < self._agents[server].epoch:  # as the agent will find
            self._record(server, asked_s, "refused", "stale-epoch", 0)
        else:
            self._record(server, asked_s, "done", "", records)
        self.tell(server, renewal.Retrieved(attempt, epoch))

    def _time_out(self, server: int, request: int) -> None:
        entry = self._open.get(server)
        if entry is not None and entry[3] == request:
            attempt = entry[0]
            self._hang_up(server, "time-out")
            self.tell(server, renewal.Failed(attempt, "time-out"))

    def _hang_up(self, server: int, reason: str) -> None:
        entry = self._open.pop(server, None)
        if entry is not None:
            _, asked_s, node, request = entry
            self._place[server][0].outstanding[node.name] -= 1
            self._loop.at(self._loop.now_s + DELAY_S, node.gone, request)
            self._record(server, asked_s, "unknown" if reason == "time-out" else "refused", reason, 0)

    def _fail(self, server: int, attempt: int, asked_s: float, reason: str) -> None:
        self._record(server, asked_s, "refused", reason, 0)
        self.tell(server, renewal.Failed(attempt, reason))

    def _record(self, server: int, asked_s: float, outcome: history.Outcome, reason: str, records: int) -> None:
        self._emit(
            history.Renewal(
                t=asked_s,
                server=self._names[server],
                cell=self._place[server][0].name,
                outcome=outcome,
                waited_s=self._loop.now_s - asked_s,
                reason=reason,
                records=records,
            )
        )

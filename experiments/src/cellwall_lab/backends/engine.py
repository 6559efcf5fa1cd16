"""A discrete-event engine for the metadata service and the storage fleet, over the core's state machines.

Decides only *when* things happen: page by page processor sharing of a node's CPU limit, one network
delay, timers. What happens is decided by `renewal.step` and `Admission`, the same code that the real
services run. Time is `timeline.Loop`'s: whole nanoseconds, also for the core's arithmetic (`policy_in_ns`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cellwall import history, renewal
from cellwall.admission import Admission
from cellwall.capacity import Costs
from cellwall.spec import MetadataPolicy, RenewalPolicy

from .timeline import DELAY_NS, DELAY_S, NS, Loop, not_before, policy_in_ns, to_ns

__all__ = ["DELAY_S", "Cell", "Emit", "Loop", "Node", "Servers"]

Emit = Callable[[history.Record], None]


class _Request:
    """A renewal or an administrative request at a node: records still to do, and where the answer goes."""

    __slots__ = ("done", "left", "since_ns")

    def __init__(self, left: int, since_ns: int, done: Callable[[], None]) -> None:
        self.left, self.since_ns, self.done = left, since_ns, done


class Node:
    """A metadata node: admission, and a CPU limit that is spent a page at a time."""

    def __init__(self, loop: Loop, name: str, cell: str, policy: MetadataPolicy, costs: Costs, cores: float) -> None:
        self.name, self.cell, self.cores = name, cell, cores
        self.admission = Admission(policy)
        self.answered = 0
        self.abandoned = 0
        self.records = 0
        self._loop, self._page_records = loop, policy.page_records
        self._record_ns, self._request_ns = costs.c_record_s * NS, costs.c_request_s * NS
        self._requests: dict[int, _Request] = {}
        self._owed = 0  # requests accepted since the last page, whose own cost is still to be paid
        self._cpu_ns = 0.0
        self._busy = False

    @property
    def cpu_s(self) -> float:
        return self._cpu_ns / NS

    def arrive(
        self, request: int, partition: int, records: int, done: Callable[[], None], *, admin: bool = False
    ) -> None:
        self._requests[request] = _Request(records, self._loop.now_ns, done)
        self._owed += 1
        self.admission.arrive(request, partition, admin=admin)
        self._serve()

    def gone(self, request: int) -> None:
        """The caller has hung up."""
        if request in self._requests:
            self.abandoned += 1
            if self.admission.gone(request):
                del self._requests[request]
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
        now_ns = self._loop.now_ns
        return (now_ns - min((r.since_ns for r in self._requests.values()), default=now_ns)) / NS

    def _serve(self) -> None:
        if self._busy:
            return
        request = self.admission.next()
        if request is None:
            return
        self._busy = True
        page = min(self._page_records, self._requests[request].left)
        work_ns = self._owed * self._request_ns + page * self._record_ns
        self._owed = 0
        self._cpu_ns += work_ns
        self._loop.at_ns(self._loop.now_ns + not_before(work_ns / self.cores), self._page_done, request, page)

    def _page_done(self, number: int, page: int) -> None:
        self._busy = False
        self.records += page
        request = self._requests.get(number)
        if request is not None:
            request.left -= page
            if request.left <= 0:
                self.admission.finish(number)
                self.answered += 1
                del self._requests[number]
                self._loop.at_ns(self._loop.now_ns + DELAY_NS, request.done)
            else:
                self.admission.again(number)
        self._serve()


class Cell:
    """A cell's nodes, and who owns its metadata partitions. ``paused``: its renewal listener is closed."""

    def __init__(self, name: str, nodes: list[Node], partitions: int) -> None:
        self.name, self.nodes, self.paused = name, nodes, False
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
        chances: Sequence[renewal.Chance],
        emit: Emit,
    ) -> None:
        self.available = [False] * len(names)
        self.cut: set[int] = set()
        self.refused = 0  # attempts that the cut prevented: its receipt
        self._loop, self._names, self._place = loop, names, place
        self._policy, self._chances, self._emit = policy_in_ns(policy), chances, emit
        self._agents = [renewal.Agent() for _ in names]
        self._timer = [0] * len(names)
        self._request = 0
        self._open: dict[int, tuple[int, int, Node, int]] = {}  # server -> attempt, asked at, node, request
        for s, name in enumerate(names):
            emit(history.Availability(t=0.0, server=name, cell=place[s][0].name, available=False, reason="start"))

    def tell(self, server: int, event: renewal.Event) -> None:
        now_ns, chance = self._loop.now_ns, self._chances[server]
        self._agents[server], effects = renewal.step(self._agents[server], event, now_ns, self._policy, chance)
        for effect in effects:
            match effect:
                case renewal.WakeAt(at_ns):
                    self._timer[server] += 1
                    self._loop.at_ns(not_before(at_ns), self._wake, server, self._timer[server])
                case renewal.Ask(attempt, limit_ns):
                    self._ask(server, attempt, not_before(limit_ns))
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
        from_ns, over_ns = to_ns(from_s), to_ns(over_s)
        for s in servers:
            partition, chance = self._place[s][1], self._chances[s]
            self.tell(s, renewal.entry(from_ns, over_ns, partition, partitions, self._policy, chance))

    def cut_off(self, servers: list[int]) -> None:
        for s in servers:
            self.cut.add(s)
            self._hang_up(s, "unreachable")
            self.tell(s, renewal.LinkLost())

    def next_request(self) -> int:
        self._request += 1
        return self._request

    def _wake(self, server: int, timer: int) -> None:
        if timer == self._timer[server]:
            self.tell(server, renewal.Wake())

    def _ask(self, server: int, attempt: int, limit_ns: int) -> None:
        cell, partition, records = self._place[server]
        now_ns = self._loop.now_ns
        if server in self.cut or cell.paused:
            self.refused += server in self.cut
            self._loop.at_ns(now_ns + DELAY_NS, self._fail, server, attempt, now_ns, "unreachable")
            return
        node, request = cell.pick(partition), self.next_request()
        cell.outstanding[node.name] += 1
        self._open[server] = (attempt, now_ns, node, request)
        answer = partial(self._answer, server, request)
        self._loop.at_ns(now_ns + DELAY_NS, node.arrive, request, partition, records, answer)
        self._loop.at_ns(now_ns + limit_ns, self._time_out, server, request)

    def _answer(self, server: int, request: int) -> None:
        entry = self._open.get(server)
        if entry is None or entry[3] != request:
            return
        attempt, asked_ns, node, _ = self._open.pop(server)
        cell, _, records = self._place[server]
        cell.outstanding[node.name] -= 1
        self._record(server, asked_ns, "done", "", records)
        self.tell(server, renewal.Retrieved(attempt, 1))

    def _time_out(self, server: int, request: int) -> None:
        entry = self._open.get(server)
        if entry is not None and entry[3] == request:
            attempt = entry[0]
            self._hang_up(server, "time-out")
            self.tell(server, renewal.Failed(attempt, "time-out"))

    def _hang_up(self, server: int, reason: str) -> None:
        entry = self._open.pop(server, None)
        if entry is not None:
            _, asked_ns, node, request = entry
            self._place[server][0].outstanding[node.name] -= 1
            self._loop.at_ns(self._loop.now_ns + DELAY_NS, node.gone, request)
            self._record(server, asked_ns, "unknown" if reason == "time-out" else "refused", reason, 0)

    def _fail(self, server: int, attempt: int, asked_ns: int, reason: str) -> None:
        self._record(server, asked_ns, "refused", reason, 0)
        self.tell(server, renewal.Failed(attempt, reason))

    def _record(self, server: int, asked_ns: int, outcome: history.Outcome, reason: str, records: int) -> None:
        self._emit(
            history.Renewal(
                t=asked_ns / NS,
                server=self._names[server],
                cell=self._place[server][0].name,
                outcome=outcome,
                waited_s=(self._loop.now_ns - asked_ns) / NS,
                reason=reason,
                records=records,
            )
        )

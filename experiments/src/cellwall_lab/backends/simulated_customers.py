"""Simulated customers: the load generator's own stream of requests, decided by quorum over who is in service.

Decides an operation's outcome from the replicas in service at its due instant; open-loop. Never retries and
takes no time but a fixed one: in the stuck state customers fail for want of replicas, not of CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cellwall import history, quorum
from cellwall.arrivals import Pace, Planned, rng_seed, stream
from cellwall.keys import key_hash
from cellwall.placement import Layout, Triple

from .catalogue import make_catalogue
from .engine import DELAY_S, Emit, Loop

LATENCY_S = 4 * DELAY_S  # customer to front end to replicas and back
Register = tuple[str, str, str]  # customer, table id, key


class Customers:
    def __init__(
        self, loop: Loop, layout: Layout, available: list[bool], rng_for: Callable[[str], Random], emit: Emit
    ) -> None:
        self._loop, self._available, self._emit = loop, available, emit
        self._replicas: dict[str, list[Triple]] = {table.info.id: table.replicas[""] for table in layout.tables}
        seed = Random(rng_seed(layout.spec.seed))
        self._stream = stream(make_catalogue(layout), layout.spec.load, key_hash, seed)
        self._next: Planned = next(self._stream)
        self._pace = Pace(0.0, 0.0, self._next.gap)
        self._turn = 0  # of the pending arrival; an older one is void
        self._found: dict[Register, int] = {}  # what a read finds: the last acknowledged write

    def set_rate(self, rps: float) -> None:
        self._pace = self._pace.turned(self._loop.now_s, rps)
        self._turn += 1
        if rps > 0:
            self._loop.at(self._pace.due_s, self._arrive, self._turn)

    def audit(self) -> None:
        """Read every acknowledged key again."""
        for (customer, table, key), value in sorted(self._found.items()):
            self._emit(
                history.Audit(
                    t=self._loop.now_s,
                    customer=customer,
                    table=table,
                    key=key,
                    acknowledged=value,
                    found=value,
                    outcome="done",
                )
            )

    def _arrive(self, turn: int) -> None:
        if turn != self._turn:
            return
        request = self._next
        self._decide(request)
        self._next = next(self._stream)
        self._pace = self._pace.arrived(self._next.gap)
        self._loop.at(self._pace.due_s, self._arrive, turn)

    def _decide(self, request: Planned) -> None:
        up = sum(self._available[s] for s in self._replicas[request.table_id][request.partition])
        register = (request.customer, request.table_id, request.key)
        outcome: history.Outcome = "done" if quorum.available(request.op, up) else "refused"
        if request.op == "put" and outcome == "refused" and up:
            outcome = "unknown"  # one replica may hold it
        value = 0
        if request.op == "put":
            value = request.seq
            if outcome == "done":
                self._found[register] = request.seq
        elif outcome == "done":
            value = self._found.get(register, 0)
        self._emit(
            history.Request(
                t=self._loop.now_s,
                customer=request.customer,
                table=request.table_id,
                partition=request.partition,
                op=request.op,
                outcome=outcome,
                latency_s=LATENCY_S,
                code="" if outcome == "done" else "no-quorum",
                key=request.key,
                value=value,
            )
        )

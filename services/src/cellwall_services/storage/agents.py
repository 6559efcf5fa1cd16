"""The renewal agents of one host: carries out what `cellwall.renewal` decides, for every server.

Acts: starts attempts, keeps the timers, takes servers in and out of service, writes the history. Never
decides when to ask or when a server leaves service. Invariants: one timer and at most one attempt a
server; one `history.Renewal` per attempt, whatever became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from cellwall import history, renewal
from cellwall.model import CellMap, ServerId
from cellwall.spec import RenewalPolicy

from ..records import Recorder
from ..wire import ServerState
from .gate import Gate
from .membership import Answer
from .metrics import Metrics
from .renew import Failure, Renewer
from .server import Attempt, Server

log = logging.getLogger(__name__)


class Agents:
    """All servers of a host. ``now_s`` reads Unix seconds that never step back."""

    def __init__(
        self,
        servers: Mapping[ServerId, Server],
        policy: RenewalPolicy,
        now_s: Callable[[], float],
        gate: Gate,
        renewer: Renewer,
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self.servers = servers
        self._policy = policy
        self._now_s = now_s
        self._gate = gate
        self._renewer = renewer
        self._recorder = recorder
        self._metrics = metrics
        self._map = CellMap(0, {}, {})
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    def start(self, cell_map: CellMap) -> None:
        """First start: paced if the map says so, else everybody at once."""
        self._take(cell_map)
        self._started = True
        for server in self.servers.values():
            self._availability(server, False, "start")
            if not self._pace(server):
                self._send(server, renewal.Wake())

    def map_changed(self, cell_map: CellMap) -> None:
        if not self._started:
            self.start(cell_map)
            return
        self._take(cell_map)
        for server in self.servers.values():
            self._pace(server)

    def link_lost(self, lost: list[ServerId]) -> None:
        """The servers can be reached by nobody from now on, and their calls under way come to nothing."""
        for server in (self.servers[server_id] for server_id in lost):
            if server.attempt is not None:
                self._gate.refuses(server.id)  # the call under way: part of the receipt
                self._finish(server, server.attempt, "unreachable", 0)
            self._send(server, renewal.LinkLost())

    async def stop(self) -> None:
        for server in self.servers.values():
            if server.timer is not None:
                server.timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def state(self, server: Server) -> ServerState:
        agent = server.agent
        return ServerState(agent.available, server.reason, agent.epoch, server.count, self._gate.is_cut(server.id))

    # ------------------------------------------------------------ the machine's events and effects

    def _take(self, cell_map: CellMap) -> None:
        self._map = cell_map
        for server in self.servers.values():
            server.entry = cell_map.servers.get(server.id)

    def _pace(self, server: Server) -> bool:
        """Hold a server that is out back until its slot of the re-entry, if one is on. The slot is drawn once."""
        cell = None if server.entry is None else self._map.cells.get(server.entry.cell)
        if server.entry is None or cell is None or cell.reentry_over_s <= 0:
            return False
        span = (cell.reentry_from_s, cell.reentry_over_s)
        if span != server.paced:
            server.paced = span
            paced = renewal.entry(*span, server.entry.partition, max(1, len(cell.owners)), self._policy, server.rng)
            self._send(server, paced)
        return True

    def _send(self, server: Server, event: renewal.Event) -> None:
        now_s = self._now_s()
        if isinstance(event, renewal.Wake):
            # The loop's timers count whole milliseconds and may be early by a part of one; it is the time asked for.
            now_s = max(now_s, server.agent.next_s) if server.agent.next_s - now_s < 0.002 else now_s
        server.agent, effects = renewal.step(server.agent, event, now_s, self._policy, server.rng)
        for effect in effects:
            match effect:
                case renewal.Ask(attempt, limit_s):
                    self._ask(server, attempt, limit_s)
                case renewal.SetAvailable(available, reason):
                    self._availability(server, available, reason)
                case renewal.WakeAt(at_s):
                    if server.timer is not None:
                        server.timer.cancel()
                    loop = asyncio.get_running_loop()
                    server.timer = loop.call_later(max(0.0, at_s - now_s), self._send, server, renewal.Wake())
                case renewal.Verify():
                    pass  # the attempt under way goes on to it

    def _ask(self, server: Server, number: int, limit_s: float) -> None:
        attempt = Attempt(number, self._now_s())
        if self._gate.refuses(server.id):  # no packet gets out: known at once, without a task
            self._finish(server, attempt, "unreachable", 0)
            self._send(server, renewal.Failed(number, "unreachable"))
            return
        server.attempt = attempt
        attempt.task = asyncio.get_running_loop().create_task(self._attempt(server, attempt, limit_s))
        self._tasks.add(attempt.task)
        attempt.task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ one attempt

    async def _attempt(self, server: Server, attempt: Attempt, limit_s: float) -> None:
        def retrieved(answer: Answer) -> bool:
            self._send(server, renewal.Retrieved(attempt.number, answer.epoch))
            return server.agent.asking == attempt.number

        try:
            answer = await self._renewer.renew(server, attempt, limit_s, self._map, retrieved)
        except Failure as failure:
            self._finish(server, attempt, failure.reason, 0)
            self._send(server, renewal.Failed(attempt.number, failure.reason))
            return
        except Exception:
            # A fault of ours must neither keep the server in service nor end its agent.
            log.exception("%s: attempt %d", server.id, attempt.number)
            self._finish(server, attempt, "verify", 0)
            self._send(server, renewal.Failed(attempt.number, "verify"))
            return
        epoch, lacks_confirmation = answer.epoch, answer.confirmed < answer.epoch
        self._finish(server, attempt, "", answer.count)
        self._send(server, renewal.Verified(attempt.number))
        del answer  # it holds the whole body
        if lacks_confirmation and not self._gate.refuses(server.id):
            await self._renewer.confirm(server, epoch, limit_s, self._map)

    # ------------------------------------------------------------ what is left behind

    def _finish(self, server: Server, attempt: Attempt, reason: str, records: int) -> None:
        """The attempt is over: end its task if that is not what calls, and record it."""
        if server.attempt is attempt:
            server.attempt = None
        if attempt.task is not None and attempt.task is not asyncio.current_task():
            attempt.task.cancel()
        outcome: history.Outcome = "done" if not reason else "unknown" if reason == "time-out" else "refused"
        waited_s = self._now_s() - attempt.asked_s
        record = history.Renewal(
            t=attempt.asked_s,
            server=server.id,
            cell=server.cell,
            outcome=outcome,
            waited_s=round(waited_s, 6),
            reason=reason,
            bytes=attempt.meter.bytes,
            records=records,
        )
        server.trace.append(record)
        self._recorder.add(record)
        self._metrics.renewal(outcome, reason, waited_s, attempt.meter.bytes)

    def _availability(self, server: Server, available: bool, reason: str) -> None:
        server.reason = reason
        record = history.Availability(
            t=self._now_s(), server=server.id, cell=server.cell, available=available, reason=reason
        )
        server.trace.append(record)
        self._recorder.add(record)

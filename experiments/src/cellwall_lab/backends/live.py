"""The state of a running world as its records tell it, for `wait`, `window` and the progress view.

Decides from records whether a condition holds now; starts and stops nothing. Both backends feed it
every record they write or read, so "clean" and "recovered" mean the same on both.
"""

from __future__ import annotations

from collections import deque

from cellwall import history
from cellwall.spec import WorldSpec

from ..verbs import CellWindow, FaultState, Until, WindowStats

KEEP_S = 60.0  # longest window anybody asks for (three renewal periods of the reference set)
RECOVERED_RATIO = 0.005  # issue: errors < 0.5 %
# Of requests that a recovery is told by: 200 of the reference set. It only ends a wait; the claim `recovered` is
# judged over two periods after it (guess; with 5 s each arm of the demo waited 3 s longer).
RECOVERED_WINDOW_S = 2.0
STUCK_RATIO = 0.3  # guess: far from both 0 and the plateau


class Live:
    """Records may arrive out of order by a second or so; they are placed by their own time."""

    def __init__(self, spec: WorldSpec, servers: dict[str, tuple[str, int]], large_records: float) -> None:
        """``servers``: id -> (cell, records); ``large_records``: from how many on a renewal counts as large."""
        self._spec = spec
        self._cell = {server: cell for server, (cell, _) in servers.items()}
        self._large = {server for server, (_, records) in servers.items() if records >= large_records}
        self.out: set[str] = set(servers)
        self.records = {server: records for server, (_, records) in servers.items()}  # as last delivered
        self.why = dict.fromkeys(servers, ("start", 0.0))  # why and since when each is in or out
        self.cut: dict[str, frozenset[str]] = {}  # active cut -> its targets
        self._last_out_s = float("-inf")  # when somebody was out last, or a fault was on
        self._requests: deque[tuple[float, bool]] = deque()
        self._renewals: deque[tuple[float, bool, float]] = deque()  # answered at, done, waited if large
        self._nodes: dict[str, history.NodeSample] = {}
        self._steal: deque[tuple[float, float]] = deque(maxlen=300)
        self.faults: dict[str, FaultState] = {}
        self.phase = "start"

    def add(self, record: history.Record) -> None:
        match record:
            case history.Availability():
                (self.out.discard if record.available else self.out.add)(record.server)
                self.why[record.server] = (record.reason, record.t)
                self._last_out_s = max(self._last_out_s, record.t)
            case history.Request():
                self._requests.append((record.t, record.outcome == "done"))
            case history.Renewal():
                waited = record.waited_s if record.server in self._large else -1.0
                if record.outcome == "done":
                    self.records[record.server] = record.records
                self._renewals.append((record.t + record.waited_s, record.outcome == "done", waited))
            case history.NodeSample():
                self._nodes[record.node] = record
            case history.HostSample():
                self._steal.append((record.t, record.steal_ratio))
            case history.Fault(state="on"):
                off_s = record.receipt.get("expires_s")
                self.faults[record.id] = FaultState(record.id, record.fault, len(record.targets), off_s)
                if record.fault == "cut":
                    self.cut[record.id] = frozenset(record.targets)
            case history.Fault():
                self.faults.pop(record.id, None)
                self.cut.pop(record.id, None)
                self._last_out_s = max(self._last_out_s, record.t)
            case history.Phase():
                self.phase = record.name
            case _:
                pass

    def window(self, now_s: float, last_s: float) -> WindowStats:
        self._forget(now_s)
        since_s = now_s - last_s
        requests = [done for t, done in self._requests if since_s <= t <= now_s]
        renewals = [(done, waited) for t, done, waited in self._renewals if since_s <= t <= now_s]
        large = sorted(waited for done, waited in renewals if done and waited >= 0)
        steal = [ratio for t, ratio in self._steal if t >= since_s]
        return WindowStats(
            now_s=now_s,
            phase=self.phase,
            servers=len(self._cell),
            servers_out=len(self.out),
            requests=len(requests),
            requests_failed=requests.count(False),
            renewals_done=sum(done for done, _ in renewals),
            renewals_failed=sum(not done for done, _ in renewals),
            large_p99_s=large[int(0.99 * (len(large) - 1))] if large else 0.0,
            steal_ratio=sum(steal) / len(steal) if steal else 0.0,
            cells=self._cells(),
        )

    def holds(self, until: Until, now_s: float) -> bool:
        """Whether a condition of `verbs.Wait` holds now."""
        out_ratio = len(self.out) / len(self._cell)
        match until:
            case "faults-off":
                return not self.faults
            case "clean":
                quiet_s = now_s - self._last_out_s
                return not self.faults and not self.out and quiet_s >= self._spec.renewal.renew_every_s
            case "stuck":
                return not self.faults and out_ratio > STUCK_RATIO
            case "recovered":
                stats = self.window(now_s, RECOVERED_WINDOW_S)
                few_failed = stats.requests_failed <= RECOVERED_RATIO * stats.requests
                return not self.faults and out_ratio <= RECOVERED_RATIO and few_failed

    def node_samples(self) -> list[history.NodeSample]:
        """Each node's last sample."""
        return list(self._nodes.values())

    def sick_cells(self) -> list[str]:
        """Cells with more servers out than recovery allows, in order."""
        return [c for c, w in self._cells().items() if w.servers_out > RECOVERED_RATIO * w.servers]

    def _cells(self) -> dict[str, CellWindow]:
        servers: dict[str, int] = {}
        out: dict[str, int] = {}
        for server, cell in self._cell.items():
            servers[cell] = servers.get(cell, 0) + 1
            out[cell] = out.get(cell, 0) + (server in self.out)
        cells = {}
        for cell in sorted(servers):
            nodes = [n for n in self._nodes.values() if n.cell == cell]
            cells[cell] = CellWindow(
                servers=servers[cell],
                servers_out=out[cell],
                queue=sum(n.in_service + n.waiting for n in nodes),
                oldest_s=max((n.oldest_s for n in nodes), default=0.0),
            )
        return cells

    def _forget(self, now_s: float) -> None:
        for queue in (self._requests, self._renewals):
            while queue and queue[0][0] < now_s - KEEP_S:
                queue.popleft()

"""A world server without a world: deterministic answers over the real socket, for tests of its callers.

A thread in a test (`FakeWorld`), or a backend in a process of its own (`python -m fake_world ARM.json`).
Time does not pass: `wait` returns at once. It goes through the same states as a run by hand: healthy,
stuck after a cut, everything out while paused, healthy after the resume.
"""

import contextlib
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cellwall import history
from cellwall_lab import verbs
from cellwall_lab.verbs import (
    VERBS,
    CellView,
    CellWindow,
    CutOn,
    FaultState,
    FleetState,
    ServerView,
    StepResult,
    Waited,
    WindowStats,
)

# Worlds in which the cut heals by itself, whatever else goes wrong.
HEALS = ("heals", "no-receipt", "outlives", "rollback-raises", "slow-once", "slow", "late-load", "no-metrics")
PATHS = {kind: path for path, (kind, _) in VERBS.items()}


class State:
    """What the fake knows. ``tweak`` changes one behaviour: see `carry_out`."""

    def __init__(self, cells=1, servers=100, tweak=""):
        self.cells, self.servers, self.tweak = cells, servers, tweak
        self.calls = []
        self.phase = ""
        self.now_s = 0.0
        self.state = "unhealthy" if tweak == "unhealthy" else "healthy"
        self.paused = set()
        self.spared = 0  # of the calls that "rollback-raises" would fail: those of a hypothesis before it
        self.fault_on = False
        self.name = "fake"
        self.tables = []
        self.stopped = threading.Event()

    def window(self):
        per = self.servers // self.cells
        cells = {}
        for number in range(self.cells):
            name = f"cell-{number}"
            struck = self.state in ("stuck", "unhealthy") and (number == 0 or self.tweak == "all-sick")
            out = per if self.paused & {"*", name} else int(0.6 * per) if struck else 0
            cells[name] = CellWindow(per, out, 40 if struck else 0, 1.5 if struck else 0.0)
        out = sum(c.servers_out for c in cells.values())
        return WindowStats(
            self.now_s, self.phase, self.servers, out, 500, 500 * out // self.servers, 200, 0, 0.9, 0.0, cells
        )

    def fleet(self):
        """Servers s-0000…, dealt to the cells in turn; of each cell the first ones are out."""
        window = self.window()
        servers, left = [], {name: cell.servers_out for name, cell in window.cells.items()}
        for number in range(self.servers):
            cell = f"cell-{number % self.cells}"
            out = left[cell] > 0
            left[cell] -= out
            state, reason = ("out", "time-out") if out else ("in", "renewed")
            servers.append(ServerView(f"s-{number:04d}", cell, "abc"[number % 3], number // 25, 1700, state, reason, 0))
        # A starved cell does not say how long its largest membership took.
        cells = {
            name: CellView(
                w.servers, w.servers_out, w.queue, w.oldest_s, 1, 0.1, bool(self.paused & {"*", name}), 1700,
                None if w.servers_out else 0.5, {}, not w.servers_out,
            )
            for name, w in window.cells.items()
        }  # fmt: skip
        faults = [FaultState("cut-1", "cut", 25, self.now_s + 2.0)] if self.fault_on else []
        return FleetState(self.now_s, self.phase, self.name, 2.0, servers, cells, window, faults, self.tables)

    def trace(self, server):
        """A good renewal, then three that failed; the first of them took the server out of service."""
        cell = {"server": server, "cell": "cell-0"}
        yield history.Renewal(t=-30.0, outcome="done", waited_s=0.9, bytes=350_000, records=1700, **cell)
        yield history.Renewal(t=-2.0, outcome="unknown", waited_s=2.0, reason="time-out", **cell)
        yield history.Availability(t=0.0, available=False, reason="time-out", **cell)
        yield history.Renewal(t=0.3, outcome="unknown", waited_s=2.0, reason="time-out", bytes=4096, **cell)
        yield history.Renewal(t=2.6, outcome="unknown", waited_s=2.0, reason="time-out", **cell)
        yield history.Renewal(t=4.9, outcome="refused", waited_s=0.0, reason="unreachable", **cell)

    def carry_out(self, verb):
        self.calls.append(verb)
        match verb:
            case verbs.Wait():
                if self.tweak == "slow":
                    time.sleep(30)
                if self.tweak == "slow-once" and sum(isinstance(c, verbs.Wait) for c in self.calls) == 1:
                    self.stopped.wait(5)
                self.now_s += verb.for_s or 1.0
                if verb.until == "faults-off":
                    self.fault_on = False
                return Waited(not (self.tweak == "never-clean" and verb.until == "clean"), verb.for_s or 1.0)
            case verbs.Cut():
                if verb.targets.servers == ["s-none"]:
                    return 400, "targets.servers: 's-none' is not a server; it must be s-0000 to s-0099"
                if self.tweak == "crashes":
                    print("cellwall: limiter ended unasked (killed by SIGKILL)", file=sys.stderr, flush=True)
                    os._exit(1)
                self.fault_on = True
                self.state = "healthy" if self.tweak in HEALS else "stuck"
                return CutOn("cut-1", self.servers // 4)
            case verbs.AdminProbe() | verbs.AddCapacity():
                if self.state == "stuck" and not self.paused and self.tweak != "open-door":
                    return StepResult("unknown", verb.deadline_s or 4.0, "time-out")
                return StepResult("done", 0.5)
            case verbs.Pause():
                self.paused.add(verb.cell)
                return StepResult("done", 0.1)
            case verbs.Resume():
                self.paused.discard(verb.cell)
                self.state = "healthy"
                return StepResult("done", 0.1)
            case verbs.LimitCpu() | verbs.Weight():
                return StepResult("refused" if self.tweak == "refuses" else "done", 0.1, "no")
            case verbs.Window():
                return self.window()
            case verbs.Fleet():
                return self.fleet()
            case verbs.Trace():
                return list(self.trace(verb.server))
            case verbs.GrowIndexes():
                if self.tweak == "refuses":
                    return StepResult("refused", 0.1, "no")
                count = verb.count * (verb.tables if isinstance(verb.tables, int) else len(verb.tables))
                return StepResult("done", 1.0, f"{count} of {count} indexes ACTIVE")
            case verbs.Faults():
                if self.tweak == "rollback-raises" and self.phase == "watch":
                    self.spared -= 1
                    if self.spared < 0:
                        return 504, "faults: no answer"
                on = [FaultState("cut-1", "cut", 25, 1.0)] if self.fault_on else []
                return on + [FaultState(f"pause-{c}", "pause", 1, None) for c in sorted(self.paused)]
            case verbs.MarkPhase():
                self.phase = verb.name
                if self.tweak == "dips" and verb.name == "watch":
                    self.state = "healthy"
        return None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind, _ = VERBS[self.path.strip("/")]
        try:
            answer = state.carry_out(msgspec.json.decode(body, type=kind))
        except msgspec.DecodeError as error:
            answer = 400, str(error)
        status = 200
        if isinstance(answer, tuple):
            status, answer = answer[0], {"error": answer[1]}
        data = msgspec.json.encode(answer)
        with contextlib.suppress(BrokenPipeError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        if kind is verbs.Stop:  # only now: the process ends with it
            self.wfile.flush()
            state.stopped.set()

    def address_string(self):
        return "test"

    def log_message(self, *args):
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(path, state):
    """Serve a state on a unix socket while the block lasts."""
    server = _Server(str(path), _Handler)
    server.state = state
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def main(config_path):
    config = json.loads(Path(config_path).read_text())
    out, tweak = Path(config["out"]), os.environ.get("FAKE_WORLD", "")
    if tweak == "refuses-world":
        print("fleet.servers: 7 is not allowed; it must be a multiple of 25", file=sys.stderr)
        return 3
    if tweak == "dies":
        print("no memory left", file=sys.stderr)
        return 9
    state = State(cells=config["spec"]["cells"], tweak=tweak)
    signal.signal(signal.SIGTERM, lambda *_: state.stopped.set())
    with serving(out / "world.sock", state):
        (out / "pid").write_text(str(os.getpid()))
        print("ready", flush=True)
        state.stopped.wait(60)
    (out / "calls.json").write_bytes(msgspec.json.encode([[PATHS[type(c)], c] for c in state.calls]))
    (out / "history.ndjson").write_bytes(b"".join(map(history.encode, sabotaged(tweak, healed(config)))))
    return 0


def healed(config):
    """The history of an arm that heals at once: every claim about a control arm holds for it."""
    names = [f"s-{n:04d}" for n in range(100)]
    yield history.World(
        t=0.0,
        backend="simulation",
        arm=config["arm"],
        seed=config["seed"],
        spec=config["spec"],
        servers=[[name, "cell-0", 0, "a", 0, 1700] for name in names],
        customers={"c-0": ["cell-0"]},
        versions={"cellwall": "test"},
        calibration={"c_record_s": 1e-5},
    )
    for name in names:
        yield history.Availability(t=0.1, server=name, cell="cell-0", available=True, reason="renewed")
    for t, name in ((1, "clean"), (31, "cut"), (34, "settle"), (74, "stuck"), (134, "watch"), (180, "end")):
        yield history.Phase(t=float(t), name=name)
    yield history.Step(t=30.0, step="admin-probe", cell="cell-0", outcome="done", took_s=0.5)
    receipt = {"servers": 25, "expires_s": 34.0}
    yield history.Fault(t=31.0, id="cut-1", fault="cut", state="on", targets=names[:25], receipt=receipt)
    for name in names[:25]:
        yield history.Availability(t=31.1, server=name, cell="cell-0", available=False, reason="link-lost")
        yield history.Availability(t=36.0, server=name, cell="cell-0", available=True, reason="renewed")
    for t in range(1, 181):
        yield history.CpuLimit(t=float(t), node="cell-0-node-0", limit_cores=1.0, cpu_s=0.3 * t, stopped_ratio=0.0)
    receipt = {"servers": 25, "refused": 60}
    yield history.Fault(t=34.0, id="cut-1", fault="cut", state="off", targets=names[:25], receipt=receipt)
    for t in range(2, 180):
        yield history.Renewal(t=float(t), server=names[t % 100], cell="cell-0", outcome="done", waited_s=0.5)
    for t in range(2, 180):
        for op in ("put", "get"):
            yield history.Request(
                t=float(t), customer="c-0", table="t-0", partition=0, op=op, outcome="done", latency_s=0.01,
                key=f"k-{t}", value=1,
            )  # fmt: skip
    for t in range(2, 180):
        yield history.Audit(t=181.0, customer="c-0", table="t-0", key=f"k-{t}", acknowledged=1, found=1, outcome="done")


def sabotaged(tweak, records):
    """The same history after something went wrong in the world or with who recorded it."""
    dip = {f"s-{n:04d}" for n in range(50, 60)}
    for record in records:
        match tweak, record:
            case "no-receipt", history.Fault(state="off"):
                yield replace(record, receipt={})
            case "outlives", history.Fault(state="off"):
                yield replace(record, t=70.0)
            case "dips", history.Phase(name="end"):
                for name in dip:
                    out = history.Availability(t=150.0, server=name, cell="cell-0", available=False, reason="time-out")
                    yield out
                    yield replace(out, t=156.0, available=True, reason="renewed")
                yield record
            case "late-load", history.Request():
                yield replace(record, late_s=0.142)
            case "no-metrics", history.Request() | history.Renewal() | history.NodeSample():
                pass
            case _:
                yield record


def nothing():
    """A probe that found no data: on Chaos Toolkit a crash without a journal."""
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""The small parts of the local backend: record files, the live state, the catalogue, costs, ports, processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cellwall import history
from cellwall.errors import Refused, Unavailable
from cellwall.placement import make_layout
from cellwall.spec import FleetSpec, WorldSpec
from cellwall_lab import children
from cellwall_lab.backends import binaries, tail
from cellwall_lab.backends.catalogue import make_catalogue
from cellwall_lab.backends.live import Live
from cellwall_lab.backends.processes import Processes, free_port, listen
from cellwall_lab.backends.tail import Tail

from ..waiting import DEADLINE_S, alive, state, until

FLEET = FleetSpec(servers=18, group_servers=6, large_records=40, large_share=0.34, mid_share=0.0)
LAYOUT = make_layout(WorldSpec(seed=3, fleet=FLEET), lambda name: Random(f"3/{name}"))


def phase(t: float, name: str = "") -> history.Phase:
    return history.Phase(t=t, name=name or f"at {t:g}")


WORLD = history.World(t=50.0, backend="local", arm="a", seed=1, spec={}, servers=[], customers={})

# ---------------------------------------------------------------- record files


def test_a_tail_gives_every_record_once_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    one, two, mine = (tmp_path / f"{name}.ndjson" for name in ("one", "two", "mine"))
    reader = Tail(tmp_path, skip="mine.ndjson")
    assert list(reader.new()) == []
    mine.write_bytes(history.encode(phase(9)))
    cut = history.encode(phase(2))
    one.write_bytes(history.encode(phase(1)) + cut[:11])
    assert list(reader.new()) == [phase(1)]
    assert list(reader.new()) == []
    with one.open("ab") as file:
        file.write(cut[11:-1])
    assert list(reader.new()) == [], "without its newline it may go on"
    two.write_bytes(history.encode(phase(3)))
    with one.open("ab") as file:
        file.write(cut[-1:] + history.encode(phase(4)))
    assert list(reader.new()) == [phase(2), phase(4), phase(3)]
    assert list(reader.new()) == []
    with two.open("ab") as file:
        file.write(b"nonsense\n" + history.encode(phase(5)))
    with pytest.raises(Refused, match="line 1: not a record"):
        list(reader.new())


def test_merge_sorts_by_time_with_the_world_first_and_drops_a_cut_off_line(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    (records / "a.ndjson").write_bytes(
        b"".join(map(history.encode, [phase(3), phase(1)])) + history.encode(phase(7))[:9]
    )
    (records / "b.ndjson").write_bytes(b"".join(map(history.encode, [phase(2), WORLD, phase(60)])))
    (records / "c.ndjson").write_bytes(b"")
    target = tmp_path / "history.ndjson"
    target.write_bytes(b"of an earlier time")
    assert tail.merge(records, target) == 5
    with target.open("rb") as lines:
        assert list(history.decode(lines)) == [WORLD, phase(1), phase(2), phase(3), phase(60)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.ndjson", "records"]

    (records / "d.ndjson").write_bytes(b"nonsense\n" + history.encode(phase(1)))
    before = target.read_bytes()
    with pytest.raises(Refused, match="line 1"):
        tail.merge(records, target)
    assert target.read_bytes() == before


# ---------------------------------------------------------------- the live state

PERIOD_S = WorldSpec().renewal.renew_every_s


def live() -> Live:
    servers = {f"s-{n}": (f"cell-{n % 2}", 100 if n < 4 else 10) for n in range(10)}
    return Live(WorldSpec(), servers, large_records=50)


def all_in(state: Live, t: float = 0.0) -> None:
    for n in range(10):
        state.add(history.Availability(t=t, server=f"s-{n}", cell=f"cell-{n % 2}", available=True))


def request(t: float, outcome: Any = "done") -> history.Request:
    return history.Request(t=t, customer="c", table="t", partition=0, op="get", outcome=outcome, latency_s=0.01)


def renewal(t: float, waited_s: float, server: str = "s-0", outcome: Any = "done") -> history.Renewal:
    return history.Renewal(t=t, server=server, cell="cell-0", outcome=outcome, waited_s=waited_s)


def test_a_window_counts_what_lies_in_it() -> None:
    state = live()
    all_in(state)
    for t, outcome in ((89.9, "done"), (90.0, "done"), (95.0, "unknown"), (92.0, "refused"), (100.5, "done")):
        state.add(request(t, outcome))
    state.add(renewal(89.0, 1.5))  # answered at 90.5: in
    state.add(renewal(99.0, 1.5))  # answered at 100.5: not yet
    state.add(renewal(91.0, 0.4, "s-9"))  # small: not in the percentile
    state.add(renewal(91.0, 2.0, "s-1", "unknown"))
    for t, steal in ((89.0, 0.9), (91.0, 0.1), (92.0, 0.3)):
        state.add(history.HostSample(t=t, steal_ratio=steal))
    for node, cell, oldest in (("a", "cell-0", 1.0), ("b", "cell-0", 3.0), ("c", "cell-1", 0.5)):
        sample = history.NodeSample(t=91, cell=cell, node=node, cpu_s=1, in_service=2, waiting=3, oldest_s=oldest)
        state.add(sample)
    state.add(history.Availability(t=95, server="s-3", cell="cell-1", available=False, reason="time-out"))
    state.add(phase(96, "stuck"))
    window = state.window(100.0, 10.0)
    assert (window.phase, window.servers, window.servers_out) == ("stuck", 10, 1)
    assert (window.requests, window.requests_failed) == (3, 2)
    assert (window.renewals_done, window.renewals_failed, window.large_p99_s) == (2, 1, 1.5)
    assert window.steal_ratio == pytest.approx(0.2)
    cells = {name: (c.servers, c.servers_out, c.queue, c.oldest_s) for name, c in window.cells.items()}
    assert cells == {"cell-0": (5, 0, 10, 3.0), "cell-1": (5, 1, 5, 0.5)}
    assert state.sick_cells() == ["cell-1"]
    empty = live().window(100.0, 10.0)
    assert (empty.servers_out, empty.requests, empty.large_p99_s, empty.steal_ratio) == (10, 0, 0.0, 0.0)


def test_conditions_hold_when_the_records_say_so() -> None:
    def holds(now_s: float) -> set[str]:
        conditions: tuple[Any, ...] = ("faults-off", "clean", "stuck", "recovered")
        return {until for until in conditions if state.holds(until, now_s)}

    state = live()
    assert holds(0.0) == {"faults-off", "stuck"}, "nobody has entered yet"
    all_in(state, t=10.0)
    assert holds(10.0 + PERIOD_S - 0.1) == {"faults-off", "recovered"}
    assert holds(10.0 + PERIOD_S) == {"faults-off", "clean", "recovered"}

    cut = history.Fault(t=50, id="cut-1", fault="cut", state="on", targets=["s-1", "s-2"], receipt={"expires_s": 53.0})
    state.add(cut)
    assert holds(50.0 + 2 * PERIOD_S) == set()
    assert (state.faults["cut-1"].targets, state.faults["cut-1"].off_s) == (2, 53.0)
    for n in range(4):
        state.add(history.Availability(t=51, server=f"s-{n}", cell="cell-0", available=False, reason="link-lost"))
    state.add(history.Fault(t=53, id="cut-1", fault="cut", state="off"))
    assert holds(60.0) == {"faults-off", "stuck"}
    all_in(state, t=61.0)
    for n in range(200):
        state.add(request(62 + n / 100, "unknown" if n < 2 else "done"))
    assert "recovered" not in holds(64.0), "1 % of the last 2 s failed"
    assert "recovered" in holds(64.1), "none of them did"
    assert "recovered" in holds(68.0), "none did"
    assert "clean" not in holds(61.0 + PERIOD_S - 0.1)
    assert "clean" in holds(61.0 + PERIOD_S)


# ---------------------------------------------------------------- catalogue and costs


def test_a_group_is_asked_in_proportion_to_its_servers_whatever_their_size() -> None:
    catalogue = make_catalogue(LAYOUT)
    home = {table.info.customer: table.group for table in LAYOUT.tables}
    weights = dict.fromkeys(range(3), 0.0)
    for customer in catalogue.customers:
        weights[home[customer.customer]] += customer.weight
    servers = [len(group) for group in LAYOUT.fleet.groups()]
    total = sum(weights.values())
    for group, weight in weights.items():
        assert weight / total == pytest.approx(servers[group] / sum(servers))
    records = [sum(LAYOUT.records[s] for s in group) for group in LAYOUT.fleet.groups()]
    assert max(records) > 5 * min(records), "a group of large memberships is among them"
    named = {table.id for customer in catalogue.customers for table in customer.tables}
    assert named == {table.info.id for table in LAYOUT.tables}
    first = [customer.weight for customer in catalogue.customers if home[customer.customer] == 0]
    assert max(first) > 2 * min(first), "customers of a group are uneven"


def test_without_a_store_the_refusal_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(shutil, "which", nothing)
    monkeypatch.setattr(binaries.importlib.util, "find_spec", nothing)
    with pytest.raises(Refused, match=r"no valkey-server or redis-server on PATH.*install.*`make setup`") as refusal:
        binaries.store_binary()
    assert "\n" not in str(refusal.value)


def test_a_store_on_the_path_comes_first_and_the_bundled_one_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bundled = binaries.store_binary()
    assert bundled.is_file() and os.access(bundled, os.X_OK)
    for name in ("redis-server", "valkey-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert binaries.store_binary() == program


def connects(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(DEADLINE_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_listener_that_is_shut_down_refuses_and_keeps_its_port() -> None:
    port = free_port()
    assert not connects(port)
    with listen(port) as listener:
        for _ in range(3):
            assert connects(port)
            listener.shutdown(socket.SHUT_RDWR)
            assert not connects(port)
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            assert port not in {free_port() for _ in range(20)}
            listener.listen(16)
        assert connects(port)
    assert not connects(port)


# ---------------------------------------------------------------- processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "arm")
    yield processes
    processes.end_all()


def python(code: str, *args: object) -> list[str | Path]:
    return [sys.executable, "-c", code, *map(str, args)]


WAIT = "import signal; signal.pause()"


def test_a_child_that_ends_unasked_is_named_with_the_end_of_its_log(processes: Processes) -> None:
    processes.start("good", python(WAIT))
    processes.start("done", python("pass"), may_end=True)
    until("it ends", lambda: processes.poll("done") == 0)
    assert processes.crashed() is None
    processes.check()
    processes.start("bad", python("print('x' * 5000); print('no space'); print('left on device'); raise SystemExit(7)"))
    until("it ends", lambda: processes.poll("bad") is not None)
    text = processes.crashed()
    assert text is not None and text.startswith("bad ended unasked (exit status 7): xxx")
    assert text.endswith("no space | left on device") and len(text) < 700 and "\n" not in text
    with pytest.raises(Unavailable, match="bad ended unasked"):
        processes.check()
    processes.end("bad")
    assert processes.crashed() is None


def test_a_child_killed_from_outside_is_named_too(processes: Processes) -> None:
    pid = processes.start("victim", python(WAIT))
    os.kill(pid, 9)
    until("it ends", lambda: processes.poll("victim") is not None)
    assert processes.crashed() == "victim ended unasked (killed by SIGKILL): nothing in logs/victim.log"


def test_waiting_for_a_child_has_an_end(processes: Processes) -> None:
    processes.start("slow", python(WAIT))
    assert processes.wait("slow", 0.05) is None
    processes.start("quick", python("raise SystemExit(4)"))
    assert processes.wait("quick", DEADLINE_S) == 4
    assert processes.crashed() is None, "its end was expected"


def test_the_end_leaves_nothing_not_even_grandchildren_or_the_deaf(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellwall_lab.backends.processes.END_GRACE_S", 0.3)
    deaf = (
        "import signal, subprocess, sys, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); signal.pause()"
    )
    note = tmp_path / "pid"
    pids = [
        processes.start("plain", python(WAIT)),
        processes.start("limiter", python(WAIT)),
        processes.start("deaf", python(deaf, note)),
    ]
    until("there is a grandchild", lambda: note.exists() and note.read_text() != "")
    pids.append(int(note.read_text()))
    stopped = processes.start("stopped", python(WAIT))
    os.kill(stopped, 19)
    assert all(map(alive, pids))
    processes.end_all()
    until("nobody is left", lambda: not any(map(alive, [*pids, stopped])))
    assert processes.crashed() is None
    processes.end_all()
    processes.end("nobody")


def test_children_die_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from cellwall_lab.backends.processes import Processes;"
        "here = Path(sys.argv[1]); p = Processes(here);"
        "pids = [p.start(n, [sys.executable, '-c', 'import signal; signal.pause()']) for n in 'abc'];"
        "(here / 'part').write_text(' '.join(map(str, pids))); (here / 'part').rename(here / 'pids'); signal.pause()"
    )
    parent = children.start(python(code, tmp_path))
    try:
        until("the children are there", (tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait(DEADLINE_S)
    until("nobody outlives the parent", lambda: not any(map(alive, pids)))


TIDY = (
    "import pathlib, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
    "pathlib.Path(sys.argv[1]).touch(); signal.pause(); signal.pause()"
)


def test_a_child_that_was_left_stopped_still_ends_in_order(tmp_path: Path) -> None:
    """As a metadata node whose limiter was killed: asked to end, it writes its records and ends by itself."""
    child = children.start(python(TIDY, tmp_path / "up"))
    until("it starts", (tmp_path / "up").exists)
    os.kill(child.pid, signal.SIGSTOP)
    assert children.end(child, DEADLINE_S) == 7


def test_a_child_that_was_left_stopped_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from cellwall_lab.backends.processes import Processes;"
        "here = Path(sys.argv[1]);"
        "pid = Processes(here).start('node', [sys.executable, '-c', 'import signal; signal.pause()'], may_stop=True);"
        "os.kill(pid, signal.SIGSTOP); (here / 'part').write_text(str(pid)); (here / 'part').rename(here / 'pid');"
        "signal.pause()"
    )
    parent = children.start(python(code, tmp_path))
    try:
        until("the child is there", (tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        until("it is stopped", lambda: state(pid) == "T")
    finally:
        parent.kill()
        parent.wait(DEADLINE_S)
    until("it does not outlive its parent", lambda: not alive(pid))

"""A small world of real processes: what its verbs do, and that nothing of it outlives anything."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from cellwall import history, registers
from cellwall.errors import Refused, Unavailable
from cellwall.history import Audit, Availability, CpuLimit, Fault, NodeSample, Phase, Renewal, Request, Step
from cellwall_lab import children, verbs

from ..waiting import until
from .conftest import CELLWALL, GONE_S, SETTINGS, SINGLE, TINY, customer, processes_of


def records(folder: Path) -> list[history.Record]:
    with (folder / "history.ndjson").open("rb") as file:
        return list(history.decode(file))


def test_a_world_from_start_to_stop(start):
    """Cut, pause, capacity, resume, weight and audit, in one world, since starting one takes seconds."""
    world = start()
    call = world.client.call
    window = call(verbs.Window(last_s=3.0))
    assert (window.servers, window.servers_out) == (50, 0)
    assert set(window.cells) == {"cell-0", "cell-1"}
    assert call(verbs.AdminProbe(deadline_s=10.0)).outcome == "done"

    # A table through the customers' door, placed, confirmed by its storage servers, written and read.
    with closing(customer(world.folder, "newcomer")) as db:
        db.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        until(
            "the table is ACTIVE",
            lambda: db.describe_table(TableName="orders")["Table"]["TableStatus"] == "ACTIVE",
            30.0,
        )
        db.put_item(TableName="orders", Item={"pk": {"S": "1"}, "n": {"N": "42"}})
        assert db.get_item(TableName="orders", Key={"pk": {"S": "1"}}, ConsistentRead=True)["Item"]["n"] == {"N": "42"}

    # A cut strikes exactly its targets, ends by itself and leaves a receipt.
    cut = call(verbs.Cut(targets=verbs.Targets(domain=0), for_s=2.0))
    assert cut.servers == 25
    assert [fault.id for fault in call(verbs.Faults())] == [cut.id]
    assert call(verbs.Wait(until="faults-off", deadline_s=15.0)).met
    assert call(verbs.Wait(until="recovered", deadline_s=30.0)).met

    # A pause refuses at once and empties the cell that it names, and no other.
    assert call(verbs.Pause(cell="cell-0")).outcome == "done"
    until("cell-0 has lapsed", lambda: call(verbs.Window()).cells["cell-0"].servers_out == 25, 20.0)
    assert call(verbs.Window()).cells["cell-1"].servers_out == 0
    assert call(verbs.AddCapacity(cell="cell-0", deadline_s=10.0)).outcome == "done"
    assert call(verbs.Resume(cell="cell-0")).outcome == "done"
    assert call(verbs.Wait(until="recovered", deadline_s=30.0)).met

    # Weights are read back; limits are the limiter's; wrong input is refused and changes nothing.
    assert call(verbs.Weight(cell="cell-1", partition=1, percent=50.0)).outcome == "done"
    assert call(verbs.LimitCpu(cell="cell-1", factor=0.5)).outcome == "done"
    assert call(verbs.Weight(cell="cell-1", partition=99, percent=50.0)).outcome == "refused"
    for wrong in (verbs.Pause(cell="cell-9"), verbs.LimitCpu(factor=0.0), verbs.Wait(until="clean")):
        with pytest.raises(Refused):
            call(wrong)
    with pytest.raises(Refused, match="no server"):
        call(verbs.Cut(targets=verbs.Targets(servers=["s-9999"]), for_s=1.0))
    call(verbs.MarkPhase(name="end"))
    call(verbs.Stop())
    assert world.process.wait(GONE_S) == 0, world.error()
    world.all_gone()

    seen = records(world.folder)
    assert isinstance(seen[0], history.World)
    assert [r.t for r in seen[1:]] == sorted(r.t for r in seen[1:])
    on, off = (next(r for r in seen if isinstance(r, Fault) and r.state == state) for state in ("on", "off"))
    assert off.receipt["servers"] == 25 and off.receipt["refused"] > 0
    assert 1.9 <= off.t - on.t <= 4.0
    struck = set(on.targets)
    lost = {r.server for r in seen if isinstance(r, Availability) and r.reason == "link-lost"}
    assert lost == struck
    assert not [r for r in seen if isinstance(r, Fault) and r.t > off.t], "no fault is on after trigger-off"
    assert {r.step for r in seen if isinstance(r, Step)} >= {"admin-probe", "pause", "add-capacity", "resume", "weight"}
    assert any(isinstance(r, Phase) and r.name == "end" for r in seen)
    assert {r.node for r in seen if isinstance(r, CpuLimit)} == {"cell-0-node-0", "cell-0-node-1", "cell-1-node-0"}
    done = [r for r in seen if isinstance(r, Renewal) and r.outcome == "done"]
    rows = {row[0]: row[5] for row in seen[0].servers}
    # `>=`: the table made above added records to some memberships.
    assert {r.server for r in done} == set(rows) and all(r.records >= rows[r.server] for r in done)
    requests = [r for r in seen if isinstance(r, Request)]
    audits = [r for r in seen if isinstance(r, Audit)]
    assert requests and audits and all(audit.outcome == "done" for audit in audits)
    assert not registers.check(requests, audits).broken


def test_capacity_is_locked_out_by_a_stopped_node_and_sigterm_ends_the_world_in_order(start):
    """An administrative request is one request with one deadline, answered by the node itself or not at all."""
    world = start(SINGLE)
    before = (world.folder / "map.json").read_bytes()
    (pid,) = [int(line.split()[0]) for line in processes_of(world.folder) if "configs/cell-0-node-0.json" in line]
    # The limiter continues what it did not stop only when it is over its quota, which an idle node never is.
    os.kill(pid, signal.SIGSTOP)
    try:
        result = world.client.call(verbs.AddCapacity(cell="cell-0", deadline_s=1.0))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.outcome == "unknown" and "time-out" in result.reason
    assert (world.folder / "map.json").read_bytes() == before
    assert not [line for line in processes_of(world.folder) if "cell-0-node-1.json" in line]
    assert world.client.call(verbs.AddCapacity(cell="cell-0", deadline_s=10.0)).outcome == "done"

    world.process.terminate()
    assert world.process.wait(GONE_S) == 0
    world.all_gone()
    assert any(isinstance(r, Renewal) for r in records(world.folder))


def test_kill_9_of_the_world_leaves_nothing(start):
    world = start(SINGLE)
    assert len(processes_of(world.folder)) >= 8
    os.kill(world.process.pid, signal.SIGKILL)
    world.process.wait()
    world.all_gone()


def test_a_crash_of_a_store_ends_the_world_and_says_so(start):
    """As that of any other child: the limiter's is below, the front end's in `test_living`."""
    world = start(SINGLE)
    (line,) = [line for line in processes_of(world.folder) if "unixsocket:cell-0.sock" in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
    assert world.process.wait(GONE_S) == 1
    assert "ended unasked (killed by SIGKILL)" in world.error().splitlines()[-1]
    world.all_gone()
    with pytest.raises(Unavailable):
        world.client.call(verbs.Window())


def test_nodes_that_a_killed_limiter_leaves_stopped_end_in_order(start):
    world = start()
    running = processes_of(world.folder)
    (limiter,) = [int(line.split()[0]) for line in running if "backends.limiter" in line]
    nodes = [int(line.split()[0]) for line in running if "cellwall_services.metadata" in line]
    for node in nodes:  # as if it dies in the part of a period in which they are over their quota
        os.kill(node, signal.SIGSTOP)
    os.kill(limiter, signal.SIGKILL)
    assert world.process.wait(GONE_S) == 1
    assert "limiter ended unasked (killed by SIGKILL)" in world.error().splitlines()[-1]
    world.all_gone()
    assert {r.node for r in records(world.folder) if isinstance(r, NodeSample)} == {"cell-0-node-0", "cell-1-node-0"}


def test_kill_9_of_the_runner_in_the_middle_leaves_nothing(tmp_path):
    """The whole chain: cellwall, Chaos Toolkit, world, children."""
    out = tmp_path / "run"
    runner = children.start([CELLWALL, "run", "september-2015", "--arm", "monolith", "--out", out, *SETTINGS])
    try:
        until("the world is up", (out / "monolith" / "world.sock").exists, 60.0)
        assert len(processes_of(out)) >= 10
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    until("every process is gone", lambda: not processes_of(out), GONE_S)
    assert json.loads((out / "verdict.json").read_text())["outcome"] == "unknown"


def test_worlds_that_cannot_be_are_refused_in_one_line(tmp_path):
    started_s = time.monotonic()
    log = tmp_path / "log"
    with log.open("wb") as file:
        # Lists too short: known only when a node has been calibrated.
        sets = ["--set", "fleet.servers=200", "--set", "fleet.large_records=100"]
        refused = children.start(
            [CELLWALL, "run", "september-2015", "--arm", "monolith", "--out", tmp_path / "r", *sets],
            stdout=file,
            stderr=file,
        )
        status = refused.wait(60)
    assert status == 3, log.read_text()
    (line,) = log.read_text().splitlines()[-1:]
    assert line.startswith("cellwall: fleet.large_records: 100 ")
    assert time.monotonic() - started_s < 60
    until("nothing is left running", lambda: not processes_of(tmp_path), GONE_S)


assert TINY.check() == []

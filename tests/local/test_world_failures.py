"""Failures of a small world of real processes: killed, replaced and back, with receipts; nothing else suffers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cellwall import history
from cellwall.errors import Refused
from cellwall.history import Audit, Availability, Fault, Renewal, Request
from cellwall_lab import verbs

from ..waiting import until
from .conftest import GONE_S, RENEW_EVERY_S, TINY, Started, processes_of

BACK_S = 60.0


def records(folder: Path) -> list[history.Record]:
    with (folder / "history.ndjson").open("rb") as file:
        return list(history.decode(file))


def pids(world: Started, word: str) -> set[int]:
    return {int(line.split()[0]) for line in processes_of(world.folder) if word in line}


def recovered(world: Started) -> None:
    assert world.client.call(verbs.Wait(until="faults-off", deadline_s=BACK_S)).met, world.error()
    assert world.client.call(verbs.Wait(until="recovered", deadline_s=BACK_S)).met


def out(world: Started, cell: str) -> int:
    found: int = world.client.call(verbs.Window()).cells[cell].servers_out
    return found


def stop(world: Started) -> list[history.Record]:
    world.client.call(verbs.Stop())
    assert world.process.wait(GONE_S) == 0, world.error()
    world.all_gone()
    return records(world.folder)


def test_store_node_and_zone_are_killed_and_come_back_with_what_they_held(start):
    world = start()
    call = world.client.call
    last_s = 2 * RENEW_EVERY_S

    (store,) = pids(world, "unixsocket:cell-0.sock")
    call(verbs.Kill(what="store", of="cell-0", for_s=last_s))
    until("cell-0 has no memberships to give", lambda: out(world, "cell-0") == 25, BACK_S)
    assert out(world, "cell-1") == 0
    recovered(world)
    assert pids(world, "unixsocket:cell-0.sock").isdisjoint({store})

    (node,) = pids(world, "configs/cell-0-node-0.json")
    call(verbs.Kill(what="node", of="cell-0", for_s=last_s))
    until("cell-0 is not answered", lambda: out(world, "cell-0") == 25, BACK_S)
    recovered(world)
    assert pids(world, "configs/cell-0-node-0.json").isdisjoint({node})
    assert call(verbs.AddCapacity(cell="cell-0", deadline_s=10.0)).outcome == "done", "a node like any other"

    lost = call(verbs.Kill(what="zone", of="b", for_s=last_s)).servers
    assert call(verbs.Window()).servers_out == lost
    recovered(world)
    with pytest.raises(Refused, match="'cell-9' is not a cell"):
        call(verbs.Kill(what="node", of="cell-9"))
    with pytest.raises(Refused, match="on kind"):
        call(verbs.NodeLoss(node="here", for_s=1.0))

    seen = stop(world)
    faults = [r for r in seen if isinstance(r, Fault)]
    assert [(f.id, f.state) for f in faults] == [(f"kill-{n}", state) for n in (1, 2, 3) for state in ("on", "off")]
    for on, off in zip(faults[::2], faults[1::2], strict=True):
        gone, back = off.receipt["gone"], off.receipt["back"]
        assert gone == on.receipt["gone"] and gone.keys() == back.keys() and gone != back
    mute = {r.server for r in seen if isinstance(r, Availability) and r.reason == "killed"}
    assert mute == set(faults[4].targets)
    zone = [r for r in seen if isinstance(r, Request) and faults[4].t <= r.t < faults[5].t]
    assert zone and sum(r.outcome != "done" for r in zone) <= 0.05 * len(zone), "two replicas of three"
    audits = [r for r in seen if isinstance(r, Audit)]
    assert audits and all(r.outcome == "done" and r.found >= r.acknowledged for r in audits), "no write was lost"


def test_bad_releases_are_rolled_to_one_cell_and_back(start):
    world = start()
    call = world.client.call

    call(verbs.Release(cell="cell-0", mode="epochs", for_s=2 * RENEW_EVERY_S))
    assert not pids(world, "configs/cell-0-node-0.json"), "its place was taken"
    until("cell-0 believes nothing", lambda: out(world, "cell-0") == 25, BACK_S)
    assert out(world, "cell-1") == 0
    recovered(world)

    call(verbs.Release(cell="cell-0", mode="crash", for_s=3 * RENEW_EVERY_S))
    recovered(world)
    call(verbs.Release(cell="cell-1", mode="slow", for_s=1.0))
    recovered(world)

    seen = stop(world)
    faults = {(f.id, f.state): f for f in seen if isinstance(f, Fault)}
    assert faults["release-2", "off"].receipt["crashes"] >= 1
    assert [faults[f"release-{n}", "on"].receipt["mode"] for n in (1, 2, 3)] == ["epochs", "crash", "slow"]
    on = faults["release-1", "on"]
    struck = [
        r
        for r in seen
        if isinstance(r, Renewal)
        and r.cell == "cell-0"
        and on.receipt["since_s"] <= r.t
        and r.t + r.waited_s < on.receipt["expires_s"]
    ]
    assert {r.reason for r in struck if r.outcome == "refused"} <= {"mismatch", "stale-epoch"}
    assert struck and not [r for r in struck if r.outcome == "done"]
    assert not [r for r in seen if isinstance(r, Renewal) and r.cell == "cell-1" and r.outcome != "done" and r.t < on.t]


def test_a_table_is_poisoned_through_the_customers_door_and_a_shared_store_serves_all_cells(start):
    world = start(msgspec.structs.replace(TINY, shared_store=True))
    call = world.client.call
    assert len(pids(world, "unixsocket:")) == 1
    struck = call(verbs.Poison(cell="cell-1", indexes=2, deadline_s=60.0)).servers
    assert 3 <= struck <= 25
    recovered(world)
    call(verbs.Kill(what="store", of="cell-0", for_s=2 * RENEW_EVERY_S))
    until("both cells are out", lambda: call(verbs.Window()).servers_out == 50, BACK_S)
    recovered(world)
    seen = stop(world)
    poison = next(f for f in seen if isinstance(f, Fault) and f.fault == "poison" and f.state == "off")
    assert (poison.receipt["outcome"], poison.receipt["said"]) == ("done", "2 of 2 indexes ACTIVE")
    longer = [r for r in seen if isinstance(r, Renewal) and r.server in poison.targets and r.outcome == "done"]
    rows = {row[0]: row[5] for row in seen[0].servers}  # type: ignore[union-attr]
    assert any(r.records > rows[r.server] for r in longer)

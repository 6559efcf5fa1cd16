"""The engine's storage servers: entry, renewal, cuts, time-outs, pauses, waves, and which node they ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest

from cellwall import history
from cellwall.capacity import Costs
from cellwall.spec import MetadataPolicy, RenewalPolicy
from cellwall_lab.backends.engine import DELAY_S, Cell, Loop, Node, Servers

RENEWAL = RenewalPolicy()
R, T = RENEWAL.renew_every_s, RENEWAL.time_limit_s
R_MAX = R * (1 + RENEWAL.jitter_ratio)
WAIT_MAX = RENEWAL.retry.wait_max_s
SLACK = 10 * DELAY_S


class Fleet:
    """Servers with one record each in one cell of one core; ``solo_s`` is what a renewal takes alone."""

    def __init__(self, servers: int = 6, solo_s: float = 0.01, nodes: int = 1) -> None:
        self.loop = Loop()
        self.records: list[history.Record] = []
        self.nodes = [
            Node(self.loop, f"n{i}", "cell-0", MetadataPolicy(partitions=1), Costs(solo_s, 0.0), 1.0)
            for i in range(nodes)
        ]
        self.cell = Cell("cell-0", self.nodes, 1)
        self.servers = Servers(
            self.loop,
            [f"s{i}" for i in range(servers)],
            [(self.cell, 0, 1)] * servers,
            RENEWAL,
            [Random(i) for i in range(servers)],
            self.records.append,
        )
        self.servers.pace(list(range(servers)), 0.0, 5.0, 1)

    def until(self, what: Callable[[], bool], deadline_s: float) -> float:
        """Let time pass until it holds; when it did. Fails at the deadline."""
        end_s = self.loop.now_s + deadline_s
        while not what():
            assert self.loop.now_s < end_s, f"not within {deadline_s} s"
            self.loop.run_until(self.loop.now_s + DELAY_S)
        return self.loop.now_s

    def renewals(self, since_s: float = 0.0) -> list[history.Renewal]:
        return [r for r in self.records if isinstance(r, history.Renewal) and r.t >= since_s]

    def left(self, since_s: float = 0.0) -> list[history.Availability]:
        return [r for r in self.records if isinstance(r, history.Availability) and not r.available and r.t > since_s]


def test_a_healthy_fleet_enters_and_renews_once_a_period():
    fleet = Fleet()
    fleet.until(lambda: all(fleet.servers.available), 5.0 + SLACK + 0.1)
    fleet.loop.run_until(100 * R)
    assert not fleet.left()
    renewals = fleet.renewals()
    assert {(r.outcome, r.reason, r.records) for r in renewals} == {("done", "", 1)}
    for name in {r.server for r in renewals}:
        asked = [r.t for r in renewals if r.server == name]
        gaps = [b - a for a, b in itertools.pairwise(asked)]
        assert 0 < gaps[0] <= 5.0 + R + SLACK, "the second keeps its place in a period after the entry"
        assert all(R * 0.9 - SLACK <= gap <= R * 1.1 + 0.1 + SLACK for gap in gaps[1:])
    assert fleet.cell.outstanding == {"n0": 0}
    assert all(r.waited_s >= 2 * DELAY_S + 0.01 - 1e-9 for r in renewals), "faster than the work it takes"


def test_a_cut_takes_servers_out_at_once_and_they_ask_again_within_one_retry_wait_of_its_end():
    fleet = Fleet()
    fleet.loop.run_until(20.0)
    fleet.servers.cut_off([1, 2])
    assert fleet.servers.available == [True, False, False, True, True, True]
    assert {(a.server, a.reason) for a in fleet.left()} == {("s1", "link-lost"), ("s2", "link-lost")}
    fleet.loop.run_until(23.0)
    refused = fleet.renewals(20.0)
    tries = [r for r in refused if r.server in ("s1", "s2")]
    assert {(r.outcome, r.reason) for r in tries} == {("refused", "unreachable")}
    assert 2 * 3.0 / (WAIT_MAX + SLACK) - 2 <= len(tries) <= 2 * 3.0 / RENEWAL.retry.wait_min_s
    assert abs(fleet.servers.refused - len(tries)) <= 2, "the receipt counts what the cut prevented"
    assert not fleet.servers.available[1]
    fleet.servers.cut.clear()
    fleet.until(lambda: all(fleet.servers.available), WAIT_MAX + SLACK + 0.1)


def test_a_cut_ends_a_renewal_under_way_and_the_node_learns_of_it():
    fleet = Fleet(servers=1, solo_s=1.0)
    fleet.until(lambda: fleet.nodes[0].admission.in_service == 1, 6.0)
    fleet.servers.cut_off([0])
    fleet.loop.run_until(fleet.loop.now_s + 2 * DELAY_S)
    assert (fleet.nodes[0].admission.in_service, fleet.nodes[0].abandoned) == (0, 1)
    assert [(r.outcome, r.reason) for r in fleet.renewals()] == [("refused", "unreachable")]
    assert fleet.cell.outstanding == {"n0": 0}
    fleet.loop.run_until(fleet.loop.now_s + 5.0)
    assert fleet.nodes[0].answered == 0


def test_a_renewal_that_takes_longer_than_the_limit_is_given_up_at_the_limit():
    fleet = Fleet(servers=1, solo_s=1.5 * T)
    fleet.loop.run_until(60.0)
    renewals = fleet.renewals()
    assert {(r.outcome, r.reason) for r in renewals} == {("unknown", "time-out")}
    assert all(r.waited_s == pytest.approx(T) for r in renewals)
    assert not any(fleet.servers.available)
    gaps = [b.t - a.t for a, b in itertools.pairwise(renewals)]
    assert all(T + RENEWAL.retry.wait_min_s - 1e-9 <= gap <= T + WAIT_MAX + 1e-9 for gap in gaps)


def test_just_within_the_limit_is_in_and_just_beyond_is_out():
    for solo_s, in_service in ((T - 2 * DELAY_S - 1e-4, True), (T - 2 * DELAY_S + 1e-4, False)):
        fleet = Fleet(servers=1, solo_s=solo_s)
        fleet.loop.run_until(10.0)
        assert fleet.servers.available == [in_service]


def test_a_server_in_service_that_times_out_leaves_and_says_why():
    fleet = Fleet(servers=3)
    fleet.loop.run_until(10.0)
    assert all(fleet.servers.available)
    fleet.nodes[0].cores = 0.01 / (3 * T)  # one renewal alone now takes 3T
    fleet.until(lambda: not any(fleet.servers.available), R_MAX + T + SLACK)
    assert {a.reason for a in fleet.left(10.0)} == {"time-out"}


def test_a_paused_cell_answers_nobody_and_everybody_leaves_at_their_own_renewal():
    fleet = Fleet(servers=20)
    fleet.loop.run_until(30.0)
    fleet.cell.paused = True
    spent_s = fleet.nodes[0].cpu_s
    assert all(fleet.servers.available), "a pause by itself takes nobody out"
    fleet.loop.run_until(30.0 + R * 0.3)
    assert any(fleet.servers.available)
    fleet.until(lambda: not any(fleet.servers.available), R_MAX + T)
    assert {a.reason for a in fleet.left(30.0)} == {"unreachable"}
    assert fleet.nodes[0].cpu_s <= spent_s + 20 * 0.01
    assert {(r.outcome, r.reason) for r in fleet.renewals(30.0)} == {("refused", "unreachable")}
    assert fleet.servers.refused == 0, "a pause is not a cut"
    fleet.cell.paused = False
    fleet.until(lambda: all(fleet.servers.available), WAIT_MAX + SLACK + 20 * 0.01)


def test_paced_servers_do_not_ask_before_their_wave():
    fleet = Fleet(servers=20)
    fleet.loop.run_until(10.0)
    fleet.cell.paused = True
    fleet.until(lambda: not any(fleet.servers.available), R_MAX + T + SLACK)
    start_s = fleet.loop.now_s
    fleet.servers.pace(list(range(20)), start_s + 5.0, 10.0, 1)
    fleet.cell.paused = False
    fleet.loop.run_until(start_s + 5.0)
    assert not any(fleet.servers.available)
    fleet.loop.run_until(start_s + 15.0 + 1.0)
    assert all(fleet.servers.available)
    first = [r.t for r in fleet.renewals(start_s + 4 * DELAY_S)]
    assert min(first) >= start_s + 5.0
    assert max(first) - min(first) > 5.0, "a wave, not a herd"


def test_the_caller_takes_the_node_with_the_fewest_outstanding():
    fleet = Fleet(servers=8, solo_s=0.5, nodes=2)
    fleet.loop.run_until(5.0)
    fleet.servers.cut_off(list(range(8)))
    fleet.servers.cut.clear()
    fleet.until(lambda: sum(fleet.cell.outstanding.values()) == 8, WAIT_MAX + SLACK)
    assert fleet.cell.outstanding == {"n0": 4, "n1": 4}


def test_a_new_node_serves_the_partitions_it_took_alone():
    fleet = Fleet()
    fleet.loop.run_until(10.0)
    new = Node(fleet.loop, "n9", "cell-0", MetadataPolicy(partitions=1), Costs(0.01, 0.0), 1.0)
    fleet.cell.add(new, [0])
    answered = fleet.nodes[0].answered
    fleet.loop.run_until(10.0 + 2 * R_MAX)
    assert fleet.nodes[0].answered == answered
    assert new.answered >= 6

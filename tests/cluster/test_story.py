"""The life of one small world on a real cluster, from its installation to the last of it.

The tests are one story, in this order: each finds the world healthy and leaves it so.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from cellwall import labels
from cellwall.model import CellMap
from cellwall.resources import cores

from .conftest import OPERATORS, ROOT, Cluster
from .watching import Look, holdings, published
from .world import HEALTHY_S, NAME, STEP_S, Customers, World, condition

SERVERS, GROUP_SERVERS = 96, 24
TIME_LIMIT_S = 3.0
VALUES = {
    "service": {
        "spec": {
            "cells": 1,
            "cpu": {"total": "1"},  # plenty: what is tested is the world, not the outage
            "partitions": 4,
            "renewal": {"everySeconds": 8, "timeLimitSeconds": TIME_LIMIT_S},
        }
    },
    "fleet": {"spec": {"servers": SERVERS, "groupServers": GROUP_SERVERS, "population": {"largeRecords": 100}}},
    "load": {"rps": 20, "spec": {"keys_per_table": 2}},
}
# Of customers' requests, from a change's beginning until the world is healthy again. A storage pod that restarts takes
# one replica of three: an eventually consistent read that asks just that one runs into its time-out, 2.4 % of all
# requests on two busy cores. A node that goes may take a renewal with it, whose server then is out for a retry.
FAILED_RATIO_MAX = 0.05
QUIET_S, REST_S = 15.0, 60.0
AUDIT_S = 90.0  # of the load's last look at its keys, which ends itself after 30
WRITER = f"system:serviceaccount:{OPERATORS}:cellwall"


@pytest.fixture(scope="module")
def world(cluster: Cluster, operator: str) -> Iterator[World]:
    world = World(cluster, "cellwall-story", VALUES)
    world.make_namespace()
    world.install()
    yield world
    world.remove()


@pytest.fixture(scope="module")
def customers(world: World) -> Customers:
    """They come once the world is healthy, and stay."""
    world.install(load={"enabled": True})
    world.comes("the customers' pod is there", lambda: bool(world.pods("load")))
    (pod,) = world.pods("load")
    world.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", f"--timeout={STEP_S:g}s", within_s=STEP_S + 10)
    customers = Customers(world)
    world.comes("a customer is served", lambda: customers.latest_s() > 0)
    return customers


@contextlib.contextmanager
def hardly_felt(world: World, customers: Customers) -> Iterator[None]:
    """What is done here, and its effects until the world is healthy: customers go on and hardly notice."""
    from_s = time.time()
    yield
    world.healthy()
    to_s = time.time()
    # Requests of before have ended by then: their time-out is a second.
    world.comes("a customer is served afterwards", lambda: customers.latest_s() > to_s + 1)
    ratio = customers.failed_ratio(from_s)
    print(f"{to_s - from_s:.0f} s, {100 * ratio:.2f} % of requests failed")
    assert ratio <= FAILED_RATIO_MAX


# ---------------------------------------------------------------- healthy


@pytest.mark.timeout(HEALTHY_S + 60)
def test_a_fleet_becomes_healthy(world: World) -> None:
    world.healthy(HEALTHY_S)
    for resource in (world.service(), world.cell(0), world.fleet()):
        assert condition(resource, "Stalled") == condition(resource, "Degraded") == "False", resource["status"]


def test_kubectl_shows_at_a_glance_how_it_is(world: World) -> None:
    def shown() -> dict[str, dict[str, str]]:
        rows = [
            line.split() for line in world.kubectl("get", "metadataservices,metadatacells,storagefleets").splitlines()
        ]
        heads = [row for row in rows if row and row[0] == "NAME"]
        assert len(heads) == 3
        names = [row for row in rows if row and row[0] != "NAME"]
        return {row[0].split(".")[0]: dict(zip(head, row, strict=True)) for head, row in zip(heads, names, strict=True)}

    world.comes("the headroom is known", lambda: "headroom" in world.cell(0)["status"])
    table = shown()
    service, cell, fleet = table["metadataservice"], table["metadatacell"], table["storagefleet"]
    assert (service["READY"], service["CELLS"], service["SERVERS"], service["PAUSED"]) == ("True", "1", "96", "false")
    assert int(service["MAP"]) == world.map().version
    assert (cell["READY"], cell["NODES"], cell["JOINED"], cell["PENDING"]) == ("True", "1", "1", "False")
    assert 0 < int(cell["HEADROOM"]) <= 100
    assert (fleet["READY"], fleet["SERVERS"], fleet["OUT"], fleet["PODS"]) == ("True", "96", "0", "6")


def test_customers_are_served(world: World) -> None:
    """The chart's own test: boto3 writes and reads an item in a cell."""
    assert "Succeeded" in world.helm("test", NAME)


# ---------------------------------------------------------------- at rest


def leader(cluster: Cluster) -> tuple[str, str]:
    """Who acts, and when it last said so."""
    spec = cluster.get(OPERATORS, "lease", "cellwall")["spec"]
    return spec.get("holderIdentity", ""), spec.get("renewTime", "")


def later(instant: str, seconds: float) -> str:
    """In the lease's own form, so that instants are compared as text."""
    at = datetime.fromisoformat(instant) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def writes(cluster: Cluster, from_: str, to: str) -> list[str]:
    """What the operator wrote between two instants, its lease apart: "12 patch pods/status", …"""
    lines = cluster.run(ROOT / "cluster/audit-count.sh", from_, to).splitlines()
    return [line.removesuffix(WRITER).strip() for line in lines if line.endswith(f" {WRITER}")]


def test_what_is_deleted_by_hand_comes_back(world: World) -> None:
    """And the API server's log tells who made it, so that a log without a line means something."""
    cell = f"{NAME}-cell-0"
    children = (f"pdb/{cell}-node", f"service/{labels.admin(cell)}", f"cm/{NAME}-hosts", f"cm/{labels.cell_map(NAME)}")

    def uids() -> set[str]:
        form = "--output=jsonpath={.items[*].metadata.uid}"
        return set(world.kubectl("get", *children, "--ignore-not-found", form).split())

    were, version = uids(), world.map().version
    assert len(were) == len(children)
    _, from_ = leader(world.cluster)
    world.kubectl("delete", *children)
    world.comes("all are there again", lambda: len(now := uids()) == len(children) and not now & were)
    assert world.map().version > version
    world.healthy()
    _, seen = leader(world.cluster)
    world.comes("the operator goes on", lambda: leader(world.cluster)[1] > seen)
    made = {line.split()[2] for line in writes(world.cluster, from_, leader(world.cluster)[1])}
    assert made >= {"poddisruptionbudgets", "services", "configmaps"}


@pytest.mark.timeout(STEP_S + 4 * REST_S)
def test_at_rest_the_operator_writes_nothing_but_its_lease(world: World) -> None:
    """The window begins when nothing was written for a while, and lasts as long as its leader is seen to renew."""
    cluster = world.cluster

    def rests() -> bool:
        _, now = leader(cluster)
        return not writes(cluster, later(now, -QUIET_S), now)

    world.comes("what is left of the changes before is written", rests)
    who, from_ = leader(cluster)
    world.comes("the leader goes on for a minute", lambda: leader(cluster)[1] >= later(from_, REST_S))
    still, to = leader(cluster)
    assert (writes(cluster, from_, to), still) == ([], who)


def test_writes_are_counted_from_now_on_too(cluster: Cluster) -> None:
    """As DESIGN.md's figure over five minutes was."""
    assert cluster.run(ROOT / "cluster/audit-count.sh", "1").splitlines()[-1].split()[1:3] == ["writes", "from"]


# ---------------------------------------------------------------- grown and bereaved


@pytest.mark.timeout(4 * STEP_S)
def test_a_node_more_joins_and_serves_and_one_less_is_not_missed(world: World, customers: Customers) -> None:
    def nodes(count: int) -> bool:
        cell = world.cell(0)
        return (
            cell["status"].get("nodes") == cell["status"].get("replicas") == count
            and condition(cell, "Ready") == "True"
            and condition(cell, "CapacityPending") == "False"
        )

    (first,) = world.pods("node")
    with hardly_felt(world, customers):
        world.kubectl("scale", f"metadatacell/{NAME}-cell-0", "--replicas=2")
        world.comes("two nodes have joined, and none is pending", lambda: nodes(2))
        capacity = world.cell(0)["status"]["capacity"]
        assert (capacity["attempts"], capacity["lastOutcome"]) == (1, "done")
        pods = world.pods("node")
        assert first in pods
        (second,) = pods.keys() - {first}
        addresses = {pod["status"]["podIP"] for pod in pods.values()}
        world.comes("both are behind the door for renewals", lambda: world.doors(0) == addresses)
        world.comes("the second answers renewals", lambda: bool(world.asked(second, labels.ADMIN_PORT, "statistics")))
        world.kubectl("scale", f"metadatacell/{NAME}-cell-0", "--replicas=1")
        world.comes("one node is left", lambda: nodes(1))


@pytest.mark.timeout(2 * STEP_S)
def test_another_operator_carries_out_what_was_asked_while_none_led(world: World, customers: Customers) -> None:
    cluster = world.cluster
    killed, _ = leader(cluster)
    machine = cluster.get(OPERATORS, "pod", killed)["spec"]["nodeName"]
    with hardly_felt(world, customers):
        kill(cluster, machine, killed)
        world.install(service={"spec": {"cpu": {"total": "800m"}}})
        # Its container would be started again, under the same name.
        cluster.kubectl("--namespace", OPERATORS, "delete", "pod", killed, "--wait=false")
        world.comes("another leads", lambda: leader(cluster)[0] not in ("", killed))
        world.comes("the cell has its new share", lambda: cores(world.cell(0)["spec"]["cpuPerNode"]) == 0.8)
        world.comes("its node is resized", lambda: [limit(pod) for pod in world.pods("node").values()] == [0.8])


def kill(cluster: Cluster, machine: str, pod: str) -> None:
    """SIGKILL to the operator of this pod, on the kind node that it runs on."""
    script = (
        "for process in /proc/[0-9]*; do "
        f"tr '\\0' '\\n' <$process/environ 2>/dev/null | grep -qx HOSTNAME={pod} && "
        "tr '\\0' ' ' <$process/cmdline | grep -q cellwall_operator && kill -9 ${process#/proc/} && echo killed; "
        "done; true"
    )
    assert "killed" in cluster.run("docker", "exec", machine, "sh", "-c", script)


def limit(pod: dict[str, Any]) -> float:
    """The CPU limit that the kubelet says is in force."""
    (container,) = pod["status"]["containerStatuses"]
    return cores(container["resources"]["limits"]["cpu"])


# ---------------------------------------------------------------- changed under load


@pytest.mark.timeout(5 * STEP_S)
def test_an_upgrade_under_load_replaces_every_pod_and_is_hardly_felt(world: World, customers: Customers) -> None:
    """A node's page size and the fleet's retry wait: settings that a running process does not change."""
    was = {component: world.uids(component) for component in ("node", "storage", "frontend", "load")}
    with hardly_felt(world, customers):
        world.install(service={"spec": {"queue": {"pageRecords": 40}, "renewal": {"retry": {"maxSeconds": 0.6}}}})
        for component in ("node", "storage"):
            world.comes(
                f"every {component} pod is another",
                lambda component=component: (
                    len(now := world.uids(component)) == len(was[component]) and not now & was[component]
                ),
                2 * STEP_S,
            )
    for component in ("frontend", "load"):  # what did not change is left alone
        assert world.uids(component) == was[component]


@pytest.mark.timeout(6 * STEP_S)
def test_groups_move_to_a_new_cell_and_back_and_never_have_two_owners(world: World, customers: Customers) -> None:
    first = world.map()
    groups = SERVERS // GROUP_SERVERS
    with published(world) as maps, holdings(world, (0, 1), sorted(first.servers)) as looks:
        with hardly_felt(world, customers):
            world.install(service={"spec": {"cells": 2}})
            world.comes("groups are in two cells", lambda: settled(world, 2))
        grown = world.map()
        with hardly_felt(world, customers):
            world.install(service={"spec": {"cells": 1}})
            world.comes("all groups are back", lambda: settled(world, 1))
        last = world.map()
        world.comes("the watch has seen the last version", lambda: bool(maps) and maps[-1] == last)
        maps = list(maps)

    moved = {s.group for s in grown.servers.values() if s.cell == "cell-1"}
    assert 1 <= len(moved) <= math.ceil(groups / 2)
    assert {s.cell for s in last.servers.values()} == {"cell-0"}
    assert {s.cell for s in first.servers.values()} == {"cell-0"}
    versions_are_whole(maps)
    one_owner_each(looks, moved_servers={s.id for s in grown.servers.values() if s.group in moved})
    world.comes("nothing of the cell that went is left", lambda: not [n for n in world.left() if "cell-1" in n])


def settled(world: World, cells: int) -> bool:
    service = world.service()
    status = service["status"]
    return (
        condition(service, "Ready") == "True"
        and status["cells"] == cells
        and len(set(status["groups"].split())) == cells
    )


def versions_are_whole(maps: list[CellMap]) -> None:
    """None is skipped, none is changed once published, each names cells that it lists, and groups move one at a time
    and whole."""
    for older, newer in itertools.pairwise(maps):
        assert newer.version - older.version in (0, 1)
        assert newer.version != older.version or newer == older
        assert {server.cell for server in newer.servers.values()} <= newer.cells.keys()
        assert newer.servers.keys() == older.servers.keys()
        moved = {name for name, server in newer.servers.items() if server.cell != older.servers[name].cell}
        changed = {newer.servers[name].group for name in moved}
        assert len(changed) <= 1
        assert moved == {name for name, server in newer.servers.items() if server.group in changed}


def one_owner_each(looks: list[Look], moved_servers: set[str]) -> None:
    """Of looks that took less than a move's shortest hand-over: a longer one could see both ends of it."""
    quick = [look for look in looks if look.to_s - look.from_s < TIME_LIMIT_S and "cell-0" in look.phases]
    assert quick
    for look in quick:
        assert {s: who for s, who in look.who("owned").items() if len(who) > 1} == {}
        if "cell-1" in look.phases:  # both answered: somebody has a list for every server
            assert {s: who for s, who in look.who("owned", "leaving", "ready").items() if not who} == {}
    on_the_way = {s for look in quick for s, who in look.who("leaving", "ready").items() if who}
    assert on_the_way == moved_servers


# ---------------------------------------------------------------- the end


@pytest.mark.timeout(2 * STEP_S)
def test_every_acknowledged_write_of_all_that_is_readable(world: World, customers: Customers) -> None:
    found = customers.stop(AUDIT_S)
    print(f"{found.acknowledged} acknowledged writes to {found.keys} keys, {found.audits} read again")
    assert found.acknowledged > 100
    assert (found.broken, found.unknown) == ([], [])
    assert found.audits > 0


def test_an_uninstallation_leaves_nothing(world: World) -> None:
    assert len(world.left()) > 20
    world.helm("uninstall", NAME)
    world.comes("nothing is left in the namespace", lambda: world.left() == [])

"""Objects are read as the API server has them, and conditions keep their times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.model import ServerEntry
from cellwall.resources import StorageFleetSpec
from cellwall.spec import ZONES
from cellwall_operator import names
from cellwall_operator.actions import Ref
from cellwall_operator.conditions import Finding, Trouble, dated, events, kstatus, plain
from cellwall_operator.manifests.common import cpu, cpu_request, size_bytes
from cellwall_operator.objects import read_pod, read_resource, statistics, trimmed
from cellwall_operator.plan.world import pods

REF = Ref("cellwall.dev/v1alpha1", "MetadataCell", "world-cell-0", "uid")

# ---------------------------------------------------------------- objects


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": "u", "labels": {names.COMPONENT: "node", names.CELL: "cell-0"}, **meta},
        "spec": {"containers": [{"name": "node", "resources": {"limits": {"cpu": "100m"}}}]},
        "status": status,
    }


def waiting(reason: str, /, **last: Any) -> dict[str, Any]:
    state = {"state": {"waiting": {"reason": reason, "message": "m"}}, "started": False}
    return {"containerStatuses": [{**state, "lastState": {"terminated": last} if last else {}}]}


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({}, ""),
        (waiting("ContainerCreating"), ""),
        (waiting("ImagePullBackOff"), "ImagePullBackOff: m"),
        (
            waiting("CrashLoopBackOff", reason="OOMKilled", exitCode=137),
            "CrashLoopBackOff: m; it ended last with OOMKilled 137",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no cpu"}
                ]
            },
            "Unschedulable: no cpu",
        ),
    ],
)
def test_what_keeps_a_pod_from_starting(status: dict[str, Any], trouble: str) -> None:
    assert read_pod(pod(status)).trouble == trouble


def test_a_pod_is_started_when_all_its_containers_are() -> None:
    assert not read_pod(pod({"containerStatuses": []})).started
    assert not read_pod(pod({"containerStatuses": [{"started": True}, {"started": False}]})).started
    assert read_pod(pod({"containerStatuses": [{"started": True}]})).started


def test_joined_is_a_condition_and_the_nudge_an_annotation() -> None:
    conditions = [{"type": names.JOINED, "status": "True"}, {"type": "Ready", "status": "False"}]
    read = read_pod(pod({"conditions": conditions}, annotations={names.MAP_VERSION: "7"}))
    assert read.joined and not read.ready and read.nudged == 7
    assert read_pod(pod({}, annotations={names.MAP_VERSION: "?"})).nudged == 0


def test_a_spec_that_cannot_be_read_is_told_and_not_lost() -> None:
    body = {"kind": "StorageFleet", "metadata": {"name": "f", "generation": 3}, "spec": {"service": "w", "servers": 1}}
    read = read_resource(body, StorageFleetSpec)
    assert read.spec is None and "servers" in read.wrong and read.generation == 3


def test_a_server_that_two_nodes_served_counts_once_as_of_its_last_retrieval() -> None:
    one = {"s-1": {"records": 9, "retrieval_s": 0.5, "at": 10.0}, "s-2": {"records": 4, "retrieval_s": 0.1, "at": 1.0}}
    other = {"s-1": {"records": 12, "retrieval_s": 0.7, "at": 20.0}}
    for answers in ([one, other], [other, one]):
        told = statistics(answers)
        assert told is not None
        assert (told.servers, told.records, told.largest, told.largest_records) == (2, 16, "s-1", 12)
        assert told.retrieval_s == 0.7
    assert statistics([{}, {}]) is None


def test_a_child_is_kept_without_its_managed_fields() -> None:
    body = {"metadata": {"name": "x", "managedFields": [1]}, "spec": {}}
    assert trimmed(body) == {"metadata": {"name": "x"}, "spec": {}}


# ---------------------------------------------------------------- conditions


def test_the_time_of_transition_moves_only_with_the_status() -> None:
    first = dated([Finding("Ready", False, "Starting", "1 of 2")], {}, 1, 1000.0)
    before = {"conditions": [plain(one) for one in first]}
    (same,) = dated([Finding("Ready", False, "Waiting", "2 of 2")], before, 2, 2000.0)
    assert (same.last_transition_time, same.reason, same.observed_generation) == ("1970-01-01T00:16:40Z", "Waiting", 2)
    (turned,) = dated([Finding("Ready", True, "Ready")], before, 2, 2000.0)
    assert turned.last_transition_time == "1970-01-01T00:33:20Z"


def by_type(findings: list[Finding]) -> dict[str, tuple[bool, str]]:
    return {finding.type: (finding.status, finding.reason) for finding in findings}


def test_what_is_stalled_is_not_ready_and_not_being_worked_on() -> None:
    stalled, lesser = Trouble("NoFleet", "make one", stalled=True), Trouble("NodeNotReady", "look")
    assert by_type(kstatus(True, "well", False, "doing", [lesser, stalled])) == {
        "Ready": (False, "NoFleet"),
        "Reconciling": (False, "Settled"),
        "Stalled": (True, "NoFleet"),
        "Degraded": (True, "NodeNotReady"),
    }


@given(st.booleans(), st.booleans(), st.lists(st.booleans(), max_size=3))
def test_ready_is_never_stalled_and_stalled_never_reconciling(ready: bool, settled: bool, stalls: list[bool]) -> None:
    troubles = [Trouble(f"T{number}", "m", stalled=stalled) for number, stalled in enumerate(stalls)]
    found = by_type(kstatus(ready, "well", settled, "doing", troubles))
    assert found["Stalled"][0] == any(stalls)
    assert not (found["Stalled"][0] and (found["Ready"][0] or found["Reconciling"][0]))
    assert found["Degraded"][0] == (not all(stalls))


def test_an_event_is_told_of_a_change_and_one_for_each_trouble() -> None:
    trouble = kstatus(False, "", True, "", [Trouble("StoreNotReady", "its volume is full")])
    told = events(REF, trouble, {})
    assert [(event.type, event.reason, event.message) for event in told] == [
        ("Warning", "StoreNotReady", "its volume is full")
    ]
    before = {"conditions": [plain(one) for one in dated(trouble, {}, 1, 0.0)]}
    assert events(REF, trouble, before) == []
    well = kstatus(True, "all serve", True, "", [])
    assert {(event.type, event.reason) for event in events(REF, well, before)} == {
        ("Normal", "Ready"),
        ("Normal", "DegradedOver"),
    }


# ---------------------------------------------------------------- quantities, and servers in pods


@pytest.mark.parametrize(("asked", "written"), [("1000m", "1"), ("0.4", "400m"), ("2", "2"), ("1.5", "1500m")])
def test_cpu_is_written_as_the_server_writes_it(asked: str, written: str) -> None:
    assert cpu(asked) == written


@pytest.mark.parametrize(("limit", "request_"), [("1", "50m"), ("40m", "40m"), ("50m", "50m")])
def test_a_request_is_never_more_than_its_limit(limit: str, request_: str) -> None:
    assert cpu_request(limit) == request_


def test_sizes() -> None:
    assert (size_bytes("1Gi"), size_bytes("1.5Ki")) == (2**30, 1536)


@given(st.integers(3, 200), st.integers(1, 40))
def test_every_server_is_in_one_pod_of_its_zone_and_no_pod_has_too_many(servers: int, per_pod: int) -> None:
    entries = {f"s-{n:04d}": ServerEntry(f"s-{n:04d}", "cell-0", 0, ZONES[n % 3], 0) for n in range(servers)}
    dealt = pods(entries, per_pod)
    assert sorted(name for hosts in dealt.values() for host in hosts for name in host) == sorted(entries)
    for zone, hosts in dealt.items():
        assert all(0 < len(host) <= per_pod for host in hosts)
        assert all(entries[name].zone == zone for host in hosts for name in host)
        assert [name for host in hosts for name in host] == sorted(name for host in hosts for name in host)

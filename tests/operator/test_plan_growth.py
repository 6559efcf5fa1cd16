"""Cells are added to a running service and removed from it: what a user sees, and that nothing unsafe happens."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall_operator import names
from cellwall_operator.actions import Apply, GroupStep

from .fake_cluster import Cluster
from .test_plan_interrupted import carry_out, phrases

FLEET = {"servers": 150, "serversPerPod": 50, "population": {"largeRecords": 20}}  # six groups
SERVICE = ("MetadataService", "world")


def running(cells: int = 2) -> Cluster:
    cluster = Cluster({"cells": cells}, FLEET)
    cluster.rest()
    cluster.wait(100)
    return cluster


def ask_for(cluster: Cluster, **spec: Any) -> None:
    cluster.put(*SERVICE, {**cluster.objects[SERVICE]["spec"], **spec})


def node_json(cluster: Cluster, cell: str) -> str:
    text: str = cluster.objects["ConfigMap", f"{cell}-node"]["data"]["node.json"]
    return text


def test_a_cell_that_is_added_gets_its_share_of_groups_and_the_others_keep_theirs() -> None:
    cluster = running()
    before = cluster.cell_of
    ask_for(cluster, cells=3)
    cluster.rest(400)
    assert cluster.names_of("MetadataCell") == ["world-cell-0", "world-cell-1", "world-cell-2"]
    moved = [group for group, (old, new) in enumerate(zip(before, cluster.cell_of, strict=True)) if old != new]
    assert len(moved) == 2 and {cluster.cell_of[group] for group in moved} == {2}
    assert cluster.open("world-cell-2")
    status = cluster.objects[SERVICE]["status"]
    assert status["groups"] == " ".join(map(str, cluster.cell_of))
    assert cluster.condition(*SERVICE, "Ready")[0] == "True"
    assert cluster.objects["MetadataCell", "world-cell-2"]["status"]["groups"] == 2
    assert cluster.objects["MetadataCell", "world-cell-2"]["status"]["servers"] == 50
    # What it was told at its creation never changes: that would start its nodes anew.
    assert '"begins_empty": true' in node_json(cluster, "world-cell-2")
    assert "begins_empty" not in node_json(cluster, "world-cell-0")
    remembered = cluster.objects["ConfigMap", "world-map"]["metadata"]["annotations"][names.MOVES]
    assert remembered == '{"number":2}'


def test_cells_keep_the_larger_share_of_the_cpu_until_the_groups_have_moved() -> None:
    cluster = running()
    ask_for(cluster, cells=3, cpu={"total": "1200m"})
    shares = set()
    for _ in range(60):
        cluster.settle()
        for action in cluster.plan().actions:
            cluster.do(action)
        shares.add((len(set(cluster.cell_of)), cluster.objects["MetadataCell", "world-cell-0"]["spec"]["cpuPerNode"]))
        cluster.wait(1)
        if "1 more" in cluster.condition(*SERVICE, "Reconciling")[2]:
            assert cluster.objects["MetadataCell", "world-cell-0"]["spec"]["cpuPerNode"] == "600m"
    cluster.rest(400)
    assert cluster.objects["MetadataCell", "world-cell-0"]["spec"]["cpuPerNode"] == "400m"
    assert (2, "600m") in shares and (3, "400m") in shares and (2, "400m") not in shares
    ask_for(cluster, cells=2)
    for _ in range(5):
        cluster.settle()
        for action in cluster.plan().actions:
            cluster.do(action)
    assert cluster.objects["MetadataCell", "world-cell-0"]["spec"]["cpuPerNode"] == "600m", "first more, then groups"


def test_a_cell_that_is_removed_goes_when_it_serves_nobody() -> None:
    cluster = running(3)
    before = cluster.cell_of
    ask_for(cluster, cells=2)
    cluster.settle()
    assert not [a for a in cluster.plan().actions if type(a).__name__ == "Delete"]
    cluster.rest(400)
    assert cluster.names_of("MetadataCell") == ["world-cell-0", "world-cell-1"]
    assert [new for old, new in zip(before, cluster.cell_of, strict=True) if old != 2] == [c for c in before if c != 2]
    assert cluster.map is not None and set(cluster.map.cells) == {"cell-0", "cell-1"}
    ask_for(cluster, cells=3)  # and once more: it begins empty now
    cluster.rest(400)
    assert '"begins_empty": true' in node_json(cluster, "world-cell-2")
    assert set(cluster.cell_of) == {0, 1, 2}


def test_what_is_under_way_is_told_and_an_overloaded_cell_is_a_trouble() -> None:
    cluster = running()
    cluster.overloaded = {"world-cell-0", "world-cell-1"}
    ask_for(cluster, cells=3)
    for _ in range(40):
        cluster.settle()
        for action in cluster.plan().actions:
            cluster.do(action)
        cluster.wait(1)
    state, reason, message = cluster.condition(*SERVICE, "Degraded")
    assert (state, reason) == ("True", "MovePending") and "no answer in time" in message
    assert "moves from cell-" in cluster.condition(*SERVICE, "Reconciling")[2]
    assert len(set(cluster.cell_of)) == 2
    cluster.overloaded = set()
    cluster.rest(400)
    assert cluster.condition(*SERVICE, "Degraded")[0] == "False"
    assert len(set(cluster.cell_of)) == 3


def test_more_cells_than_the_fleet_can_have_are_refused_and_all_goes_on() -> None:
    cluster = running()
    before = cluster.cell_of
    ask_for(cluster, cells=7)
    cluster.rest()
    state, reason, message = cluster.condition(*SERVICE, "Stalled")
    assert (state, reason) == ("True", "InvalidWorld") and "cells" in message
    assert cluster.cell_of == before and len(cluster.names_of("MetadataCell")) == 2
    ask_for(cluster, cells=2)
    cluster.rest()
    assert cluster.condition(*SERVICE, "Stalled")[0] == "False"


def test_the_map_deleted_by_hand_after_moves_is_made_again_as_it_was() -> None:
    cluster = running()
    ask_for(cluster, cells=3)
    cluster.rest(400)
    before = cluster.cell_of
    cluster.delete("ConfigMap", "world-map")
    cluster.rest(400)
    assert cluster.cell_of == before
    ask_for(cluster, cells=2)
    cluster.rest(400)
    assert set(cluster.cell_of) == {0, 1}


def test_a_pause_holds_moves_into_the_paused_cell_back() -> None:
    cluster = running()
    ask_for(cluster, cells=3)
    while not [a for a in cluster.plan().actions if isinstance(a, GroupStep) and a.verb == "fetch"]:
        cluster.settle()
        for action in cluster.plan().actions:
            cluster.do(action)
        cluster.wait(0.5)
    spec = cluster.objects["MetadataCell", "world-cell-2"]["spec"]
    cluster.put("MetadataCell", "world-cell-2", {**spec, "paused": True})
    before = cluster.cell_of
    for _ in range(40):
        cluster.settle()
        for action in cluster.plan().actions:
            cluster.do(action)
        cluster.wait(1)
    assert cluster.cell_of == before
    assert "its door is not open" in cluster.condition(*SERVICE, "Degraded")[2]
    cluster.put(
        "MetadataCell", "world-cell-2", {**cluster.objects["MetadataCell", "world-cell-2"]["spec"], "paused": False}
    )
    cluster.rest(400)
    assert 2 in cluster.cell_of


def test_the_map_is_written_only_if_nobody_else_has_written_it() -> None:
    cluster = running()
    ask_for(cluster, cells=3)
    for _ in range(60):
        cluster.settle()
        for action in cluster.plan().actions:
            if isinstance(action, Apply) and action.manifest["metadata"]["name"] == "world-map":
                assert (
                    action.resource_version == cluster.objects["ConfigMap", "world-map"]["metadata"]["resourceVersion"]
                )
            cluster.do(action)
        cluster.wait(1)


@pytest.mark.parametrize("deed", [("forget", None), ("delete", ("ConfigMap", "world-map")), ("edit", "map")])
@settings(max_examples=12, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(0, 90), st.booleans())
def test_whatever_is_lost_at_whatever_moment_of_a_move(
    deed: tuple[str, Any], cells: int, number: int, backwards: bool
) -> None:
    """The operator forgets all, or the map with all that is remembered is deleted, after any single action."""
    cluster = running()
    cluster.backwards = backwards
    cluster.known_stores()
    ask_for(cluster, cells=cells)
    after_actions(cluster, number)
    carry_out(cluster, *deed)
    cluster.rest(400)
    assert set(cluster.cell_of) == set(range(cells))
    assert cluster.stores is not None
    for group, cell in enumerate(cluster.cell_of):
        assert cluster.stores.phases(group) == {cell: "owned"}


def after_actions(cluster: Cluster, number: int) -> bool:
    """Carry out so many actions of plans; False if there are not so many."""
    for _ in range(150):
        cluster.settle()
        for action in cluster.plan().actions:
            if number == 0:
                return True
            cluster.do(action)
            number -= 1
        cluster.wait(0.5)
    return False


stories = st.lists(
    st.one_of(phrases, st.integers(1, 4).map(lambda cells: [("cells", cells)]), st.just([("round", [99, 98])] * 6)),
    max_size=20,
)


@settings(max_examples=60)
@given(st.booleans(), stories)
def test_cells_come_and_go_whatever_else_is_done(backwards: bool, story: list[list[tuple[str, Any]]]) -> None:
    cluster = running()
    cluster.backwards = backwards
    cluster.known_stores()
    for deed, value in itertools.chain(*story):
        if deed == "cells":
            ask_for(cluster, cells=value)
        else:
            carry_out(cluster, deed, value)
    cluster.overloaded = cluster.stopped = set()
    for kind, name in (SERVICE, *(("MetadataCell", name) for name in cluster.names_of("MetadataCell"))):
        cluster.put(kind, name, {**cluster.objects[kind, name]["spec"], "paused": False})
    cluster.rest(1500)
    before = len(cluster.writes)
    cluster.wait(3600)
    cluster.rest()
    assert len(cluster.writes) == before, "something is written at rest"
    asked = cluster.objects[SERVICE]["spec"]["cells"]
    assert set(cluster.cell_of) == set(range(asked))
    assert cluster.names_of("MetadataCell") == [f"world-cell-{number}" for number in range(asked)]
    assert cluster.stores is not None
    for group, cell in enumerate(cluster.cell_of):
        assert cluster.stores.phases(group)[cell] == "owned"

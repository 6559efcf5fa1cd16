"""Whatever is done to a world, and wherever a plan is cut short, nothing unsafe is done and it comes to rest.

Safety is asserted by `Cluster.check` after every single action: versions of the map only rise and a published one never
changes, a door opens only for servers that are paced and never while paused, a cell's nodes are never written again,
two zones never restart together.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall_operator import names
from cellwall_operator.objects import Installation

from .fake_cluster import Cluster

SMALL = {"servers": 75, "serversPerPod": 13, "population": {"largeRecords": 20}}
EXAMPLES = 60  # a story each, of about 0.1 s
CHILDREN = [
    ("ConfigMap", "world-map"),
    ("ConfigMap", "world-fill"),
    ("ConfigMap", "world-hosts"),
    ("Job", "world-fill"),
    ("Service", "world"),
    ("Service", "world-cell-0-renewal"),
    ("Service", "world-cell-1-admin"),
    ("Deployment", "world-cell-0-node"),
    ("StatefulSet", "world-cell-1-store"),
    ("StatefulSet", "world-b"),
    ("PodDisruptionBudget", "world-cell-0-node"),
    ("MetadataCell", "world-cell-1"),
]

deeds = st.one_of(
    st.tuples(st.just("plan"), st.lists(st.integers(0, 6), min_size=1, max_size=6)),  # how far each track gets
    st.tuples(st.just("round"), st.just([99, 98])),
    st.tuples(st.just("round"), st.just([98, 99])),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 11.0, 130.0])),
    st.tuples(st.just("pause"), st.sampled_from([("world", True), ("world", False)])),
    st.tuples(st.just("pause"), st.tuples(st.sampled_from(["world-cell-0", "world-cell-1"]), st.booleans())),
    st.tuples(st.just("scale"), st.tuples(st.sampled_from(["world-cell-0", "world-cell-1"]), st.integers(1, 3))),
    st.tuples(st.just("cpu"), st.sampled_from(["400m", "800m", "1500m"])),
    st.tuples(st.just("delete"), st.sampled_from(CHILDREN)),
    st.tuples(st.just("kill"), st.sampled_from(["world-a-", "world-", "world-cell-0-node-", "world-cell-"])),
    st.tuples(st.just("overload"), st.sampled_from([set(), {"world-cell-0"}, {"world-cell-0", "world-cell-1"}])),
    st.tuples(st.just("upgrade"), st.sampled_from(["cellwall/services:1", "cellwall/services:2"])),
    st.tuples(st.just("renew"), st.sampled_from([10.0, 20.0])),
    st.tuples(st.just("stop"), st.sampled_from([set(), {"world-a-"}, {"world-cell-0-node-"}, {"world-cell-1-store"}])),
    st.tuples(st.just("edit"), st.sampled_from(["replicas", "map", "door"])),
    st.tuples(st.just("forget"), st.none()),
)


WHOLE = ("round", [99, 98])
# What takes several deeds in a row, and chance alone would seldom put together.
TOGETHER = st.sampled_from(
    [
        [("kill", "world-cell-0-node-"), ("settle", None)],
        [("pause", ("world", True)), WHOLE, ("pause", ("world", False)), ("plan", [99])],
        [("pause", ("world-cell-1", True)), WHOLE, ("pause", ("world-cell-1", False)), ("plan", [99])],
        [("kill", "world-"), ("settle", None), WHOLE],
        [("wait", 130.0), WHOLE],
        [WHOLE, WHOLE],
    ]
)
# Not `one_of`: that would give each kind of deed as much weight as all of these.
phrases = st.integers(0, 2).flatmap(lambda number: deeds.map(lambda deed: [deed]) if number else TOGETHER)


def carry_out(cluster: Cluster, deed: str, value: Any) -> None:
    match deed:
        case "plan" | "round":
            tracks = list(cluster.plan().tracks.values())
            # Tracks are carried out side by side: in any order, as far as safety goes.
            for number, track in enumerate(tracks if value[0] % 2 else reversed(tracks)):
                for action in track[: value[number % len(value)]]:
                    cluster.do(action)
            if deed == "round":
                cluster.settle()
        case "settle":
            cluster.settle()
        case "wait":
            cluster.wait(value)
        case "pause":
            name, paused = value
            kind = "MetadataService" if name == "world" else "MetadataCell"
            if (kind, name) in cluster.objects:
                cluster.put(kind, name, {**cluster.objects[kind, name]["spec"], "paused": paused})
        case "scale":
            name, nodes = value
            if ("MetadataCell", name) in cluster.objects:
                cluster.put("MetadataCell", name, {**cluster.objects["MetadataCell", name]["spec"], "nodes": nodes})
        case "cpu":
            spec = cluster.objects["MetadataService", "world"]["spec"]
            cluster.put("MetadataService", "world", {**spec, "cpu": {"total": value}})
        case "renew":
            spec = cluster.objects["MetadataService", "world"]["spec"]
            cluster.put("MetadataService", "world", {**spec, "renewal": {"everySeconds": value}})
        case "delete":
            cluster.delete(*value)
        case "kill":
            for pod in cluster.names_of("Pod"):
                if pod.startswith(value):
                    cluster.kill(pod)
        case "overload":
            cluster.overloaded = value
        case "upgrade":
            cluster.installation = Installation(value)
        case "stop":
            cluster.stopped = value
        case "edit":
            edit(cluster, value)
        case "forget":  # another operator begins
            cluster.joins.clear()
            cluster.hosts.clear()
            cluster.statistics.clear()
            cluster.told.clear()


def edit(cluster: Cluster, what: str) -> None:
    """A foreign hand."""
    deployment = cluster.objects.get(("Deployment", "world-cell-0-node"))
    door = cluster.objects.get(("Service", "world-cell-0-renewal"))
    config_map = cluster.objects.get(("ConfigMap", "world-map"))
    if what == "replicas" and deployment is not None:
        deployment["spec"]["replicas"] = 0
    elif what == "map" and config_map is not None:
        config_map["data"]["map.json"] = "{"
    elif what == "door" and door is not None:
        door["spec"]["selector"] = {names.PAUSED: "true"}


@settings(max_examples=EXAMPLES)
@given(st.booleans(), st.booleans(), st.lists(phrases, max_size=20))
def test_it_is_safe_at_every_step_and_comes_to_rest(
    started: bool, backwards: bool, story: list[list[tuple[str, Any]]]
) -> None:
    cluster = Cluster({"cells": 2}, SMALL)
    cluster.backwards = backwards
    if started:
        cluster.rest()
    for deed, value in itertools.chain(*story):
        carry_out(cluster, deed, value)
    cluster.overloaded = cluster.stopped = set()
    cluster.rest()
    before = len(cluster.writes)
    cluster.wait(3600)
    cluster.rest()
    assert len(cluster.writes) == before, "something is written at rest"
    for cell in ("world-cell-0", "world-cell-1"):
        specs = [cluster.objects["MetadataService", "world"]["spec"], cluster.objects["MetadataCell", cell]["spec"]]
        assert cluster.open(cell) != any(spec.get("paused") for spec in specs)

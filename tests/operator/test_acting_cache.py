"""The cache: which service an object belongs to, what is newer, and who is woken."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cellwall_operator.cache import Cache, Key
from cellwall_operator.objects import Installation

INSTALLATION = Installation(services_image="image")
KEY = ("n", "w")


def body(kind: str, name: str, version: int, *, uid: str = "", service: str = "w", **parts: Any) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    metadata |= {"labels": {"cellwall.dev/service": service}}
    return {"kind": kind, "apiVersion": "v1", "metadata": metadata, **parts}


def cell(name: str, version: int, service: str = "w", **spec: Any) -> dict[str, Any]:
    return body("MetadataCell", name, version, spec={"service": service, "cell": 0, **spec})


class Seen:
    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.cache = Cache(self.woken.append)

    def world(self, key: Key = KEY) -> Any:
        return self.cache.observed(key, INSTALLATION)


def test_objects_are_found_by_their_service() -> None:
    seen = Seen()
    seen.cache.put(body("MetadataService", "w", 1, spec={}))
    seen.cache.put(cell("w-cell-0", 2))
    seen.cache.put(body("StorageFleet", "f", 3, spec={"service": "w"}))
    seen.cache.put(body("ConfigMap", "w-map", 4, data={"map.json": "{}"}))
    seen.cache.put(body("Pod", "p", 5, spec={}, status={}))
    world = seen.world()
    assert world.service.name == "w"
    assert [c.name for c in world.cells] == ["w-cell-0"]
    assert [f.name for f in world.fleets] == ["f"]
    assert world.children["ConfigMap", "w-map"]["data"] == {"map.json": "{}"}
    assert [p.name for p in world.pods] == ["p"]
    assert seen.woken == [KEY] * 5
    assert seen.cache.keys() == [KEY]


def test_only_a_change_that_a_plan_sees_wakes() -> None:
    seen = Seen()
    pod = body("Pod", "p", 1, spec={}, status={"podIP": "10.0.0.1"})
    assert seen.cache.put(pod)
    seen.woken.clear()
    assert not seen.cache.put(body("Pod", "p", 2, spec={}, status={"podIP": "10.0.0.1", "qosClass": "Burstable"}))
    same = body("ConfigMap", "w-map", 3, data={})
    seen.cache.put(same)
    seen.cache.put(same)
    changed = body("ConfigMap", "w-map", 4, data={})
    changed["metadata"]["managedFields"] = [{"manager": "somebody"}]
    assert not seen.cache.put(changed)
    assert seen.woken == [KEY]
    assert seen.world().children["ConfigMap", "w-map"]["metadata"]["resourceVersion"] == "4"  # for a later apply
    assert "managedFields" not in seen.world().children["ConfigMap", "w-map"]["metadata"]


def test_what_is_older_is_ignored() -> None:
    seen = Seen()
    seen.cache.put(cell("w-cell-0", 7, nodes=3))
    assert not seen.cache.put(cell("w-cell-0", 6, nodes=2))
    assert seen.world().cells[0].spec.nodes == 3


def test_a_namesake_is_another_object() -> None:
    seen = Seen()
    seen.cache.put(body("Pod", "w-a-0", 9, uid="old", status={"podIP": "10.0.0.1"}))
    seen.cache.put(body("Pod", "w-a-0", 11, uid="new", status={"podIP": "10.0.0.2"}))
    seen.cache.drop("Pod", "n", "w-a-0", "old", 10)  # told late
    assert [p.uid for p in seen.world().pods] == ["new"]


def test_what_has_gone_does_not_come_back_from_an_older_list() -> None:
    seen = Seen()
    pod = body("Pod", "p", 5)
    seen.cache.put(pod)
    seen.cache.drop("Pod", "n", "p", "uid-p", 6)
    assert not seen.cache.put(pod)
    assert seen.world().pods == ()


def test_what_lost_its_label_comes_back_with_it() -> None:
    """A watch by label tells of the loss as of a deletion; applying the label again brings back the same object."""
    seen = Seen()
    seen.cache.put(body("ConfigMap", "m", 5))
    seen.cache.drop("ConfigMap", "n", "m", "uid-m", 6)
    assert seen.world().children == {}
    assert seen.cache.put(body("ConfigMap", "m", 7))
    assert seen.world().children


def test_an_object_may_move_to_another_service() -> None:
    seen = Seen()
    seen.cache.put(body("StorageFleet", "f", 1, spec={"service": "w"}))
    seen.cache.put(body("StorageFleet", "f", 2, spec={"service": "v"}))
    assert seen.cache.keys() == [("n", "v")]
    assert seen.woken[-2:] == [KEY, ("n", "v")]


def test_an_unreadable_spec_is_seen_as_such() -> None:
    seen = Seen()
    seen.cache.put(body("MetadataService", "w", 1, spec={"cells": "many"}))
    assert seen.world().service.spec is None
    assert "cells" in seen.world().service.wrong


def test_an_observation_does_not_change_afterwards() -> None:
    seen = Seen()
    seen.cache.put(cell("w-cell-0", 1, nodes=1))
    before = seen.world()
    seen.cache.put(cell("w-cell-0", 2, nodes=2))
    seen.cache.put(body("Pod", "p", 3))
    assert before.cells[0].spec.nodes == 1 and before.pods == ()


@given(st.integers(0, 2**32))
def test_whatever_is_missed_a_list_makes_it_whole(seed: int) -> None:
    """A twin holds the truth; the cache hears of changes late, in order per object, or never, and of lists late."""
    rng, truth, version, uids = Random(seed), dict[str, dict[str, Any]](), 0, 0
    seen = Seen()
    late: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for _ in range(rng.randrange(1, 40)):
        name = f"p{rng.randrange(4)}"
        version += 1
        if name in truth and rng.random() < 0.4:
            gone = truth.pop(name)
            event = ("DELETED", {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(version)}})
        else:
            if name not in truth:
                uids += 1
            uid = truth[name]["metadata"]["uid"] if name in truth else f"u{uids}"
            truth[name] = body("Pod", name, version, uid=uid, status={"podIP": f"10.0.0.{version}"})
            event = ("MODIFIED", truth[name])
        if rng.random() < 0.6:  # else it is missed
            late.setdefault(name, []).append(event)
        for waiting in late.values():
            while waiting and rng.random() < 0.5:
                _hear(seen.cache, *waiting.pop(0))
    listed = {("Pod", "n", name): b["metadata"]["uid"] for name, b in truth.items()}
    as_of, items = version, list(truth.values())
    for waiting in late.values():  # some is heard between the list's being made and its being read
        while waiting and rng.random() < 0.5:
            _hear(seen.cache, *waiting.pop(0))
    for item in items:
        seen.cache.put(item)
    seen.cache.listed("Pod", (), listed, as_of)
    for waiting in late.values():
        for event in waiting:
            _hear(seen.cache, *event)
    assert {p.name: (p.uid, p.ip) for p in seen.world().pods} == {
        name: (b["metadata"]["uid"], b["status"]["podIP"]) for name, b in truth.items()
    }


def _hear(cache: Cache, kind: str, body: dict[str, Any]) -> None:
    meta = body["metadata"]
    if kind == "DELETED":
        cache.drop("Pod", "n", meta["name"], meta["uid"], int(meta["resourceVersion"]))
    else:
        cache.put(body)

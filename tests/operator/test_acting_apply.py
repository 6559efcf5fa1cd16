"""Every action as a request, tracks that end at their own failure, and events that are not repeated."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cellwall_operator.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Event,
    Join,
    MarkJoined,
    Merge,
    Nudge,
    Plan,
    Ref,
    Resize,
    Status,
)
from cellwall_operator.api import CELLS, CONFIGMAPS, EVENTS, PODS, Api
from cellwall_operator.apply import Applier, Outcome
from cellwall_operator.errors import Forbidden, Unknown
from cellwall_operator.events import AGAIN_S, Events

from . import acting_world as W
from .api_double import ApiDouble, Request, serving

KEY = ("n", "w")
CELL = Ref("cellwall.dev/v1alpha1", "MetadataCell", "w-cell-0")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class World:
    def __init__(self, double: ApiDouble, api: Api) -> None:
        self.double = double
        self.now_s = 0.0
        self.saw: list[dict[str, Any]] = []
        self.joins: list[Join] = []
        self.counted: list[tuple[str, str]] = []
        self.events = Events(api, "one", lambda: self.now_s)
        self.applier = Applier(
            api, self.events, self.saw.append, self._begin, lambda name, outcome: self.counted.append((name, outcome))
        )

    def _begin(self, key: tuple[str, str], join: Join) -> bool:
        self.joins.append(join)
        return True

    async def do(self, *wanted: Action, **tracks: tuple[Action, ...]) -> Outcome:
        return await self.applier.carry_out(KEY, Plan(tracks=tracks or {"service": wanted}))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving(ApiDouble()) as double, W.api(double) as api:
        yield World(double, api)


async def test_what_the_server_answers_is_seen(world: World) -> None:
    outcome = await world.do(Apply(config_map("m", a="1")), Create(config_map("c")))
    assert outcome.changed == 2 and not outcome.failures
    assert [body["metadata"]["name"] for body in world.saw] == ["m", "c"]
    assert all(body["metadata"]["namespace"] == "n" for body in world.saw)


async def test_all_may_be_done_twice(world: World) -> None:
    world.double.seed(PODS, "n", "p", spec={"containers": [{"name": "node", "image": "i"}]})
    world.double.seed(CELLS, "n", "w-cell-0", spec={"service": "w", "cell": 0})
    wanted = (
        Create(config_map("c")),
        Apply(config_map("m", a="1")),
        Status(CELL, {"nodes": 1}),
        Merge(CELL, {"spec": {"cpuPerNode": "1"}}),
        MarkJoined("p", "", "Joined", "took over 8 partitions"),
        Resize("p", "", "node", "400m", "50m"),
        Nudge(("p", "gone"), 3),
        Delete(Ref("v1", "ConfigMap", "none")),
    )
    for _ in range(2):
        outcome = await world.do(*wanted)
        assert not outcome.failures and not outcome.stale
    pod = world.double.get(PODS, "n", "p")
    assert pod["metadata"]["annotations"] == {"cellwall.dev/map-version": "3"}
    assert pod["spec"]["containers"] == [
        {"name": "node", "image": "i", "resources": {"limits": {"cpu": "400m"}, "requests": {"cpu": "50m"}}}
    ]
    assert pod["status"]["conditions"][0]["reason"] == "Joined"
    cell = world.double.get(CELLS, "n", "w-cell-0")
    assert cell["status"] == {"nodes": 1} and cell["spec"]["cpuPerNode"] == "1"
    paths = {r.path.removeprefix("/api/v1/namespaces/n/") for r in world.double.writes()}
    assert {"pods/p/status", "pods/p/resize", "pods/p"} <= paths


async def test_a_track_ends_at_its_failure_and_the_others_go_on(world: World) -> None:
    world.double.fail = lambda request: 403 if request.path.endswith("/bad") else 0
    outcome = await world.do(
        sick=(Apply(config_map("first")), Apply(config_map("bad")), Apply(config_map("never"))),
        well=(Apply(config_map("other")),),
    )
    assert {body["metadata"]["name"] for body in world.saw} == {"first", "other"}
    assert list(outcome.failures) == ["sick"] and isinstance(outcome.failures["sick"], Forbidden)
    assert ("Apply", "failed") in world.counted


async def test_a_conflict_is_no_failure(world: World) -> None:
    world.double.seed(CONFIGMAPS, "n", "m")
    outcome = await world.do(Apply(config_map("m"), resource_version="1"), Apply(config_map("never")))
    assert outcome.stale == ["service"] and not outcome.failures and not world.saw


async def test_a_bug_ends_its_track_only(world: World) -> None:
    outcome = await world.do(sick=(Apply({"kind": "ConfigMap", "metadata": {}}),), well=(Apply(config_map("m")),))
    assert isinstance(outcome.failures["sick"], Unknown) and outcome.changed == 1


async def test_a_join_is_begun_elsewhere(world: World) -> None:
    join = Join("w-cell-0", "p", "u", "10.0.0.1", "10.0.0.2:7002", (0,), 4.0)
    await world.do(join)
    assert world.joins == [join] and not world.double.log


def event(message: str = "not ready") -> Event:
    return Event(Ref("cellwall.dev/v1alpha1", "MetadataService", "w", "uid-w"), "Warning", "Stalled", message)


def told(double: ApiDouble) -> list[Request]:
    return [r for r in double.writes() if "/events" in r.path]


async def test_the_same_event_is_told_once_and_then_counted(world: World) -> None:
    for _ in range(10):
        await world.do(event())
    assert [r.method for r in told(world.double)] == ["POST"]
    body = told(world.double)[0].body
    assert (body["note"], body["regarding"]["name"], body["type"]) == ("not ready", "w", "Warning")
    world.now_s = AGAIN_S
    await world.do(event())
    assert [r.method for r in told(world.double)] == ["POST", "PATCH"]
    assert told(world.double)[1].body["series"]["count"] == 11
    await world.do(event("something else"))
    assert [r.method for r in told(world.double)] == ["POST", "PATCH", "POST"]


async def test_a_restarted_operator_counts_on(world: World) -> None:
    await world.do(event())
    async with W.api(world.double) as api:
        again = World(world.double, api)
        await again.do(event())
    assert [r.method for r in told(world.double)] == ["POST", "POST", "PATCH"]
    assert len([path for path in world.double.objects if EVENTS.plural in path]) == 1


async def test_an_event_that_has_expired_is_told_anew(world: World) -> None:
    await world.do(event())
    world.double.objects.clear()
    world.now_s = AGAIN_S
    await world.do(event())
    assert [r.method for r in told(world.double)] == ["POST", "PATCH", "POST"]


async def test_an_event_that_cannot_be_written_is_no_failure(world: World) -> None:
    world.double.fail = lambda request: 403
    outcome = await world.do(event(), Event(event().ref, "Normal", "Fine", "x" * 5000))
    assert not outcome.failures
    assert len(told(world.double)[1].body["note"]) == 1024

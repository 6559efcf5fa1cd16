"""What pods are asked and what is kept of their answers, against pods that answer, lie, or say nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from cellwall_operator import http, names
from cellwall_operator.actions import Ask, Join
from cellwall_operator.cache import Key
from cellwall_operator.metrics import Metrics
from cellwall_operator.objects import Host, Installation, Observed, Pod

from .acting_world import until

KEY = ("n", "w")
OFTEN = Ask(hosts_every_s=0.02, nodes_every_s=0.02)
JOIN = Join("w-cell-0", "new", "uid-new", "127.0.0.1", "10.0.0.9:7002", (0, 2), 4.0)


def pod(name: str, component: str, **parts: Any) -> Pod:
    parts = {"ip": "127.0.0.1", "started": True, "cell": "cell-0", "uid": f"uid-{name}", **parts}
    return Pod(name=name, component=component, **parts)


class World:
    """All pods are one process at one port; ``answers`` by path: a body, a status, or an event to wait for."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.woken: list[Key] = []
        self.metrics = Metrics(lambda: 0.0, lambda: True)
        self.asking: http.Pods

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.path, json.loads(body) if body else None))
        answer = self.answers[request.path]
        while isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = self.answers[request.path]
        if isinstance(answer, int):
            return web.Response(status=answer, text="no")
        return web.Response(text=answer if isinstance(answer, str) else json.dumps(answer))

    def observed(self) -> Observed:
        known = Observed("n", "w", Installation(services_image="image"), pods=tuple(self.pods))
        return self.asking.observed(KEY, known)

    def count(self, call: str, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "cellwall_operator_calls_total", {"call": call, "outcome": outcome}
        )
        return value or 0.0


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", world.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for port in ("ADMIN_PORT", "STORAGE_PORT"):
        monkeypatch.setattr(names, port, runner.addresses[0][1])
    async with http.session() as session:
        world.asking = http.Pods(session, lambda key: world.pods, world.woken.append, world.metrics)
        yield world
        world.asking.forget(KEY)
        await asyncio.sleep(0)
    await runner.cleanup()


def servers(available: int, count: int) -> dict[str, Any]:
    return {
        f"s-{n}": {"available": n < available, "reason": "", "epoch": 1, "records": 5, "cut": False}
        for n in range(count)
    }


async def test_storage_pods_tell_their_map_and_who_is_in_service(world: World) -> None:
    world.pods = [
        pod("f-a-0", "storage"),
        pod("f-b-0", "storage", started=False),
        pod("f-c-0", "storage", deleting=True),
        pod("x", "frontend"),
    ]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(2, 5)}
    world.asking.ask(KEY, OFTEN)
    await until(lambda: world.observed().hosts)
    assert world.observed().hosts == {"f-a-0": Host(3, 5, 2)}
    world.answers["/servers"] = servers(5, 5)
    await until(lambda: world.observed().hosts == {"f-a-0": Host(3, 5, 5)})
    assert set(world.woken) == {KEY}


async def test_the_same_answer_wakes_nobody(world: World) -> None:
    world.pods = [pod("f-a-0", "storage")]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(5, 5)}
    world.asking.ask(KEY, OFTEN)
    await until(lambda: world.count("servers", "done") > 4)
    assert len(world.woken) == 1


async def test_a_pod_that_says_nothing_is_unknown_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ASK_S", 0.05)
    world.pods = [pod("f-a-0", "storage")]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(5, 5)}
    world.asking.ask(KEY, OFTEN)
    await until(lambda: world.observed().hosts)
    world.answers["/servers"] = asyncio.Event()
    await until(lambda: not world.observed().hosts)
    assert world.count("servers", "failed") >= http.SILENT_TIMES


async def test_before_the_first_plan_everybody_was_asked_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MEET_S", 0.05)
    world.pods = [pod("f-a-0", "storage"), pod("node", "node")]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(5, 5), "/statistics": asyncio.Event()}
    await world.asking.meet(KEY)  # does not wait for the node, which says nothing
    assert world.observed().hosts == {"f-a-0": Host(3, 5, 5)}
    asked = len(world.asked)
    await world.asking.meet(KEY)
    assert len(world.asked) == asked


async def test_another_pod_of_that_name_has_told_nothing_yet(world: World) -> None:
    world.pods = [pod("f-a-0", "storage")]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(5, 5)}
    world.asking.ask(KEY, Ask(hosts_every_s=3600, nodes_every_s=3600))
    await until(lambda: world.observed().hosts)
    world.pods = [pod("f-a-0", "storage", uid="another")]
    assert world.observed().hosts == {}


@pytest.mark.parametrize("answer", [500, "not JSON", {"s": 1}, [1]])
async def test_an_answer_that_cannot_be_read_is_none(world: World, answer: Any) -> None:
    world.pods = [pod("f-a-0", "storage"), pod("node", "node")]
    world.answers = {"/map-version": {"version": 3}, "/servers": answer, "/statistics": answer}
    world.asking.ask(KEY, OFTEN)
    await until(lambda: sum(path == "/servers" for path, _ in world.asked) > 3)
    assert world.observed().hosts == {} and world.observed().statistics == {}


async def test_figures_of_a_cells_nodes_are_put_together(world: World) -> None:
    world.pods = [pod("node-1", "node")]
    world.answers = {"/statistics": {"s-1": {"records": 40, "bytes": 1, "retrieval_s": 0.5, "at": 2.0}}}
    world.asking.ask(KEY, OFTEN)
    await until(lambda: world.observed().statistics)
    found = world.observed().statistics["w-cell-0"]
    assert (found.servers, found.records, found.largest, found.retrieval_s) == (1, 40, "s-1", 0.5)
    world.pods = []
    await until(lambda: not world.observed().statistics)


async def test_a_join_runs_beside_everything_and_is_seen_afterwards(world: World) -> None:
    held = asyncio.Event()
    world.answers = {"/join": held}
    assert world.asking.join(KEY, JOIN)
    assert world.observed().joins["w-cell-0"].running == "new"
    assert not world.asking.join(KEY, JOIN)  # one at a time
    await until(lambda: world.asked)
    assert world.asked == [("/join", {"source": "10.0.0.9:7002", "partitions": [0, 2], "deadline_s": 4.0})]
    world.answers["/join"] = {"outcome": "done", "took_s": [0.1], "reason": ""}
    held.set()
    await until(lambda: world.woken)
    joins = world.observed().joins["w-cell-0"]
    assert joins.running == "" and joins.last is not None
    assert (joins.last.outcome, joins.last.pod_uid) == ("done", "uid-new")


async def test_a_failed_join_says_why_and_the_next_remembers_it(world: World) -> None:
    world.answers = {"/join": {"outcome": "unknown", "took_s": [4.0], "reason": "time-out: map of partition 0"}}
    world.asking.join(KEY, JOIN)
    await until(lambda: world.woken)
    world.answers = {"/join": asyncio.Event()}
    assert world.asking.join(KEY, JOIN)
    joins = world.observed().joins["w-cell-0"]
    assert joins.running == "new" and joins.last is not None and joins.last.reason == "time-out: map of partition 0"


@pytest.mark.parametrize(("answer", "outcome"), [(503, "refused"), ("nonsense", "refused"), (500, "unknown")])
async def test_whatever_a_node_answers_the_attempt_ends(world: World, answer: Any, outcome: str) -> None:
    world.answers = {"/join": answer}
    world.asking.join(KEY, JOIN)
    await until(lambda: world.woken)
    last = world.observed().joins["w-cell-0"].last
    assert last is not None and last.outcome == outcome and last.reason


async def test_a_node_that_never_answers_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "JOIN_SLACK_S", -7.9)
    world.answers = {"/join": asyncio.Event()}
    world.asking.join(KEY, JOIN)
    await until(lambda: world.woken)
    last = world.observed().joins["w-cell-0"].last
    assert last is not None and last.outcome == "unknown" and "no answer in time" in last.reason


async def test_who_is_forgotten_is_asked_no_more(world: World) -> None:
    world.pods = [pod("f-a-0", "storage")]
    world.answers = {"/map-version": {"version": 3}, "/servers": servers(5, 5), "/join": asyncio.Event()}
    world.asking.ask(KEY, OFTEN)
    world.asking.join(KEY, JOIN)
    await until(lambda: world.observed().hosts)
    world.asking.forget(KEY)
    assert world.observed().hosts == {} and world.observed().joins == {}
    settled = _tasks()
    await until(lambda: not settled or all(task.done() for task in settled))


def _tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(("hosts", "nodes", "join"))]


async def test_stopping_the_questions_leaves_the_attempt_alone(world: World) -> None:
    world.answers = {"/join": asyncio.Event(), "/map-version": {"version": 3}, "/servers": {}}
    world.asking.ask(KEY, OFTEN)
    world.asking.join(KEY, JOIN)
    world.asking.ask(KEY, None)
    world.answers["/join"], held = {"outcome": "done", "took_s": []}, world.answers["/join"]
    held.set()
    await until(lambda: world.observed().joins["w-cell-0"].last)

"""A group moves between two cells with nodes and stores of their own, while its servers renew and a table changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellwall.model import Membership
from cellwall.moves import Acknowledged, Ask, Holding, Move, Over, Publish, Request, Verb, Wait, following
from cellwall_services.metadata.changes import TableJob
from cellwall_services.metadata.groups import ArriveJob, StepJob
from cellwall_services.metadata.jobs import Conflict, Job, MembershipJob, NotFound
from cellwall_services.wire import PartitionMap, TableChange

from .metadata_world import DEADLINE_S, LAYOUT, SERVERS, SPEC, Node, Place, new_table, placed, until, version

GROUP = [name for s, name in enumerate(SERVERS) if LAYOUT.fleet.group[s] == LAYOUT.fleet.group[0]]
OTHERS = [name for name in SERVERS if name not in GROUP]
PARTITIONS = SPEC.metadata.partitions
DRAIN_S = 0.2


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("second"), "cell-1", filled=False)
    yield place
    place.close()


@pytest.fixture
def places(place: Place, second: Place) -> tuple[Place, Place]:
    second.refill()
    return place, second


@pytest_asyncio.fixture
async def nodes(places: tuple[Place, Place], http: aiohttp.ClientSession) -> AsyncIterator[tuple[Node, Node]]:
    found = tuple([await Node(place, http, SPEC.metadata).up() for place in places])
    yield found[0], found[1]
    for node in found:
        node.place.processes.end(node.name)


async def ask(node: Node, verb: Verb, request: Request) -> Holding:
    status, body = await node.call("POST", f"/groups/{verb}", request)
    assert status == 200, body
    return msgspec.convert(body, Holding)


class Director:
    """Carries out what `moves.following` says, as an operator does. ``cell_of``: the published map."""

    def __init__(self, nodes: tuple[Node, Node], move: Move) -> None:
        self.nodes, self.move = nodes, move
        self.cell_of = dict.fromkeys(GROUP, move.source)
        self.slices: dict[str, int] = {}
        self.steps: list[str] = []

    async def round(self) -> bool:
        """One step; whether there are more."""
        move, cells = self.move, {"source": self.nodes[self.move.source], "target": self.nodes[self.move.target]}
        look = Request(move.number, GROUP)
        source, target = [await ask(node, "look", look) for node in cells.values()]
        now_s = asyncio.get_running_loop().time()
        step = following(move, source, target, acknowledged=True, now_s=now_s, drain_s=DRAIN_S)
        match step:
            case Ask(side, verb):
                request = msgspec.structs.replace(
                    look, source=cells["source"].admin, deadline_s=DEADLINE_S, held=target.copies
                )
                await ask(cells[side], verb, request)
                self.steps.append(verb)
            case Publish(partitions):
                self.slices = partitions
                self.cell_of = dict.fromkeys(GROUP, move.target)
                self.move = msgspec.structs.replace(move, version=2)
            case Acknowledged():
                self.move = msgspec.structs.replace(move, acknowledged_s=now_s)
            case Wait(_, for_s):
                await asyncio.sleep(for_s)
            case Over():
                return False
            case _:
                raise AssertionError(step)
        return True


def told(membership: Membership) -> tuple[Any, ...]:
    """Everything but the cell that told it."""
    return tuple(getattr(membership, field) for field in Membership.__struct_fields__ if field != "cell")


async def test_a_group_moves_while_its_servers_renew_and_a_table_changes(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    before = {server: await source.membership(server) for server in SERVERS}
    for server in GROUP[:3]:
        async with source.http.post(f"http://{source.renewal}/confirm/{server}?epoch=1") as answer:
            assert answer.status == 204
    director = Director(nodes, Move(1, 0, 0, 1))
    over = asyncio.Event()
    renewals = 0

    async def renew(server: str) -> None:
        nonlocal renewals
        epoch = 1
        while not over.is_set():
            answer = await nodes[director.cell_of[server]].membership(server)
            assert answer.epoch >= epoch, "an older list"
            epoch = answer.epoch
            renewals += 1

    info = new_table("t-late")
    change = TableChange(info, placed(info, GROUP[:3]))

    async def change_table() -> list[int]:
        """Like the front end: again and again, where the map says."""
        seen = []
        while True:
            status, body = await nodes[director.cell_of[GROUP[0]]].call("POST", "/tables", change)
            seen.append(status)
            if status == 200:
                assert body == dict.fromkeys(GROUP[:3], 2)
                return seen
            assert status in (404, 409), body
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(renew(server)) for server in GROUP]
    changing: asyncio.Task[list[int]] | None = None
    try:
        while await director.round():
            if director.steps == ["freeze"] and changing is None:
                changing = asyncio.create_task(change_table())
            for task in tasks:
                assert not task.done() or task.result() is None
        assert changing is not None
        seen = await asyncio.wait_for(changing, DEADLINE_S)
        enough = renewals + 2 * len(GROUP)

        async def renewed() -> bool:
            return renewals >= enough or any(task.done() for task in tasks)

        await until(renewed)
    finally:
        over.set()
        await asyncio.gather(*tasks)
    assert director.steps == ["freeze", "fetch", "drop", "settle"]
    assert 409 in seen, "nothing was refused in between: the test has shown nothing"

    for server in GROUP:
        now = await target.membership(server)
        assert now.cell == "cell-1"
        assert now.assignments[: before[server].count] == before[server].assignments
        assert now.confirmed == (1 if server in GROUP[:3] else 0)
        assert (now.epoch, now.count - before[server].count) == ((2, 2) if server in GROUP[:3] else (1, 0))
        assert (await source.renew(server))[0] == 404
    for server in OTHERS:
        assert told(await source.membership(server)) == told(before[server])
    whole(source.place, OTHERS)
    whole(target.place, GROUP)


async def test_both_cells_tell_the_same_until_the_source_has_dropped(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    director = Director(nodes, Move(1, 0, 0, 1))
    before = {server: await source.membership(server) for server in GROUP}
    assert (await target.renew(GROUP[0]))[0] == 404
    while not director.move.version:
        await director.round()
    for server in GROUP:
        from_source, from_target = await source.membership(server), await target.membership(server)
        assert told(from_source) == told(from_target) == told(before[server])
        for node in nodes:
            async with node.http.post(f"http://{node.renewal}/confirm/{server}?epoch=1") as answer:
                assert answer.status == 409
    info = LAYOUT.tables[0].info
    for node in nodes:
        status, body = await node.call("POST", "/tables", TableChange(msgspec.structs.replace(info, status="DELETING")))
        assert status == 409 and "on the move" in body["error"]
        status, _ = await node.call("POST", "/tables", TableChange(info, {GROUP[0]: []}, remove=True))
        assert status == 409
    while await director.round():
        pass
    assert (await target.call("POST", "/tables", TableChange(info)))[0] == 200
    assert (await source.call("POST", "/tables", TableChange(info)))[0] == 404, "the table has gone with its servers"


async def test_all_nodes_of_a_cell_learn_the_slices_and_the_map_shows_them(
    nodes: tuple[Node, Node], http: aiohttp.ClientSession
) -> None:
    source, target = nodes
    other = await Node(target.place, http, SPEC.metadata).up()
    director = Director(nodes, Move(1, 0, 0, 1))
    was = await version(source), await version(target)
    while await director.round():
        pass
    assert set(director.slices.values()) == set(range(PARTITIONS)), "servers went to the lightest slice, one by one"
    assert (await version(source), await version(target)) == (was[0] + 1, was[1] + 1)
    for partition in range(PARTITIONS):
        _, body = await target.call("GET", f"/map/{partition}")
        found = {m.server for m in msgspec.convert(body, PartitionMap).memberships}
        assert found == {server for server, slice_ in director.slices.items() if slice_ == partition}
        _, body = await source.call("GET", f"/map/{partition}")
        assert not {m.server for m in msgspec.convert(body, PartitionMap).memberships} & set(GROUP)

    # A slice without slots: only a node that knows whose slice it is lets them wait, and lets the others through.
    closed = next(server for server, slice_ in director.slices.items() if slice_ > 0)
    assert (await other.call("PUT", f"/weight/{director.slices[closed]}", {"percent": 0}))[0] == 200

    async def waits() -> bool:
        asking = asyncio.create_task(other.renew(closed))
        done, _ = await asyncio.wait([asking], timeout=0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return not done

    await until(waits)
    assert (await other.renew(next(s for s, p in director.slices.items() if p != director.slices[closed])))[0] == 200
    other.place.processes.end(other.name)


async def test_a_fetch_that_is_broken_off_goes_on_and_one_taken_back_leaves_nothing(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    look = Request(1, GROUP)
    fetch = msgspec.structs.replace(look, source=source.admin, deadline_s=DEADLINE_S)
    await ask(source, "freeze", look)
    nobody = msgspec.structs.replace(fetch, source="127.0.0.1:9")
    status, body = await target.call("POST", "/groups/fetch", nobody)
    assert status == 503 and "127.0.0.1:9" in body["error"]

    # The second half of the group cannot be read in the source: what came before stays.
    damaged = GROUP[3]
    rows = source.place.redis.lrange(f"list:{damaged}", 0, -1)
    source.place.redis.lset(f"list:{damaged}", 0, b"00000000" + rows[0][8:])
    status, body = await target.call("POST", "/groups/fetch", fetch)
    assert status == 503 and damaged in body["error"]
    holding = await ask(target, "look", look)
    assert [holding.copies[s].phase for s in GROUP] == ["arriving"] * 3 + ["absent"] * 3
    assert (await target.renew(GROUP[0]))[0] == 404

    source.place.redis.lset(f"list:{damaged}", 0, rows[0])
    assert (await ask(target, "fetch", fetch)).phase == "ready"
    assert (await ask(target, "fetch", fetch)).phase == "ready"
    assert (await ask(target, "forget", look)).phase == "absent"
    assert (await ask(source, "unfreeze", look)).phase == "owned"
    for node, verb in ((source, "freeze"), (target, "fetch")):
        status, body = await node.call("POST", f"/groups/{verb}", fetch)
        assert status == 409 and "move 1 is over here" in body["error"]
    whole(source.place, SERVERS)
    whole(target.place, [])


async def test_a_drop_asks_whether_the_target_holds_the_same(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    look = Request(1, GROUP)
    await ask(source, "freeze", look)
    ready = await ask(target, "fetch", msgspec.structs.replace(look, source=source.admin, deadline_s=DEADLINE_S))
    one = msgspec.structs.replace(ready.copies[GROUP[0]], epoch=2)
    for held in ({}, ready.copies | {GROUP[0]: one}):
        status, body = await source.call("POST", "/groups/drop", msgspec.structs.replace(look, held=held))
        assert status == 409 and "does not hold the same lists" in body["error"]
    assert (await ask(source, "drop", msgspec.structs.replace(look, held=ready.copies))).phase == "absent"


@pytest.mark.parametrize(
    ("path", "body"), [("/groups/steal", {"move": 1, "servers": []}), ("/groups/freeze", {"move": "x"})]
)
async def test_a_step_that_makes_no_sense_is_refused(node: Node, path: str, body: Any) -> None:
    status, answer = await node.call("POST", path, body)
    assert status == 400 and "step of a move" in answer["error"]


# ---------------------------------------------------------------- the stores, whatever comes in whatever order


def dumped(place: Place) -> dict[str, dict[str, Any]]:
    """All keys by kind, in two trips: "server", "list" (lengths), "slice", "table", "arriving", "frozen"."""
    keys = sorted(key.decode() for key in place.redis.keys("*"))
    read = {"server": "HGETALL", "arriving": "HGETALL", "frozen": "HGETALL", "slice": "LRANGE", "list": "LLEN"}
    pipe = place.redis.pipeline(transaction=False)
    found: dict[str, dict[str, Any]] = {kind: {} for kind in (*read, "table")}
    wanted = [key.partition(":") for key in keys if key.partition(":")[0] in found]
    for kind, colon, name in wanted:
        command = read.get(kind, "EXISTS")
        pipe.execute_command(command, f"{kind}{colon}{name}", *((0, -1) if command == "LRANGE" else ()))
    for (kind, _, name), value in zip(wanted, pipe.execute(), strict=True):
        found[kind][name] = {k.decode(): v.decode() for k, v in value.items()} if isinstance(value, dict) else value
    return found


def whole(place: Place, servers: list[str]) -> None:
    """These servers and no others are here, each in one slice, with their lists, their tables and no others."""
    found = dumped(place)
    assert found["server"].keys() == set(servers)
    slices = [(name.decode(), partition) for partition, names in found["slice"].items() for name in names]
    assert sorted(slices) == sorted((server, head["partition"]) for server, head in found["server"].items())
    for server, head in found["server"].items():
        assert found["list"].get(server, 0) == int(head["count"])
    assert found["list"].keys() <= set(servers)
    mentioned = {server: set(json.loads(head["tables"])) for server, head in found["server"].items()}
    assert found["table"].keys() == set().union(*mentioned.values())
    marked = [mentioned[server] for server, head in found["server"].items() if "mark" in head]
    arriving = [json.loads(head["tables"]) for head in found["arriving"].values()]
    assert set(found["frozen"].get("", ())) == set().union(*marked, *arriving)


class Sides:
    """Two stores, and jobs on them one turn at a time, as two engines would take them."""

    def __init__(self, places: tuple[Place, Place]) -> None:
        self.places = places
        for place in places:
            place.refill()
        self.under_way: list[tuple[int, Job]] = []

    def turn(self, side: int, job: Job) -> bool:
        pipe = self.places[side].redis.pipeline(transaction=False)
        for command in job.want():
            pipe.execute_command(*command)
        answers = pipe.execute()
        try:
            return job.take(answers)
        except (Conflict, NotFound):
            return True

    def do(self, side: int, job: Job) -> bytes:
        while not self.turn(side, job):
            pass
        return job.body

    def look(self, side: int) -> Holding:
        return msgspec.json.decode(self.do(side, StepJob("look", Request(0, GROUP), PARTITIONS)), type=Holding)

    def job(self, side: int, verb: str, move: int, which: int) -> Job | None:
        there = self.look(1 - side)
        if verb == "arrive":
            if (there.phase, there.move) != ("leaving", move):  # `handover.Source.look`
                return None
            server = GROUP[which % len(GROUP)]
            copy = MembershipJob("cell", server, 50)
            body = self.do(1 - side, copy)
            return ArriveJob(move, server, body, 7) if body else None
        if verb == "change":
            info = new_table(f"t-{which}")
            return TableJob("cell", TableChange(info, placed(info, GROUP[:3])))
        return StepJob(verb, Request(move, GROUP, held=there.copies), PARTITIONS)  # type: ignore[arg-type]


VERBS = ("freeze", "unfreeze", "fetch", "forget", "drop", "settle", "arrive", "arrive", "arrive", "change")


def ahead(sides: Sides, rng: Random) -> tuple[int, str, int, int] | None:
    """Side, verb, move and server of what would bring a move forward."""
    for side in (0, 1):
        mine, other = sides.look(side), sides.look(1 - side)
        match mine.phase, other.phase:
            case "owned", "absent" | "arriving":
                return side, "freeze", max(mine.over, other.over) + 1, 0
            case "leaving", "ready":
                return side, "drop", mine.move, 0
            case "leaving", "absent" | "arriving":
                lacking = [n for n, server in enumerate(GROUP) if other.copies[server].move != mine.move]
                verb = ("arrive", rng.choice(lacking)) if lacking else ("fetch", 0)
                return 1 - side, verb[0], mine.move, verb[1]
            case "ready", "absent":
                return side, "settle", mine.move, 0
    return None


@pytest.mark.parametrize("wild", [False, True])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0))
def test_steps_turn_by_turn_late_and_again_leave_both_stores_whole(
    places: tuple[Place, Place], wild: bool, seed: int
) -> None:
    """``wild``: even steps that nobody would ask for leave nothing half done. Otherwise what comes late or again was
    asked for once, and whatever both cells tell is the same."""
    sides, rng = Sides(places), Random(seed)
    sent: list[tuple[int, str, int, int]] = []
    latest = 1
    for _ in range(150):
        step = ahead(sides, rng) if rng.random() < 0.6 else None  # on the whole moves go ahead
        if step is None and wild:
            step = rng.randrange(2), rng.choice(VERBS), rng.randint(1, latest), rng.randrange(len(GROUP))
        if step is None and rng.random() < 0.1:
            taken_back(sides, sent)
        if step is None:
            step = rng.choice([(rng.randrange(2), "change", 0, rng.randrange(99)), *sent])
        sent.append(step)
        latest = max(latest, step[2])
        job = sides.job(*step)
        if job is not None:
            sides.under_way.append((step[0], job))
        for _ in range(rng.randint(1, 8)):
            if sides.under_way:
                mine = rng.choice(sides.under_way)
                if sides.turn(*mine):
                    sides.under_way.remove(mine)
        for side, place in enumerate(places):
            here = serving(sides, side)
            whole(place, here if side else [*here, *OTHERS])
        for server in () if wild else set(serving(sides, 0)) & set(serving(sides, 1)):
            lists = [place.redis.lrange(f"list:{server}", 0, -1) for place in places]
            copies = [sides.look(side).copies[server] for side in (0, 1)]
            assert lists[0] == lists[1] and copies[0].same_list(copies[1]), "two cells answer, and differ"


def taken_back(sides: Sides, sent: list[tuple[int, str, int, int]]) -> None:
    """The target forgets, then the source thaws; not once the source was asked to drop."""
    for side in (0, 1):
        source = sides.look(side)
        if source.phase == "leaving" and (side, "drop", source.move, 0) not in sent:
            for back in ((1 - side, "forget", source.move, 0), (side, "unfreeze", source.move, 0)):
                job = sides.job(*back)
                assert job is not None
                sides.do(back[0], job)
                sent.append(back)


def serving(sides: Sides, side: int) -> list[str]:
    copies = sides.look(side).copies.items()
    return [server for server, copy in copies if copy.phase in ("owned", "leaving", "ready")]

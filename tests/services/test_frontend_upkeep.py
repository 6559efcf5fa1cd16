"""Index upkeep over replicas in memory that answer late, refuse, lose answers; front ends that are killed.

The dumb twin of an index is the projection of its table: what must be there once everything due is delivered."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.errors import Refused, Unavailable
from cellwall.model import IndexInfo, TableInfo, partition_key
from cellwall.quorum import Version
from cellwall_services.frontend import delivery, indexes, targets, upkeep, values
from cellwall_services.frontend.backfill import Backfill
from cellwall_services.frontend.calls import Answer, Calls, Replica, Request
from cellwall_services.frontend.clock import Clock
from cellwall_services.frontend.delivery import Delivery
from cellwall_services.frontend.errors import ApiError
from cellwall_services.frontend.indexes import EntryWrite, Place, State
from cellwall_services.frontend.ledger import Entry
from cellwall_services.frontend.metrics import Metrics
from cellwall_services.frontend.outbox import Outbox, Write
from cellwall_services.frontend.ranges import Ranges, Source
from cellwall_services.frontend.replicas import Replicas
from cellwall_services.frontend.schema import derived
from cellwall_services.frontend.upkeep import Upkeep
from cellwall_services.frontend.values import Item
from cellwall_services.wire import Put, Range, Ranged, Row, Stored

OWNERS = IndexInfo("by-owner", 2, "owner", range_key="at", range_type="N", projection="INCLUDE", non_key=("note",))
COLOURS = IndexInfo("by-colour", 1, "colour", projection="KEYS_ONLY")
PETS = TableInfo("t-1", "pets", "alice", 2, indexes=(OWNERS, COLOURS))
SERVERS = ("a", "b", "c")
FRONT_ENDS = 2
EXAMPLES = 100  # each is a little world


class Memory(Calls):
    """Three servers that hold everything, shared by all front ends. Chance decides how late an answer is and, while
    ``faulty``, whether a server refuses, or does what it is asked and the answer is lost."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(None, 1.0, Metrics())  # type: ignore[arg-type]  # nothing goes over a wire here
        self.held: dict[str, dict[tuple[str, bytes], tuple[Version, bytes | None]]] = {s: {} for s in SERVERS}
        self.faulty = False
        self.rng = rng

    async def _exchange(self, replica: Replica, request: Request[Any]) -> Answer[Any]:
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        fate = self.rng.random() if self.faulty else 1.0
        if fate < 0.2:
            return Answer("refused", "disqualified")
        body = self._answer(self.held[replica.server], request)
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        return Answer("unknown", "time-out") if fate < 0.4 else Answer("done", body=body)

    def _answer(self, held: dict[tuple[str, bytes], tuple[Version, bytes | None]], request: Request[Any]) -> Any:
        if request.verb == "put":
            put = msgspec.msgpack.decode(request.body, type=Put)
            before = held.get((put.partition, put.key))
            if before is None or before[0] < put.version:
                held[put.partition, put.key] = (put.version, put.item)
            elif before[0] == put.version:
                assert before[1] == put.item, "one version says one thing"
            return Stored(*before) if put.learn and before else Stored()
        if request.verb == "get":
            raise AssertionError("upkeep reads ranges only")
        asked = msgspec.msgpack.decode(request.body, type=Range)
        rows = [
            Row(name, key, *held[name, key], checksum=0)
            for name in asked.partitions
            for key in sorted(key for where, key in held if where == name)
            if asked.first <= key
        ]
        return Ranged(rows[: asked.limit], len(rows) > asked.limit)


class Routes:
    def source(self, table: str, index: str, partition: int) -> Source:
        return Source(partition_key(table, index, partition), [Replica(s, "address") for s in SERVERS])

    def sources(self, table: str, index: str, partitions: Iterable[int]) -> list[Source]:
        return [self.source(table, index, partition) for partition in partitions]


class FrontEnd:
    """Everything of a front end that upkeep needs. ``kept_up`` are the indexes that exist."""

    def __init__(self, memory: Memory, folder: Path, name: str, kept_up: list[IndexInfo]) -> None:
        self._memory, self._folder, self._name, self._kept_up = memory, folder, name, kept_up
        self.start()

    def start(self) -> None:
        clock = Clock(self._folder / f"{self._name}.clock", self._name)
        self.outbox = Outbox(self._folder / f"{self._name}.sqlite")
        replicas = Replicas(None, clock, 1.0, Metrics())  # type: ignore[arg-type]
        replicas.calls = self._memory
        self.ranges = Ranges(replicas)
        routes: Any = Routes()
        upheld = lambda _: (PETS, tuple(self._kept_up))  # noqa: E731
        self.delivery = Delivery(self.outbox, replicas, routes, upheld)
        self.upkeep = Upkeep(self.outbox, replicas, self.ranges, routes, self.delivery, upheld)
        self.backfill = Backfill(self.outbox, self.upkeep, replicas, self.ranges, routes)
        self.upkeep.resume()

    async def kill(self) -> None:
        """Nothing is told to anybody. (What was sent is on its way.)"""
        await self.upkeep.close()
        await self.delivery.close()
        self.outbox.close()

    async def put(self, item: Item) -> None:
        await self.upkeep.write(PETS, targets.item_target(PETS, item), item)

    async def delete(self, key: Item) -> None:
        await self.upkeep.write(PETS, targets.key_target(PETS, key), None)

    async def drained(self) -> None:
        async with asyncio.timeout(30):
            while self.outbox.writes or self.outbox.entries:
                await asyncio.sleep(0.001)


async def rows(front: FrontEnd, index: str, partitions: int) -> dict[Place, bytes]:
    sources = Routes().sources(PETS.id, index, range(partitions))
    found: dict[Place, bytes] = {}
    after = None
    while True:
        page = await front.ranges.read(sources, after=after, consistent=True)
        for row in page.rows:
            assert row.item is not None
            found[Place(index, int(row.partition.rpartition("/")[2]), row.key)] = row.item
        after = page.next
        if after is None:
            return found


async def check(front: FrontEnd) -> int:
    """Each index is the projection of the table; how many entries there are."""
    expected: dict[Place, bytes] = {}
    for place, item in (await rows(front, "", PETS.partitions)).items():
        expected |= indexes.entries(PETS, PETS.indexes, place.key, values.decode(item))
    found: dict[Place, bytes] = {}
    for index in PETS.indexes:
        found |= await rows(front, index.name, index.partitions)
    assert found == expected
    return len(found)


name = st.sampled_from(["rex", "tom"]).map(lambda v: {"S": v})
attributes = st.fixed_dictionaries(
    {},
    optional={
        "owner": st.sampled_from(["x", "y"]).map(lambda v: {"S": v}),
        "at": st.sampled_from(["1", "2"]).map(lambda v: {"N": v}),
        "colour": st.sampled_from(["red", "blue"]).map(lambda v: {"S": v}),
        "note": st.sampled_from(["", "n"]).map(lambda v: {"S": v}),
    },
)
writes = st.tuples(name, st.none() | attributes)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (upkeep, delivery):
        monkeypatch.setattr(module, "RETRY_S", 0.0)
        monkeypatch.setattr(module, "RETRY_MAX_S", 0.001)


async def attempt(front: FrontEnd, pk: dict[str, Any], rest: Item | None) -> None:
    with contextlib.suppress(ApiError, asyncio.CancelledError):
        await (front.delete({"pk": pk}) if rest is None else front.put({"pk": pk, **rest}))


@settings(max_examples=EXAMPLES)
@given(todo=st.lists(st.tuples(st.integers(0, FRONT_ENDS - 1), *[writes]), max_size=14), seed=seeds)
def test_two_front_ends_at_once_and_every_index_is_the_projection_of_its_table(todo: list[Any], seed: int) -> None:
    async def run(folder: Path) -> None:
        memory = Memory(random.Random(seed))
        fronts = [FrontEnd(memory, folder, f"f{n}", list(PETS.indexes)) for n in range(FRONT_ENDS)]
        for front in fronts:
            front.outbox.keep(PETS.id)  # one alone knows whether the table ever had an entry; two do not
        tasks = []
        for number, (pk, rest) in todo:
            tasks.append(asyncio.create_task(attempt(fronts[number], pk, rest)))
            for _ in range(memory.rng.randrange(6)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        for front in fronts:
            await front.drained()
        await check(fronts[0])
        for front in fronts:
            await front.kill()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


STEPS = st.one_of(writes, st.sampled_from(["kill", "pause"]))


@settings(max_examples=EXAMPLES)
@given(todo=st.lists(STEPS, max_size=14), seed=seeds, faulty=st.booleans(), new=st.booleans())
def test_nothing_is_lost_by_refusals_lost_answers_kills_and_backfills(
    todo: list[Any], seed: int, faulty: bool, new: bool
) -> None:
    """``new``: one of the indexes is added, and filled, while the writes go on."""

    async def run(folder: Path) -> None:
        memory = Memory(random.Random(seed))
        memory.faulty = faulty
        kept_up = [OWNERS] if new else [OWNERS, COLOURS]
        front = FrontEnd(memory, folder, "f", kept_up)
        tasks: list[asyncio.Task[None]] = []
        adding = memory.rng.randrange(len(todo) + 1) if new else -1
        filling: asyncio.Task[None] | None = None
        for number, step in enumerate([*todo, "pause"]):
            if number == adding:
                if faulty:  # what is unknown when an index is added is the one thing that it may miss (known limit)
                    await asyncio.gather(*tasks, return_exceptions=True)
                    memory.faulty = False
                    await front.drained()
                    await asyncio.gather(*memory._tasks)
                kept_up.append(COLOURS)
                filling = asyncio.create_task(fill(front))
            if step == "kill" and filling is None:
                for task in tasks:  # their customers hear nothing
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await front.kill()
                front.start()
            elif step == "pause":
                await asyncio.gather(*tasks, return_exceptions=True)
            elif step != "kill":
                tasks.append(asyncio.create_task(attempt(front, *step)))
            for _ in range(memory.rng.randrange(6)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        memory.faulty = False
        if filling is not None:
            await filling
        await front.drained()
        await check(front)
        await front.kill()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def fill(front: FrontEnd) -> None:
    await front.backfill.run(Entry(PETS, derived(PETS), "UPDATING", "backfill", index=COLOURS.name))


def test_the_property_is_not_empty(tmp_path: Path) -> None:
    async def run() -> None:
        front = FrontEnd(Memory(random.Random(1)), tmp_path, "f", list(PETS.indexes))
        pet: Item = {"pk": {"S": "rex"}, "owner": {"S": "x"}, "at": {"N": "1"}, "colour": {"S": "red"}}
        await front.put(pet)
        await front.drained()
        assert await check(front) == 2
        await front.put(pet | {"owner": {"S": "y"}})
        await front.put({"pk": {"S": "tom"}, "colour": {"S": "red"}})
        await front.drained()
        assert await check(front) == 3
        await front.delete({"pk": {"S": "rex"}})
        await front.drained()
        assert await check(front) == 1
        await front.kill()

    asyncio.run(run())


def test_a_table_that_never_had_an_entry_is_written_as_before(tmp_path: Path) -> None:
    async def run() -> None:
        memory = Memory(random.Random(1))
        front = FrontEnd(memory, tmp_path, "f", list(PETS.indexes))
        await front.put({"pk": {"S": "rex"}, "owner": {"S": "x"}})  # no range key of the index: no entry
        await front.delete({"pk": {"S": "rex"}})
        assert not front.outbox.kept(PETS.id) and front.outbox._last == 0
        await front.kill()

    asyncio.run(run())


# ---------------------------------------------------------------- the rule


def item(**members: str) -> bytes:
    return values.encode({"pk": {"S": "rex"}} | {name: {"S": value} for name, value in members.items()})


def at(number: int) -> Version:
    return Version(number, 0, "f")


def test_the_newest_state_counts_whoever_writes() -> None:
    red, blue = State(at(1), item(colour="red")), State(at(2), item(colour="blue"))
    for states in ([red, blue], [blue, red]):
        found = {write.place.key: write for write in indexes.consequences(PETS, [COLOURS], b"k", states)}
        assert len(found) == 2
        assert all(write.version == at(2) for write in found.values())
        assert sorted(write.item is None for write in found.values()) == [False, True]
    again = State(at(3), item(colour="blue", note="longer"))
    (only,) = indexes.consequences(PETS, [COLOURS], b"k", [again, blue])
    assert (only.version, only.item) == (at(3), item(colour="blue"))
    gone = indexes.consequences(PETS, [COLOURS], b"k", [State(at(4), None), again])
    assert [(write.version, write.item) for write in gone] == [(at(4), None)]
    assert indexes.consequences(PETS, [COLOURS], b"k", [State(at(5), item())], [only.place]) == [
        EntryWrite(only.place, at(5), None)
    ]


# ---------------------------------------------------------------- the outbox


def test_the_outbox_remembers_and_says_when_it_cannot(tmp_path: Path) -> None:
    write = Write("t-1", 0, b"k", at(1), item(colour="red"))
    entry = EntryWrite(Place("by-colour", 0, b"e"), at(1), None)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.keep("t-1")
    first, second = outbox.begin(write), outbox.begin(write)
    (due,) = outbox.settle(first, [entry])
    outbox.close()
    outbox = Outbox(tmp_path / "outbox.sqlite")
    assert outbox.kept("t-1") and not outbox.kept("t-2")
    assert outbox.writes == {second: write}
    assert {n: d.entry for n, d in outbox.entries.items()} == {due: entry}
    outbox.done(due)
    assert outbox.begin(write) > due
    outbox.close()
    with pytest.raises(Unavailable, match="outbox"):
        outbox.begin(write)
    with pytest.raises(Unavailable, match="outbox"):
        outbox.settle(second, [entry])
    assert second in outbox.writes and not outbox.entries
    (tmp_path / "broken.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(Refused, match=r"broken\.sqlite"):
        Outbox(tmp_path / "broken.sqlite")

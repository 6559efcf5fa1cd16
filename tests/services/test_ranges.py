"""Range reads over replicas in memory that lag, fail and cut their answers short.

The dumb twin of a consistent read is the middle version of a key's three: what two replicas have reached."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.quorum import Version
from cellwall_services.frontend.calls import Answer, Calls, Replica, Request
from cellwall_services.frontend.clock import Clock
from cellwall_services.frontend.errors import ServiceUnavailableError
from cellwall_services.frontend.metrics import Metrics
from cellwall_services.frontend.ranges import DOUBTFUL_MAX, Page, Place, Ranges, Source
from cellwall_services.frontend.replicas import Replicas
from cellwall_services.wire import Put, Range, Ranged, Row, Stored

Held = dict[bytes, tuple[Version, bytes | None]]
Told = list[tuple[str, bytes, Version, bytes | None]]

KEYS = [b"a", b"b", b"c", b"d"]
SERVERS = [f"s{number}" for number in range(5)]


class Memory(Calls):
    """Servers in memory. ``cut``: rows after which the n-th answer is cut short; ``down``: they refuse."""

    def __init__(self, cuts: list[int] | None = None) -> None:
        super().__init__(None, 1.0, Metrics())  # type: ignore[arg-type]  # nothing goes over a wire here
        self.held: dict[tuple[str, str], Held] = {}  # by server and partition
        self.down: set[str] = set()
        self.lost: set[tuple[str, str]] = set()  # (server, partition): not held
        self.asked: list[tuple[str, list[str]]] = []
        self.most_at_once = self._at_once = 0
        self._cuts = cuts or []

    async def _exchange(self, replica: Replica, request: Request[Any]) -> Answer[Any]:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        if request.verb == "put":
            return self._put(replica.server, msgspec.msgpack.decode(request.body, type=Put))
        asked = msgspec.msgpack.decode(request.body, type=Range)
        self.asked.append((replica.server, asked.partitions))
        if replica.server in self.down:
            return Answer("refused", "disqualified")
        lacking = [name for name in asked.partitions if (replica.server, name) in self.lost]
        if lacking:
            return Answer("refused", "not-assigned", lacking=lacking)
        rows = [
            Row(name, key, *self.held[replica.server, name][key], checksum=0)
            for name in asked.partitions
            for key in sorted(self.held[replica.server, name], reverse=asked.backward)
            if asked.first <= key and (not asked.last or key < asked.last)
        ]
        limit = asked.limit
        if self._cuts:
            limit = min(limit, self._cuts[len(self.asked) % len(self._cuts)])
        return Answer("done", body=Ranged(rows[:limit], len(rows) > limit))

    def _put(self, server: str, put: Put) -> Answer[Stored]:
        if server in self.down:
            return Answer("refused", "disqualified")
        held = self.held[server, put.partition]
        if put.key not in held or held[put.key][0] < put.version:
            held[put.key] = (put.version, put.item)
        return Answer("done", body=Stored())

    def reached(self, source: Source, key: bytes) -> tuple[Version, bytes | None] | None:
        """What two of a partition's replicas have reached: no pair of them may say less."""
        states = [self.held[replica.server, source.partition].get(key) for replica in source.replicas]
        there = sorted((state for state in states if state is not None), key=lambda state: state[0], reverse=True)
        return there[1] if len(there) > 1 else None


def readers(memory: Memory, folder: Path) -> Ranges:
    clock = Clock(folder / "clock", "fe")
    replicas = Replicas(None, clock, 1.0, Metrics())  # type: ignore[arg-type]
    replicas.calls = memory
    return Ranges(replicas)


def place(memory: Memory, number: int, servers: list[str] = SERVERS) -> Source:
    """The partition of this number, on three of the servers."""
    name = f"t//{number}"
    trio = [servers[(number + step) % len(servers)] for step in range(3)]
    for server in trio:
        memory.held[server, name] = {}
    return Source(name, [Replica(server, "address") for server in trio])


def told(page: Page) -> Told:
    return [(row.partition, row.key, row.version, row.item) for row in page.rows]


async def all_pages(ranges: Ranges, sources: list[Source], limit: int | None, **how: Any) -> Told:
    rows: Told = []
    after: Place | None = None
    while True:
        page = await ranges.read(sources, after=after, limit=limit, **how)
        assert limit is None or len(page.rows) <= limit
        rows += told(page)
        after = page.next
        if after is None:
            return rows
        assert after == Place(page.rows[-1].partition, page.rows[-1].key)


class World(msgspec.Struct):
    memory: Memory
    sources: list[Source]
    acknowledged: dict[tuple[str, bytes], Version]


@st.composite
def worlds(draw: st.DrawFn, *, lag: bool) -> World:
    """A few partitions after writes that reached all, two or one of their replicas, in any order."""
    memory = Memory(draw(st.lists(st.integers(1, 4), max_size=5)))
    sources = [place(memory, number) for number in range(draw(st.integers(1, 6)))]
    world = World(memory, sources, {})
    for number in range(draw(st.integers(0, 25))):
        source, key = draw(st.sampled_from(sources)), draw(st.sampled_from(KEYS))
        version, item = Version(number, 0, "fe"), draw(st.none() | st.just(b"item %d" % number))
        reached = draw(st.sets(st.integers(0, 2), min_size=1)) if lag else {0, 1, 2}
        for which in reached:
            memory.held[source.replicas[which].server, source.partition][key] = (version, item)
        if len(reached) > 1:
            world.acknowledged[source.partition, key] = version
    return world


bounds = st.tuples(st.sampled_from([b"", *KEYS]), st.sampled_from([b"", *KEYS]))
limits = st.none() | st.integers(1, 5)


@given(worlds(lag=True), bounds, st.booleans(), limits, st.lists(st.sampled_from([None, *SERVERS]), min_size=2))
@settings(deadline=None)
def test_consistent_pages_tell_what_two_replicas_have_reached_and_never_go_back(
    tmp_path_factory: pytest.TempPathFactory,
    world: World,
    bounds: tuple[bytes, bytes],
    backward: bool,
    limit: int | None,
    downs: list[str | None],
) -> None:
    memory, (first, last) = world.memory, bounds
    ranges = readers(memory, tmp_path_factory.mktemp("ranges"))
    told_before = world.acknowledged
    for down in downs:  # one read after another, each with another server out
        memory.down = {down} if down else set()
        rows = asyncio.run(
            all_pages(ranges, world.sources, limit, first=first, last=last, backward=backward, consistent=True)
        )
        reached = {
            (source.partition, key): memory.reached(source, key)  # after the read: it may have brought this about
            for source in world.sources
            for key in sorted(KEYS, reverse=backward)
            if first <= key and (not last or key < last)
        }
        assert rows == [(*where, *state) for where, state in reached.items() if state and state[1] is not None]
        versions = {where: state[0] for where, state in reached.items() if state}
        for where in told_before.keys() & reached.keys():
            assert versions[where] >= told_before[where]
        told_before = versions


@given(worlds(lag=False), bounds, st.booleans(), st.booleans(), limits, st.sets(st.sampled_from(SERVERS), max_size=2))
@settings(deadline=None)
def test_replicas_that_agree_tell_what_a_filter_keeps(
    tmp_path_factory: pytest.TempPathFactory,
    world: World,
    bounds: tuple[bytes, bytes],
    backward: bool,
    consistent: bool,
    limit: int | None,
    down: set[str],
) -> None:
    memory, (first, last) = world.memory, bounds
    memory.down = down if not consistent else set(sorted(down)[:1])
    ranges = readers(memory, tmp_path_factory.mktemp("ranges"))
    how = {"first": first, "last": last, "backward": backward, "consistent": consistent}
    wanted = [
        (source.partition, key, *state)
        for source in world.sources
        for key in sorted(KEYS, reverse=backward)
        if first <= key and (not last or key < last)
        for state in [memory.held[source.replicas[0].server, source.partition].get(key)]
        if state is not None and state[1] is not None
    ]
    assert asyncio.run(all_pages(ranges, world.sources, limit, **how)) == wanted
    assert asyncio.run(all_pages(ranges, world.sources, None, **how)) == wanted


# ------------------------------------------------------------ failures


@pytest.fixture
def memory() -> Memory:
    return Memory()


def write(memory: Memory, source: Source, key: bytes, ms: int = 1, item: bytes | None = b"item", on: int = 3) -> None:
    for replica in source.replicas[:on]:
        memory.held[replica.server, source.partition][key] = (Version(ms, 0, "fe"), item)


async def test_without_a_quorum_a_read_says_who_refused(memory: Memory, tmp_path: Path) -> None:
    sources = [place(memory, 0)]
    memory.down = {"s0", "s2"}
    with pytest.raises(ServiceUnavailableError, match=r"t//0.*s[02]: disqualified; s[02]: disqualified"):
        await readers(memory, tmp_path).read(sources, consistent=True)
    assert (await readers(memory, tmp_path).read(sources)).next is None, "any replica does for an eventual read"
    memory.down = {"s0", "s1", "s2"}
    with pytest.raises(ServiceUnavailableError):
        await readers(memory, tmp_path).read(sources)


async def test_a_page_ends_before_a_partition_that_cannot_be_read(memory: Memory, tmp_path: Path) -> None:
    sources = [place(memory, number) for number in range(3)]
    for source in sources:
        write(memory, source, b"k")
    memory.lost = {("s1", "t//1"), ("s2", "t//1")}  # of s1, s2, s3
    ranges = readers(memory, tmp_path)
    page = await ranges.read(sources, consistent=True)
    assert ([row.partition for row in page.rows], page.next) == (["t//0"], Place("t//0", b"k"))
    with pytest.raises(ServiceUnavailableError, match=r"t//1.*not-assigned"):
        await ranges.read(sources, after=page.next, consistent=True)
    assert len((await ranges.read(sources)).rows) == 3


@pytest.mark.parametrize("consistent", [True, False])
async def test_no_server_is_asked_again_for_what_it_failed_at(memory: Memory, tmp_path: Path, consistent: bool) -> None:
    sources = [place(memory, number) for number in range(60)]
    memory.down = {"s1"}
    page = await readers(memory, tmp_path).read(sources, consistent=consistent)
    assert (page.rows, page.next) == ([], None)
    failed = Counter(name for server, names in memory.asked if server == "s1" for name in names)
    assert failed
    assert set(failed.values()) == {1}
    assert len([server for server, _ in memory.asked if server == "s1"]) == 1, "two others were always left"


async def test_a_partition_that_one_server_lacks_costs_the_others_nothing(memory: Memory, tmp_path: Path) -> None:
    sources = [place(memory, number) for number in range(30)]
    for source in sources:
        write(memory, source, b"k")
    memory.lost = {("s1", "t//0"), ("s3", "t//3"), ("s0", "t//9")}
    page = await readers(memory, tmp_path).read(sources, consistent=True)
    assert [row.partition for row in page.rows] == [source.partition for source in sources]


# ------------------------------------------------------------ repairs


async def test_deleted_rows_are_repaired_too_before_their_absence_is_told(memory: Memory, tmp_path: Path) -> None:
    source = place(memory, 0)
    write(memory, source, b"k", ms=1)
    write(memory, source, b"k", ms=2, item=None, on=1)  # reached s0 alone
    memory.down = {"s2"}
    assert (await readers(memory, tmp_path).read([source], consistent=True)).rows == []
    memory.down = {"s0"}
    assert (await readers(memory, tmp_path).read([source], consistent=True)).rows == []


async def test_what_cannot_be_repaired_is_not_told(memory: Memory, tmp_path: Path) -> None:
    class Stuck(Memory):
        def _put(self, server: str, put: Put) -> Answer[Stored]:
            return Answer("unknown", "time-out")

    memory = Stuck()
    source = place(memory, 0)
    write(memory, source, b"k", on=1)
    memory.down = {"s2"}
    with pytest.raises(ServiceUnavailableError, match="replicas differ"):
        await readers(memory, tmp_path).read([source], consistent=True)


async def test_a_page_repairs_a_bounded_number_of_rows(memory: Memory, tmp_path: Path) -> None:
    source = place(memory, 0)
    for number in range(3 * DOUBTFUL_MAX):
        write(memory, source, b"%03d" % number, item=None if number < DOUBTFUL_MAX + 1 else b"item", on=1)
    memory.down = {"s2"}
    page = await readers(memory, tmp_path).read([source], consistent=True)
    assert page.rows[0].key == b"%03d" % (DOUBTFUL_MAX + 1), "deleted rows alone do not end a page"
    assert len(page.rows) == DOUBTFUL_MAX - 1
    assert page.next == Place("t//0", b"%03d" % (2 * DOUBTFUL_MAX - 1))


async def test_the_clock_hears_of_versions_that_were_told(memory: Memory, tmp_path: Path) -> None:
    source = place(memory, 0)
    far = 10**15  # a front end whose clock is far ahead wrote this
    write(memory, source, b"k", ms=far)
    ranges = readers(memory, tmp_path)
    await ranges.read([source])
    assert ranges._replicas.clock.next() > Version(far, 0, "fe")


# ------------------------------------------------------------ many partitions


@pytest.mark.parametrize("consistent", [True, False])
async def test_a_scan_of_7000_partitions_asks_each_server_a_few_times(
    memory: Memory, tmp_path: Path, consistent: bool
) -> None:
    group = [f"s{number}" for number in range(25)]  # a placement group
    sources = [place(memory, number, group) for number in range(7000)]
    for source in sources[::70]:
        write(memory, source, b"k")
    page = await readers(memory, tmp_path).read(sources, consistent=consistent)
    assert [row.partition for row in page.rows] == [source.partition for source in sources[::70]]
    assert page.next is None
    rounds = 4 + 7000 // 512 + 1
    assert len(memory.asked) <= rounds * len(group)
    assert memory.most_at_once <= 16 + len(group), "those in flight, and those left to themselves"


async def test_a_page_of_a_large_table_reads_a_few_partitions_only(memory: Memory, tmp_path: Path) -> None:
    random_ = random.Random(7)
    sources = [place(memory, number) for number in range(200)]
    item = random_.randbytes(2000)
    for source in sources:
        for number in range(400):
            write(memory, source, b"%03d" % number, item=item)
    page = await readers(memory, tmp_path).read(sources)
    assert 1 << 20 <= sum(len(row.key) + len(row.item or b"") for row in page.rows) < (1 << 20) + 3000
    assert page.next is not None
    assert len({name for _, names in memory.asked for name in names}) <= 8

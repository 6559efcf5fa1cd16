"""The metadata node's work, page by page, over a dictionary instead of a store; and the engine that takes turns."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.model import Assignment, IndexInfo, Membership, TableInfo, hash_slice
from cellwall.spec import MetadataPolicy
from cellwall_services.metadata import store
from cellwall_services.metadata.changes import TableJob
from cellwall_services.metadata.engine import Engine
from cellwall_services.metadata.jobs import Job, MapJob, MembershipJob, NotFound, misfit
from cellwall_services.metadata.store import Command
from cellwall_services.wire import PartitionMap, TableChange

ORDERS = TableInfo("t-1", "orders", "alice", 5, indexes=(IndexInfo("by-day", 3), IndexInfo("by-city", 2)))
USERS = TableInfo("t-2", "users", "bob", 1)


class Fake:
    """The few store commands the jobs use, over dictionaries."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, Any]] = {}
        self.lists: dict[str, list[bytes]] = {}
        self.values: dict[str, Any] = {}
        self.pages: list[int] = []  # rows of each LRANGE of a membership

    def one(self, command: Command) -> Any:
        name, *words = command
        key = str(words[0])
        match name:
            case "HMGET":
                return [self.hashes.get(key, {}).get(str(field)) for field in words[1:]]
            case "HSET":
                self.hashes.setdefault(key, {}).update(zip(map(str, words[1::2]), words[2::2], strict=True))
            case "GET":
                return self.values.get(key)
            case "MGET":
                return [self.values.get(str(word)) for word in words]
            case "SET":
                self.values[key] = words[1]
            case "INCR":
                self.values[key] = int(self.values.get(key, 0)) + 1
            case "LRANGE":
                first, last = int(words[1]), int(words[2])
                rows = self.lists.get(key, [])[first : None if last == -1 else last + 1]
                self.pages.append(len(rows))
                return list(rows)
            case "RPUSH":
                self.lists.setdefault(key, []).extend(words[1:])  # type: ignore[arg-type]
            case "DEL":
                self.lists.pop(key, None)
            case "HGET":
                return self.hashes.get(key, {}).get(str(words[1]))
            case "EXISTS":
                return int(any(key in kept for kept in (self.hashes, self.lists, self.values)))
            case "EVAL":  # store.if_so
                count = int(words[1])
                rest = list(words[2 + count :])
                for named in map(str, words[2 : 2 + count]):
                    field, expected, *rest = rest
                    there = self.one(("HGET", named, field) if field else ("EXISTS", named))
                    if _text(there) != _text(expected):
                        return 0
                while rest:
                    length, rest = int(rest[0]), rest[1:]
                    self.one(tuple(rest[:length]))
                    rest = rest[length:]
                return 1
            case _:
                raise AssertionError(command)
        return 1

    async def execute(self, commands: list[Command]) -> list[Any]:
        await asyncio.sleep(0)
        return [self.one(command) for command in commands]

    def step(self, job: Job) -> bool:
        return job.take([self.one(command) for command in job.want()])

    def do(self, job: Job) -> bytes:
        for _ in range(10_000):
            if self.step(job):
                return job.body
        raise AssertionError("the job does not end")

    def membership(self, server: str, page: int = 3) -> Membership:
        return msgspec.json.decode(self.do(MembershipJob("cell-0", server, page)), type=Membership)


def _text(word: Any) -> str:
    return "" if word is None else word.decode() if isinstance(word, bytes) else str(word)


def records(info: TableInfo, epoch: int = 1) -> Iterator[Assignment]:
    for index, count in [("", info.partitions), *((i.name, i.partitions) for i in info.indexes)]:
        for n in range(count):
            yield Assignment(info.id, index, n, *hash_slice(n, count), 0, epoch, epoch, ("s-2", "s-3"))


def filled(*servers: str) -> Fake:
    """Each server holds the same records of two tables; epoch 1, confirmed 0."""
    fake = Fake()
    rows = [*records(ORDERS), *records(USERS)]
    for info in (ORDERS, USERS):
        fake.one(store.write_table(info))
    for server in servers or ("s-1",):
        fields = {"epoch": 1, "confirmed": 0, "count": len(rows), "tables": b'["t-1","t-2"]'}
        fake.hashes[f"server:{server}"] = fields
        fake.lists[f"list:{server}"] = [store.row(a) for a in rows]
        fake.lists.setdefault("slice:0", []).append(server.encode())
    fake.values["version"] = b"7"
    return fake


# ---------------------------------------------------------------- memberships


@given(page=st.integers(1, 15), count=st.integers(0, 40))
def test_a_membership_is_its_list_whatever_the_page(page: int, count: int) -> None:
    fake = filled()
    rows = list(itertools.islice(itertools.cycle(records(ORDERS)), count))
    fake.lists["list:s-1"] = [store.row(a) for a in rows]
    fake.hashes["server:s-1"] |= {"count": count, "epoch": b"4", "confirmed": b"2"}
    job = MembershipJob("cell-0", "s-1", page)
    turns = 0
    while not fake.step(job):
        turns += 1
        assert job.records <= turns * page, "a turn works on one page"
    tables = {"t-1": ORDERS, "t-2": USERS} if count else {}
    answer = msgspec.json.decode(job.body, type=Membership)
    assert answer == Membership("s-1", "cell-0", 4, 2, count, tables, rows)
    assert job.records == count


@given(stored=st.integers(0, 30), announced=st.integers(0, 30))
def test_a_list_is_never_sent_with_another_count(stored: int, announced: int) -> None:
    fake = filled()
    fake.lists["list:s-1"] = fake.lists["list:s-1"][:1] * stored
    fake.hashes["server:s-1"]["count"] = announced
    if stored < announced:
        with pytest.raises(Refused, match=f"the list ends after {stored} of {announced} records"):
            fake.membership("s-1")
    else:
        answer = fake.membership("s-1")
        assert (answer.count, len(answer.assignments)) == (announced, announced)


def test_who_is_not_in_the_store_is_not_found() -> None:
    with pytest.raises(NotFound, match="no server s-9 in cell-0"):
        filled().membership("s-9")


@given(at=st.integers(0), flipped=st.integers(1, 255), which=st.integers(0, 10))
def test_a_flipped_byte_is_found(at: int, flipped: int, which: int) -> None:
    fake = filled()
    row = bytearray(fake.lists["list:s-1"][which])
    row[at % len(row)] ^= flipped
    fake.lists["list:s-1"][which] = bytes(row)
    with pytest.raises(Refused, match="damaged"):
        fake.membership("s-1")


@given(row=st.binary(max_size=20))
def test_bytes_that_nobody_wrote_are_no_row(row: bytes) -> None:
    if row != b"00000000":  # the checksum of nothing
        with pytest.raises(Refused, match="damaged"):
            store.row_body(row)


# ---------------------------------------------------------------- what cannot be true

TABLES = {"t-1": ORDERS, "t-2": USERS}
EPOCH = 5  # of the server
RECORD = next(records(ORDERS, epoch=3))


def strange(field: str) -> st.SearchStrategy[Any]:
    """Values of one field that cannot be true of RECORD, everything else being as it is."""
    words = st.text(max_size=16)
    hexes = st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}")
    return {
        "table": words.filter(lambda t: t != "t-1"),  # t-2 has another number of partitions
        "index": words.filter(lambda i: i != ""),
        "partition": st.integers(-(2**63), 2**63 - 1).filter(lambda n: n != 0),
        "lo": (words | hexes).filter(lambda lo: lo != RECORD.lo),
        "hi": (words | hexes).filter(lambda hi: hi != RECORD.hi),
        "epoch": st.integers().filter(lambda e: not RECORD.born <= e <= EPOCH),
        "born": st.integers(min_value=RECORD.epoch + 1),
    }[field]


@pytest.mark.parametrize("field", ["table", "index", "partition", "lo", "hi", "epoch", "born"])
@given(data=st.data())
def test_a_record_with_one_wrong_field_misfits(field: str, data: st.DataObject) -> None:
    assert misfit(RECORD, TABLES, EPOCH) is None
    wrong = msgspec.structs.replace(RECORD, **{field: data.draw(strange(field))})
    assert misfit(wrong, TABLES, EPOCH), wrong


@given(data=st.data())
def test_what_misfit_cannot_know_the_checksum_does(data: st.DataObject) -> None:
    """Nothing contradicts another replica number or other peers, an index or a table of the same shape, an epoch up
    to the server's, or an earlier birth: those are found only because the row's checksum was made of the old ones."""
    twin = msgspec.structs.replace(ORDERS, id="t-3", indexes=(IndexInfo("by-day", 3), IndexInfo("by-hour", 3)))
    tables = {"t-1": twin, "t-3": twin}
    true = msgspec.structs.replace(next(a for a in records(ORDERS, epoch=3) if a.index), born=2)
    changes: list[dict[str, Any]] = [
        {"table": "t-3"},
        {"index": "by-hour"},
        {"replica": data.draw(st.integers(1, 9))},
        {"peers": data.draw(st.lists(st.text(max_size=6), max_size=3).map(tuple))},
        {"epoch": data.draw(st.sampled_from([2, 4, 5]))},
        {"born": data.draw(st.integers(-3, 1))},
    ]
    wrong = msgspec.structs.replace(true, **data.draw(st.sampled_from(changes)))
    assert misfit(wrong, tables, EPOCH) is None
    if wrong != true:
        with pytest.raises(Refused, match="damaged"):
            store.row_body(store.row(true)[:8] + store.row(wrong)[8:])


# ---------------------------------------------------------------- maps and changes


@given(page=st.integers(1, 15))
def test_a_map_is_every_membership_of_the_partition(page: int) -> None:
    fake = filled("s-1", "s-2", "s-3")
    body = fake.do(MapJob("cell-0", 0, page))
    expected = [fake.membership(server) for server in ("s-1", "s-2", "s-3")]
    assert msgspec.json.decode(body, type=PartitionMap) == PartitionMap("cell-0", 0, 7, expected)
    empty = msgspec.json.decode(fake.do(MapJob("cell-0", 1, page)), type=PartitionMap)
    assert empty == PartitionMap("cell-0", 1, 7, [])


def change(number: int, servers: tuple[str, ...] = ("s-1", "s-2"), *, remove: bool = False) -> TableChange:
    info = TableInfo(f"t-9{number}", "new", "carol", 2)
    return TableChange(info, {server: list(records(info, epoch=0)) for server in servers}, remove)


def test_a_change_raises_the_epoch_of_those_named_and_only_once() -> None:
    fake = filled("s-1", "s-2", "s-3")
    before = {server: fake.membership(server) for server in ("s-1", "s-3")}
    for _ in range(2):
        fake.do(TableJob("cell-0", change(1)))
        now = fake.membership("s-1")
        assert (now.epoch, now.count) == (2, before["s-1"].count + 2)
        assert [(a.table, a.epoch, a.born) for a in now.assignments[-2:]] == [("t-91", 2, 2)] * 2
    assert fake.membership("s-3") == before["s-3"]
    fake.do(TableJob("cell-0", change(1, remove=True)))
    now = fake.membership("s-1")
    assert (now.epoch, now.count, now.assignments) == (3, before["s-1"].count, before["s-1"].assignments)
    assert now.tables == before["s-1"].tables
    assert fake.values["version"] == 10


def test_a_change_of_status_names_no_server() -> None:
    fake = filled()
    active = msgspec.structs.replace(USERS, status="DELETING")
    fake.do(TableJob("cell-0", TableChange(active)))
    assert fake.membership("s-1").tables["t-2"].status == "DELETING"
    assert fake.membership("s-1").epoch == 1


def test_a_change_that_names_a_stranger_changes_nothing() -> None:
    fake = filled("s-1")
    with pytest.raises(NotFound, match="no server s-2"):
        fake.do(TableJob("cell-0", change(1)))
    assert (fake.membership("s-1").epoch, "table:t-91" in fake.values) == (1, False)


@given(data=st.data())
def test_changes_under_way_together_are_as_one_after_the_other(data: st.DataObject) -> None:
    fake = filled("s-1", "s-2")
    numbers = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    jobs: list[Job] = [TableJob("cell-0", change(number)) for number in numbers]
    while jobs:
        job = data.draw(st.sampled_from(jobs))
        answers = [fake.one(command) for command in job.want()]
        if job.take(answers):
            jobs.remove(job)
    for server in ("s-1", "s-2"):
        now = fake.membership(server)
        assert now.epoch == 1 + len(set(numbers))
        assert now.tables.keys() == {"t-1", "t-2", *(f"t-9{n}" for n in numbers)}
        assert now.count == len(fake.lists[f"list:{server}"]) == 11 + 2 * len(set(numbers))


BY_SHAPE = IndexInfo("by-shape", 2)
SHAPED = msgspec.structs.replace(ORDERS, indexes=(*ORDERS.indexes, BY_SHAPE))


def test_an_index_comes_and_goes_and_the_answer_tells_the_epochs() -> None:
    fake = filled("s-1", "s-2")
    before = fake.membership("s-1")
    rows = [Assignment("t-1", "by-shape", n, *hash_slice(n, 2), 0, 0, 0, ("s-2", "s-3")) for n in range(2)]
    add = TableChange(SHAPED, {"s-1": rows, "s-2": rows[:1]})
    for _ in range(2):  # sent again: nothing changes, the same epochs are told
        assert msgspec.json.decode(fake.do(TableJob("cell-0", add))) == {"s-1": 2, "s-2": 2}
    now = fake.membership("s-1")
    assert [(a.index, a.epoch, a.born) for a in now.assignments[-2:]] == [("by-shape", 2, 2)] * 2
    assert (now.count, now.tables["t-1"]) == (before.count + 2, SHAPED)
    fake.do(TableJob("cell-0", change(1, ("s-1",))))  # another change: the index still came with epoch 2
    assert msgspec.json.decode(fake.do(TableJob("cell-0", add))) == {"s-1": 2, "s-2": 2}

    gone = TableChange(SHAPED, {"s-1": [], "s-2": []}, remove=True, index="by-shape")
    for _ in range(2):
        assert msgspec.json.decode(fake.do(TableJob("cell-0", gone))) == {"s-1": 4, "s-2": 3}
    fake.do(TableJob("cell-0", TableChange(ORDERS)))
    now = fake.membership("s-1")
    assert now.assignments[: before.count] == before.assignments
    assert now.tables.keys() == {"t-1", "t-2", "t-91"} and now.tables["t-1"] == ORDERS
    assert fake.membership("s-2").assignments == before.assignments


@given(data=st.data(), page=st.integers(1, 4))
def test_a_list_that_changes_while_it_is_read_is_read_anew(data: st.DataObject, page: int) -> None:
    """Tables come and go between any two turns: nobody is refused, and what goes out is the list of its epoch."""
    fake = filled("s-1")
    seen = {1: fake.membership("s-1").assignments}
    job = MembershipJob("cell-0", "s-1", page)
    for remove in data.draw(st.lists(st.booleans(), max_size=6)):
        for _ in range(data.draw(st.integers(0, 3))):
            if fake.step(job):
                break
        else:
            if remove:
                gone = TableChange(ORDERS, {"s-1": []}, remove=True, index=data.draw(st.sampled_from([None, "by-day"])))
                fake.do(TableJob("cell-0", gone))
            else:
                fake.do(TableJob("cell-0", change(data.draw(st.integers(1, 3)), ("s-1",))))
            now = fake.membership("s-1")
            seen[now.epoch] = now.assignments
            continue
        break
    answer = msgspec.json.decode(job.body or fake.do(job), type=Membership)
    assert answer.assignments == seen[answer.epoch]
    assert answer.count == len(answer.assignments) == job.count


def test_a_large_change_fits_the_stores_scripts() -> None:
    info = TableInfo("t-90", "huge", "carol", 9000)
    fake = filled("s-1")
    fake.do(TableJob("cell-0", TableChange(info, {"s-1": list(records(info, epoch=0))})))
    assert fake.membership("s-1", 500).count == 9011
    command = store.if_so([("server:s-1", "epoch", 1)], [("RPUSH", "list:s-1", b"a", b"b"), ("INCR", "version")])
    assert command[2:] == (1, "server:s-1", "epoch", 1, 4, "RPUSH", "list:s-1", b"a", b"b", 2, "INCR", "version")


# ---------------------------------------------------------------- the engine


async def started(fake: Fake, policy: MetadataPolicy) -> tuple[Engine, asyncio.Task[None]]:
    engine = Engine([fake, fake], policy)  # type: ignore[list-item]
    return engine, asyncio.create_task(engine.run())


async def stop(task: asyncio.Task[None]) -> None:
    assert not task.done(), task.exception()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("drop", [True, False])
async def test_a_caller_that_goes_at_any_moment_leaves_nothing_behind(drop: bool) -> None:
    """Also in the very moment of the answer, when there is nothing left to let go."""
    fake = filled()
    engine, task = await started(fake, MetadataPolicy(page_records=4, partitions=1, drop_abandoned=drop))
    whole = fake.do(MembershipJob("cell-0", "s-1", 4))
    async with asyncio.timeout(10):
        for moments in range(60):
            asking = asyncio.create_task(engine.do(MembershipJob("cell-0", "s-1", 4), 0))
            for _ in range(moments):
                await asyncio.sleep(0)
            asking.cancel()
            (result,) = await asyncio.gather(asking, return_exceptions=True)
            assert result == whole or isinstance(result, asyncio.CancelledError), result
            while engine.admission.in_service or engine.admission.waiting:
                await asyncio.sleep(0)
        assert engine.oldest_s() == 0.0
        assert await engine.do(MembershipJob("cell-0", "s-1", 4), 0) == whole
    await stop(task)


@pytest.mark.parametrize("key", ["tables", "count", "epoch"])
async def test_a_store_that_holds_nonsense_costs_one_request_and_not_the_node(key: str) -> None:
    fake = filled("s-1", "s-2")
    fake.hashes["server:s-1"][key] = b"[nonsense"
    engine, task = await started(fake, MetadataPolicy(page_records=4, partitions=1))
    async with asyncio.timeout(10):
        for job in (MembershipJob("cell-0", "s-1", 4), TableJob("cell-0", change(1)), MapJob("cell-0", 0, 4)):
            with pytest.raises(Refused, match="cannot be read"):
                await engine.do(job, 0)
        assert await engine.do(MembershipJob("cell-0", "s-2", 4), 0)
    assert (engine.admission.in_service, engine.answered) == (0, 1)
    await stop(task)

"""A real metadata node process over a real store, filled by the real loader."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import redis

from cellwall import history
from cellwall.model import Assignment, Membership, TableInfo, hash_slice
from cellwall.placement import assignments, make_layout, server_id, server_tables
from cellwall.spec import FleetSpec, MetadataPolicy, WorldSpec
from cellwall_lab.backends.binaries import store_binary
from cellwall_lab.backends.limiter import cpu_clock
from cellwall_lab.backends.processes import Processes, free_port, listen
from cellwall_services.metadata.loader import cell_commands
from cellwall_services.wire import Join, Joined, MembershipStatistics, PartitionMap, TableChange

SPEC = WorldSpec(
    seed=11,
    fleet=FleetSpec(servers=12, group_servers=6, large_records=40, large_share=0.5, mid_share=0.0),
    metadata=MetadataPolicy(partitions=3, page_records=10),
)
LAYOUT = make_layout(SPEC, lambda name: Random(f"{SPEC.seed}/{name}"))
SERVERS = [server_id(s) for s in range(LAYOUT.fleet.servers)]
LARGE = max(range(len(SERVERS)), key=lambda s: LAYOUT.records[s])
OTHER = next(name for s, name in enumerate(SERVERS) if LAYOUT.fleet.group[s] != LAYOUT.fleet.group[LARGE])
PARTITION = LAYOUT.partition[LARGE]
DEADLINE_S = 15.0
ONE_TURN_EACH = msgspec.structs.replace(SPEC.metadata, page_records=1, discipline="fifo", concurrency=1)


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < give_up_s, "the condition did not come true in time"
        await asyncio.sleep(0.02)


class Place:
    """A store filled by the loader, and the nodes started over it."""

    def __init__(self, folder: Path) -> None:
        self.processes = Processes(folder)
        self.path = folder / "s"
        self.url = f"unix://{self.path}"
        self.start_store()
        give_up_s = time.monotonic() + DEADLINE_S
        while not self.path.exists():
            assert time.monotonic() < give_up_s, "no store"
            time.sleep(0.01)
        self.redis = redis.Redis(unix_socket_path=str(self.path))
        self.processes.service(
            "loader", "cellwall_services.metadata.loader", {"spec": SPEC, "stores": [self.url]}, may_end=True
        )
        assert self.processes.wait("loader", DEADLINE_S) == 0, self.processes.log_tail("loader")
        self.commands = cell_commands(LAYOUT)[0]
        self.started = 0
        self.listeners: list[socket.socket] = []

    def start_store(self) -> None:
        args = [store_binary(), "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no"]
        self.processes.start("store", args)

    def refill(self) -> None:
        """As the loader left it."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.flushall()
        for command in self.commands:
            pipe.execute_command(*command)
        pipe.execute()

    def close(self) -> None:
        self.redis.close()
        self.processes.end_all()
        for listener in self.listeners:
            listener.close()


class Node:
    """One node process, its doors, and what it recorded."""

    def __init__(self, place: Place, http: aiohttp.ClientSession, policy: MetadataPolicy) -> None:
        self.place, self.http = place, http
        self.name = f"node-{place.started}"
        place.started += 1
        port = free_port()
        self.listener = listen(port)
        place.listeners.append(self.listener)
        self.renewal, self.admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
        self.port = port
        self.records_path = place.processes.records / f"{self.name}.ndjson"
        config = {
            "node": self.name,
            "cell": "cell-0",
            "store_url": place.url,
            "admin_listen": self.admin,
            "renewal_fd": self.listener.fileno(),
            "policy": policy,
            "records": str(self.records_path),
        }
        fds = (self.listener.fileno(),)
        self.pid = place.processes.service(self.name, "cellwall_services.metadata", config, fds=fds)

    async def up(self) -> Node:
        async def answers() -> bool:
            self.place.processes.check()
            try:
                return (await self.call("GET", "/version"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(answers)
        return self

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a request to the administrative door."""
        data = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        async with self.http.request(method, f"http://{self.admin}{path}", data=data) as response:
            text = await response.read()
        return response.status, msgspec.json.decode(text) if text else None

    async def renew(self, server: str) -> tuple[int, bytes]:
        async with self.http.get(f"http://{self.renewal}/membership/{server}") as response:
            return response.status, await response.read()

    async def membership(self, server: str) -> Membership:
        status, body = await self.renew(server)
        assert status == 200, body
        return msgspec.json.decode(body, type=Membership)

    async def gauge(self, name: str) -> float:
        async with self.http.get(f"http://{self.admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"cellwall_metadata_{name}_requests "))

    async def reaches(self, name: str, value: float) -> None:
        async def there() -> bool:
            return await self.gauge(name) == value

        await until(there)

    def samples(self) -> list[history.NodeSample]:
        with self.records_path.open("rb") as lines:
            return [record for record in history.decode(lines) if isinstance(record, history.NodeSample)]

    async def sampled(self, **fields: int) -> None:
        """Until a record says so."""

        async def said() -> bool:
            return any(all(getattr(s, name) == value for name, value in fields.items()) for s in self.samples())

        await until(said)

    def end(self, number: int = signal.SIGTERM) -> int | None:
        os.kill(self.pid, number)
        status = self.place.processes.wait(self.name, DEADLINE_S)
        return status


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    yield place
    place.close()


@pytest.fixture
def place(shared_place: Place) -> Place:
    shared_place.refill()
    return shared_place


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=2 * DEADLINE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as session:
        yield session


Start = Callable[..., Awaitable[Node]]


@pytest_asyncio.fixture
async def start(place: Place, http: aiohttp.ClientSession) -> AsyncIterator[Start]:
    """Starts nodes that end with the test."""
    nodes: list[Node] = []

    async def one(policy: MetadataPolicy = SPEC.metadata) -> Node:
        nodes.append(Node(place, http, policy))
        return await nodes[-1].up()

    yield one
    place.processes.end(*(node.name for node in nodes))


_readers: dict[Place, Node] = {}


@pytest_asyncio.fixture
async def node(place: Place, http: aiohttp.ClientSession) -> Node:
    """One node for all tests that leave it as it was."""
    if place not in _readers:
        _readers[place] = await Node(place, http, SPEC.metadata).up()
    _readers[place].http = http
    return _readers[place]


def rows_of(server: int) -> list[Assignment]:
    return [assignment for s, assignment in assignments(LAYOUT) if s == server]


def make_long(place: Place, server: str, times: int) -> int:
    """The same records over and over; returns how many it has now."""
    key = f"list:{server}"
    rows = place.redis.lrange(key, 0, -1)
    for _ in range(times - 1):
        place.redis.rpush(key, *rows)
    place.redis.hset(f"server:{server}", "count", len(rows) * times)
    return len(rows) * times


# ---------------------------------------------------------------- renewals


async def test_every_membership_is_what_placement_says(node: Node) -> None:
    mentioned = server_tables(LAYOUT)
    for number, name in enumerate(SERVERS):
        answer = await node.membership(name)
        tables = {LAYOUT.tables[t].info.id: LAYOUT.tables[t].info for t in mentioned[number]}
        expected = Membership(name, "cell-0", 1, 0, LAYOUT.records[number], tables, rows_of(number))
        assert answer == expected
    assert LAYOUT.records[LARGE] > 2 * SPEC.metadata.page_records, "several pages"


async def test_an_unknown_server_is_not_found(node: Node) -> None:
    status, body = await node.renew("s-9999")
    assert (status, msgspec.json.decode(body)) == (404, {"error": "no server s-9999 in cell-0"})


async def test_a_server_without_records_gets_an_empty_membership(place: Place, node: Node) -> None:
    fields = {"epoch": 3, "confirmed": 2, "count": 0, "tables": "[]", "partition": 0}
    place.redis.hset("server:s-0900", mapping=fields)
    assert await node.membership("s-0900") == Membership("s-0900", "cell-0", 3, 2, 0, {}, [])


@pytest.mark.parametrize("at", [0, 3, 7, 8, 40, -1], ids=str)
async def test_a_damaged_row_is_never_sent(place: Place, node: Node, at: int) -> None:
    """Wherever the byte is, and also when what is left is no number or no JSON."""
    name = SERVERS[LARGE]
    row = bytearray(place.redis.lindex(f"list:{name}", 17))
    row[at] ^= 0x40
    place.redis.lset(f"list:{name}", 17, bytes(row))
    status, body = await node.renew(name)
    assert status == 400
    assert b"damaged" in body and b"assignments" not in body
    assert (await node.renew(OTHER))[0] == 200, "the others are served"
    assert (await node.call("GET", f"/map/{PARTITION}"))[0] == 400, "nor may another node take it over"


@pytest.mark.parametrize("what", ["row", "table", "tables", "count"])
async def test_nonsense_in_the_store_is_refused_and_the_node_lives(place: Place, node: Node, what: str) -> None:
    name = SERVERS[LARGE]
    if what == "row":
        place.redis.lset(f"list:{name}", 0, b"")
    elif what == "table":
        table = rows_of(LARGE)[0].table
        place.redis.set(f"table:{table}", b'{"id":')
    else:
        place.redis.hset(f"server:{name}", what, b"[nonsense")
    status, body = await node.renew(name)
    assert (status, b"assignments" in body) == (400, False)
    change = TableChange(new_table("t-90001"), {name: []})
    if what in ("tables", "count"):
        assert (await node.call("POST", "/tables", change))[0] == 400
    assert (await node.renew(OTHER))[0] == 200


async def test_a_list_that_is_cut_short_is_refused(place: Place, node: Node) -> None:
    name, count = SERVERS[LARGE], LAYOUT.records[LARGE]
    place.redis.rpop(f"list:{name}")
    status, body = await node.renew(name)
    assert (status, msgspec.json.decode(body)["error"]) == (
        400,
        f"{name}: the list ends after {count - 1} of {count} records",
    )


async def test_a_list_longer_than_announced_is_read_to_the_announced_end(place: Place, node: Node) -> None:
    """As while a table is being created: the head was read before the new rows came."""
    name = SERVERS[LARGE]
    place.redis.rpush(f"list:{name}", b"not yet mine")
    answer = await node.membership(name)
    assert answer.count == len(answer.assignments) == LAYOUT.records[LARGE]


async def test_a_record_of_a_table_that_is_gone_is_refused(place: Place, node: Node) -> None:
    place.redis.delete(f"table:{rows_of(LARGE)[0].table}")
    status, body = await node.renew(SERVERS[LARGE])
    assert status == 400
    assert b"belongs to no known table" in body


async def test_a_confirmed_epoch_is_kept_and_comes_back_with_the_membership(node: Node) -> None:
    first, second = SERVERS[:2]
    async with node.http.post(f"http://{node.renewal}/confirm/{first}?epoch=1") as response:
        assert response.status == 204
    assert await node.call("GET", f"/confirmed?servers={first},{second},s-9999") == (
        200,
        {first: 1, second: 0, "s-9999": 0},
    )
    assert await node.call("GET", "/confirmed") == (200, {})
    assert (await node.membership(first)).confirmed == 1
    for bad in ("", "?epoch=", "?epoch=-1", "?epoch=x", "?epoch=%C2%B2"):
        async with node.http.post(f"http://{node.renewal}/confirm/{first}{bad}") as response:
            assert response.status == 400, bad


async def test_a_renewal_leaves_no_connection_behind(node: Node) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(f"GET /membership/{SERVERS[0]} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.read()  # to the end of the stream: the node closed it
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()


# ---------------------------------------------------------------- administration


async def test_the_map_of_a_partition_is_all_its_memberships(node: Node) -> None:
    seen = []
    for partition in range(SPEC.metadata.partitions):
        async with node.http.get(f"http://{node.admin}/map/{partition}") as response:
            assert response.status == 200
            found = msgspec.json.decode(await response.read(), type=PartitionMap)
        assert (found.cell, found.partition, found.version) == ("cell-0", partition, 1)
        seen += [(m.server, partition, m) for m in found.memberships]
    assert sorted(s for s, _, _ in seen) == SERVERS
    for name, partition, membership in seen:
        assert LAYOUT.partition[SERVERS.index(name)] == partition
        assert membership == await node.membership(name)


def new_table(table: str, partitions: int = 2) -> TableInfo:
    return TableInfo(table, table, "customer-new", partitions, status="CREATING")


def placed(info: TableInfo, servers: list[str]) -> dict[str, list[Assignment]]:
    """Every partition on three servers."""
    out: dict[str, list[Assignment]] = {server: [] for server in servers}
    for n in range(info.partitions):
        for replica, server in enumerate(servers):
            peers = tuple(s for s in servers if s != server)
            out[server].append(Assignment(info.id, "", n, *hash_slice(n, info.partitions), replica, 0, 0, peers))
    return out


async def version(node: Node) -> int:
    return int((await node.call("GET", "/version"))[1]["version"])


async def test_a_table_comes_and_goes_once_however_often_it_is_asked_for(node: Node) -> None:
    servers = SERVERS[:3]
    before = {name: await node.membership(name) for name in servers}
    others = {name: await node.membership(name) for name in SERVERS[3:5]}
    info = new_table("t-90000")
    change = TableChange(info, placed(info, servers))
    seen = [await version(node)]
    for _ in range(2):
        assert (await node.call("POST", "/tables", change))[0] < 300
        seen.append(await version(node))
        for name in servers:
            now = await node.membership(name)
            assert (now.epoch, now.count) == (before[name].epoch + 1, before[name].count + info.partitions)
            assert now.tables == before[name].tables | {info.id: info}
            added = [msgspec.structs.replace(a, epoch=now.epoch, born=now.epoch) for a in change.assignments[name]]
            assert now.assignments == before[name].assignments + added
    active = msgspec.structs.replace(info, status="ACTIVE")
    assert (await node.call("POST", "/tables", TableChange(active)))[0] < 300
    assert (await node.membership(servers[0])).tables[info.id].status == "ACTIVE"
    assert (await node.membership(servers[0])).epoch == before[servers[0]].epoch + 1, "a status moves nobody"
    for _ in range(2):
        assert (await node.call("POST", "/tables", TableChange(info, change.assignments, remove=True)))[0] < 300
        seen.append(await version(node))
        for name in servers:
            now = await node.membership(name)
            assert (now.count, now.tables, now.assignments) == (
                before[name].count,
                before[name].tables,
                before[name].assignments,
            )
            assert now.epoch > before[name].epoch + 1
    assert {name: await node.membership(name) for name in others} == others
    assert seen == sorted(seen) and len({seen[0], seen[1], seen[3]}) == 3, "the version rises with every change"


async def test_changes_that_overlap_do_not_undo_each_other(node: Node) -> None:
    """Also the same one twice: a change that was answered too late is sent again while the first is under way."""
    servers = SERVERS[:3]
    before = {name: await node.membership(name) for name in servers}
    infos = [new_table(f"t-9{n:04d}") for n in range(6)]
    changes = [TableChange(info, placed(info, servers)) for info in infos for _ in range(2)]
    answers = await asyncio.gather(*(node.call("POST", "/tables", change) for change in changes))
    assert {status for status, _ in answers} <= {200, 204}
    for name in servers:
        now = await node.membership(name)
        assert now.epoch == before[name].epoch + len(infos)
        assert now.count == len(now.assignments) == before[name].count + 2 * len(infos)
        assert now.tables.keys() == before[name].tables.keys() | {info.id for info in infos}


async def test_a_renewal_meanwhile_gets_the_old_or_the_new_list(node: Node) -> None:
    name, infos = SERVERS[LARGE], [new_table(f"t-8{n:04d}") for n in range(15)]
    before = await node.membership(name)

    async def change() -> None:
        for info in infos:
            peers = [name, *[s for s in SERVERS if s != name][:2]]
            assert (await node.call("POST", "/tables", TableChange(info, placed(info, peers))))[0] < 300

    changing = asyncio.create_task(change())
    while not changing.done():
        for now in await asyncio.gather(*(node.membership(name) for _ in range(4))):
            done = now.epoch - before.epoch
            assert now.count == len(now.assignments) == before.count + 2 * done
    await changing


async def test_a_change_for_a_server_that_is_not_here_changes_nothing(place: Place, node: Node) -> None:
    info = new_table("t-90000")
    change = TableChange(info, placed(info, [SERVERS[0], SERVERS[1], "s-9999"]))
    before = await node.membership(SERVERS[0])
    assert (await node.call("POST", "/tables", change))[0] == 404
    assert await node.membership(SERVERS[0]) == before
    assert place.redis.get("table:t-90000") is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"table":1}', b'{"table":{}}', b"\xff\xfe"], ids=repr)
@pytest.mark.parametrize("path", ["/tables", "/join"])
async def test_a_malformed_body_is_a_bad_request(node: Node, path: str, body: bytes) -> None:
    status, answer = await node.call("POST", path, body)
    assert status == 400
    assert path.strip("/").rstrip("s") in answer["error"]


async def test_weights_are_read_and_written(node: Node) -> None:
    try:
        assert await node.call("GET", "/weight/1") == (200, {"percent": 100.0})
        assert await node.call("PUT", "/weight/1", {"percent": 12.5}) == (200, {"percent": 12.5})
        assert await node.call("GET", "/weight/1") == (200, {"percent": 12.5})
        assert await node.call("GET", "/weight/2") == (200, {"percent": 100.0})
        bad: list[Any] = [-1, 100.5, "10", None, True, b"{", b'{"percent":1e999}', b'{"percent":1,"x":2}', b"\xff"]
        for value in bad:
            body = value if isinstance(value, bytes) else {"percent": value}
            status, answer = await node.call("PUT", "/weight/1", body)
            assert status == 400 and answer["error"], value
        assert await node.call("GET", "/weight/1") == (200, {"percent": 12.5}), "a bad one changes nothing"
    finally:
        await node.call("PUT", "/weight/1", {"percent": 100})


@pytest.mark.parametrize("partition", ["3", "-1", "x", "%C2%B2", "99999999999999999999"])
async def test_a_metadata_partition_that_is_not_here(node: Node, partition: str) -> None:
    for method, path in (("GET", "weight"), ("PUT", "weight"), ("GET", "map")):
        status, answer = await node.call(method, f"/{path}/{partition}", {"percent": 50} if method == "PUT" else None)
        assert status == 404
        assert "there are 0..2" in answer["error"]


async def test_statistics_and_metrics_name_what_was_answered(node: Node) -> None:
    _, body = await node.renew(SERVERS[LARGE])
    status, answer = await node.call("GET", "/statistics")
    mine = msgspec.convert(answer[SERVERS[LARGE]], MembershipStatistics)
    assert (status, mine.records, mine.bytes) == (200, LAYOUT.records[LARGE], len(body))
    assert 0 < mine.retrieval_s < DEADLINE_S
    async with node.http.get(f"http://{node.admin}/metrics") as response:
        assert 'cellwall_metadata_requests_total{kind="membership",status="200"}' in await response.text()


# ---------------------------------------------------------------- joining


async def test_a_node_takes_over_and_times_out_when_the_source_is_stopped(start: Start) -> None:
    source, new = await start(), await start()
    status, answer = await new.call("POST", "/join", Join(source.admin, [0, 2], DEADLINE_S))
    joined = msgspec.convert(answer, Joined)
    assert (status, joined.outcome, len(joined.took_s), joined.reason) == (200, "done", 2, "")
    assert await new.membership(SERVERS[LARGE]) == await source.membership(SERVERS[LARGE])

    joined = msgspec.convert((await new.call("POST", "/join", Join(source.admin, [0, 77], 5.0)))[1], Joined)
    assert (joined.outcome, joined.reason) == ("refused", "map of partition 77: status 404")
    joined = msgspec.convert((await new.call("POST", "/join", Join(f"127.0.0.1:{free_port()}", [1], 5.0)))[1], Joined)
    assert joined.outcome == "refused" and joined.reason.startswith("map of partition 1: ")

    os.kill(source.pid, signal.SIGSTOP)
    try:
        joined = msgspec.convert((await new.call("POST", "/join", Join(source.admin, [0, 1, 2], 0.5)))[1], Joined)
    finally:
        os.kill(source.pid, signal.SIGCONT)
    assert (joined.outcome, joined.reason) == ("unknown", "time-out: map of partition 0 after 0.5 s")
    assert len(joined.took_s) == 1, "the first that fails is the last"
    assert 0.49 <= joined.took_s[0] < 2.5


# ---------------------------------------------------------------- callers that go


async def test_work_for_a_caller_that_has_gone_stops_only_if_it_may(start: Start) -> None:
    async def one(drop: bool) -> None:
        node = await start(msgspec.structs.replace(SPEC.metadata, drop_abandoned=drop))
        assert (await node.call("PUT", f"/weight/{PARTITION}", {"percent": 0}))[0] == 200  # nobody's turn comes
        _, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(f"GET /membership/{SERVERS[LARGE]} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        await node.reaches("waiting", 1)
        writer.transport.abort()
        await node.sampled(abandoned=1, waiting=0 if drop else 1)
        assert (await node.call("PUT", f"/weight/{PARTITION}", {"percent": 100}))[0] == 200
        await node.membership(SERVERS[LARGE])
        await node.sampled(abandoned=1, waiting=0, in_service=0, answered=1 if drop else 2)

    await asyncio.gather(one(True), one(False))


async def test_work_under_way_ends_when_its_caller_goes(place: Place, start: Start) -> None:
    make_long(place, SERVERS[LARGE], 1000)
    node = await start(ONE_TURN_EACH)
    asking = asyncio.create_task(node.renew(SERVERS[LARGE]))
    await node.reaches("in_service", 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await node.sampled(abandoned=1, in_service=0, answered=0)
    assert (await node.membership(OTHER)).count > 0


@pytest.mark.parametrize("lane", ["shared", "own"])
async def test_an_administrative_request_waits_only_in_the_shared_lane(place: Place, start: Start, lane: str) -> None:
    make_long(place, SERVERS[LARGE], 30 if lane == "shared" else 1000)
    node = await start(msgspec.structs.replace(ONE_TURN_EACH, admin_lane=lane))
    elsewhere = (PARTITION + 1) % SPEC.metadata.partitions
    order: list[str] = []
    renewal = asyncio.create_task(node.renew(SERVERS[LARGE]))
    renewal.add_done_callback(lambda _: order.append("renewal"))
    await node.reaches("in_service", 1)
    admin = asyncio.create_task(node.call("GET", f"/map/{elsewhere}"))
    admin.add_done_callback(lambda _: order.append("map"))
    assert (await admin)[0] == 200
    if lane == "shared":
        await renewal
        assert order == ["renewal", "map"]
    else:
        assert order == ["map"]
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


# ---------------------------------------------------------------- a pause, and the end


def connects(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(DEADLINE_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_pause_from_outside_refuses_at_once_costs_nothing_and_is_undone(start: Start) -> None:
    node = await start()
    assert (await node.renew(SERVERS[0]))[0] == 200
    for _ in range(2):
        node.listener.shutdown(socket.SHUT_RDWR)
        assert not connects(node.port)
        with pytest.raises(aiohttp.ClientConnectorError):
            await node.renew(SERVERS[0])
        assert (await node.call("GET", "/version"))[0] == 200, "administration goes on"
        cpu_s, began_s = time.clock_gettime(cpu_clock(node.pid)), time.monotonic()
        while (took_s := time.monotonic() - began_s) < 0.6:
            assert not connects(node.port)
            await asyncio.sleep(0.02)
        assert (time.clock_gettime(cpu_clock(node.pid)) - cpu_s) / took_s < 0.3, "it does not spin meanwhile"
        node.listener.listen(16)
        assert (await node.membership(SERVERS[0])).server == SERVERS[0]


async def test_a_node_that_lost_its_store_says_so_and_serves_again_with_it(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    place = Place(tmp_path)
    node = Node(place, http, SPEC.metadata)
    try:
        await node.up()
        assert (await node.renew(SERVERS[0]))[0] == 200
        place.processes.end("store")
        place.path.unlink(missing_ok=True)
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(2):
                status, body = await node.renew(SERVERS[0])
                assert (status, b"store" in body) == (503, True)
                for path in ("/map/0", "/version", f"/confirmed?servers={SERVERS[0]}"):
                    status, answer = await node.call("GET", path)
                    assert (status, "store" in answer["error"]) == (503, True), path
                async with http.post(f"http://{node.renewal}/confirm/{SERVERS[0]}?epoch=1") as response:
                    assert response.status == 503
        assert await node.gauge("in_service") == await node.gauge("waiting") == 0
        place.start_store()
        await until(lambda: exists(place.path))
        place.refill()
        assert (await node.membership(SERVERS[0])).server == SERVERS[0]
        assert node.end() == 0
    finally:
        place.close()


async def exists(path: Path) -> bool:
    return path.exists()


async def test_sigterm_ends_it_cleanly_with_its_records_on_disk(start: Start, place: Place) -> None:
    node = await start()
    await node.renew(SERVERS[0])
    assert (await node.call("PUT", f"/weight/{PARTITION}", {"percent": 0}))[0] == 200  # nobody's turn comes
    asking = asyncio.create_task(node.renew(SERVERS[LARGE]))
    await node.sampled(answered=1, waiting=1)
    node.listener.close()  # else the client's second try would be taken in, and by nobody
    assert await asyncio.to_thread(node.end) == 0
    with pytest.raises(aiohttp.ClientError):
        await asking
    assert place.processes.log_tail(node.name).startswith("nothing in")
    last = node.samples()[-1]
    assert (last.cell, last.node, last.answered, last.abandoned) == ("cell-0", node.name, 1, 0)


def test_a_bad_configuration_is_one_line_and_status_3(place: Place) -> None:
    with listen(free_port()) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        bad: list[tuple[dict[str, Any], str]] = [
            ({"policy": {"page_record": 5}}, "page_record"),
            ({"store_url": 5}, "store_url"),
            ({"admin_listen": "nowhere"}, "'nowhere' is not host:port"),
            ({"admin_listen": address}, f"admin_listen: {address} is taken"),
            ({"renewal_listen": address}, f"renewal_listen: {address} is taken"),
        ]
        for number, (change, _) in enumerate(bad):
            config = {
                "node": "bad",
                "cell": "cell-0",
                "store_url": place.url,
                "admin_listen": f"127.0.0.1:{free_port()}",
                "renewal_listen": f"127.0.0.1:{free_port()}",
                "records": str(place.processes.records / f"bad-{number}.ndjson"),
            } | change
            place.processes.service(f"bad-{number}", "cellwall_services.metadata", config, may_end=True)
        for number, (_, said) in enumerate(bad):
            status = place.processes.wait(f"bad-{number}", DEADLINE_S)
            text = (place.processes.folder / "logs" / f"bad-{number}.log").read_text()
            assert (status, said in text, text.count("\n")) == (3, True, 1), text[-400:]

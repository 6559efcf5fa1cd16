"""Range reads end to end over HTTP: the front end's reader, three hosts' doors, and their files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from cellwall.keys import base_key, encode_key, index_key, key_range
from cellwall.quorum import Version
from cellwall_services.frontend.calls import Replica
from cellwall_services.frontend.clock import Clock
from cellwall_services.frontend.errors import ServiceUnavailableError
from cellwall_services.frontend.metrics import Metrics
from cellwall_services.frontend.ranges import Place, Ranges, Source
from cellwall_services.frontend.replicas import Replicas
from cellwall_services.storage.api import Api
from cellwall_services.storage.engine import Store
from cellwall_services.storage.gate import Gate
from cellwall_services.wire import Range, Refusal, Stored

NAMES = ["s-1", "s-2", "s-3"]
TABLE, INDEX = "t-1//0", "t-1/by-gk/0"


class Host:
    """The real door and the real file of one server; in service because the test says so."""

    def __init__(self, name: str, folder: Path) -> None:
        self.store = Store(folder / f"{name}.sqlite")
        self.store.create({TABLE: 1, INDEX: 1})
        self.agent = SimpleNamespace(available=True)
        agents: Any = SimpleNamespace(servers={name: self})
        metrics: Any = SimpleNamespace(replica=lambda verb, result: None)
        unused: Any = None
        self.app: web.Application = Api(agents, Gate([name]), unused, metrics, lambda: 0.0).app()


class World:
    def __init__(self, hosts: dict[str, Host], sources: dict[str, Source], replicas: Replicas) -> None:
        self.hosts = hosts
        self.table, self.index = sources[TABLE], sources[INDEX]
        self.replicas = replicas
        self.ranges = Ranges(replicas)

    async def write(self, key: bytes, item: bytes | None, *, learn: bool = False) -> list[Stored]:
        written = await self.replicas.write(self.table.replicas, TABLE, key, item, learn=learn)
        return written.before


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    hosts = {name: Host(name, tmp_path) for name in NAMES}
    servers = {name: TestServer(host.app) for name, host in hosts.items()}
    for server in servers.values():
        await server.start_server()
    session = aiohttp.ClientSession()
    replicas = Replicas(session, Clock(tmp_path / "clock", "fe"), 5.0, Metrics())
    trio = [Replica(name, f"127.0.0.1:{servers[name].port}") for name in NAMES]
    yield World(hosts, {name: Source(name, trio) for name in (TABLE, INDEX)}, replicas)
    await replicas.close()
    await session.close()
    for name in NAMES:
        await servers[name].close()
        hosts[name].store.close()


async def test_a_query_reads_numbers_in_order_page_by_page(world: World) -> None:
    numbers = ["-20", "-1.5", "0", "0.05", "3", "20", "100"]
    for number in reversed(numbers):
        await world.write(encode_key("S", "h", "N", number), number.encode())
        await world.write(encode_key("S", "other", "N", number), b"other")
    await world.write(encode_key("S", "h", "N", "3"), None)

    first, last = key_range("S", "h", "N", "BETWEEN", ["-1.5", "20"], index=False)
    pages, after = [], None
    while True:
        how: Any = {"first": first, "last": last, "consistent": True}
        page = await world.ranges.read([world.table], after=after, limit=2, **how)
        pages.append([(row.item or b"").decode() for row in page.rows])
        after = page.next
        if after is None:
            break
    assert pages == [["-1.5", "0"], ["0.05", "20"]]
    backward = await world.ranges.read([world.table], first=first, last=last, backward=True)
    assert [row.item for row in backward.rows] == [b"20", b"0.05", b"0", b"-1.5"]


async def test_one_server_out_is_not_noticed_and_what_it_missed_is_repaired(world: World) -> None:
    world.hosts["s-1"].agent.available = False
    for number in range(5):
        await world.write(encode_key("S", f"k{number}"), b"item")
    world.hosts["s-1"].agent.available = True
    world.hosts["s-3"].agent.available = False
    page = await world.ranges.read([world.table], consistent=True)
    assert [row.item for row in page.rows] == [b"item"] * 5
    held = world.hosts["s-1"].store.range(Range([TABLE]))
    assert [(row.key, row.version) for row in held.rows] == [(row.key, row.version) for row in page.rows]
    world.hosts["s-2"].agent.available = False
    with pytest.raises(ServiceUnavailableError, match=r"s-[23]: disqualified"):
        await world.ranges.read([world.table], consistent=True)


async def test_a_write_learns_what_it_replaced(world: World) -> None:
    key = encode_key("S", "k")
    assert await world.write(key, b"first", learn=True) == []
    assert await world.write(key, b"second") == [], "only who asks is told"
    before = await world.write(key, None, learn=True)
    assert len(before) >= 2, "of the quorum that answered"
    assert {stored.item for stored in before} == {b"second"}
    assert {stored.item for stored in await world.write(key, b"third", learn=True)} == {None}


async def test_an_entry_written_at_its_items_version_gives_way_to_newer_ones_only(world: World) -> None:
    item_key = encode_key("S", "item")
    entry = index_key("S", "g", "N", "-7", item_key)
    newer, older = Version(9, 0, "fe"), Version(8, 0, "fe")
    await world.replicas.write_at(world.index.replicas, INDEX, entry, newer, b"projected")
    await world.replicas.write_at(world.index.replicas, INDEX, entry, older, None)  # late, and therefore nothing
    first, last = key_range("S", "g", "N", "<", ["0"], index=True)
    page = await world.ranges.read([world.index], first=first, last=last)
    assert [(base_key(row.key), row.version, row.item) for row in page.rows] == [(item_key, newer, b"projected")]


async def test_large_items_come_over_several_answers_and_pages(world: World) -> None:
    for number in range(6):
        await world.write(b"%d" % number, bytes(400 * 1024))
    first = await world.ranges.read([world.table], consistent=True)
    assert [row.key for row in first.rows] == [b"0", b"1", b"2"]
    assert first.next == Place(TABLE, b"2")
    rest = await world.ranges.read([world.table], after=first.next, consistent=True)
    assert [row.key for row in rest.rows] == [b"3", b"4", b"5"]


async def test_a_range_that_means_nothing_is_bad_input_and_one_of_foreign_partitions_names_them(world: World) -> None:
    trio = world.table.replicas[0]
    async with aiohttp.ClientSession() as session:
        url = f"http://{trio.address}/replica/{trio.server}/range"
        for body in (Range([TABLE], limit=0), {"partitions": 1}):
            async with session.post(url, data=msgspec.msgpack.encode(body)) as answer:
                assert answer.status == 400
        async with session.post(url, data=msgspec.msgpack.encode(Range([TABLE, "elsewhere"]))) as answer:
            assert answer.status == 503
            refusal = msgspec.msgpack.decode(await answer.read(), type=Refusal)
            assert refusal == Refusal("not-assigned", ["elsewhere"])

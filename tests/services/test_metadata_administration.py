"""A metadata node's administrative door: maps, tables, weights, statistics, and taking over from another node."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import msgspec
import pytest
from aiohttp import web

from cellwall_lab.backends.processes import free_port
from cellwall_services.metadata.joining import take_over
from cellwall_services.wire import Join, Joined, MembershipStatistics, PartitionMap, TableChange

from .metadata_world import DEADLINE_S, LARGE, LAYOUT, SERVERS, SPEC, Node, Place, Start, new_table, placed, version


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


async def test_a_source_that_hangs_up_is_asked_once() -> None:
    """An administrative request is one request: the client's own second try would be work that nobody counts."""
    asked = 0

    async def hang_up(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    source = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    source.app.router.add_get("/map/{partition}", hang_up)
    await source.setup()
    port = free_port()
    await web.TCPSite(source, "127.0.0.1", port).start()
    joined = await take_over(Join(f"127.0.0.1:{port}", [0, 1], DEADLINE_S))
    await source.cleanup()
    assert joined.outcome == "refused" and joined.reason.startswith("map of partition 0: ")
    assert asked == 1

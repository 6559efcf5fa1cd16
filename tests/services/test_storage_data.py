"""A storage host's local data: refilled from all peers, never made up, dropped and made as assigned."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from cellwall import history
from cellwall.model import Assignment
from cellwall_services.wire import Exported, Get, Got, Put, Row

from .storage_world import V1, V2, World, until, wipe


async def test_a_wiped_disk_is_refilled_from_all_its_peers(three: World) -> None:
    old, new = Put("t-1//0", b"k", V1, b"old"), Put("t-1//0", b"k", V2, b"new")
    await three.replica("s-2", "put", old, "h2")
    await three.replica("s-3", "put", new, "h3")
    wipe(three, "h1")
    # One peer is silent: it might have the only other copy of an acknowledged write.
    await three.cut("s-3", for_s=60.0, host="h3")
    await three.start("h1")

    async def failed() -> bool:
        return any(isinstance(r, history.Renewal) and r.reason == "verify" for r in await three.trace("s-1", "h1"))

    await until(failed)
    assert not (await three.states("h1"))["s-1"].available
    await three.uncut(host="h3")
    await three.all_in("h1")
    status, body = await three.replica("s-1", "get", Get("t-1//0", b"k"), "h1")
    assert (status, msgspec.msgpack.decode(body, type=Got)) == (200, Got(V2, b"new"))

    # Now nobody has it any more: what was confirmed must not come back as if it had been empty.
    for number in (1, 2, 3):
        wipe(three, f"h{number}")
    await asyncio.gather(*(three.start(f"h{number}") for number in (1, 2, 3)))
    await until(failed)
    for number in (1, 2, 3):
        assert not (await three.states(f"h{number}"))[f"s-{number}"].available


async def test_a_peers_damaged_row_is_not_taken_over(world: World) -> None:
    row = Row("t-1//0", b"k", V1, b"item", checksum=1)

    async def export(request: web.Request) -> web.Response:
        return web.Response(body=msgspec.msgpack.encode(Exported(["t-1//0"], [row])))

    peer = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    peer.app.router.add_post("/replica/{s}/export", export)
    await peer.setup()
    world.add_host("peer", ["s-2"])
    world.add_host("h", ["s-1"])
    await web.TCPSite(peer, "127.0.0.1", world.ports["peer"]).start()
    world.assign("s-1", "s-2", partitions=1)
    world.node.confirmed["s-1"] = 1  # it had held the partition
    world.publish()
    await world.start("h")
    assert (await world.failed("s-1", "verify")).outcome == "refused"
    await peer.cleanup()


async def test_what_is_no_longer_assigned_is_dropped_and_what_is_new_is_made(host: World) -> None:
    await host.replica("s-1", "put", Put("t-1//2", b"k", V1, b"item"))
    host.assign("s-1", partitions=2, epoch=2)
    host.node.memberships["s-1"] = msgspec.structs.replace(
        host.node.memberships["s-1"],
        count=3,
        assignments=[
            *(Assignment("t-1", "", n, "0", "", 0, 1, 1, ("s-2",)) for n in range(2)),
            Assignment("t-2", "by-gk", 0, "0", "", 0, 2, 2, ()),
        ],
    )

    async def applied() -> bool:
        return host.node.confirmed["s-1"] == 2

    await until(applied)
    assert await host.refusal("s-1", "get", Get("t-1//2", b"k")) == "not-assigned"
    assert (await host.replica("s-1", "get", Get("t-2/by-gk/0", b"k")))[0] == 200
    assert (await host.states())["s-1"].available

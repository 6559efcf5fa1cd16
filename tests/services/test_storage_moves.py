"""Storage servers whose placement group changes cells: nothing but where they renew changes."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from cellwall import history

from .storage_world import Node, World, until


async def test_servers_renew_in_their_new_cell_and_stay_in_service(host: World) -> None:
    target = Node()
    await target.open()
    known = host.node.memberships.items()
    target.memberships = {name: msgspec.structs.replace(m, cell="cell-1") for name, m in known}
    target.confirmed = dict(host.node.confirmed)
    # A renewal is under way at the old cell when the map changes; its answer is as good.
    going, may = asyncio.Event(), asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        going.set()
        await may.wait()
        return host.node.answer(request.match_info["s"])

    host.node.instead = late
    try:
        async with asyncio.timeout(10):
            await going.wait()
        host.publish(cell_id="cell-1", at=target)
        may.set()

        async def followed() -> bool:
            return {server for _, server in target.asked} == {"s-1", "s-2"}

        await until(followed)
        await host.all_in()
        for server in ("s-1", "s-2"):
            trace = await host.trace(server)
            reasons = {record.reason for record in trace if isinstance(record, history.Renewal)}
            # A starved machine is late; nothing else may have gone wrong.
            assert reasons <= {"", "time-out"}
            last = [record for record in trace if isinstance(record, history.Renewal) and record.outcome == "done"][-1]
            assert last.cell == "cell-1"
    finally:
        may.set()
        await target.close()

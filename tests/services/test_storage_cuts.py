"""Cuts at a storage host: who is unreachable, for how long, and the receipt."""

from __future__ import annotations

import aiohttp
import pytest

from cellwall_services.wire import Export, Get

from .storage_world import World, until


async def test_a_cut_server_answers_nobody_and_comes_back_by_a_renewal(host: World) -> None:
    state = await host.cut("s-1", "s-elsewhere", for_s=1.0)
    assert (state.servers, state.active) == (1, True)
    states = await host.states()
    assert (states["s-1"].available, states["s-1"].reason, states["s-1"].cut) == (False, "link-lost", True)
    assert states["s-2"].available
    asked = len([1 for _, server in host.node.asked if server == "s-1"])
    for op, body in (("get", Get("t-1//0", b"k")), ("export", Export(["t-1//0"]))):
        with pytest.raises(aiohttp.ClientConnectionError):
            await host.replica("s-1", op, body)
    assert (await host.failed("s-1", "unreachable")).waited_s < 0.1
    assert len([1 for _, server in host.node.asked if server == "s-1"]) == asked, "its own calls do not get out"

    async def over() -> bool:
        return await host.get("h", "/faults") == b"[]"

    await until(over)  # nobody ended it
    await host.all_in()
    receipt = await host.uncut()
    assert not receipt.active
    assert receipt.refused >= 3
    assert receipt.off_s - receipt.on_s == pytest.approx(1.0, abs=0.01)


async def test_a_cut_ends_early_and_overlapping_ones_last_as_long_as_any(host: World) -> None:
    await host.cut("s-1", for_s=60.0, cut_id="long")
    await host.cut("s-1", "s-2", for_s=60.0, cut_id="wide")
    assert not (await host.uncut("wide")).active
    assert not (await host.states())["s-2"].cut
    with pytest.raises(aiohttp.ClientConnectionError):
        await host.replica("s-1", "get", Get("t-1//0", b"k"))
    receipt = await host.uncut("long")
    assert receipt.refused >= 1
    await host.all_in()


async def test_a_cut_that_means_nothing_is_bad_input(host: World) -> None:
    for body in (b'{"id":"c","servers":["s-1"],"for_s":-1}', b'{"id":"c"}', b"{"):
        async with host.http.put(host.url("h", "/faults/cut"), data=body) as answer:
            assert answer.status == 400
    async with host.http.delete(host.url("h", "/faults/nothing")) as answer:
        assert answer.status == 400

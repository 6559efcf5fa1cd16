"""Renewals of a storage host that fail, each for its reason, and the waves in which servers come back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from cellwall import history
from cellwall_services.wire import Export, Exported, Get

from .storage_world import PARTITIONS, POLICY, World, until


async def test_an_answer_that_is_late_disqualifies_and_a_later_one_brings_back(host: World) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"server":')
        await asyncio.sleep(5)  # well past the time limit
        return response

    host.node.instead = slow
    late = await host.failed("s-1", "time-out")
    assert late.outcome == "unknown"
    assert POLICY.time_limit_s - 0.01 <= late.waited_s < 3 * POLICY.time_limit_s  # timers count whole milliseconds

    async def partial() -> bool:
        return any(isinstance(r, history.Renewal) and 0 < r.bytes < 100 for r in await host.trace("s-1"))

    await until(partial)  # what came of it is counted all the same
    await host.is_out("s-1", "time-out")
    assert await host.refusal("s-1", "get", Get("t-1//0", b"k")) == "disqualified"
    status, body = await host.replica("s-1", "export", Export(["t-1//0", "elsewhere"]))
    assert (status, msgspec.msgpack.decode(body, type=Exported).held) == (200, ["t-1//0"]), (
        "peers are served all the same"
    )
    host.node.instead = None
    await host.all_in()


async def test_an_answer_that_does_not_match_is_refused(world: World) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "s-1": {"server": "s-2"},
        "s-2": {"epoch": 0},
        "s-3": {"count": 4},
        "s-4": {"assignments": "none"},
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        server = request.match_info["s"]
        return world.node.answer(server, **wrong.get(server, {}))

    world.node.instead = answer
    world.add_host("h", [*wrong, "s-5"])
    world.assign(*wrong, "s-5")
    world.publish()
    await world.start("h")
    for server in wrong:
        assert (await world.failed(server, "mismatch")).outcome == "refused"
    states = await world.states()
    assert [server for server, state in states.items() if state.available] == ["s-5"]
    assert (await world.refusal("s-1", "get", Get("t-1//0", b"k"))) == "disqualified"


async def test_an_epoch_that_goes_back_is_refused(host: World) -> None:
    host.assign("s-1", epoch=3, born=3)

    async def applied() -> bool:
        return host.node.confirmed.get("s-1") == 3

    await until(applied)
    host.node.confirmed["s-1"] = 1  # a store that lost its last writes
    host.assign("s-1", epoch=2)
    assert (await host.failed("s-1", "stale-epoch")).outcome == "refused"
    await host.is_out("s-1", "stale-epoch")


async def test_a_closed_listener_is_unreachable_until_it_opens_again(host: World) -> None:
    await host.node.close()
    await host.is_out("s-1", "unreachable")
    assert (await host.failed("s-1", "unreachable")).waited_s < POLICY.time_limit_s
    await host.node.open()
    await host.all_in()


async def test_a_node_that_hangs_up_is_asked_once_an_attempt(host: World) -> None:
    """The client's own second try would be load that no record shows."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    host.node.asked.clear()
    host.node.instead = hang_up

    async def failed() -> bool:
        return len(host.node.asked) >= 10

    await until(failed)
    assert host.end("h") == 0
    with (host.folder / "h.ndjson").open("rb") as lines:
        attempts = [r for r in history.decode(lines) if isinstance(r, history.Renewal)]
    hung_up = [r for r in attempts if r.reason == "unreachable"]
    assert len(host.node.asked) <= len(hung_up) + len(host.hosts["h"]), "one each may be under way at the end"


async def test_servers_that_are_out_come_back_in_waves_by_metadata_partition(world: World) -> None:
    names = [f"s-{number}" for number in range(12)]
    world.add_host("h", names)
    world.assign(*names)
    await world.start("h")
    first_from_s, over_s = time.time() + 0.6, 0.8
    world.publish(reentry_from_s=first_from_s, reentry_over_s=over_s)  # first start
    await world.all_in()
    in_wave(world, names, first_from_s, over_s)

    await world.node.close()  # a pause
    for name in names:
        await world.is_out(name)
    world.node.asked.clear()
    again_from_s = time.time() + 0.6
    world.publish(reentry_from_s=again_from_s, reentry_over_s=over_s)

    async def followed() -> bool:
        return msgspec.json.decode(await world.get("h", "/map-version")) == {"version": 2}

    await until(followed)
    await world.node.open()
    await world.all_in()
    in_wave(world, names, again_from_s, over_s)


def in_wave(world: World, names: list[str], from_s: float, over_s: float) -> None:
    first: dict[str, float] = {}
    for at_s, server in world.node.asked:
        first.setdefault(server, at_s)
    assert set(first) == set(names)
    for number, name in enumerate(names):
        wave = number % PARTITIONS
        assert from_s + over_s * wave / PARTITIONS - 0.01 <= first[name]
        assert first[name] <= from_s + over_s * (wave + 1) / PARTITIONS + 0.5, (
            "late by more than a busy machine explains"
        )

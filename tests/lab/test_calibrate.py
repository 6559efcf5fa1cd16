"""What a record and a request cost: from a node alone, and from nodes under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import pytest
from aiohttp import web

from cellwall import history
from cellwall.errors import Refused, Unknown
from cellwall.placement import make_layout, server_id
from cellwall.spec import FleetSpec, WorldSpec
from cellwall_lab.backends import calibrate
from cellwall_lab.backends.processes import free_port

FLEET = FleetSpec(servers=18, group_servers=6, large_records=40, large_share=0.34, mid_share=0.0)
LAYOUT = make_layout(WorldSpec(seed=3, fleet=FLEET), lambda name: Random(f"3/{name}"))


def priced(monkeypatch: pytest.MonkeyPatch, cost: Callable[[int, int], float]) -> None:
    async def ask(_session: object, _address: str, servers: list[int], _pid: int) -> float:
        return cost(sum(LAYOUT.records[s] for s in servers), len(servers))

    monkeypatch.setattr(calibrate, "_ask", ask)


async def calibrated(address: str) -> calibrate.Calibration:
    calibrator = calibrate.Calibrator(LAYOUT, address, os.getpid())
    await calibrator.sit()
    return calibrator.result()


async def test_the_cheapest_round_counts_since_neighbours_only_make_it_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = itertools.cycle([1.5, 1.0, 1.2])
    priced(monkeypatch, lambda records, requests: next(noise) * (7e-6 * records + 3e-4 * requests))
    measured = await calibrated("nowhere")
    assert (measured.c_record_s, measured.c_request_s) == (pytest.approx(7e-6), pytest.approx(3e-4))


async def test_costs_are_solved_from_large_and_small_memberships(monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, lambda records, requests: 7e-6 * records + 3e-4 * requests)
    measured = await calibrated("nowhere")
    assert measured.c_record_s == pytest.approx(7e-6)
    assert measured.costs.c_request_s == pytest.approx(3e-4)
    assert (measured.requests, measured.records) == (18, sum(LAYOUT.records)), "so few servers are all asked"


@pytest.mark.parametrize("c, c0", [(-1e-6, 1e-3), (1e-5, -1e-6)])
async def test_costs_that_cannot_be_are_unknown(monkeypatch: pytest.MonkeyPatch, c: float, c0: float) -> None:
    priced(monkeypatch, lambda records, requests: c * records + c0 * requests)
    with pytest.raises(Unknown, match=r"no sensible costs came out .*cellwall doctor"):
        await calibrated("nowhere")


@contextlib.asynccontextmanager
async def node(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The renewal address of a node that answers so."""
    app = web.Application()
    app.router.add_get("/membership/{server}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"127.0.0.1:{port}"
    finally:
        # Those that were asked together with a refused one end first.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await runner.cleanup()


async def test_a_node_that_refuses_cannot_be_calibrated() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=400, text="a stored assignment is damaged")

    async with node(answer) as address:
        with pytest.raises(Refused, match="the node answered 400: b'a stored assignment is damaged'"):
            await calibrated(address)


# ---------------------------------------------------------------- under load


def sample(cpu_s: float, records: int, answered: int, abandoned: int) -> history.NodeSample:
    return history.NodeSample(
        t=0, cell="cell-0", node="n", cpu_s=cpu_s, in_service=0, waiting=0, oldest_s=0,
        answered=answered, abandoned=abandoned, records=records,
    )  # fmt: skip


async def under_load(
    looks: list[list[history.NodeSample]], status: int = 200
) -> tuple[calibrate.Calibration, set[str]]:
    """What comes out at a node that answers at once, and whom it was asked for."""
    asked: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        asked.add(request.match_info["server"])
        return web.Response(status=status, text="x")

    alone = calibrate.Calibration(3e-6, 1e-3, 1, 1)
    told = iter(looks)

    def samples() -> list[history.NodeSample]:
        assert asked, "the first look is at nodes that are loaded"
        return next(told)

    async with node(answer) as address:
        return await calibrate.under_load(LAYOUT, {"cell-0": [address]}, alone, samples, 0.3), asked


async def test_a_storm_prices_a_record_by_what_loaded_nodes_spent_less_their_requests() -> None:
    measured, asked = await under_load(
        [[sample(1.0, 100, 10, 0)], [sample(1.0 + 6e-6 * 50_000 + 0.012, 50_100, 20, 2)]]
    )
    assert measured.c_record_s == pytest.approx(6e-6)
    assert (measured.c_request_s, measured.records, measured.requests) == (1e-3, 50_000, 12)
    sizes = {server_id(s): LAYOUT.records[s] for s in range(LAYOUT.fleet.servers)}
    smallest = min(sizes[server] for server in asked)
    assert sum(records >= smallest for records in sizes.values()) <= len(sizes) / 2, "the larger half is asked for"


async def test_what_no_load_can_tell_is_unknown() -> None:
    idle = [sample(1.0, 100, 10, 0)]
    with pytest.raises(Unknown, match=r"0 records in 0\.3 s under load"):
        await under_load([idle, idle])
    with pytest.raises(Unknown, match="the node answered 400"):
        await under_load([idle, idle], status=400)

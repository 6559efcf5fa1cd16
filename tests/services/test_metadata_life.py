"""A metadata node's callers that go, a pause from outside, a store that goes away, and the node's own end."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cellwall_lab.backends.limiter import cpu_clock
from cellwall_lab.backends.processes import free_port, listen
from cellwall_services.metadata.__main__ import main

from .metadata_world import (
    DEADLINE_S,
    LARGE,
    ONE_TURN_EACH,
    OTHER,
    PARTITION,
    SERVERS,
    SPEC,
    Node,
    Place,
    Start,
    make_long,
    until,
)

# ---------------------------------------------------------------- callers that go


async def test_work_for_a_caller_that_has_gone_stops_only_if_it_may(start: Start) -> None:
    async def one(drop: bool) -> None:
        node = await start(msgspec.structs.replace(SPEC.metadata, drop_abandoned=drop))
        assert (await node.call("PUT", f"/weight/{PARTITION}", {"percent": 0}))[0] == 200  # nobody's turn comes
        _, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(f"GET /membership/{SERVERS[LARGE]} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        await node.reaches("waiting_requests", 1)
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
    await node.reaches("in_service_requests", 1)
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
    await node.reaches("in_service_requests", 1)
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
        while (took_s := time.monotonic() - began_s) < 0.3:
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
        assert await node.gauge("in_service_requests") == await node.gauge("waiting_requests") == 0
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


def bad_config(place: Place, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "node": "bad",
        "cell": "cell-0",
        "store_url": place.url,
        "admin_listen": f"127.0.0.1:{free_port()}",
        "renewal_listen": f"127.0.0.1:{free_port()}",
        "records": str(folder / "bad.ndjson"),
    } | changes


@pytest.mark.parametrize(
    ("changes", "text"), [({"policy": {"page_record": 5}}, "page_record"), ({"store_url": 5}, "store_url")]
)
def test_a_bad_configuration_is_one_line_and_status_3(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    text: str,
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(msgspec.json.encode(bad_config(place, tmp_path, **changes)))
    monkeypatch.setattr(sys, "argv", ["metadata", str(path)])
    assert main() == 3
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1


def test_a_door_that_cannot_be_opened_is_one_line_and_status_3(place: Place, tmp_path: Path) -> None:
    with listen(free_port()) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        bad: list[tuple[dict[str, Any], str]] = [
            ({"admin_listen": "nowhere"}, "'nowhere' is not host:port"),
            ({"admin_listen": address}, f"admin_listen: {address} is taken"),
            ({"renewal_listen": address}, f"renewal_listen: {address} is taken"),
        ]
        for number, (changes, _) in enumerate(bad):
            config = bad_config(place, tmp_path, **changes)
            place.processes.service(f"bad-{number}", "cellwall_services.metadata", config, may_end=True)
        for number, (_, said) in enumerate(bad):
            status = place.processes.wait(f"bad-{number}", DEADLINE_S)
            text = (place.processes.folder / "logs" / f"bad-{number}.log").read_text()
            assert (status, said in text, text.count("\n")) == (3, True, 1), text[-400:]

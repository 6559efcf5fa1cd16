"""A real storage host process against a small, honest metadata node and peers of its own kind."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from cellwall import history
from cellwall.model import Assignment, CellEntry, CellMap, Membership, ServerEntry
from cellwall.quorum import Version
from cellwall.spec import RenewalPolicy, RetryPolicy
from cellwall_services.config import HostConfig
from cellwall_services.storage.__main__ import main
from cellwall_services.wire import Cut, CutState, Export, Exported, Get, Got, Put, Refusal, Row, ServerState

# Twenty-five times faster than the reference set, with the timing rule kept.
POLICY = RenewalPolicy(renew_every_s=0.8, time_limit_s=0.35, retry=RetryPolicy(wait_min_s=0.05, wait_max_s=0.1))
PARTITIONS = 4  # metadata partitions
V1, V2 = Version(1, 0, "fe-1"), Version(2, 0, "fe-1")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Node:
    """An honest metadata node: says what it was given, remembers who asked and who confirmed."""

    def __init__(self) -> None:
        self.memberships: dict[str, Membership] = {}
        self.asked: list[tuple[float, str]] = []
        self.connections: set[object] = set()
        self.confirmed: dict[str, int] = {}
        self.instead: Handler | None = None  # answers in its place
        self.port = free_port()
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        app = web.Application()
        app.add_routes([web.get("/membership/{s}", self._membership), web.post("/confirm/{s}", self._confirm)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _membership(self, request: web.Request) -> web.StreamResponse:
        server = request.match_info["s"]
        self.asked.append((time.time(), server))
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        if self.instead is not None:
            return await self.instead(request)
        return self.answer(server)

    def answer(self, server: str, /, **changes: Any) -> web.Response:
        if server not in self.memberships:
            return web.Response(status=404)
        whole = self.memberships[server]
        changes = {"confirmed": self.confirmed.get(server, whole.confirmed)} | changes
        return web.Response(body=msgspec.json.encode(msgspec.to_builtins(whole) | changes))

    async def _confirm(self, request: web.Request) -> web.StreamResponse:
        self.confirmed[request.match_info["s"]] = int(request.query["epoch"])
        return web.Response(status=204)


class World:
    """One cell with one node, and as many hosts as a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = Node()
        self.http = aiohttp.ClientSession()
        self.ports: dict[str, int] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.hosts: dict[str, list[str]] = {}
        self.version = 0

    def publish(self, *, reentry_from_s: float = 0.0, reentry_over_s: float = 0.0) -> None:
        self.version += 1
        servers = {
            name: ServerEntry(name, "cell-0", number % PARTITIONS, "a", 0, f"127.0.0.1:{self.ports[host]}")
            for host, names in self.hosts.items()
            for number, name in enumerate(names)
        }
        nodes = {"n-0": f"127.0.0.1:{self.node.port}"}
        cell = CellEntry("cell-0", nodes, {}, [["n-0"]] * PARTITIONS, reentry_from_s, reentry_over_s)
        new = self.folder / "map.json.new"
        new.write_bytes(msgspec.json.encode(CellMap(self.version, {"cell-0": cell}, servers)))
        new.replace(self.folder / "map.json")

    def assign(self, *servers: str, partitions: int = 3, epoch: int = 1, born: int = 1) -> None:
        for server in servers:
            peers = tuple(other for other in servers if other != server)
            rows = [Assignment("t-1", "", n, "0", "", 0, epoch, born, peers) for n in range(partitions)]
            self.node.memberships[server] = Membership(server, "cell-0", epoch, 0, len(rows), {}, rows)

    def add_host(self, host: str, servers: list[str]) -> None:
        self.hosts[host] = servers
        self.ports[host] = free_port()

    async def start(self, host: str) -> None:
        config = HostConfig(
            name=host,
            zone="a",
            servers=self.hosts[host],
            listen=f"127.0.0.1:{self.ports[host]}",
            map_path=str(self.folder / "map.json"),
            data_dir=str(self.folder / host),
            seed=7,
            renewal=POLICY,
            records=str(self.folder / f"{host}.ndjson"),
        )
        path = self.folder / f"{host}.json"
        path.write_bytes(msgspec.json.encode(config))
        with (self.folder / f"{host}.log").open("ab") as log:
            self.processes[host] = subprocess.Popen(
                [sys.executable, "-m", "cellwall_services.storage", str(path)], stderr=log
            )

        async def listens() -> bool:
            try:
                await self.get(host, "/map-version")
            except aiohttp.ClientError:
                assert self.processes[host].poll() is None, (self.folder / f"{host}.log").read_text()
                return False
            return True

        await until(listens)

    def end(self, host: str, number: int = signal.SIGTERM) -> int:
        process = self.processes.pop(host)
        process.send_signal(number)
        return process.wait(10)

    async def close(self) -> None:
        for host in list(self.processes):
            self.end(host, signal.SIGKILL)
        await self.http.close()
        await self.node.close()

    # ------------------------------------------------------------ talking to a host

    def url(self, host: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[host]}{path}"

    async def get(self, host: str, path: str) -> bytes:
        async with self.http.get(self.url(host, path)) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def states(self, host: str = "h") -> dict[str, ServerState]:
        return msgspec.json.decode(await self.get(host, "/servers"), type=dict[str, ServerState])

    async def trace(self, server: str, host: str = "h") -> list[history.Renewal | history.Availability]:
        return msgspec.json.decode(
            await self.get(host, f"/servers/{server}/trace"), type=list[history.Renewal | history.Availability]
        )

    async def replica(self, server: str, op: str, body: object, host: str = "h") -> tuple[int, bytes]:
        async with self.http.post(
            self.url(host, f"/replica/{server}/{op}"), data=msgspec.msgpack.encode(body)
        ) as answer:
            return answer.status, await answer.read()

    async def refusal(self, server: str, op: str, body: object, host: str = "h") -> str:
        status, answer = await self.replica(server, op, body, host)
        assert status == 503
        return msgspec.msgpack.decode(answer, type=Refusal).reason

    async def cut(self, *servers: str, for_s: float, cut_id: str = "c-1", host: str = "h") -> CutState:
        body = msgspec.json.encode(Cut(cut_id, list(servers), for_s))
        async with self.http.put(self.url(host, "/faults/cut"), data=body) as answer:
            assert answer.status == 200
            return msgspec.json.decode(await answer.read(), type=CutState)

    async def uncut(self, cut_id: str = "c-1", host: str = "h") -> CutState:
        async with self.http.delete(self.url(host, f"/faults/{cut_id}")) as answer:
            return msgspec.json.decode(await answer.read(), type=CutState)

    async def all_in(self, host: str = "h") -> None:
        async def check() -> bool:
            return all(state.available for state in (await self.states(host)).values())

        await until(check)

    async def is_out(self, server: str, *reasons: str, host: str = "h") -> None:
        """Any reason is right where none is named: a starved machine times a server out before it is cut off."""

        async def check() -> bool:
            state = (await self.states(host))[server]
            return not state.available and (not reasons or state.reason in reasons)

        await until(check)

    async def failed(self, server: str, reason: str) -> history.Renewal:
        """The first attempt that failed for ``reason``."""
        found: list[history.Renewal] = []

        async def check() -> bool:
            found.extend(r for r in await self.trace(server) if isinstance(r, history.Renewal) and r.reason == reason)
            return bool(found)

        await until(check)
        return found[0]


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = 8.0) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < give_up_s, "the condition did not come true in time"
        await asyncio.sleep(0.03)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.node.open()
    yield world
    await world.close()


@pytest_asyncio.fixture
async def host(world: World) -> World:
    """One host with two servers, both in service."""
    world.add_host("h", ["s-1", "s-2"])
    world.assign("s-1", "s-2")
    world.publish()
    await world.start("h")
    await world.all_in()
    return world


# ---------------------------------------------------------------- service


async def test_a_server_enters_service_by_a_renewal_and_confirms_its_epoch(host: World) -> None:
    async def confirmed() -> bool:
        return host.node.confirmed == {"s-1": 1, "s-2": 1}

    await until(confirmed)
    assert (await host.states())["s-1"] == ServerState(True, "renewed", 1, 3)
    start, renewed, entered = (await host.trace("s-1"))[:3]
    assert isinstance(start, history.Availability) and (start.available, start.reason) == (False, "start")
    assert isinstance(renewed, history.Renewal) and (renewed.outcome, renewed.records) == ("done", 3)
    assert renewed.bytes == len(host.node.answer("s-1", confirmed=0).body)  # type: ignore[arg-type]
    assert isinstance(entered, history.Availability) and entered.available
    assert msgspec.json.decode(await host.get("h", "/map-version")) == {"version": 1}
    assert b"cellwall_storage_servers_available 2.0" in await host.get("h", "/metrics")

    async def renewed_again() -> bool:
        return len(host.node.asked) >= 6

    await until(renewed_again)
    assert len(host.node.connections) == len(host.node.asked), "one connection per renewal"
    assert len([r for r in await host.trace("s-1") if isinstance(r, history.Availability)]) == 2


async def test_a_replica_keeps_the_highest_version_and_says_why_it_does_nothing(host: World) -> None:
    for version, item in ((V2, b"new"), (V1, b"old")):
        assert (await host.replica("s-1", "put", Put("t-1//0", b"k", version, item)))[0] == 200
    status, body = await host.replica("s-1", "get", Get("t-1//0", b"k"))
    assert (status, msgspec.msgpack.decode(body, type=Got)) == (200, Got(V2, b"new"))
    assert await host.refusal("s-1", "put", Put("elsewhere", b"k", V1, b"")) == "not-assigned"
    assert await host.refusal("s-1", "get", Get("elsewhere", b"k")) == "not-assigned"
    assert await host.refusal("s-9", "get", Get("t-1//0", b"k")) == "no-such-server"
    status, body = await host.replica("s-1", "put", {"partition": 1})
    assert status == 400
    assert b"partition" in body


async def test_acknowledged_puts_survive_kill_9(host: World) -> None:
    for number in range(50):
        put = Put(f"t-1//{number % 3}", b"k%d" % number, Version(number, 0, "fe"), b"item %d" % number)
        assert (await host.replica("s-1", "put", put))[0] == 200
    host.end("h", signal.SIGKILL)
    await host.start("h")
    await host.all_in()
    for number in range(50):
        status, body = await host.replica("s-1", "get", Get(f"t-1//{number % 3}", b"k%d" % number))
        assert (status, msgspec.msgpack.decode(body, type=Got).item) == (200, b"item %d" % number)


async def test_sigterm_ends_it_cleanly_with_every_record_on_disk(host: World) -> None:
    assert host.end("h") == 0
    assert not list((host.folder / "h").glob("*-wal")), "the logs are folded in"
    with (host.folder / "h.ndjson").open("rb") as lines:
        records = list(history.decode(lines))
    entered = [r.server for r in records if isinstance(r, history.Availability) and r.available]
    assert sorted(entered) == ["s-1", "s-2"]
    assert (host.folder / "h.log").read_text() == ""


# ---------------------------------------------------------------- renewals that fail


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


# ---------------------------------------------------------------- cuts


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


# ---------------------------------------------------------------- local data


@pytest_asyncio.fixture
async def three(world: World) -> World:
    """Three hosts with one replica each of the same three partitions."""
    for number in (1, 2, 3):
        world.add_host(f"h{number}", [f"s-{number}"])
    world.assign("s-1", "s-2", "s-3")
    world.publish()
    await asyncio.gather(*(world.start(f"h{number}") for number in (1, 2, 3)))
    for number in (1, 2, 3):
        await world.all_in(f"h{number}")

    async def confirmed() -> bool:
        return len(world.node.confirmed) == 3

    await until(confirmed)
    return world


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


def wipe(world: World, host: str) -> None:
    world.end(host, signal.SIGKILL)
    for path in (world.folder / host).iterdir():
        path.unlink()


# ---------------------------------------------------------------- re-entry, and bad input


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


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"servers": []}, "servers: []"),
        ({"servers": ["s-1", "s-1"]}, "named twice"),
        ({"servers": ["../s"]}, "'../s' is not allowed"),
        ({"listen": "nowhere"}, "not host:port"),
        ({}, "is taken"),
        ({"colour": 1}, "colour"),
        ({"data_dir": "/proc/none"}, "/proc/none"),
    ],
)
def test_bad_settings_are_one_line_and_status_3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    text: str,
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = f"127.0.0.1:{listener.getsockname()[1]}"
        folder = str(tmp_path)
        config = HostConfig(
            name="h", zone="a", servers=["s-1"], listen=taken, map_path=folder, data_dir=folder, seed=1,
            records=f"{folder}/r",
        )  # fmt: skip
        path = tmp_path / "bad.json"
        path.write_bytes(msgspec.json.encode(msgspec.to_builtins(config) | changes))
        monkeypatch.setattr(sys, "argv", ["storage", str(path)])
        assert main() == 3
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1

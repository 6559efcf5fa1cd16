"""A storage host under test: a real process against a small, honest metadata node. Fixtures: conftest."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from cellwall import history
from cellwall.model import Assignment, CellEntry, CellMap, Membership, ServerEntry
from cellwall.quorum import Version
from cellwall.spec import RenewalPolicy, RetryPolicy
from cellwall_lab.backends.processes import free_port
from cellwall_services.config import HostConfig
from cellwall_services.wire import Cut, CutState, Refusal, ServerState

# Twenty-five times faster than the reference set, with the timing rule kept.
POLICY = RenewalPolicy(renew_every_s=0.8, time_limit_s=0.35, retry=RetryPolicy(wait_min_s=0.05, wait_max_s=0.1))
PARTITIONS = 4  # metadata partitions
V1, V2 = Version(1, 0, "fe-1"), Version(2, 0, "fe-1")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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

    def publish(
        self,
        *,
        reentry_from_s: float = 0.0,
        reentry_over_s: float = 0.0,
        cell_id: str = "cell-0",
        at: Node | None = None,
    ) -> None:
        """All servers in one cell; its node is the world's, unless it is ``at`` another."""
        self.version += 1
        servers = {
            name: ServerEntry(name, cell_id, number % PARTITIONS, "a", 0, f"127.0.0.1:{self.ports[host]}")
            for host, names in self.hosts.items()
            for number, name in enumerate(names)
        }
        nodes = {"n-0": f"127.0.0.1:{(at or self.node).port}"}
        cell = CellEntry(cell_id, nodes, {}, [["n-0"]] * PARTITIONS, reentry_from_s, reentry_over_s)
        new = self.folder / "map.json.new"
        new.write_bytes(msgspec.json.encode(CellMap(self.version, {cell_id: cell}, servers)))
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


def wipe(world: World, host: str) -> None:
    world.end(host, signal.SIGKILL)
    for path in (world.folder / host).iterdir():
        path.unlink()

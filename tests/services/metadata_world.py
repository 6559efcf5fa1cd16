"""A metadata node under test: a real process over a real store, filled by the real loader. Fixtures: conftest."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
import redis

from cellwall import history
from cellwall.model import Assignment, Membership, TableInfo, hash_slice
from cellwall.placement import assignments, make_layout, server_id
from cellwall.spec import FleetSpec, MetadataPolicy, Release, WorldSpec
from cellwall_lab.backends.binaries import store_binary
from cellwall_lab.backends.processes import Processes, free_port, listen
from cellwall_services.metadata.loader import cell_commands

SPEC = WorldSpec(
    seed=11,
    fleet=FleetSpec(servers=12, group_servers=6, large_records=40, large_share=0.5, mid_share=0.0),
    metadata=MetadataPolicy(partitions=3, page_records=10),
)
LAYOUT = make_layout(SPEC, lambda name: Random(f"{SPEC.seed}/{name}"))
SERVERS = [server_id(s) for s in range(LAYOUT.fleet.servers)]
LARGE = max(range(len(SERVERS)), key=lambda s: LAYOUT.records[s])
OTHER = next(name for s, name in enumerate(SERVERS) if LAYOUT.fleet.group[s] != LAYOUT.fleet.group[LARGE])
PARTITION = LAYOUT.partition[LARGE]
DEADLINE_S = 15.0
SAMPLE_EVERY_S = 0.1
ONE_TURN_EACH = msgspec.structs.replace(SPEC.metadata, page_records=1, discipline="fifo", concurrency=1)


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < give_up_s, "the condition did not come true in time"
        await asyncio.sleep(0.02)


class Place:
    """A store filled by the loader, and the nodes started over it. Without ``filled``, that of a cell just added."""

    def __init__(self, folder: Path, cell: str = "cell-0", *, filled: bool = True) -> None:
        self.cell = cell
        self.processes = Processes(folder)
        self.path = folder / "s"
        self.url = f"unix://{self.path}"
        self.start_store()
        give_up_s = time.monotonic() + DEADLINE_S
        while not self.path.exists():
            assert time.monotonic() < give_up_s, "no store"
            time.sleep(0.01)
        self.redis = redis.Redis(unix_socket_path=str(self.path))
        if filled:
            self.processes.service(
                "loader", "cellwall_services.metadata.loader", {"spec": SPEC, "stores": [self.url]}, may_end=True
            )
            assert self.processes.wait("loader", DEADLINE_S) == 0, self.processes.log_tail("loader")
        self.commands = cell_commands(LAYOUT)[0] if filled else []
        self.started = 0
        self.listeners: list[socket.socket] = []

    def start_store(self) -> None:
        args = [store_binary(), "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no"]
        self.processes.start("store", args)

    def refill(self) -> None:
        """As the loader left it."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.flushall()
        for command in self.commands:
            pipe.execute_command(*command)
        pipe.execute()

    def close(self) -> None:
        self.redis.close()
        self.processes.end_all()
        for listener in self.listeners:
            listener.close()


class Node:
    """One node process, its doors, and what it recorded."""

    def __init__(
        self, place: Place, http: aiohttp.ClientSession, policy: MetadataPolicy, release: Release | None = None
    ) -> None:
        self.place, self.http = place, http
        self.name = f"node-{place.started}"
        place.started += 1
        port = free_port()
        self.listener = listen(port)
        place.listeners.append(self.listener)
        self.renewal, self.admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
        self.port = port
        self.records_path = place.processes.records / f"{self.name}.ndjson"
        config = {
            "node": self.name,
            "cell": place.cell,
            "begins_empty": place.cell != "cell-0",
            "store_url": place.url,
            "admin_listen": self.admin,
            "renewal_fd": self.listener.fileno(),
            "policy": policy,
            "records": str(self.records_path),
            "sample_every_s": SAMPLE_EVERY_S,
            "release": release or Release(),
        }
        fds = (self.listener.fileno(),)
        self.pid = place.processes.service(self.name, "cellwall_services.metadata", config, fds=fds)

    async def up(self) -> Node:
        async def answers() -> bool:
            self.place.processes.check()
            try:
                return (await self.call("GET", "/version"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(answers)
        return self

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a request to the administrative door."""
        data = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        async with self.http.request(method, f"http://{self.admin}{path}", data=data) as response:
            text = await response.read()
        return response.status, msgspec.json.decode(text) if text else None

    async def renew(self, server: str) -> tuple[int, bytes]:
        async with self.http.get(f"http://{self.renewal}/membership/{server}") as response:
            return response.status, await response.read()

    async def membership(self, server: str) -> Membership:
        status, body = await self.renew(server)
        assert status == 200, body
        return msgspec.json.decode(body, type=Membership)

    async def gauge(self, name: str) -> float:
        async with self.http.get(f"http://{self.admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"cellwall_metadata_{name} "))

    async def reaches(self, name: str, value: float) -> None:
        async def there() -> bool:
            return await self.gauge(name) == value

        await until(there)

    def samples(self) -> list[history.NodeSample]:
        with self.records_path.open("rb") as lines:
            return [record for record in history.decode(lines) if isinstance(record, history.NodeSample)]

    async def sampled(self, **fields: int) -> None:
        """Until a record says so."""

        async def said() -> bool:
            return any(all(getattr(s, name) == value for name, value in fields.items()) for s in self.samples())

        await until(said)

    def end(self, number: int = signal.SIGTERM) -> int | None:
        os.kill(self.pid, number)
        status = self.place.processes.wait(self.name, DEADLINE_S)
        return status


Start = Callable[..., Awaitable[Node]]


def rows_of(server: int) -> list[Assignment]:
    return [assignment for s, assignment in assignments(LAYOUT) if s == server]


def make_long(place: Place, server: str, times: int) -> int:
    """The same records over and over; returns how many it has now."""
    key = f"list:{server}"
    rows = place.redis.lrange(key, 0, -1)
    for _ in range(times - 1):
        place.redis.rpush(key, *rows)
    place.redis.hset(f"server:{server}", "count", len(rows) * times)
    return len(rows) * times


def new_table(table: str, partitions: int = 2) -> TableInfo:
    return TableInfo(table, table, "customer-new", partitions, status="CREATING")


def placed(info: TableInfo, servers: list[str]) -> dict[str, list[Assignment]]:
    """Every partition on three servers."""
    out: dict[str, list[Assignment]] = {server: [] for server in servers}
    for n in range(info.partitions):
        for replica, server in enumerate(servers):
            peers = tuple(s for s in servers if s != server)
            out[server].append(Assignment(info.id, "", n, *hash_slice(n, info.partitions), replica, 0, 0, peers))
    return out


async def version(node: Node) -> int:
    return int((await node.call("GET", "/version"))[1]["version"])

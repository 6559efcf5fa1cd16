"""A small world for the front end's tests: one metadata node and the storage servers, in one thread.

Both speak `wire` honestly: replicas keep the highest version, servers apply and confirm their
assignments when the test lets them renew, a repeated table change raises no epoch. Nothing fails unless
a test says so (`down`, `cut`, `metadata_stuck`).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import msgspec
from aiohttp import web
from botocore.config import Config

from cellwall.model import Assignment, CellEntry, CellMap, Membership, ServerEntry, TableInfo, hash_slice
from cellwall.quorum import Version
from cellwall_services import wire

CELL = "cell-0"
GROUPS = 2


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


START_S = 30.0  # a process begins with a second of imports, ten where the machine is busy


def wait_until(condition: Callable[[], Any], deadline_s: float = 8.0) -> Any:
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s")


class FakeWorld:
    """Six servers in two placement groups over three zones; metadata partition = placement group."""

    def __init__(self) -> None:
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        self.servers = {
            f"s-{g}{z}": ServerEntry(f"s-{g}{z}", CELL, g, z, g, address) for g in range(GROUPS) for z in "abc"
        }
        entry = CellEntry(CELL, {"n0": address}, {"n0": address}, [["n0"] for _ in range(GROUPS)])
        self.map = CellMap(1, {CELL: entry}, self.servers)
        self.version = 1
        self.tables: dict[str, TableInfo] = {}
        self.lists: dict[str, list[Assignment]] = {s: [] for s in self.servers}
        self.epoch = dict.fromkeys(self.servers, 1)
        self.confirmed = dict.fromkeys(self.servers, 1)
        self.applied: dict[str, set[str]] = {s: set() for s in self.servers}
        self.rows: dict[tuple[str, str, bytes], tuple[Version, bytes | None]] = {}
        self.down: set[str] = set()  # out of service: 503
        self.cut: set[str] = set()  # connection aborted
        self.metadata_stuck = False
        self.changes_stuck = False  # only POST /tables
        self.renewing = True
        self.map_loads = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._up = threading.Event()

    # ---- set-up

    def place(self, customer: str, name: str, group: int = 0, partitions: int = 2) -> TableInfo:
        """A table that was placed with the world."""
        info = TableInfo(f"t-{len(self.tables):05d}", name, customer, partitions)
        self.tables[info.id] = info
        trio = [f"s-{group}{z}" for z in "abc"]
        for p in range(partitions):
            lo, hi = hash_slice(p, partitions)
            for r, server in enumerate(trio):
                peers = tuple(s for s in trio if s != server)
                self.lists[server].append(Assignment(info.id, "", p, lo, hi, r, 1, 1, peers))
        self.renew()
        return info

    def renew(self) -> None:
        """Every server gets its membership and confirms it."""
        for server, records in self.lists.items():
            gone = self.applied[server] - {a.key for a in records}
            self.rows = {w: row for w, row in self.rows.items() if w[0] != server or w[1] not in gone}
            self.applied[server] = {a.key for a in records}
            self.confirmed[server] = self.epoch[server]

    def heal(self) -> None:
        """Everybody in service, reachable and renewing."""
        self.down, self.cut = set(), set()
        self.metadata_stuck, self.changes_stuck, self.renewing = False, False, True

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/version", self._version)
        app.router.add_get("/map/{partition}", self._map)
        app.router.add_get("/confirmed", self._confirmed)
        app.router.add_post("/tables", self._tables)
        app.router.add_post("/replica/{server}/put", self._put)
        app.router.add_post("/replica/{server}/get", self._get)
        app.router.add_post("/replica/{server}/range", self._range)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    # ---- metadata node

    async def _answer(self, value: Any) -> web.Response:
        while self.metadata_stuck:
            await asyncio.sleep(0.05)
        return web.Response(body=msgspec.json.encode(value))

    async def _version(self, _: web.Request) -> web.Response:
        return await self._answer({"version": self.version})

    async def _map(self, request: web.Request) -> web.Response:
        self.map_loads += 1
        partition = int(request.match_info["partition"])
        memberships = []
        for server, entry in self.servers.items():
            if entry.partition == partition:
                records = self.lists[server]
                tables = {a.table: self.tables[a.table] for a in records}
                memberships.append(
                    Membership(server, CELL, self.epoch[server], self.confirmed[server], len(records), tables, records)
                )
        return await self._answer(wire.PartitionMap(CELL, partition, self.version, memberships))

    async def _confirmed(self, request: web.Request) -> web.Response:
        if self.renewing:
            self.renew()
        return await self._answer({s: self.confirmed[s] for s in request.query["servers"].split(",")})

    async def _tables(self, request: web.Request) -> web.Response:
        change = msgspec.json.decode(await request.read(), type=wire.TableChange)
        await self._answer(None)
        while self.changes_stuck:
            await asyncio.sleep(0.05)
        table = change.table
        self.tables[table.id] = table
        epochs = {}
        for server, added in change.assignments.items():
            before = self.lists[server]
            if change.remove:
                gone = (change.index,) if change.index is not None else {a.index for a in before}
                after = [a for a in before if a.table != table.id or a.index not in gone]
            else:
                after = before + [a for a in added if a.key not in {b.key for b in before}]
            self.lists[server] = after
            self.epoch[server] += len(after) != len(before)
            epochs[server] = self.epoch[server]
        self.version += 1
        return web.Response(body=msgspec.json.encode(epochs))

    # ---- storage

    def _gate(self, request: web.Request, partition: str) -> web.Response | None:
        server = request.match_info["server"]
        if server in self.cut:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if server in self.down:
            return web.Response(status=503, body=msgspec.msgpack.encode(wire.Refusal("disqualified")))
        if partition not in self.applied[server]:
            return web.Response(status=503, body=msgspec.msgpack.encode(wire.Refusal("not-assigned")))
        return None

    async def _put(self, request: web.Request) -> web.Response:
        put = msgspec.msgpack.decode(await request.read(), type=wire.Put)
        refused = self._gate(request, put.partition)
        if refused is None:
            where = request.match_info["server"], put.partition, put.key
            before = self.rows.get(where)
            if before is None or before[0] < put.version:
                self.rows[where] = (put.version, put.item)
            stored = wire.Stored(*before) if put.learn and before else wire.Stored()
        return refused or web.Response(body=msgspec.msgpack.encode(stored))

    async def _get(self, request: web.Request) -> web.Response:
        get = msgspec.msgpack.decode(await request.read(), type=wire.Get)
        refused = self._gate(request, get.partition)
        version, item = self.rows.get((request.match_info["server"], get.partition, get.key), (None, None))
        return refused or web.Response(body=msgspec.msgpack.encode(wire.Got(version, item)))

    async def _range(self, request: web.Request) -> web.Response:
        asked = msgspec.msgpack.decode(await request.read(), type=wire.Range)
        found: list[wire.Row] = []
        for name in asked.partitions:
            refused = self._gate(request, name)
            if refused is not None:
                return refused
            mine = {
                key: row for (*where, key), row in self.rows.items() if where == [request.match_info["server"], name]
            }
            keys = sorted(mine, reverse=asked.backward)
            keys = [key for key in keys if asked.first <= key and (not asked.last or key < asked.last)]
            found += [wire.Row(name, key, *mine[key], checksum=0) for key in keys]
        ranged = wire.Ranged(found[: asked.limit], len(found) > asked.limit)
        return web.Response(body=msgspec.msgpack.encode(ranged))


class FrontEnd:
    """The real process."""

    def __init__(self, world: FakeWorld, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "map.json").write_bytes(msgspec.json.encode(world.map))
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Any] = []

    def start(self, **settings: Any) -> None:
        self.launch(**settings)
        wait_until(self.ready, START_S)

    def launch(self, **settings: Any) -> None:
        config = {
            "name": "frontend-0",
            "listen": f"127.0.0.1:{self.port}",
            "map_path": str(self._folder / "map.json"),
            "data_dir": str(self._folder / "data"),
            "records": str(self._folder / "frontend.ndjson"),
            "replica_timeout_s": 0.5,
            "admin_timeout_s": 0.5,
            "table_partitions": 2,
        } | settings
        path = self._folder / "frontend.json"
        path.write_text(json.dumps(config))
        with (self._folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "cellwall_services.frontend", str(path)]
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=dict(os.environ))

    def ready(self) -> bool:
        return self.status("/ready") == 200

    def status(self, path: str) -> int:
        """HTTP status, 0 while nobody listens."""
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(5)

    def stop(self) -> int:
        # Left to the garbage collector, their sockets would be the warning, and so the failure, of some other test.
        while self._clients:
            self._clients.pop().close()
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(5)

    def customer(self, key: str) -> Any:
        self._clients.append(boto3.client("dynamodb", **self._access(key)))
        return self._clients[-1]

    def resource(self, key: str) -> Any:
        found = boto3.resource("dynamodb", **self._access(key))
        self._clients.append(found.meta.client)
        return found

    def _access(self, key: str) -> dict[str, Any]:
        return {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "aws_access_key_id": key,
            "aws_secret_access_key": "not-checked",
            "config": Config(retries={"max_attempts": 1, "mode": "standard"}, connect_timeout=3, read_timeout=3),
        }

    def workflows(self) -> list[dict[str, Any]]:
        """Changes of tables that are under way."""
        found: list[dict[str, Any]] = json.loads(self.get("/workflows")[1])
        return found

"""Starts and ends a storage host: `python -m cellwall_services.storage CONFIG.json`.

Decides the order of starting and ending and the exit status; never anything about a server. Invariant:
on SIGTERM or SIGINT every record and every acknowledged write is on its way to disk before the process ends.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web

from cellwall.errors import Refused

from ..config import HostConfig, host_port, load
from ..heap import settle
from ..records import Recorder, sample_vitals
from .agents import Agents
from .api import Api
from .calls import Calls
from .engine import Store
from .gate import Gate
from .mapfile import LOOK_EVERY_S, MapFile
from .metrics import Metrics
from .renew import Renewer
from .server import Server

FILES_PER_SERVER = 2  # the SQLite file and its log
FILES_BESIDE = 2048  # one connection a renewal, the front end's, peers' (guess)
SHUTDOWN_S = 1.0  # for requests under way at the end (guess: each takes milliseconds)


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        config = load(HostConfig)
        check(config)
        allow_files(FILES_PER_SERVER * len(config.servers) + FILES_BESIDE)
        uvloop.run(run(config))
    except Refused as error:
        print(f"cellwall-storage: {error}", file=sys.stderr)
        return 3
    return 0


def check(config: HostConfig) -> None:
    if not config.servers:
        raise Refused("servers: [] is not allowed; a host carries at least one")
    if len(set(config.servers)) != len(config.servers):
        raise Refused("servers: a server is named twice")
    for server in config.servers:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", server):  # it names a file
            raise Refused(f"servers: {server!r} is not allowed; letters, digits, '-' and '_' only")
    host_port(config.listen)


def allow_files(needed: int) -> None:
    """Raise the soft limit of open files if it is below ``needed``; the usual 1024 is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def unix_clock() -> Callable[[], float]:
    """Unix seconds as of the start, then by the monotonic clock: agents' timers must not step with the wall clock."""
    offset_s = time.time() - time.monotonic()
    return lambda: offset_s + time.monotonic()


async def run(config: HostConfig) -> None:
    """Until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)

    data_dir = Path(config.data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(Path(config.records))
    except OSError as error:
        raise Refused(f"data_dir, records: {error.filename}: {error.strerror}") from None

    now_s = unix_clock()
    gate = Gate(config.servers)
    map_file = MapFile(Path(config.map_path))
    servers = {name: Server(name, config.seed, Store(data_dir / f"{name}.sqlite")) for name in config.servers}
    metrics = Metrics(
        {
            "servers": lambda: len(servers),
            "servers_available": lambda: sum(server.agent.available for server in servers.values()),
            "servers_cut": lambda: sum(gate.is_cut(name) for name in servers),
            "membership_records_max": lambda: max(server.count for server in servers.values()),
        }
    )
    calls = Calls()
    agents = Agents(servers, config.renewal, now_s, gate, Renewer(calls, metrics), recorder, metrics)
    runner = web.AppRunner(
        Api(agents, gate, map_file, metrics, now_s).app(), access_log=None, shutdown_timeout=SHUTDOWN_S
    )
    writing = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)  # it closes the file, and only a task that has begun can
    background: list[asyncio.Task[None]] = []
    try:
        settle()  # before anybody is served: it takes as long as what it prevents
        await listen(runner, config.listen)
        background = [
            asyncio.create_task(sample_vitals(recorder, config.name)),
            asyncio.create_task(follow(map_file, agents)),
        ]
        await ended.wait()
    finally:
        await end(background)
        await runner.cleanup()
        await agents.stop()
        await calls.close()
        await end([writing])
        for server in servers.values():
            server.store.close()


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def listen(runner: web.AppRunner, address: str) -> None:
    host, port = host_port(address)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
        raise Refused(f"listen: {address} {why}") from None


async def follow(map_file: MapFile, agents: Agents) -> None:
    while True:
        found = map_file.look()
        if found is not None:
            agents.map_changed(found)
        await asyncio.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())

"""Start one metadata node: `python -m cellwall_services.metadata CONFIG.json`; ends on SIGTERM.

Decides how the process is put together. The renewal listener may be inherited: its owner pauses
renewals by shutting it down from outside, without asking this process, and opens it again by listening.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from cellwall.errors import CellwallError, Refused

from .. import config
from ..records import Recorder, sample_vitals
from .app import Node, sample_node
from .engine import Engine
from .store import Store

ROUND_TRIPS = 2  # in flight at once: one is worked on while the other is under way
BACKLOG = 1024
SHUTDOWN_S = 1.0  # for answers under way at the end; who still waits for a turn gets none
CLOSED_POLL_S = 0.05  # how often a closed listener is looked at again


async def accept(listener: socket.socket, runner: web.AppRunner) -> None:
    """Accept renewals. While the listener is shut down from outside (a pause), accept fails at once; wait."""
    loop = asyncio.get_running_loop()
    server = runner.server
    assert server is not None
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError:
            await asyncio.sleep(CLOSED_POLL_S)
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # the caller may be gone by now
            await loop.connect_accepted_socket(server, connection)


async def run(settings: config.NodeConfig) -> None:
    stores = [Store(settings.store_url) for _ in range(ROUND_TRIPS + 1)]
    engine = Engine(stores[:-1], settings.policy, settings.release.record_cpu_s)
    node = Node(settings, engine, stores[-1])
    await node.load_slices()
    if settings.renewal_fd >= 0:
        listener = socket.socket(fileno=settings.renewal_fd)
    else:
        try:
            listener = socket.create_server(config.host_port(settings.renewal_listen), backlog=BACKLOG)
        except OSError as error:
            raise _no_listener("renewal_listen", settings.renewal_listen, error) from None
    listener.setblocking(False)
    recorder = Recorder(Path(settings.records))
    # handler_cancellation: without it nobody would notice that a caller has gone.
    renewals, admin = (
        web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        for app in (node.renewal_app(), node.admin_app())
    )
    await renewals.setup()
    await admin.setup()
    host, port = config.host_port(settings.admin_listen)
    try:
        await web.TCPSite(admin, host, port, backlog=BACKLOG).start()
    except OSError as error:
        raise _no_listener("admin_listen", settings.admin_listen, error) from None

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    tasks = [
        asyncio.create_task(work)
        for work in (
            accept(listener, renewals),
            engine.run(),
            node.follow_slices(),
            recorder.run(),
            sample_node(node, recorder, settings.sample_every_s),
            sample_vitals(recorder, settings.node),
        )
    ]
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (ending, *tasks):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for runner in (renewals, admin):
        await runner.cleanup()
    for store in stores:
        await store.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


def _no_listener(field: str, address: str, error: OSError) -> Refused:
    why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
    return Refused(f"{field}: {address} {why}")


def main() -> int:
    try:
        uvloop.run(run(config.load(config.NodeConfig)))
    except CellwallError as error:
        print(f"cellwall-metadata: {error}", file=sys.stderr)
        return 3 if isinstance(error, Refused) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

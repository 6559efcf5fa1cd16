"""``python -m cellwall_services.frontend CONFIG.json``: start the front end, end on SIGTERM.

Decides the order of start and end only. Exit status 3 with one line if the settings are wrong, a file
cannot be used or the port is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from cellwall.errors import Refused

from ..config import FrontendConfig, host_port, load
from ..heap import settle
from ..records import Recorder, sample_vitals
from .admin import Admin
from .app import Door
from .backfill import Backfill
from .batches import Batches
from .catalog import Catalog
from .clock import Clock
from .delivery import Delivery
from .ledger import Ledger
from .maps import MapFile, MapLoader
from .metrics import Metrics
from .operations import Operations
from .outbox import Outbox
from .queries import Queries
from .ranges import Ranges
from .replicas import Replicas
from .routing import Router
from .tables import TableChanges, Tables
from .upkeep import Upkeep
from .workflows import Workflows

CONNECTIONS_MAX = 512  # guess: 3 replicas × the load's cap in flight would be 1,200, but they wait only for CPU
SHUTDOWN_S = 1.0  # a customer's time-out


async def serve(config: FrontendConfig, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set. The port is bound before the map is loaded; /ready tells when it is."""
    if "/" in config.name or not config.name:
        raise Refused(f"name: {config.name!r} is not allowed; it must be non-empty and without '/'")
    if config.table_partitions < 1:
        raise Refused(f"table_partitions: {config.table_partitions} is not allowed; it must be >= 1")
    host, port = host_port(config.listen)
    file = MapFile(Path(config.map_path))
    file.read()
    data_dir = Path(config.data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(Path(config.records))
        clock = Clock(data_dir / "clock", config.name)
    except OSError as error:
        raise Refused(f"{error.filename}: cannot be used ({error.strerror})") from None
    ledger, outbox = Ledger(data_dir / "tables.sqlite"), Outbox(data_dir / "outbox.sqlite")
    metrics, catalog = Metrics(), Catalog()

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        admin = Admin(session, lambda: file.current, config.admin_timeout_s)
        loader = MapLoader(file, admin, catalog, metrics)
        replicas = Replicas(session, clock, config.replica_timeout_s, metrics)
        ranges, router = Ranges(replicas), Router(catalog, lambda: file.current)
        tables = Tables(catalog, ledger)
        delivery = Delivery(outbox, replicas, router, tables.upheld)
        upkeep = Upkeep(outbox, replicas, ranges, router, delivery, tables.upheld)
        backfill = Backfill(outbox, upkeep, replicas, ranges, router)
        workflows = Workflows(ledger, admin, catalog, loader, backfill, lambda: file.current, metrics)
        changes = TableChanges(tables, catalog, ledger, workflows, clock, config.table_partitions)
        queries, batches = Queries(ranges, router), Batches(replicas, upkeep, router)
        operations = Operations(tables, changes, replicas, upkeep, router, queries, batches)
        metrics.outbox.set_function(lambda: len(outbox.entries) + len(outbox.writes))
        runner = web.AppRunner(
            Door(operations, workflows, loader, metrics).application(), access_log=None, shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        background: list[asyncio.Task[None]] = []
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise Refused(f"listen: {config.listen!r} cannot be bound ({error.strerror})") from None
            background += [
                asyncio.create_task(recorder.run()),
                asyncio.create_task(sample_vitals(recorder, config.name)),
                asyncio.create_task(loader.follow_file()),
                asyncio.create_task(loader.follow_cells()),
                asyncio.create_task(_resume(loader, workflows, upkeep)),
                asyncio.create_task(stop.wait(), name="stop"),  # type: ignore[arg-type]
            ]
            # A background task never ends by itself: if one does, it has failed, and so must we.
            ended, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                try:
                    task.result()
                except OSError as error:  # a run without records is no evidence: say so and end
                    raise Refused(f"records: {config.records!r} cannot be written ({error.strerror})") from None
        finally:
            await runner.cleanup()
            await workflows.close()
            await upkeep.close()
            await delivery.close()
            await replicas.close()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            ledger.close()
            outbox.close()


async def _resume(loader: MapLoader, workflows: Workflows, upkeep: Upkeep) -> None:
    await loader.loaded.wait()
    settle()
    upkeep.resume()
    workflows.resume()
    await asyncio.Event().wait()


async def _main(config: FrontendConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, stop)


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        config = load(FrontendConfig)
        with contextlib.closing(uvloop.new_event_loop()) as loop:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(_main(config))
    except Refused as error:
        print(f"frontend: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The figures a world server shows at /metrics, on a port of its own: the limiter's, and the
fleet as its records tell it.

Decides names and units only; fed by the same records as `live`. The limiter itself serves nothing: it wakes every
few milliseconds and must do nothing else. What each figure means: docs/metrics.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cellwall import history

from .live import Live


class Metrics(Collector):
    """Of one running world."""

    def __init__(self, live: Live) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(self)
        self._live = live
        self._limits: dict[str, history.CpuLimit] = {}

    def add(self, record: history.Record) -> None:
        if isinstance(record, history.CpuLimit):
            self._limits[record.node] = record

    def page(self) -> bytes:
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        limit = GaugeMetricFamily("cellwall_limiter_limit_cores", "CPU limit of a node", labels=["node"])
        used = CounterMetricFamily("cellwall_limiter_used_cpu_seconds", "CPU spent under it", labels=["node"])
        stopped = GaugeMetricFamily("cellwall_limiter_stopped_ratio", "Share of the last second", labels=["node"])
        for node, record in self._limits.items():
            limit.add_metric([node], record.limit_cores)
            used.add_metric([node], record.cpu_s)
            if record.stopped_ratio is not None:
                stopped.add_metric([node], record.stopped_ratio)
        yield from (limit, used, stopped)
        servers = GaugeMetricFamily("cellwall_world_servers", "Storage servers", labels=["cell"])
        out = GaugeMetricFamily("cellwall_world_servers_out", "Storage servers out of service", labels=["cell"])
        for cell, seen in self._live.window(time.time(), 0.0).cells.items():
            servers.add_metric([cell], seen.servers)
            out.add_metric([cell], seen.servers_out)
        yield from (servers, out)
        yield GaugeMetricFamily("cellwall_world_faults", "Faults that are on", len(self._live.faults))


@contextlib.asynccontextmanager
async def serve(metrics: Metrics, port: int) -> AsyncIterator[None]:
    """Show the page on loopback while the block runs."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()

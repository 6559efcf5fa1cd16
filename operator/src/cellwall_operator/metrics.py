"""The figures the operator shows at /metrics, and whether it is alive at /healthz.

Decides names, units and the one rule of liveness: a change that nobody has looked at for STUCK_S means that the process
hangs, and only that (an API server that is down is not cured by a restart). Never labels by pod. What each figure
means: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

STUCK_S = 90.0  # research 03 §6, moonshot 14
SECONDS = (0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # the bar for an apply is 2 s

PREFIX = "cellwall_operator_"

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was made: a line for every line that says something


class Metrics:
    """``oldest_s``: age of the oldest change that no reconciliation has begun to look at; 0: there is none."""

    def __init__(self, oldest_s: Callable[[], float], leads: Callable[[], bool]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._oldest_s = oldest_s

        def gauge(name: str, text: str, of: Callable[[], float]) -> None:
            Gauge(PREFIX + name, text, registry=registry).set_function(of)

        gauge("oldest_change_seconds", "Age of the oldest change not yet looked at", oldest_s)
        gauge("leader", "1 while this process holds the lease", lambda: float(leads()))
        self.services = Gauge(PREFIX + "services", "MetadataServices reconciled", registry=registry)
        self.objects = Gauge(PREFIX + "cached_objects", "Objects known", ["kind"], registry=registry)
        self.reconciled = Histogram(
            PREFIX + "reconcile_seconds",
            "One look at one service: observe, plan, apply",
            ["outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        self.noticed = Histogram(
            PREFIX + "change_to_applied_seconds",
            "A change seen to its reconciliation done",
            buckets=SECONDS,
            registry=registry,
        )
        self.actions = Counter(
            PREFIX + "actions", "Actions carried out, by kind and outcome", ["action", "outcome"], registry=registry
        )
        self.writes = Counter(PREFIX + "api_writes", "Writes sent, by verb", ["verb", "resource"], registry=registry)
        self.calls = Counter(PREFIX + "calls", "Calls to pods, by outcome", ["call", "outcome"], registry=registry)
        self.joins = Counter(PREFIX + "joins", "Attempts to join a node, by outcome", ["outcome"], registry=registry)
        self.missed = Counter(
            PREFIX + "missed_objects", "Objects that the watch had missed and a list found", registry=registry
        )

    def wrote(self, verb: str, resource: str) -> None:
        self.writes.labels(verb, resource).inc()

    def did(self, action: str, outcome: str) -> None:
        self.actions.labels(action, outcome).inc()

    def app(self, ready: Callable[[], bool]) -> web.Application:
        app = web.Application()

        async def page(_: web.Request) -> web.Response:
            return web.Response(body=generate_latest(self.registry), content_type="text/plain", charset="utf-8")

        async def healthz(_: web.Request) -> web.Response:
            age_s = self._oldest_s()
            return web.Response(
                status=503 if age_s > STUCK_S else 200, text=f"oldest change not looked at: {age_s:.1f} s\n"
            )

        async def readyz(_: web.Request) -> web.Response:
            return web.Response(text="ready\n") if ready() else web.Response(status=503, text="starting\n")

        app.router.add_get("/metrics", page)
        app.router.add_get("/healthz", healthz)
        app.router.add_get("/readyz", readyz)
        return app

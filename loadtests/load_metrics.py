"""The figures the load generator shows at /metrics, if its settings name an address. Decides names and units only.
Customers' requests are open-loop: seconds count from the instant a request was due. What each means:
docs/metrics.md."""

from __future__ import annotations

from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app

from cellwall.errors import Refused

BUCKETS_S = (0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.5)  # the customers' time-out is 1 s
LATE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "cellwall_load_requests", "Customers' requests", ["operation", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "cellwall_load_request_seconds", "Due to answered", ["operation"], buckets=BUCKETS_S, registry=registry
        )
        self._late = Histogram("cellwall_load_late_seconds", "Due to sent", buckets=LATE_BUCKETS_S, registry=registry)
        self.in_flight = Gauge("cellwall_load_in_flight_requests", "Requests not answered yet", registry=registry)
        self._server: WSGIServer | None = None

    def ended(self, operation: str, outcome: str, late_s: float, latency_s: float) -> None:
        self._late.observe(late_s)
        self._requests.labels(operation, outcome).inc()
        self._seconds.labels(operation).observe(latency_s)

    def serve(self, address: str) -> None:
        """Show the page at ``host:port``, in greenlets of this process."""
        try:
            self._server = WSGIServer(address, make_wsgi_app(self.registry), log=None, error_log=None)
            self._server.start()
        except (OSError, ValueError) as error:
            raise Refused(f"metrics_listen: cannot serve {address} ({error})") from None

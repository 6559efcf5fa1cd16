"""The figures a storage host shows at /metrics. Decides names and units only; the history is the evidence.
Never labels by server: 267 of them a host would make every scrape a page of thousands of lines."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

WAIT_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 1.5, 2.0, 3.0, 10.0)  # dense around the reference time limit of 2 s


class Metrics:
    def __init__(self, available: Callable[[], float], cut: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        Gauge("cellwall_storage_servers_available", "Servers in service", registry=registry).set_function(available)
        Gauge("cellwall_storage_servers_cut", "Servers cut off by a fault", registry=registry).set_function(cut)
        self._renewals = Counter(
            "cellwall_storage_renewals", "Renewal attempts by result", ["result"], registry=registry
        )
        self._waited = Histogram(
            "cellwall_storage_renewal_wait_seconds", "Asked to outcome", buckets=WAIT_BUCKETS_S, registry=registry
        )
        self._received = Counter("cellwall_storage_membership_bytes", "Membership bytes received", registry=registry)
        self._replica = Counter(
            "cellwall_storage_replica_requests", "Replica requests by result", ["op", "result"], registry=registry
        )
        self.replicated = Counter(
            "cellwall_storage_replicated_partitions", "Partitions filled from peers", registry=registry
        )

    def renewal(self, result: str, waited_s: float, received_bytes: int) -> None:
        self._renewals.labels(result).inc()
        self._waited.observe(waited_s)
        self._received.inc(received_bytes)

    def replica(self, op: str, result: str) -> None:
        self._replica.labels(op, result).inc()

    def page(self) -> bytes:
        return generate_latest(self._registry)

"""The figures a storage host shows at /metrics. Decides names and units only; the history is the evidence.
Never labels by server: 267 of them a host would make every scrape a page of thousands of lines. What each means:
docs/metrics.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from cellwall.history import Outcome

WAIT_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 1.5, 2.0, 3.0, 10.0)  # dense around the reference time limit of 2 s


class Metrics:
    """``gauges``: by what they count, as in `GAUGES`; read when somebody looks."""

    GAUGES: Mapping[str, str] = {
        "servers": "Servers of this host",
        "servers_available": "Servers in service",
        "servers_cut": "Servers cut off by a fault",
        "membership_records_max": "Records of the largest membership",
    }

    def __init__(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        for name, text in self.GAUGES.items():
            Gauge(f"cellwall_storage_{name}", text, registry=registry).set_function(gauges[name])
        self._renewals = Counter(
            "cellwall_storage_renewals", "Renewal attempts", ["outcome", "reason"], registry=registry
        )
        self._waited = Histogram(
            "cellwall_storage_renewal_wait_seconds",
            "Asked to outcome",
            ["outcome"],
            buckets=WAIT_BUCKETS_S,
            registry=registry,
        )
        self._received = Counter("cellwall_storage_membership_bytes", "Membership bytes received", registry=registry)
        self._replica = Counter(
            "cellwall_storage_replica_requests", "Replica requests", ["verb", "result"], registry=registry
        )
        self.replicated = Counter(
            "cellwall_storage_replicated_partitions", "Partitions filled from peers", registry=registry
        )

    def renewal(self, outcome: Outcome, reason: str, waited_s: float, received_bytes: int) -> None:
        self._renewals.labels(outcome, reason).inc()
        self._waited.labels(outcome).observe(waited_s)
        self._received.inc(received_bytes)

    def replica(self, verb: str, result: str) -> None:
        self._replica.labels(verb, result).inc()

    def page(self) -> bytes:
        return generate_latest(self.registry)

"""The figures the front end shows at /metrics. Decides names and units only; the history is the evidence.
Never labels by customer or table: there may be thousands. What each means: docs/metrics.md.

A registry of its own, so that two front ends in one process (tests) do not meet."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

# Up to the customers' time-out of 1 s (design §2) and a little more.
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 2.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        prefix = "cellwall_frontend_"
        self.requests = Counter(prefix + "requests", "Customers' requests", ["operation", "outcome"], registry=registry)
        self.seconds = Histogram(
            prefix + "request_seconds", "Time to answer", ["operation"], buckets=BUCKETS_S, registry=registry
        )
        self.replica_calls = Counter(
            prefix + "replica_calls", "Calls to storage servers", ["verb", "outcome"], registry=registry
        )
        self.quorums = Counter(
            prefix + "quorums", "What three replicas came to", ["operation", "outcome"], registry=registry
        )
        self.repairs = Counter(prefix + "read_repairs", "Consistent reads that found two versions", registry=registry)
        self.map_loads = Counter(
            prefix + "map_loads", "Loads of a cell's partition map", ["cell", "outcome"], registry=registry
        )
        self.workflows = Gauge(prefix + "workflows", "Table workflows under way", ["kind"], registry=registry)
        self.outbox = Gauge(
            prefix + "index_outbox_entries", "Index entries that still have to be written", registry=registry
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)

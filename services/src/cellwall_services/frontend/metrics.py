"""The few figures that the front end publishes at GET /metrics.

    cellwall_frontend_requests_total{operation,outcome}   customers' requests; outcome done, refused, unknown
    cellwall_frontend_request_seconds{operation}          from the first byte read to the answer
    cellwall_frontend_replica_calls_total{verb,outcome}   calls to storage servers (put, get)
    cellwall_frontend_read_repairs_total                  consistent reads that found two versions
    cellwall_frontend_map_loads_total{cell,outcome}       loads of a cell's partition map
    cellwall_frontend_workflows{kind}                     table workflows under way (creating, deleting)

A registry of its own, so that two front ends in one process (tests) do not meet. Decides names only.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Up to the customers' time-out of 1 s (design §2) and a little more.
_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 2.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "cellwall_frontend_"
        self.requests = Counter(
            prefix + "requests", "Customers' requests", ["operation", "outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            prefix + "request_seconds", "Time to answer", ["operation"], buckets=_BUCKETS_S, registry=self.registry
        )
        self.replica_calls = Counter(
            prefix + "replica_calls", "Calls to storage servers", ["verb", "outcome"], registry=self.registry
        )
        self.repairs = Counter(
            prefix + "read_repairs", "Consistent reads that found two versions", registry=self.registry
        )
        self.map_loads = Counter(
            prefix + "map_loads", "Loads of a cell's partition map", ["cell", "outcome"], registry=self.registry
        )
        self.workflows = Gauge(prefix + "workflows", "Table workflows under way", ["kind"], registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)

"""The figures a metadata node shows at /metrics. Decides names and units only; the history is the evidence.
Never labels by server: a cell has up to 800. What each means: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine import Engine

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 1.5, 2.0, 3.0, 10.0)  # dense around the reference time limit of 2 s
RECORDS = (1, 10, 30, 100, 300, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000)  # large memberships have 1,200 to 5,000
BYTES = tuple(200 * count for count in RECORDS)  # a record is about 200 B of JSON (design §2)


class Metrics:
    def __init__(self, engine: Engine, partitions: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Engine(engine, partitions))
        self._requests = Counter(
            "cellwall_metadata_requests", "Requests by kind and status", ["kind", "status"], registry=registry
        )
        self._seconds = Histogram(
            "cellwall_metadata_request_seconds", "Asked to answered", ["kind"], buckets=SECONDS, registry=registry
        )
        self._bytes = Histogram(
            "cellwall_metadata_membership_bytes", "Size of a membership told", buckets=BYTES, registry=registry
        )
        self._records = Histogram(
            "cellwall_metadata_membership_records", "Records of a membership told", buckets=RECORDS, registry=registry
        )

    def answered(self, kind: str, status: int, took_s: float) -> None:
        self._requests.labels(kind, str(status)).inc()
        self._seconds.labels(kind).observe(took_s)

    def membership(self, records: int, size_bytes: int) -> None:
        self._records.observe(records)
        self._bytes.observe(size_bytes)

    def page(self) -> bytes:
        return generate_latest(self.registry)


class _Engine(Collector):
    """What the engine counts by itself, read when somebody looks."""

    def __init__(self, engine: Engine, partitions: int) -> None:
        self._engine, self._partitions = engine, partitions

    def collect(self) -> Iterator[Metric]:
        engine, prefix = self._engine, "cellwall_metadata_"
        yield CounterMetricFamily(prefix + "records", "Records bundled, for whomever", engine.records)
        yield CounterMetricFamily(prefix + "abandoned", "Requests whose caller went", engine.abandoned)
        in_service, waiting = engine.admission.in_service, engine.admission.waiting
        yield GaugeMetricFamily(prefix + "in_service_requests", "Requests that share the CPU", in_service)
        yield GaugeMetricFamily(prefix + "waiting_requests", "Requests that wait for a slot", waiting)
        yield GaugeMetricFamily(prefix + "oldest_request_seconds", "Age of the oldest of both", engine.oldest_s())
        weights = GaugeMetricFamily(prefix + "weight_ratio", "Traffic weight", None, ["partition"])
        for partition in range(self._partitions):
            weights.add_metric([str(partition)], engine.admission.weight(partition) / 100)
        yield weights

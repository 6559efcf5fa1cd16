"""docs/metrics.md and the registries of all processes say the same: names, types, labels; and names keep the rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cellwall import history
from cellwall.admission import Admission
from cellwall.spec import MetadataPolicy, WorldSpec
from cellwall_lab.backends.live import Live
from cellwall_lab.backends.metrics import Metrics as WorldMetrics
from cellwall_operator.metrics import Metrics as OperatorMetrics
from cellwall_services.frontend.metrics import Metrics as FrontendMetrics
from cellwall_services.metadata.metrics import Metrics as MetadataMetrics
from cellwall_services.storage.metrics import Metrics as StorageMetrics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
# What a name without one of these counts must be a plural word.
UNITS = ("_seconds", "_bytes", "_ratio", "_cores")


class Row(NamedTuple):
    name: str
    type: str
    labels: tuple[str, ...]


class Engine:
    """What a metadata node's figures are read from."""

    def __init__(self) -> None:
        self.admission = Admission(MetadataPolicy(partitions=2))
        self.admission.set_weight(1, 50.0)
        self.records, self.abandoned = 7, 1

    def oldest_s(self) -> float:
        return 0.5


def documented() -> dict[str, set[Row]]:
    """The table's rows by process."""
    found: dict[str, set[Row]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            name, kind, labels, unit, process, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            assert unit and meaning, line
            row = Row(name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)))
            assert row not in found.setdefault(process, set()), f"{row.name} is there twice"
            found[process].add(row)
    return found


def exported(registry: CollectorRegistry) -> set[Row]:
    """What a registry shows; of a labelled metric that has no sample yet the labels are asked of its owner."""
    owners = [owner for owner in registry._collector_to_names if hasattr(owner, "_labelnames")]
    owned = {metric.name: owner._labelnames for owner in owners for metric in owner.describe()}
    rows = set()
    for metric in registry.collect():
        labels = owned.get(metric.name)
        if labels is None:
            labels = tuple(metric.samples[0].labels) if metric.samples else ()
        name = metric.name + "_total" if metric.type == "counter" else metric.name
        rows.add(Row(name, metric.type, tuple(labels)))
    return rows


def world_metrics() -> WorldMetrics:
    metrics = WorldMetrics(Live(WorldSpec(), {"s-1": ("cell-0", 10), "s-2": ("cell-0", 20)}, 15.0))
    metrics.add(history.CpuLimit(t=1.0, node="n", limit_cores=0.5, cpu_s=2.0, stopped_ratio=0.25))
    return metrics


def load_metrics() -> str:
    """The page that the load serves, from a process of its own: it loads gevent, which patches what tests use."""
    code = """
from gevent import monkey
monkey.patch_all()
import socket, sys, urllib.request
sys.path.insert(0, sys.argv[1])
from load_metrics import Metrics
with socket.create_server(("127.0.0.1", 0)) as free:
    address = "127.0.0.1:%d" % free.getsockname()[1]
metrics = Metrics()
metrics.ended("put", "done", 0.001, 0.02)
metrics.serve(address)
with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
    print(page.read().decode())
"""
    command = [sys.executable, "-c", code, str(ROOT / "loadtests")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def shown(page: str) -> set[Row]:
    """What a page shows, read as Prometheus does. Every labelled metric must have a sample."""
    rows = set()
    for metric in text_string_to_metric_families(page):
        if metric.name.endswith("_created"):  # the library's own: when a counter began
            continue
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        name = metric.name + "_total" if metric.type == "counter" else metric.name
        rows.add(Row(name, metric.type, tuple(sorted(labels))))
    return rows


def storage_metrics() -> StorageMetrics:
    return StorageMetrics(dict.fromkeys(StorageMetrics.GAUGES, lambda: 3.0))


REGISTRIES = {
    "metadata node": lambda: MetadataMetrics(Engine(), 2).registry,  # type: ignore[arg-type]
    "storage host": lambda: storage_metrics().registry,
    "front end": lambda: FrontendMetrics().registry,
    "world server": lambda: world_metrics().registry,
    "operator": lambda: OperatorMetrics(lambda: 0.0, lambda: True).registry,
}


@pytest.mark.parametrize("process", REGISTRIES)
def test_the_table_is_what_a_process_shows(process: str) -> None:
    table = documented()
    assert exported(REGISTRIES[process]()) == table[process] | table["all"]


def test_the_table_is_what_the_load_shows() -> None:
    table = documented()
    rows = {row._replace(labels=tuple(sorted(row.labels))) for row in table["load"] | table["all"]}
    assert shown(load_metrics()) == rows


def test_the_table_names_no_other_process() -> None:
    assert documented().keys() == {*REGISTRIES, "load", "all"}


def test_names_keep_the_rules() -> None:
    for process, rows in documented().items():
        for row in rows:
            assert row.name.startswith("process_" if process == "all" else "cellwall_"), row.name
            assert (row.type == "counter") == row.name.endswith("_total"), row.name
            base = row.name.removesuffix("_total").removesuffix("_max")
            assert base.endswith(UNITS) or re.search(r"s(_available|_cut|_out)?$|_(abandoned|leader)$", base), row.name
            assert row.labels == tuple(dict.fromkeys(row.labels)), row.name


def test_values_are_those_told() -> None:
    metadata = MetadataMetrics(Engine(), 2)  # type: ignore[arg-type]
    metadata.answered("membership", 200, 0.7)
    metadata.membership(1_700, 330_000)
    value = metadata.registry.get_sample_value
    assert value("cellwall_metadata_requests_total", {"kind": "membership", "status": "200"}) == 1
    assert value("cellwall_metadata_request_seconds_sum", {"kind": "membership"}) == 0.7
    assert value("cellwall_metadata_membership_bytes_sum") == 330_000
    assert value("cellwall_metadata_membership_records_bucket", {"le": "1500.0"}) == 0
    assert value("cellwall_metadata_membership_records_bucket", {"le": "2000.0"}) == 1
    assert value("cellwall_metadata_records_total") == 7
    assert value("cellwall_metadata_oldest_request_seconds") == 0.5
    assert value("cellwall_metadata_weight_ratio", {"partition": "1"}) == 0.5

    storage = storage_metrics()
    storage.renewal("unknown", "time-out", 2.0, 12_000)
    storage.replica("put", "disqualified")
    value = storage.registry.get_sample_value
    assert value("cellwall_storage_renewals_total", {"outcome": "unknown", "reason": "time-out"}) == 1
    assert value("cellwall_storage_renewal_wait_seconds_count", {"outcome": "unknown"}) == 1
    assert value("cellwall_storage_membership_bytes_total") == 12_000
    assert value("cellwall_storage_replica_requests_total", {"verb": "put", "result": "disqualified"}) == 1
    assert value("cellwall_storage_servers_available") == 3

    value = world_metrics().registry.get_sample_value
    assert value("cellwall_limiter_limit_cores", {"node": "n"}) == 0.5
    assert value("cellwall_limiter_used_cpu_seconds_total", {"node": "n"}) == 2.0
    assert value("cellwall_limiter_stopped_ratio", {"node": "n"}) == 0.25
    assert value("cellwall_world_servers_out", {"cell": "cell-0"}) == 2

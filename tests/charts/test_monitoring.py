"""Rules, dashboards and scraping speak of metrics, labels and ports that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .rendering import CHARTS, ROOT, VALUES, one, pods, read, render

EVERYTHING = next(read(path) for path in VALUES if path.stem == "cellwall-testbed.everything")
DASHBOARDS = sorted(CHARTS.glob("*/files/dashboards/*.json"))
RULES = sorted(CHARTS.glob("*/files/rules.yaml"))
SUFFIXES = ("_bucket", "_count", "_sum")

# On every series, from scraping (templates/monitoring.yaml) or from Prometheus itself.
TARGET = {"namespace", "pod", "world", "cell", "zone", "component", "le"}


def known() -> dict[str, set[str]]:
    """Metric to its labels, from docs/metrics.md."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def expressions(file: Path) -> Iterator[tuple[str, str]]:
    """(where, PromQL)"""
    if file.suffix == ".yaml":
        for group in yaml.safe_load(file.read_text()):
            for rule in group["rules"]:
                yield rule["alert"], rule["expr"]
    else:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]


def metric(name: str, metrics: dict[str, set[str]]) -> set[str] | None:
    for suffix in ("", *SUFFIXES):
        if name.endswith(suffix) and name.removesuffix(suffix) in metrics:
            return metrics[name.removesuffix(suffix)]
    return None


@pytest.mark.parametrize("file", [*RULES, *DASHBOARDS], ids=lambda path: path.name)
def test_metrics_and_labels_exist(file: Path) -> None:
    metrics = known()
    found = 0
    for where, expression in expressions(file):
        used = re.findall(r"\b(cellwall_\w+|process_\w+)\b", expression)
        assert used or "up{" in expression, where
        labels: set[str] = set()
        for name in used:
            its = metric(name, metrics)
            assert its is not None, f"{where}: {name} is not in docs/metrics.md"
            labels |= its
            found += 1
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            names = {name.strip() for name in group.split(",")}
            assert names <= labels | TARGET, f"{where}: {names - labels - TARGET}"
        for group in re.findall(r"\{([^}]*)\}", expression):
            names = set(re.findall(r"(\w+)\s*[=!]", group))
            assert names <= labels | TARGET, f"{where}: {names - labels - TARGET}"
        for opened, closed in ("()", "{}", "[]"):
            assert expression.count(opened) == expression.count(closed), where
    assert found


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_are_whole(file: Path) -> None:
    board = json.loads(file.read_text())
    panels = board["panels"]
    assert len({p["id"] for p in panels}) == len(panels) and board["uid"] == file.stem
    variables = {v["name"] for v in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)\}?", json.dumps(board))) <= variables
    cells: set[tuple[int, int]] = set()
    for p in panels:
        at = p["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & cells, f"{p['title']} lies over another one"
        cells |= mine
        if p["type"] != "row":
            assert p["description"] and p["fieldConfig"]["defaults"]["unit"], p["title"]


def test_rules_of_a_world_are_of_that_world() -> None:
    (rule,) = (o for o in render("cellwall-testbed", EVERYTHING) if o["kind"] == "PrometheusRule")
    alerts: list[dict[str, Any]] = [r for group in rule["spec"]["groups"] for r in group["rules"]]
    expected = {"MembershipLarge", "HeadroomLow", "RenewalsLate", "ServersOut", "CellErrors"}
    assert {f"Cellwall{name}" for name in expected} <= {r["alert"] for r in alerts}
    for r in alerts:
        for selected in re.findall(r"\{([^}]*)\}", r["expr"]):
            assert selected.startswith('namespace="ns",world="w"'), r["alert"]
        assert r["annotations"]["summary"] and r["labels"]["severity"] in ("info", "warning", "critical")
    text = {r["alert"]: r["expr"] for r in alerts}
    assert text["CellwallHeadroomLow"].endswith("> 0.75 * 1.5") and text["CellwallMembershipLarge"].endswith("> 4000")


def test_dashboards_are_found_by_the_side_car_and_unharmed() -> None:
    for chart, name in (("cellwall", "rel-cellwall-dashboards"), ("cellwall-testbed", "world-dashboards")):
        objects = render(chart, {"monitoring": {"dashboards": {"enabled": True}}})
        shown = one(objects, "ConfigMap", name)
        assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
        files = {path.name: json.loads(path.read_text()) for path in CHARTS.glob(f"{chart}/files/dashboards/*.json")}
        assert files and {key: json.loads(value) for key, value in shown["data"].items()} == files


def test_ports_that_are_scraped_exist() -> None:
    objects = render("cellwall-testbed", EVERYTHING)
    (monitor,) = (o for o in objects if o["kind"] == "PodMonitor")
    ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    own = {
        port["name"]
        for _, pod in pods(objects)
        if wanted <= pod["metadata"]["labels"].items()
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    }
    assert own == {"http", "metrics"}
    assert ports == own | {"admin", "storage"}  # of what the operator makes


def test_the_operator_s_ports_that_are_scraped_exist() -> None:
    cell = pytest.importorskip("cellwall_operator.manifests.cell")
    storage = pytest.importorskip("cellwall_operator.manifests.storage")
    sources = Path(cell.__file__).read_text() + Path(storage.__file__).read_text()
    named = set(re.findall(r'"name": "(\w+)", "containerPort"', sources))
    assert {"admin", "storage"} <= named

"""Renders the charts with helm, which is on PATH or where `make tools` built it; without one a test is skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
VALUES = [*sorted((Path(__file__).parent / "values").glob("*.yaml")), ROOT / "cluster/world.yaml"]  # CHART.CASE.yaml
RELEASE, NAMESPACE = "rel", "ns"

Object = dict[str, Any]


def find(tool: str) -> str | None:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    built = os.environ.get("CELLWALL_BUILD_DIR") or f"{cache}/cellwall-build"
    return shutil.which(tool) or shutil.which(tool, path=f"{built}/bin")


def chart_of(values: Path) -> str:
    return "cellwall-testbed" if values.stem == "world" else values.name.split(".")[0]


def helm(*arguments: str, stdin: str = "", program: str = "helm") -> subprocess.CompletedProcess[str]:
    binary = find(program)
    if binary is None:
        pytest.skip(f"no {program}: neither on PATH nor in the build folder (`make tools` builds it)")
    # A home of its own: neither the user's repositories nor plug-ins.
    env = {**os.environ, "HELM_CONFIG_HOME": "/nonexistent", "KUBECONFIG": "/nonexistent"}
    return subprocess.run(
        [binary, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False, env=env
    )


@lru_cache(maxsize=256)
def _rendered(chart: str, values: str, api: str, program: str) -> str:
    about = ["-n", NAMESPACE, "--kube-version", api]
    ran = helm("template", RELEASE, str(CHARTS / chart), *about, "-f", "-", stdin=values, program=program)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def text(chart: str, values: Any = None, api: str = "1.34.0", program: str = "helm") -> str:
    return _rendered(chart, json.dumps(values or {}), api, program)


def render(chart: str, values: Any = None, api: str = "1.34.0") -> list[Object]:
    return [document for document in yaml.safe_load_all(text(chart, values, api)) if document]


def case(values: Path) -> list[Object]:
    """All objects of one values file."""
    return render(chart_of(values), read(values))


def read(values: Path) -> Any:
    return yaml.safe_load(values.read_text())


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod or pod template, by the name of its object."""
    for o in objects:
        name = f"{o['kind']} {o['metadata']['name']}"
        if o["kind"] == "Pod":
            yield name, o
        elif "template" in o.get("spec", {}):
            yield name, o["spec"]["template"]


def set_path(values: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy with one value changed."""
    changed: Any = json.loads(json.dumps(values or {}))
    inner = changed
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return changed

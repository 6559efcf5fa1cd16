"""One kind cluster for all tests of this folder, made by the same scripts as a user's.

It is called cellwall-test, so that a cluster of `make up` is never touched, and is removed at the end if it was made
here. CELLWALL_CLUSTER names another one, which is used as it is and stays. Nothing here sleeps for a duration.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAKE_S = 3600.0  # of one script: the first build from source takes 15–22 minutes on two cores
GONE_S = 120.0
OPERATORS = "cellwall-system"
# One cluster for all: what everything stands on comes first, what wants it for itself last.
FIRST, LAST = ("test_up", "test_invalid", "test_story"), "test_experiment"
REFUSED = 3  # exit code of a script that cannot do its work on this machine


def build_folder() -> Path:
    """Where the cluster's programs are, as in cluster/lib.sh."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CELLWALL_BUILD_DIR") or Path(cache) / "cellwall-build")


class Cluster:
    """A cluster's name and context, and kubectl, helm and docker on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = f"kind-{name}"
        path = f"{build_folder() / 'bin'}{os.pathsep}{os.environ['PATH']}"
        began_s = str(int(time.time()))  # of the scripts' one clock
        self.environment = {**os.environ, "CELLWALL_CLUSTER": name, "CELLWALL_STARTED_S": began_s, "PATH": path}

    def run(self, *command: str | Path, stdin: str | None = None, within_s: float = 120.0) -> str:
        """The output of a command that must succeed."""
        ran = self.attempt(*command, stdin=stdin, within_s=within_s)
        assert ran.returncode == 0, f"{' '.join(map(str, command))}: {ran.stderr.strip()}"
        return ran.stdout

    def attempt(
        self, *command: str | Path, stdin: str | None = None, within_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        arguments = [str(part) for part in command]
        return subprocess.run(
            arguments,
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, within_s: float = 120.0) -> str:
        return self.run("kubectl", "--context", self.context, *arguments, stdin=stdin, within_s=within_s)

    def apply(self, namespace: str, *objects: dict[str, Any]) -> None:
        """Server-side apply, as kubectl's own user."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("--namespace", namespace, "apply", "--server-side", "--filename", "-", stdin=document)

    def get(self, namespace: str, *arguments: str) -> Any:
        return json.loads(self.kubectl("--namespace", namespace, "get", *arguments, "--output", "json"))

    def nodes(self) -> list[dict[str, Any]]:
        return list(self.get("default", "nodes")["items"])


def script(cluster: Cluster, show: Callable[[], Any], name: str, *arguments: str) -> None:
    """Run a script of cluster/ with its progress on the terminal; skip where it refuses for want of Docker."""
    with show():
        ran = subprocess.run(
            [ROOT / "cluster" / name, *arguments],
            cwd=ROOT,
            env=cluster.environment,
            stderr=subprocess.PIPE if name == "docker.sh" else None,
            text=True,
            timeout=MAKE_S,
            check=False,
        )
    if name == "docker.sh" and ran.returncode == REFUSED:
        pytest.skip(f"no cluster: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, f"cluster/{name} failed: {ran.stderr or 'see above'}"


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Four nodes, the images and the custom resources; no operator."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    cluster = Cluster(os.environ.get("CELLWALL_CLUSTER") or "cellwall-test")
    script(cluster, capture.global_and_fixture_disabled, "docker.sh")
    was_there = (
        cluster.name in cluster.attempt("kind", "get", "clusters").stdout.split() if has_kind(cluster) else False
    )
    try:
        for step in (["create.sh"], ["images.sh"], ["load.sh"], ["install.sh", cluster.context, "crds"]):
            script(cluster, capture.global_and_fixture_disabled, *step)
        yield cluster
    finally:
        if not was_there and "CELLWALL_CLUSTER" not in os.environ:
            script(cluster, capture.global_and_fixture_disabled, "down.sh")


@pytest.fixture(scope="session")
def operator(cluster: Cluster, pytestconfig: pytest.Config) -> str:
    """Two replicas of the operator, of the image that was loaded, acting in all namespaces; their own namespace."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    script(cluster, capture.global_and_fixture_disabled, "install.sh", cluster.context, "operator")
    return OPERATORS


def has_kind(cluster: Cluster) -> bool:
    return any((Path(folder) / "kind").is_file() for folder in cluster.environment["PATH"].split(os.pathsep))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, named after it, removed afterwards with all that is in it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", within_s=GONE_S)
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit of a test is its own: making the cluster, inside the first one, may take many minutes."""
    mine = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in mine:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300, func_only=True))
    others = [item for item in items if item not in mine]
    items[:] = others + sorted(mine, key=lambda item: turn(item.path.stem))


def turn(module: str) -> int:
    return FIRST.index(module) if module in FIRST else len(FIRST) + (module == LAST)

"""The operator at many cells and pods, against the tests' API server in memory: how fast, how large, how quiet.

`python benchmarks/operator_scale.py [--services 25] [--cells 4] [--pods 5000] [--rest 60]` prints one table. The
operator is the real process with its real plan; nothing plays kubelet or controllers, so pods never start and nobody
is asked anything. What it measures: from the start to every service's status; the time from a change of a service's
spec to the write of its last child; memory; and, at rest, CPU and writes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # behind everything: the tests' double is no part of any package

from tests.operator.api_double import ApiDouble, serving  # noqa: E402

from cellwall_operator import names  # noqa: E402
from cellwall_operator.api import CONFIGMAPS, FLEETS, PODS, SERVICES  # noqa: E402

DEADLINE_S = 600.0


def seed(double: ApiDouble, services: int, cells: int, pods: int) -> None:
    per = pods // services
    for number in range(services):
        name = f"w{number}"
        double.seed(SERVICES, "n", name, spec={"cells": cells, "seed": number})
        double.seed(FLEETS, "n", name, spec={"service": name, "servers": 400 * cells // 4})
        for pod in range(per):
            zone = "abc"[pod % 3]
            labels = {
                names.PART_OF: "cellwall",
                names.SERVICE: name,
                names.COMPONENT: "storage",
                names.ZONE: zone,
                names.FOLLOWS: name,
            }
            spec = {
                "containers": [{"name": "storage", "image": "services", "env": [{"name": "X", "value": "x" * 400}]}]
            }
            status = {"conditions": [{"type": kind, "status": "False"} for kind in ("Ready", "PodScheduled")]}
            metadata = {"labels": labels}
            double.seed(PODS, "n", names.storage_pod(name, zone, pod // 3), metadata=metadata, spec=spec, status=status)


async def until(said, what: str) -> float:
    begun_s = time.perf_counter()
    while not said():
        if time.perf_counter() - begun_s > DEADLINE_S:
            raise SystemExit(f"not within {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(0.002)
    return time.perf_counter() - begun_s


def writes(double: ApiDouble) -> int:
    return len(double.writes())


async def quiet(double: ApiDouble) -> None:
    """Nothing has been written for a second."""
    before = -1
    while before != (before := writes(double)):
        await asyncio.sleep(1.0)


def usage(pid: int) -> tuple[float, float]:
    """Resident memory in MB and CPU time in seconds."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return rss / 1000, (int(fields[11]) + int(fields[12])) / 100


async def changed_to_applied(double: ApiDouble, services: int, cells: int, number: int) -> float:
    name = f"w{number % services}"
    wanted = 9 + number
    last = [CONFIGMAPS.path("n", names.node(names.cell(name, cell))) for cell in range(cells)]
    spec = double.get(SERVICES, "n", name)["spec"]
    double.seed(SERVICES, "n", name, spec={**spec, "queue": {"concurrency": wanted}})
    text = f'"concurrency":{wanted}'
    return await until(
        lambda: all(text in double.objects[path]["data"]["node.json"].replace(" ", "") for path in last), name
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=25)
    parser.add_argument("--cells", type=int, default=4, help="of each service")
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--rest", type=float, default=60.0, help="seconds")
    asked = parser.parse_args()
    async with serving(ApiDouble()) as double:
        seed(double, asked.services, asked.cells, asked.pods)
        with tempfile.TemporaryDirectory() as folder:
            kubeconfig = Path(folder, "config")
            kubeconfig.write_text(
                "{apiVersion: v1, kind: Config, current-context: d,"
                " contexts: [{name: d, context: {cluster: d, user: d}}],"
                f" clusters: [{{name: d, cluster: {{server: '{double.url}'}}}}], users: [{{name: d, user: {{}}}}]}}"
            )
            arguments = ("--kubeconfig", str(kubeconfig), "--host", "127.0.0.1", "--metrics-port", "18081")
            operator = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cellwall_operator", *arguments, "--log-level", "error"
            )
            try:
                every = [SERVICES.path("n", f"w{number}") for number in range(asked.services)]
                settled_s = await until(lambda: all("status" in double.objects[path] for path in every), "statuses")
                await quiet(double)
                made = writes(double)
                took_s = [
                    await changed_to_applied(double, asked.services, asked.cells, number)
                    for number in range(asked.changes)
                ]
                await quiet(double)
                before, (_, cpu_s) = writes(double), usage(operator.pid)
                await asyncio.sleep(asked.rest)
                rss_mb, after_s = usage(operator.pid)
                at_rest = writes(double) - before
            finally:
                operator.terminate()
                await operator.wait()
    took_s.sort()
    p99_s = took_s[min(len(took_s) - 1, int(0.99 * len(took_s)))]
    applied = f"{statistics.median(took_s):.2f}, {p99_s:.2f}, {took_s[-1]:.2f} s"
    rest = f"{(after_s - cpu_s) / asked.rest:.1%}, {at_rest}"
    print(f"| services × cells, pods | {asked.services} × {asked.cells}, {asked.pods} |")
    print("|---|---|")
    print(f"| start to every status | {settled_s:.1f} s, {made} writes until it rests |")
    print(f"| change to last child applied, p50, p99, max | {applied} |")
    print(f"| resident memory | {rss_mb:.0f} MB |")
    print(f"| at rest for {asked.rest:g} s: CPU, writes without the lease's | {rest} |")


asyncio.run(main())

"""What the operator is started with: its command line, and nothing of the environment.

Decides names, defaults and what is refused; starts nothing.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import msgspec

from cellwall import __version__

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")  # where kubelet tells a pod its own
LEVELS = ("debug", "info", "warning", "error")

EXAMPLES = """\
in a cluster the chart `cellwall` starts it; from a terminal, against a cluster of which you are an administrator:

  python -m cellwall_operator --kube-context kind-cellwall --no-leader-election

it watches MetadataService, MetadataCell and StorageFleet (charts/cellwall-crds) and the objects labelled
app.kubernetes.io/part-of=cellwall, and keeps the second as the first ask for. See: kubectl get metadataservices -A
"""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    services_image: str
    pull_policy: str = "IfNotPresent"
    namespaces: tuple[str, ...] = ()  # none: all
    leader_election: bool = True
    lease_namespace: str = "default"
    lease_name: str = "cellwall-operator"
    identity: str = "cellwall-operator"
    kubeconfig: str | None = None
    kube_context: str | None = None
    host: str = "0.0.0.0"
    metrics_port: int = 8080
    resync_s: float = 60.0
    log_level: str = "info"


def parse(argv: list[str] | None = None) -> Settings:
    """The settings a command line asks for; exits 2 with one line if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m cellwall_operator",
        description="Keeps metadata services, their cells and their storage fleets as their resources ask for.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--services-image",
        default=f"cellwall/services:{__version__}",
        metavar="IMAGE",
        help="image of nodes, storage pods and stores whose spec names none (default: %(default)s)",
    )
    add("--pull-policy", default="IfNotPresent", choices=("Always", "IfNotPresent", "Never"), help="of that image")
    add(
        "--namespaces",
        default="",
        metavar="A,B",
        help="watch these only; a Role in each is enough then (default: all, needs a ClusterRole)",
    )
    add(
        "--leader-election",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="act only while holding the lease, so that a second replica may stand by (default: yes)",
    )
    add("--lease-namespace", default=None, metavar="NAMESPACE", help="where the lease is (default: the pod's own)")
    add("--lease-name", default="cellwall-operator", metavar="NAME", help="of the lease (default: %(default)s)")
    add(
        "--identity",
        default=socket.gethostname(),
        metavar="NAME",
        help="who holds the lease; must differ between replicas (default: the host's name, which is the pod's)",
    )
    add("--kubeconfig", default=None, metavar="FILE", help="outside a cluster (default: what kubectl would use)")
    add(
        "--kube-context",
        default=None,
        metavar="NAME",
        help="of that file (default: in the cluster's own, or its current)",
    )
    add("--host", default="0.0.0.0", metavar="ADDRESS", help="where /metrics, /healthz and /readyz listen")
    add("--metrics-port", default=8080, type=int, metavar="PORT", help="their port (default: %(default)s)")
    add(
        "--resync-seconds",
        default=60.0,
        type=float,
        metavar="SECONDS",
        help="each service is looked at again this often though nothing has changed (default: %(default)s)",
    )
    add("--log-level", default="info", choices=LEVELS, help="(default: %(default)s)")
    asked = parser.parse_args(argv)
    namespaces = tuple(name.strip() for name in asked.namespaces.split(",") if name.strip())
    if not 0 < asked.resync_seconds <= 3600:
        parser.error(f"--resync-seconds: {asked.resync_seconds:g} is not allowed; it must be in 0..3600")
    return Settings(
        services_image=asked.services_image,
        pull_policy=asked.pull_policy,
        namespaces=namespaces,
        leader_election=asked.leader_election,
        lease_namespace=asked.lease_namespace or own_namespace(),
        lease_name=asked.lease_name,
        identity=asked.identity,
        kubeconfig=asked.kubeconfig,
        kube_context=asked.kube_context,
        host=asked.host,
        metrics_port=asked.metrics_port,
        resync_s=asked.resync_seconds,
        log_level=asked.log_level,
    )


def own_namespace() -> str:
    """The namespace of the pod this runs in; "default" outside a cluster."""
    try:
        return NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"

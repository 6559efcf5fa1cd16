"""The cluster and the images that everything else stands on."""

from __future__ import annotations

import json
import tomllib

import pytest

from ..waiting import until
from .conftest import ROOT, Cluster

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SERVICES, OPERATOR = f"cellwall/services:{VERSION}", f"cellwall/operator:{VERSION}"
IMAGES = [SERVICES, OPERATOR]
ABOVE_BASE_MAX_MIB = 200
DONE_S = 120.0

STRICT = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

# What a pod says about itself: user, whether its root can be written, and that its records come out.
WITNESS = """
import errno, json, os, pathlib, sys
try:
    pathlib.Path("/opt/cellwall/witness").write_text("")
    root = "written"
except OSError as error:
    root = errno.errorcode[error.errno]
with open("/dev/stdout", "w") as records:
    json.dump({"uid": os.getuid(), "root": root, "python": sys.version_info[:2]}, records)
"""


def image_mib(cluster: Cluster, image: str) -> float:
    return int(cluster.run("docker", "image", "inspect", "--format", "{{.Size}}", image)) / 2**20


def inside(cluster: Cluster, image: str, *command: str) -> str:
    """The output of a command in a container without network and with a read-only root, as nobody knows the user."""
    alone = ["--rm", "--network=none", "--read-only", "--tmpfs=/tmp"]
    return cluster.run("docker", "run", *alone, "--entrypoint", command[0], image, *command[1:])


def test_there_is_a_worker_in_each_of_three_zones(cluster: Cluster) -> None:
    def zones() -> list[str]:
        return sorted(
            node["metadata"]["labels"]["topology.kubernetes.io/zone"]
            for node in cluster.nodes()
            if "topology.kubernetes.io/zone" in node["metadata"]["labels"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        )

    until("workers in zones a, b and c are ready", lambda: zones() == ["a", "b", "c"], DONE_S)


def test_a_pod_s_records_are_kept_whole(cluster: Cluster) -> None:
    """A load's records of eight minutes come near the 10 MiB after which a kubelet begins a new file by default."""
    for node in cluster.nodes():
        name = node["metadata"]["name"]
        settings = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/configz"))
        assert settings["kubeletconfig"]["containerLogMaxSize"] == "100Mi", f"{name}: made with an older kind.yaml"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_small_enough_to_be_copied_to_every_node(cluster: Cluster, image: str) -> None:
    above_base_mib = image_mib(cluster, image) - image_mib(cluster, "debian:trixie-slim")
    assert above_base_mib <= ABOVE_BASE_MAX_MIB


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_in_a_restricted_pod_on_every_worker(cluster: Cluster, namespace: str, image: str) -> None:
    """Pod security "restricted", a read-only root, a user with no rights; and the image is there without a pull."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    container = {
        "name": "witness",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", WITNESS],
        "securityContext": STRICT,
    }
    for zone in "abc":
        spec = {
            "nodeSelector": {"topology.kubernetes.io/zone": zone},
            "restartPolicy": "Never",
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"witness-{zone}"}, "spec": spec}
        cluster.apply(namespace, pod)
    phase = "{.items[*].status.phase}"
    until(
        "all three pods have ended well",
        lambda: cluster.kubectl("-n", namespace, "get", "pods", "-o", f"jsonpath={phase}").split() == ["Succeeded"] * 3,
        DONE_S,
    )
    for zone in "abc":
        said = json.loads(cluster.kubectl("-n", namespace, "logs", f"witness-{zone}"))
        assert said == {"uid": 10001, "root": "EROFS", "python": [3, 13]}


@pytest.mark.parametrize("image", IMAGES)
def test_no_compiler_and_no_installer_is_left_in_an_image(cluster: Cluster, image: str) -> None:
    tools = "gcc cc g++ make pip pip3 git curl wget"
    found = inside(cluster, image, "sh", "-c", f"for tool in {tools}; do command -v $tool; done; true")
    assert found.split() == []


@pytest.mark.parametrize("image", IMAGES)
def test_bytecode_is_there_for_every_module(cluster: Cluster, image: str) -> None:
    """At 0.04 core, compiling what is imported would take a minute. The generated part of the Kubernetes client is
    never imported (the dynamic client does without)."""
    code = (
        "import importlib.util as u, pathlib; "
        "sources = [p for p in pathlib.Path('/opt/cellwall').rglob('*.py') "
        "if 'bin' not in p.parts and not ('client' in p.parts and {'api', 'models'} & set(p.parts))]; "
        "print(len(sources), *[p for p in sources if not pathlib.Path(u.cache_from_source(str(p))).exists()])"
    )
    count, *missing = inside(cluster, image, "python", "-c", code).split()
    assert int(count) > 100
    assert missing == []


def test_the_services_image_has_what_a_world_starts(cluster: Cluster) -> None:
    modules = ["cellwall_services.metadata", "cellwall_services.storage", "cellwall_services.frontend"]
    for module in modules:
        said = cluster.attempt(
            "docker", "run", "--rm", "--read-only", SERVICES, "python", "-m", module, "/nowhere.json"
        )
        assert "/nowhere.json: cannot be read" in said.stderr
    assert "Valkey server" in inside(cluster, SERVICES, "valkey-server", "--version")
    assert "locust" in inside(cluster, SERVICES, "python", "-m", "locust", "--version")
    listed = inside(cluster, SERVICES, "sh", "-c", "ls $CELLWALL_LOADTESTS")
    assert "locustfile.py" in listed.split()


def test_the_operator_image_has_no_service_libraries(cluster: Cluster) -> None:
    code = (
        "import importlib.util as u; print(*[n for n in ('kopf', 'kubernetes', 'redis', 'locust') if u.find_spec(n)])"
    )
    assert inside(cluster, OPERATOR, "python", "-c", code).split() == ["kopf", "kubernetes"]


def test_images_are_not_built_twice(cluster: Cluster) -> None:
    def ids() -> str:
        return cluster.run("docker", "image", "inspect", "--format", "{{.Id}}", *IMAGES)

    before = ids()
    cluster.run(ROOT / "cluster/images.sh")
    assert ids() == before

"""What every values file renders: valid for the API, restricted pods, labels, selectors that select."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from cellwall import __version__
from cellwall.resources import API_VERSION, MetadataServiceSpec, StorageFleetSpec

from .rendering import CHARTS, NAMESPACE, VALUES, Object, case, chart_of, find, helm, pods, read, text

OWN = {"MetadataService": MetadataServiceSpec, "StorageFleet": StorageFleetSpec}
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}
LABELS = ("name", "instance", "component", "version", "managed-by")
# What kube-score would have otherwise, with the reason.
DECIDED = [
    "--ignore-container-cpu-limit",  # only metadata nodes are throttled: a throttled front end or load is another fault
    "--ignore-test=container-ephemeral-storage-request-and-limit",  # roots are read-only, and what is empty has a size
    "--ignore-test=container-image-pull-policy",  # a version is one image; a kind cluster has nowhere to pull it from
    "--ignore-test=pod-networkpolicy",  # whose cluster it is knows which of them its network enforces (DESIGN.md)
    "--ignore-test=statefulset-has-servicename",  # one front end, which nobody asks for by its pod's name
]
files = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


def title(o: Object) -> str:
    return f"{o['kind']} {o['metadata']['name']}"


@pytest.mark.parametrize("program", ["helm", "helm4"])
@files
def test_lint_has_nothing_to_say(values: Path, program: str) -> None:
    strict = ["--kube-version", "1.34.0", "--strict", "--quiet"]
    ran = helm("lint", *strict, str(CHARTS / chart_of(values)), "-f", str(values), program=program)
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stdout + ran.stderr


@files
@pytest.mark.parametrize("api", ["1.30", "1.34", "1.37"])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_every_object_is_valid_for_the_api(values: Path, api: str) -> None:
    objects = case(values)
    assert objects
    for o in objects:
        if o["apiVersion"] == API_VERSION:
            msgspec.convert(o["spec"], OWN[o["kind"]])
        elif not o["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(o, api, strict=True)


@files
def test_objects_are_labelled_and_in_the_release_s_namespace(values: Path) -> None:
    objects = case(values)
    watched = read(values).get("watchNamespaces", [])
    for o in objects:
        labels = o["metadata"]["labels"]
        missing = [label for label in LABELS if not labels.get(f"app.kubernetes.io/{label}")]
        assert (title(o), missing) == (title(o), [])
        assert labels["helm.sh/chart"] == f"{chart_of(values)}-{__version__}"
        namespace = o["metadata"].get("namespace")
        if o["kind"] in CLUSTER_WIDE:
            assert namespace is None
        else:
            assert namespace == NAMESPACE or (o["kind"] in ("Role", "RoleBinding") and namespace in watched), title(o)
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))


@files
def test_pods_are_restricted_ones(values: Path) -> None:
    for name, pod in pods(case(values)):
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert {kind for v in spec["volumes"] for kind in v.keys() - {"name"}} <= {"emptyDir", "configMap"}, name
        for container in spec.get("initContainers", []) + spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            resources = container["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"} and "memory" in resources["limits"], name
            assert "cpu" not in resources["limits"], f"{name}: only metadata nodes are limited"
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name
        assert spec["automountServiceAccountToken"] is ("serviceAccountName" in spec), name


@files
def test_volumes_and_mounts_fit(values: Path) -> None:
    objects = case(values)
    for name, pod in pods(objects):
        own = [o["spec"].get("volumeClaimTemplates", []) for o in objects if title(o) == name]
        volumes = {v["name"] for v in pod["spec"]["volumes"]} | {c["metadata"]["name"] for cs in own for c in cs}
        containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        assert {m["name"] for c in containers for m in c["volumeMounts"]} == volumes, name
        made = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
        mounted = [v["configMap"] for v in pod["spec"]["volumes"] if "configMap" in v]
        assert {m["name"] for m in mounted if not m.get("optional")} <= made, name


@files
def test_selectors_select_their_own_pods_and_no_others(values: Path) -> None:
    objects = case(values)
    templates = dict(pods(objects))
    by_kind: dict[str, Any] = {}
    for o in objects:
        spec = o.get("spec", {})
        selector = spec.get("selector", {})
        if o["kind"] in ("PodMonitor", "MetadataService", "StorageFleet") or not selector:
            continue
        wanted = selector.get("matchLabels", selector)
        hits = [n for n, p in templates.items() if wanted.items() <= p["metadata"]["labels"].items()]
        assert len(hits) == 1, f"{title(o)} selects {hits}"
        by_kind.setdefault(o["kind"], []).append(hits[0])
        for constraint in spec.get("template", {}).get("spec", {}).get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]["matchLabels"] == wanted
    for kind in ("Deployment", "StatefulSet"):
        assert all(hit.startswith(kind) for hit in by_kind.get(kind, []))


@files
def test_nothing_is_left_of_the_templates(values: Path) -> None:
    rendered = text(chart_of(values), read(values))
    for left_over in ("<no value>", "<nil>", "%!", "SELECT", "TIME_LIMIT_S", "MEMBERSHIP_RECORDS"):
        assert left_over not in rendered
    assert not [line for line in rendered.splitlines() if "map[" in line]


@files
def test_helm_4_renders_what_helm_3_does(values: Path) -> None:
    def objects(program: str) -> list[Any]:
        return [o for o in yaml.safe_load_all(text(chart_of(values), read(values), program=program)) if o]

    assert objects("helm4") == objects("helm")


@pytest.mark.parametrize(
    "tool, arguments",
    [
        # What these would have otherwise is decided, with its reason beside it in the templates or in DESIGN.md.
        ("kube-linter", ["lint", "--config", str(Path(__file__).parent / "kube-linter.yaml"), "-"]),
        ("kube-score", ["score", "--kubernetes-version", "v1.34", "--exit-one-on-warning=false", *DECIDED, "-"]),
    ],
)
@files
def test_linters_agree(values: Path, tool: str, arguments: list[str]) -> None:
    binary = find(tool) or shutil.which(tool)
    if binary is None:
        pytest.skip(f"no {tool}")
    standard = "\n---\n".join(
        part for part in text(chart_of(values), read(values)).split("\n---\n") if "monitoring.coreos.com" not in part
    )
    ran = subprocess.run([binary, *arguments], input=standard, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr

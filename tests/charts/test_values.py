"""Values: whatever is not known is refused, and whatever is known has an effect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from cellwall import __version__
from cellwall.spec import LoadSpec

from .rendering import CHARTS, VALUES, chart_of, helm, one, read, render, set_path, text

NAMES = ("cellwall", "cellwall-testbed")
EVERYTHING = {chart_of(path): read(path) for path in VALUES if path.stem.endswith(".everything")}
charts = pytest.mark.parametrize("chart", NAMES)

# Free-form by intent: the API server, the CRDs or nobody checks them.
OPEN = {
    *("resources", "affinity", "global", "spec"),
    *("labels", "annotations", "podLabels", "podAnnotations", "nodeSelector"),
}


def schema(chart: str) -> Any:
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def defaults(chart: str) -> Any:
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def resolved(node: Any, root: Any) -> Any:
    return root["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def closed_objects(node: Any, root: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all objects; that an open one is meant is asserted."""
    node = resolved(node, root)
    if isinstance(node, bool) or node.get("type") != "object":
        return
    if node.get("additionalProperties") is False:
        yield path
        for key, inner in node["properties"].items():
            yield from closed_objects(inner, root, (*path, key))
    else:
        assert path[-1] in OPEN, f"{'.'.join(path)} is open"


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for key, inner in values.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


@charts
def test_unknown_keys_are_refused_at_every_level(chart: str) -> None:
    root = schema(chart)
    validator = jsonschema.Draft7Validator(root)
    validator.check_schema(root)
    assert validator.is_valid(defaults(chart))
    paths = list(closed_objects(root, root))
    assert len(paths) > 5
    for path in paths:
        wrong = set_path(defaults(chart), (*path, "colour"), "red")
        assert "colour" in jsonschema.exceptions.best_match(validator.iter_errors(wrong)).message, path
    refused = helm("template", str(CHARTS / chart), "--kube-version", "1.34.0", "--set", "image.colour=red")
    assert refused.returncode != 0 and "colour" in refused.stderr


@charts
def test_schema_and_values_know_the_same_keys(chart: str) -> None:
    root, values = schema(chart), defaults(chart)
    for path in closed_objects(root, root):
        node, here = root, values
        for key in path:
            node, here = resolved(node["properties"][key], root), here[key]
        if path != ("load", "spec"):
            assert node["properties"].keys() - {"global"} == here.keys(), ".".join(path)


def test_the_load_s_settings_are_the_load_s() -> None:
    spec = schema("cellwall-testbed")["properties"]["load"]["properties"]["spec"]
    assert spec["properties"].keys() == set(LoadSpec.__struct_fields__)


# What a value is changed to where "another of the same type" is not allowed.
OTHERS: dict[str, Any] = {
    "image.digest": "sha256:" + "1" * 64,
    "servicesImage.digest": "sha256:" + "1" * 64,
    "image.pullPolicy": "Never",
    "servicesImage.pullPolicy": "Never",
    "logLevel": "debug",
    "frontEnd.storage.size": "2Gi",
    "frontEnd.storage.storageClassName": "slow",
    "frontEnd.service.type": "LoadBalancer",
    "frontEnd.service.nodePort": 30801,
    "monitoring.podMonitor.interval": "7s",
    "watchNamespaces": ["other"],
    "imagePullSecrets": [{"name": "other"}],
    "tolerations": [],
    "extraEnv": [],
    "affinity": {"podAffinity": {}},
    "service.spec": {"cells": 2},
    "fleet.spec": {"servers": 75},
    "load.spec": {"write_ratio": 0.1},
}
# Without effect while something else is as it is in everything.yaml: what has to be undone first.
UNDO: dict[str, dict[str, Any]] = {
    "image.tag": {"image.digest": ""},
    "nameOverride": {"fullnameOverride": ""},
    "leaderElection.enabled": {"replicas": 1},
    "frontEnd.enabled": {"load.enabled": False},
}


def other(path: tuple[str, ...], value: Any) -> Any:
    known = OTHERS.get(".".join(path))
    if known is not None:
        return known
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str) or value is None:
        return f"{value or ''}x"
    assert isinstance(value, dict), path
    return {"other": "one"}


def put(values: Any, changes: dict[str, Any]) -> Any:
    for path, value in changes.items():
        values = set_path(values, tuple(path.split(".")), value)
    return values


EACH = [(chart, path) for chart in NAMES for path in leaves(defaults(chart))]


@pytest.mark.parametrize(("chart", "path"), EACH, ids=[f"{chart}-{'.'.join(path)}" for chart, path in EACH])
def test_every_value_has_an_effect(chart: str, path: tuple[str, ...]) -> None:
    dotted = ".".join(path)
    before = {} if dotted == "load.enabled" else put(EVERYTHING[chart], UNDO.get(dotted, {}))
    now: Any = json.loads(json.dumps(defaults(chart)))
    for key in path:
        now = now[key]
    given = before
    for key in path:
        given = given.get(key, {}) if isinstance(given, dict) else {}
    after = set_path(before, path, other(path, given if given != {} else now))
    assert text(chart, before) != text(chart, after)


# ---------------------------------------------------------------- images, versions, refusals


@charts
def test_versions_are_the_project_s(chart: str) -> None:
    about = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__
    images = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert [image["image"] for image in images] == [f"cellwall/{image['name']}:{__version__}" for image in images]


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    values = {"servicesImage": {"digest": digest, "tag": "v9"}, "image": {"tag": "v8"}}
    (deployment,) = (o for o in render("cellwall", values) if o["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "cellwall/operator:v8"
    assert f"--services-image=cellwall/services@{digest}" in container["args"]


@pytest.mark.parametrize(
    "chart, values, told",
    [
        ("cellwall", {"leaderElection": {"enabled": False}}, "both would act"),
        ("cellwall", {"serviceAccount": {"create": False}}, "serviceAccount.name: must be set"),
        ("cellwall", {"image": {"digest": "abc"}}, "digest"),
        ("cellwall", {"watchNamespaces": ["Not_A_Namespace"]}, "watchNamespaces"),
        ("cellwall", {"replicas": -1}, "replicas"),
        ("cellwall-testbed", {"load": {"enabled": True}, "frontEnd": {"enabled": False}}, "nobody to ask"),
        ("cellwall-testbed", {"service": {"name": "World"}}, "name"),
        ("cellwall-testbed", {"fleet": {"spec": {"service": "other"}}}, "service"),
        ("cellwall-testbed", {"load": {"spec": {"write_ratio": 1.5}}}, "write_ratio"),
        ("cellwall-testbed", {"frontEnd": {"storage": {"size": "1GB"}}}, "size"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(chart: str, values: Any, told: str) -> None:
    ran = helm("template", str(CHARTS / chart), "--kube-version", "1.34.0", "-f", "-", stdin=json.dumps(values))
    assert ran.returncode != 0 and told in ran.stderr


def test_a_cluster_that_is_too_old_is_refused() -> None:
    for chart in NAMES:
        ran = helm("template", str(CHARTS / chart), "--kube-version", "1.29.0")
        assert ran.returncode != 0 and "1.30" in ran.stderr


def test_pods_of_the_world_follow_its_map_and_have_its_names() -> None:
    objects = render("cellwall-testbed", EVERYTHING["cellwall-testbed"])
    front = one(objects, "StatefulSet", "w-frontend")["spec"]["template"]["metadata"]["labels"]
    assert front["cellwall.dev/follows"] == front["cellwall.dev/service"] == front["app.kubernetes.io/instance"] == "w"
    assert front["app.kubernetes.io/part-of"] == "cellwall" and front["app.kubernetes.io/component"] == "frontend"
    fleet, service = one(objects, "StorageFleet", "w"), one(objects, "MetadataService", "w")
    assert fleet["spec"]["service"] == "w" and fleet["spec"]["servers"] == 150
    assert service["spec"]["renewal"]["timeLimitSeconds"] == 1.5

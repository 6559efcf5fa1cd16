"""The operator's rights: what it uses, nothing else, and never a way to more."""

from __future__ import annotations

from typing import Any

import pytest

from .rendering import NAMESPACE, Object, render

GAIN = {"secrets", "roles", "rolebindings", "clusterroles", "clusterrolebindings", "serviceaccounts", "nodes"}


def roles(values: Any = None) -> list[Object]:
    return [o for o in render("cellwall", values) if o["kind"] in ("Role", "ClusterRole")]


def granted(objects: list[Object]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for o in objects
        for rule in o["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def own(objects: list[Object]) -> list[Object]:
    """Without the roles for people."""
    return [o for o in objects if not any("aggregate-to" in label for label in o["metadata"]["labels"])]


def test_no_wildcards_and_no_way_to_more_rights() -> None:
    for group, resource, verb in granted(roles()):
        assert "*" not in (group, resource, verb)
        assert resource.split("/")[0] not in GAIN
        assert verb not in ("impersonate", "escalate", "bind")
        assert not (resource.startswith("pods") and verb in ("create", "delete")), "its pods are controllers' to make"
        assert resource not in ("pods/exec", "pods/attach", "pods/portforward")


def test_watching_some_namespaces_needs_nothing_of_the_cluster() -> None:
    everywhere, here = own(roles()), own(roles({"watchNamespaces": ["a", "b"]}))
    assert {o["kind"] for o in everywhere} == {"ClusterRole", "Role"}
    assert {o["kind"] for o in here} == {"Role"}
    assert {o["metadata"]["namespace"] for o in here} == {"a", "b", NAMESPACE}
    assert granted(here) == granted(everywhere)


def test_the_lease_is_one_by_name() -> None:
    (role,) = (o for o in roles() if o["metadata"]["name"].endswith("-lease"))
    assert role["kind"] == "Role" and role["metadata"]["namespace"] == NAMESPACE
    for rule in role["rules"]:
        assert rule["verbs"] == ["create"] or len(rule["resourceNames"]) == 1
    assert not [o for o in roles({"replicas": 1, "leaderElection": {"enabled": False}}) if o["kind"] == "Role"]


def test_every_role_is_bound_to_the_account_the_pods_have() -> None:
    objects = render("cellwall", {"watchNamespaces": ["a"]})
    (deployment,) = (o for o in objects if o["kind"] == "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    bindings = [o for o in objects if o["kind"].endswith("Binding")]
    bound = {(o["roleRef"]["kind"], o["metadata"].get("namespace"), o["roleRef"]["name"]) for o in bindings}
    made = own(roles({"watchNamespaces": ["a"]}))
    assert bound == {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made}
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]


def test_the_rules_name_what_the_operator_speaks_of() -> None:
    """Each kind it knows, and no other."""
    api = pytest.importorskip("cellwall_operator.api")
    known = {(kind.api_version.rpartition("/")[0], kind.plural) for kind in api.KINDS.values()}
    assert {(group, resource) for group, resource, _ in granted(own(roles())) if "/" not in resource} == known


def test_the_operator_understands_its_arguments() -> None:
    settings = pytest.importorskip("cellwall_operator.settings")
    values = {"watchNamespaces": ["a", "b"], "logLevel": "debug", "resyncSeconds": 30}
    (deployment,) = (o for o in render("cellwall", values) if o["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    parsed = settings.parse(container["args"])
    assert parsed.namespaces == ("a", "b") and parsed.resync_s == 30 and parsed.leader_election
    assert parsed.lease_namespace == NAMESPACE
    (role,) = (o for o in roles(values) if o["metadata"]["name"].endswith("-lease"))
    assert [parsed.lease_name] in [rule.get("resourceNames") for rule in role["rules"]]
    (port,) = container["ports"]
    assert parsed.metrics_port == port["containerPort"]

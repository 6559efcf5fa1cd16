"""The API server itself refuses what is wrong, and says what would be right; what is right passes and keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellwall import status
from cellwall.errors import Refused
from cellwall.resources import (
    MetadataCellSpec,
    MetadataServiceSpec,
    Population,
    Renewal,
    Retry,
    StorageFleetSpec,
    world,
)
from cellwall.spec import LoadSpec
from cellwall_operator.crds.definitions import KINDS, definition

from .conftest import GONE_S, Cluster
from .crd_api import Answer, Api, proxied
from .manifests import (
    BASE,
    CELL,
    CHANGEABLE,
    CHANGES,
    FLEET,
    INVALID,
    SERVICE,
    VALID,
    Change,
    Invalid,
    Manifest,
    changed,
)

# One namespace a kind: were an operator about, it must not make a world of them.
NAMESPACES = {SERVICE: "crds-services", CELL: "crds-cells", FLEET: "crds-fleets"}
EMPTY = "crds-empty"
OPERATOR = "cellwall-operator"


class Asked:
    """Answers, each asked for once. ``apis``: where objects are kept, by kind, for changes to be tried on; ``empty``:
    where none is."""

    def __init__(self, api: Api) -> None:
        self.apis = {kind: api.elsewhere(namespace) for kind, namespace in NAMESPACES.items()}
        self.empty = api.elsewhere(EMPTY)
        self._answers: dict[str, Answer] = {}

    def about(self, case: Invalid | Change) -> Answer:
        if case.id not in self._answers:
            self._answers[case.id] = self._creation(case) if isinstance(case, Invalid) else self._change(case)
        return self._answers[case.id]

    def _creation(self, case: Invalid) -> Answer:
        return self.empty.try_to_create(changed(BASE[case.kind], case.fields))

    def _change(self, case: Change) -> Answer:
        api = self.apis[case.kind]
        before = changed(BASE[case.kind], case.before)
        if case.before:
            before["metadata"]["name"] += "-1"
        made = api.create(before)
        assert made.taken or made.code == 409, made.words  # by an earlier case
        return api.try_to_change(case.kind, before["metadata"]["name"], changed({"spec": {}}, case.fields))


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[Asked]:
    namespaces = (*NAMESPACES.values(), EMPTY)
    cluster.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", within_s=GONE_S)
    for namespace in namespaces:
        cluster.kubectl("create", "namespace", namespace)
    with proxied(cluster, EMPTY) as api:
        yield Asked(api)
    cluster.kubectl("delete", "namespace", *namespaces, "--wait=false")


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("case", [*INVALID, *CHANGES], ids=lambda case: case.id)
def test_it_is_refused_with_words_that_help(asked: Asked, case: Invalid | Change) -> None:
    answer = asked.about(case)
    assert answer.code in (400, 422), f"it was taken: {answer.body}"
    assert re.search(case.answer, answer.words), answer.words


@pytest.mark.parametrize("manifest", VALID.values(), ids=VALID)
def test_what_is_valid_is_taken(asked: Asked, manifest: Manifest) -> None:
    answer = asked.empty.try_to_create(manifest)
    assert answer.taken, answer.words


@pytest.mark.parametrize("change", CHANGEABLE, ids=lambda change: change.id)
def test_what_may_change_is_taken(asked: Asked, change: Change) -> None:
    answer = asked.about(change)
    assert answer.taken, answer.words


def test_every_rule_has_refused_something(asked: Asked) -> None:
    """A rule that nothing breaks could be wrong for years."""
    answers: dict[str, str] = {}
    for case in [*INVALID, *CHANGES]:
        answers[case.kind] = answers.get(case.kind, "") + "\n" + asked.about(case).words
    for kind in KINDS:
        for path, rule in written_rules(definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
            if "message" in rule:
                said = re.escape(rule["message"])
            else:
                said = re.escape(rule["messageExpression"].split("'")[1]).replace("%s", r"\S+")
            if not re.search(said, answers[kind.kind]):
                # A type that several kinds share is tried in one of them.
                assert any(re.search(said, answer) for answer in answers.values()), (kind.kind, path, said)


def written_rules(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule
    for name, child in schema.get("properties", {}).items():
        yield from written_rules(child, f"{path}.{name}")


# ---------------------------------------------------------------- the core's own rules are its twin

seconds = st.one_of(st.sampled_from([0.0, 0.15, 0.45, 1.5, 2.0, 3.0, 4.0]), st.floats(-1, 60))
shares = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.7, 0.9, 1.0]), st.floats(-0.1, 1.1))
spans = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-0.1, 2)), min_size=2, max_size=2)


def mostly(usual: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Else hardly anything would be valid as a whole."""
    return st.one_of(st.just(usual), st.just(usual), other)


renewals = st.builds(
    Renewal,
    every_seconds=mostly(20.0, seconds),
    time_limit_seconds=mostly(2.0, seconds),
    jitter_ratio=mostly(0.1, shares),
    retry=st.builds(Retry, min_seconds=mostly(0.15, seconds), max_seconds=mostly(0.45, seconds)),
)
fleets = st.builds(
    StorageFleetSpec,
    service=st.just("world"),
    servers=mostly(800, st.integers(2, 120).map(lambda tens: tens * 10)),
    group_servers=mostly(25, st.integers(2, 30)),
    population=st.builds(
        Population,
        large_share=mostly(0.5, shares),
        mid_share=mostly(0.1, shares),
        large_range=mostly([0.7, 1.3], spans),
        mid_range=mostly([0.05, 0.4], spans),
        small_range=mostly([0.025, 0.075], spans),
    ),
)


@settings(max_examples=200)
@given(renewals)
@example(Renewal(every_seconds=4.0, time_limit_seconds=2.0))
@example(Renewal(retry=Retry(min_seconds=0.45)))
def test_the_server_refuses_the_renewals_that_the_core_refuses(asked: Asked, renewal: Renewal) -> None:
    service = MetadataServiceSpec(renewal=renewal)
    agree(asked.empty, SERVICE, service, service, StorageFleetSpec(service="world"))


@settings(max_examples=200)
@given(fleets)
@example(StorageFleetSpec(service="world", population=Population(large_share=0.9, mid_share=0.1)))
def test_the_server_refuses_the_fleets_that_the_core_refuses(asked: Asked, fleet: StorageFleetSpec) -> None:
    agree(asked.empty, FLEET, fleet, MetadataServiceSpec(), fleet)


def agree(api: Api, kind: str, spec: msgspec.Struct, service: MetadataServiceSpec, fleet: StorageFleetSpec) -> None:
    answer = api.try_to_create({**BASE[kind], "spec": msgspec.to_builtins(spec)})
    try:
        world(service, fleet, LoadSpec()).check(force=True)
    except Refused as refused:
        assert not answer.taken, f"the core refuses it: {refused}"
    else:
        assert answer.taken, answer.words


# ---------------------------------------------------------------- what is kept


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_server_fills_in_what_the_types_would(asked: Asked, kind: Any) -> None:
    base = BASE[kind.kind]
    kept = asked.empty.try_to_create(base).body["spec"]
    assert msgspec.convert(kept, kind.spec) == msgspec.convert(base["spec"], kind.spec)


STATUSES: dict[str, msgspec.Struct] = {
    SERVICE: status.MetadataServiceStatus(observed_generation=1, cells=4, cells_ready=3, map_version=7, paused=False),
    CELL: status.MetadataCellStatus(
        observed_generation=1,
        nodes=0,
        replicas=1,
        selector="app.kubernetes.io/component=node,cellwall.dev/cell=cell-0",
        capacity=status.Capacity(
            attempts=3, last_outcome="unknown", last_reason="no answer in 4 s", last_attempt_time="2026-11-23T01:02:03Z"
        ),
        headroom=status.Headroom(retrieval_millis=1440, records=3257, percent=28),
    ),
    FLEET: status.StorageFleetStatus(observed_generation=1, servers=800, servers_out=0, pods=48, pods_ready=48),
}
READY = status.Condition(
    type="Ready",
    status="False",
    reason="CellsMissing",
    message="1 of 4 cells is not ready",
    last_transition_time="2026-11-23T01:02:03Z",
    observed_generation=1,
)


@pytest.mark.parametrize("kind", BASE)
def test_a_status_is_kept_as_it_was_written(asked: Asked, kind: str) -> None:
    """Were anything filled in or left out, the operator would write again at every look."""
    api, name = asked.apis[kind], BASE[kind]["metadata"]["name"]
    api.create(BASE[kind])
    before = api.get(kind, name)["spec"]
    written = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(STATUSES[kind], conditions=(READY,))))
    answer = api.try_status(kind, name, {"memory": "1Gi"} if kind == FLEET else {"paused": True}, written)
    assert answer.taken, answer.words
    assert (answer.body["status"], answer.body["spec"]) == (written, before)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"status": "yes"}, r'supported values: "False", "True", "Unknown"'),
        ({"reason": "two words"}, r"conditions\[0\]\.reason"),
        ({"lastTransitionTime": "yesterday"}, r"date-time"),
    ],
)
def test_a_condition_that_is_none_is_refused(asked: Asked, wrong: dict[str, str], words: str) -> None:
    api = asked.apis[FLEET]
    api.create(BASE[FLEET])
    answer = api.try_status(FLEET, "world", {}, {"conditions": [{**msgspec.to_builtins(READY), **wrong}]})
    assert not answer.taken
    assert re.search(words, answer.words), answer.words


def test_what_is_applied_twice_is_written_once(asked: Asked) -> None:
    api = asked.apis[CELL]
    cell = {**BASE[CELL], "spec": msgspec.to_builtins(MetadataCellSpec(service="world", cell=0))}
    api.delete(CELL, "world-cell-0")
    first = api.apply(cell, manager=OPERATOR)
    assert first.taken, first.words
    second = api.apply(cell, manager=OPERATOR)
    assert second.body["metadata"]["managedFields"] == first.body["metadata"]["managedFields"]
    assert second.body["metadata"]["generation"] == first.body["metadata"]["generation"]


def test_scaling_outlives_what_the_parent_applies(cluster: Cluster, asked: Asked) -> None:
    """Made by POST, so that no Apply ever owned `nodes`: what an Apply owned and leaves out goes back to 1."""
    api = asked.apis[CELL]
    api.delete(CELL, "world-cell-0")
    whole = msgspec.to_builtins(MetadataCellSpec(service="world", cell=0, nodes=2))
    parents = {**BASE[CELL], "spec": {name: value for name, value in whole.items() if name != "nodes"}}
    assert api.create({**BASE[CELL], "spec": whole}, manager=OPERATOR).taken
    assert api.apply(parents, manager=OPERATOR).body["spec"]["nodes"] == 2
    scale = ("--namespace", NAMESPACES[CELL], "scale", "metadatacell", "world-cell-0")
    cluster.kubectl(*scale, "--replicas=3")
    assert api.apply(parents, manager=OPERATOR).body["spec"]["nodes"] == 3
    refused = cluster.attempt("kubectl", "--context", cluster.context, *scale, "--replicas=0")
    assert refused.returncode != 0
    assert "spec.nodes in body should be greater than or equal to 1" in refused.stderr


# ---------------------------------------------------------------- what people see


SHOWN = {
    SERVICE: ("mds", ["NAME", "READY", "CELLS", "SERVERS", "MAP", "PAUSED", "AGE"]),
    CELL: ("mdc", ["NAME", "READY", "NODES", "JOINED", "PENDING", "HEADROOM", "PAUSED", "AGE"]),
    FLEET: ("sf", ["NAME", "READY", "SERVERS", "OUT", "PODS", "AGE"]),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_columns_and_names(cluster: Cluster, asked: Asked, kind: str) -> None:
    asked.apis[kind].create(BASE[kind])
    short, columns = SHOWN[kind]
    get = ("--namespace", NAMESPACES[kind], "get")
    assert cluster.kubectl(*get, short).splitlines()[0].split() == columns
    assert cluster.kubectl(*get, short, "--output", "wide").splitlines()[0].split()[-1] == "MESSAGE"
    names = cluster.kubectl(*get, "cellwall", "--output", "name").split()
    assert f"{kind.lower()}.cellwall.dev/{BASE[kind]['metadata']['name']}" in names


def test_fields_are_explained(cluster: Cluster) -> None:
    explained = cluster.kubectl("explain", "metadataservice.spec.renewal.everySeconds")
    assert "more than 2 × timeLimitSeconds" in " ".join(explained.split())


def test_kubectl_refuses_a_slip_of_the_pen_before_it_is_kept(cluster: Cluster) -> None:
    text = msgspec.json.encode(changed(BASE[SERVICE], {"spec.cels": 4})).decode()
    command = (
        "kubectl",
        "--context",
        cluster.context,
        "--namespace",
        NAMESPACES[SERVICE],
        "apply",
        "--dry-run=server",
        "-f",
        "-",
    )
    ran = cluster.attempt(*command, stdin=text)
    assert ran.returncode != 0
    assert 'unknown field "spec.cels"' in ran.stderr

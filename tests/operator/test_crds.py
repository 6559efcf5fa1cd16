"""The definitions keep the rules of structural schemas, say everything the types say, and are those of the chart."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cellwall import resources, status
from cellwall.model import CellEntry, CellMap, ServerEntry
from cellwall.placement import cell_id, server_id
from cellwall.resources import CELLS_MAX, PARTITIONS_MAX
from cellwall_operator.crds import rules
from cellwall_operator.crds.chart import manifests, templates
from cellwall_operator.crds.definitions import FINGERPRINT, KINDS, Kind, definition, fingerprint
from cellwall_operator.crds.rules import MAP_BYTES_MAX, MAP_CELLS_BYTES, MAP_SERVER_BYTES, Rule
from cellwall_operator.crds.schema import struct_schema

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "charts/cellwall-crds"

# What a structural schema may hold, less what we have no use for.
KEYWORDS = {
    *("type", "description", "format", "default", "nullable", "enum", "pattern", "required", "properties", "items"),
    *("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a schema, by path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def root(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def spec(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = root(kind)["properties"]["spec"]
    return schema


each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


# ---------------------------------------------------------------- structural


@each_kind
def test_a_schema_is_structural(kind: Kind) -> None:
    for path, schema in nodes(root(kind)):
        assert set(schema) <= KEYWORDS, path
        assert schema["type"] in ("object", "array", "string", "boolean", "integer", "number"), path
        assert ("properties" in schema) <= (schema["type"] == "object"), path
        assert ("items" in schema) == (schema["type"] == "array"), path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path


@each_kind
def test_every_field_is_explained_in_a_line(kind: Kind) -> None:
    for path, schema in nodes(root(kind)):
        if path != ".metadata" and (not path.endswith("[]") or schema["type"] == "object"):
            assert 3 < len(schema["description"]) < 160, path
            assert not re.search(r"`|\n|_", schema["description"]), path


@each_kind
def test_what_a_rule_may_read_is_bounded(kind: Kind) -> None:
    """The server estimates a rule's cost from the longest value there may be."""
    for path, schema in nodes(spec(kind)):
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema, path
        if schema["type"] == "array":
            assert "maxItems" in schema, path


@each_kind
def test_a_field_is_required_or_has_a_default_or_may_be_null(kind: Kind) -> None:
    for path, schema in nodes(spec(kind)):
        for name, child in schema.get("properties", {}).items():
            ways = name in schema.get("required", ()), "default" in child, child.get("nullable", False)
            assert sum(ways) == 1, f"{path}.{name}"


@each_kind
def test_the_server_fills_nothing_into_a_status(kind: Kind) -> None:
    """Else the operator would read back what it never wrote, and write for ever."""
    assert not any("default" in schema for _, schema in nodes(root(kind)["properties"]["status"]))


def filled(schema: dict[str, Any], value: Any) -> Any:
    """Defaults as the API server applies them: from the outside in."""
    if isinstance(value, dict):
        made = {**{n: c["default"] for n, c in schema["properties"].items() if "default" in c}, **value}
        return {name: filled(schema["properties"][name], item) for name, item in made.items()}
    return value


@each_kind
def test_a_default_is_whole(kind: Kind) -> None:
    """The server tries the rules on a default before it fills in what its members have."""
    for path, schema in nodes(spec(kind)):
        if schema["type"] == "object" and "default" in schema:
            assert schema["default"] == filled(schema, {}), path


LEAST: dict[str, dict[str, Any]] = {
    "MetadataService": {},
    "MetadataCell": {"service": "world", "cell": 0},
    "StorageFleet": {"service": "world"},
}


@each_kind
def test_the_servers_defaults_are_those_of_the_types(kind: Kind) -> None:
    least = LEAST[kind.kind]
    assert msgspec.convert(filled(spec(kind), least), kind.spec) == kind.spec(**least)
    assert set(spec(kind)["properties"]) - set(filled(spec(kind), least)) <= {"renewal"}  # nothing is left to the types


# ---------------------------------------------------------------- rules


def at(schema: dict[str, Any], path: str) -> dict[str, Any] | None:
    for name in path.removeprefix(".").split("."):
        schema = schema.get("properties", {}).get(name, {})
    return schema or None


SHOWN_OF_METADATA = ".metadata.name"  # the server shows rules no more of it


@each_kind
def test_a_rule_reads_fields_that_exist_and_says_what_would_be_right(kind: Kind) -> None:
    for where, schema in nodes(root(kind)):
        for rule in schema.get("x-kubernetes-validations", ()):
            text = rule["rule"] + rule.get("messageExpression", "")
            for path in re.findall(r"\b(?:self|oldSelf)((?:\.[a-zA-Z]\w*\b(?!\())+)", text):
                assert path == SHOWN_OF_METADATA or at(schema, path) is not None, (where, path)
            if "fieldPath" in rule:
                assert at(schema, rule["fieldPath"]) is not None, where
            assert ("message" in rule) != ("messageExpression" in rule), where
            message = rule.get("message") or rule["messageExpression"]
            assert re.search(r"must (be|have|stand)|cannot be changed: |is of no use without", message), message
            assert "\n" not in text and len(message) < 400, where


def structs(*modules: Any) -> set[type]:
    return {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    }


def test_rules_are_of_fields_that_exist() -> None:
    known = structs(resources)
    for table in (rules.OF_TYPE, rules.OF_OBJECT, rules.AT_FIELD, rules.FIXED):
        assert set(table) <= known
    for fields in (rules.AT_FIELD, rules.FIXED):
        for cls, named in fields.items():
            assert set(named) <= set(cls.__struct_fields__)  # type: ignore[attr-defined]


def test_every_type_is_in_some_definition() -> None:
    """A part that is left out of all definitions would be read by nobody."""
    said = {schema.get("description", "") for kind in KINDS for _, schema in nodes(root(kind))}
    for cls in structs(resources, status):
        if not cls.__name__.startswith("_") and not cls.__name__.endswith("Spec"):
            description = struct_schema(cls, defaults=False)["description"]
            assert any(one.startswith(description) for one in said), cls


def test_an_unchanged_object_counts_null_as_absent() -> None:
    fleet = next(kind for kind in KINDS if kind.kind == "StorageFleet")
    storage = root(fleet)["properties"]["spec"]["properties"]["storage"]
    [rule] = [rule["rule"] for rule in storage["x-kubernetes-validations"] if "oldSelf" in rule["rule"]]
    for name in storage["properties"]:
        assert f"has(oldSelf.{name})" in rule


def test_a_map_of_the_most_servers_fits_a_config_map() -> None:
    """The rule's figures are at least what a map of the longest entries really takes."""

    def length(cells: int, servers: int, fleet: str) -> int:
        made = CellMap(
            10**6,
            {
                cell_id(c): CellEntry(
                    cell_id(c),
                    {cell_id(c): "255.255.255.255:7001"},
                    {cell_id(c): "255.255.255.255:7002"},
                    [[cell_id(c)]] * PARTITIONS_MAX,
                    1800000000.123456,
                    1234.123456789012,
                )
                for c in range(CELLS_MAX - cells, CELLS_MAX)
            },
            {
                server_id(s): ServerEntry(server_id(s), "cell-63", 255, "a", 333, f"{fleet}-a-3333.{fleet}:7000")
                for s in range(9999 - servers, 9999)
            },
        )
        return len(msgspec.json.encode(made))

    assert length(CELLS_MAX, 0, "f") <= MAP_CELLS_BYTES
    for name in ("f", "world", "f" * 50):
        assert length(0, 1000, name) <= 1000 * (MAP_SERVER_BYTES + 2 * len(name))
        servers = (MAP_BYTES_MAX - MAP_CELLS_BYTES) // (MAP_SERVER_BYTES + 2 * len(name))
        assert length(CELLS_MAX, servers, name) <= MAP_BYTES_MAX


def test_what_has_no_structural_schema_is_an_error() -> None:
    class Loose(msgspec.Struct):
        """Of two types."""

        either: int | str

    with pytest.raises(AssertionError, match="union"):
        struct_schema(Loose, defaults=True)

    class Free(msgspec.Struct):
        """Of any keys."""

        any: dict[str, int]

    with pytest.raises(TypeError, match="no structural schema"):
        struct_schema(Free, defaults=True)


# ---------------------------------------------------------------- definitions


@each_kind
def test_columns_and_scale_show_fields_that_exist(kind: Kind) -> None:
    version = definition(kind)["spec"]["versions"][0]
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"]
        if path != ".metadata.creationTimestamp":
            found = at(root(kind), re.sub(r"\[\?.*", "", path))
            assert found is not None, path
            if "conditions" not in path:
                assert found["type"] == column["type"], path
    for path in version["subresources"].get("scale", {}).values():
        assert at(root(kind), path) is not None
    assert "status" in version["subresources"]
    assert version["additionalPrinterColumns"][0]["name"] == "Ready"


def test_only_a_cell_is_scaled() -> None:
    scaled = {kind.kind for kind in KINDS if "scale" in definition(kind)["spec"]["versions"][0]["subresources"]}
    assert scaled == {"MetadataCell"}


@each_kind
def test_conditions_are_owned_one_by_one(kind: Kind) -> None:
    conditions = at(root(kind), ".status.conditions")
    assert conditions is not None
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert "type" in conditions["items"]["required"]


def test_names_are_not_shared() -> None:
    names = [definition(kind)["spec"]["names"] for kind in KINDS]
    for a, b in itertools.combinations(names, 2):
        assert not {a["plural"], a["singular"], *a["shortNames"]} & {b["plural"], b["singular"], *b["shortNames"]}


# ---------------------------------------------------------------- files


def test_the_committed_chart_is_the_generated_one() -> None:
    committed = {path.name: path.read_text() for path in (CHART / "templates").glob("*.yaml")}
    again = "python -m cellwall_operator.crds --write charts/cellwall-crds/templates"
    assert committed == templates(), f"out of date: {again}"


def test_templates_are_the_manifests_with_helms_words() -> None:
    plain = {document["metadata"]["name"]: document for document in yaml.safe_load_all(manifests())}
    assert set(plain) == {kind.name for kind in KINDS}
    for text in templates().values():
        rendered = re.sub(r"^ *\{\{- (if|end).*\}\}\n", "", text, flags=re.MULTILINE)
        document = yaml.safe_load(re.sub(r"\{\{[^}]*\}\}", "x", rendered))
        metadata = document["metadata"]
        assert metadata["annotations"].pop("helm.sh/resource-policy") == "keep"
        assert metadata.pop("labels")["app.kubernetes.io/part-of"] == "cellwall"
        assert document == plain[metadata["name"]]


def test_a_fingerprint_is_of_what_the_definition_says() -> None:
    prints = {kind.kind: fingerprint(kind) for kind in KINDS}
    assert len(set(prints.values())) == len(KINDS)
    other = Kind(**{**vars(KINDS[0]), "columns": ()})
    assert fingerprint(other) != prints[KINDS[0].kind]
    for document in yaml.safe_load_all(manifests()):
        assert document["metadata"]["annotations"][FINGERPRINT] == prints[document["spec"]["names"]["kind"]]


def test_the_module_prints_and_writes(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "cellwall_operator.crds", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run() == manifests()
    assert run("--write", str(tmp_path)) == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == templates()


def test_the_values_schema_refuses_what_it_does_not_know() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) <= set(schema["properties"])


def test_a_rule_is_written_as_kubernetes_reads_it() -> None:
    assert Rule("a", "b").written() == {"rule": "a", "message": "b"}
    assert Rule("a", "b", ".c", computed=True).written() == {"rule": "a", "messageExpression": "b", "fieldPath": ".c"}

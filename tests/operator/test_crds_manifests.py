"""The table of manifests tells the truth where that can be seen without a server: types, bounds and unknown fields.

The rules themselves (CEL) are evaluated by tests/cluster/test_invalid.py, by the API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest

from cellwall_operator.crds.definitions import KINDS, definition

from ..cluster.manifests import BASE, CHANGEABLE, CHANGES, INVALID, VALID, Change, Invalid, Manifest, changed

ROOTS: dict[str, dict[str, Any]] = {
    kind.kind: definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind in KINDS
}
TYPES = {kind.kind: kind.spec for kind in KINDS}


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 as JSON Schema: null is a type, and exclusive bounds are bounds."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "nullable"}
    if schema.get("nullable") or "default" in schema:  # the server fills nulls with the default
        made["type"] = [schema["type"], "null"]
        if "enum" in schema:
            made["enum"] = [*schema["enum"], None]
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if made.pop(exclusive, False):
            made[exclusive] = made.pop(bound)
    if "properties" in made:
        made["properties"] = {name: plain(child) for name, child in made["properties"].items()}
    if "items" in made:
        made["items"] = plain(made["items"])
    return made


CHECKERS = {kind: jsonschema.Draft202012Validator(plain(schema)) for kind, schema in ROOTS.items()}


def complaints(manifest: Manifest) -> list[str]:
    return [error.message for error in CHECKERS[manifest["kind"]].iter_errors(manifest)]


def unknown(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            here = f"{path}.{name}".removeprefix(".")
            if name in schema["properties"]:
                yield from unknown(schema["properties"][name], item, here)
            elif not here.startswith("metadata"):
                yield here


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.id)
def test_the_schema_refuses_what_it_should_and_leaves_the_rest_to_rules(case: Invalid) -> None:
    manifest = changed(BASE[case.kind], case.fields)
    assert bool(complaints(manifest)) == (case.by == "schema")
    assert bool(list(unknown(ROOTS[case.kind], manifest))) == (case.by == "unknown")


@pytest.mark.parametrize("manifest", VALID.values(), ids=VALID)
def test_what_is_valid_passes(manifest: Manifest) -> None:
    assert complaints(manifest) == []
    assert list(unknown(ROOTS[manifest["kind"]], manifest)) == []


@pytest.mark.parametrize("change", [*CHANGES, *CHANGEABLE], ids=lambda change: change.id)
def test_a_change_is_between_valid_manifests(change: Change) -> None:
    before = changed(BASE[change.kind], change.before)
    after = changed(before, change.fields)
    assert before != after
    assert complaints(before) == complaints(after) == []


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.id)
def test_the_types_refuse_what_the_schema_refuses(case: Invalid) -> None:
    """Who reads a spec without a server's help, as charts' tests do, is told as well."""
    spec = changed(BASE[case.kind], case.fields).get("spec")
    if case.by == "rule":
        msgspec.convert(spec, TYPES[case.kind])
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(spec, TYPES[case.kind])


def test_the_table_is_large_and_its_names_are_its_own() -> None:
    names = [case.id for case in [*INVALID, *CHANGES, *CHANGEABLE]]
    assert len(names) == len(set(names))
    assert len(INVALID) + len(CHANGES) >= 60

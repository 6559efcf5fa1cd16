"""Settings by dotted path: `fleet.indexes=false` in an arm's `set` and on the command line.

Decides how layers of settings (base < arm < --set) become one `WorldSpec`; never whether that world
makes sense (`WorldSpec.check`). Every refusal is one line: the path, the value, what would be right.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
import yaml

from cellwall.errors import Refused
from cellwall.spec import WorldSpec

PACE = "pace"  # a parameter of the run, not of the world: see runbook.Timeline
_EXPECTED = re.compile(r"(?P<what>.*) - at `\$\.(?P<path>[^`]+)`")


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """`["cells=4", "fleet.indexes=false"]` to a mapping; a later one wins. Values are YAML scalars or lists."""
    settings: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise Refused(f"--set: {text!r} is not allowed; it must be path=value, as in cells=4")
        settings[path.strip()] = _scalar(path.strip(), value.strip())
    return settings


def flatten(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested mappings to dotted paths, so that both ways of writing mean the same."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping) and path not in _leaves():
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat


def build(*layers: tuple[str, Mapping[str, Any]]) -> WorldSpec:
    """One world from named layers, the last one strongest. The name says where a bad setting stands."""
    merged: dict[str, Any] = {}
    source: dict[str, str] = {}
    for name, settings in layers:
        for path, value in flatten(settings).items():
            check_path(path, value, name)
            merged[path] = value
            source[path] = name
    try:
        return msgspec.convert(_nest(merged), WorldSpec)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), merged, source) from None


def check_path(path: str, value: object, name: str = "--set") -> None:
    """Refuse a path that no world has, with the nearest one that it has."""
    known = _leaves()
    if path not in known:
        groups = {leaf.rpartition(".")[0] for leaf in known} - {""}
        if path in groups:
            raise Refused(f"{name}: {path}: {value!r} is not allowed; it must be a mapping, or {path}.<key>=value")
        # A bare last word ("indexes") should find "fleet.indexes" too.
        by_word = [leaf for leaf in known if leaf.rpartition(".")[2] == path.rpartition(".")[2]]
        near = by_word or difflib.get_close_matches(path, [*known, PACE], n=1, cutoff=0.0)
        raise Refused(f"{name}: {path}: no such setting; did you mean {near[0]}?")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(f"{name}: {path}: {value!r} is not allowed; it must be a finite number")


def pace_of(settings: Mapping[str, Any]) -> tuple[float | None, dict[str, Any]]:
    """Split the run's pace from the world's settings. None is the demo's pace."""
    rest = {path: value for path, value in settings.items() if path != PACE}
    pace = settings.get(PACE)
    if pace is None or pace == "demo":
        return None, rest
    if isinstance(pace, bool) or not isinstance(pace, int | float) or not (math.isfinite(pace) and pace > 0):
        raise Refused(
            f"--set: pace: {pace!r} is not allowed; "
            "it must be demo, or how many seconds of the event pass in one of the run (60)"
        )
    return float(pace), rest


def _scalar(path: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise Refused(
            f"--set: {path}: {text!r} is not allowed; it must be a number, a word, true, false or [a, b]"
        ) from None
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _leaves() -> dict[str, Any]:
    return dict(_walk(msgspec.to_builtins(WorldSpec())))


def _walk(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{where}.{key}" if where else key
        if isinstance(value, Mapping):
            yield from _walk(value, path)
        else:
            yield path, value


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, key = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return tree


def _refusal(text: str, merged: Mapping[str, Any], source: Mapping[str, str]) -> Refused:
    match = _EXPECTED.fullmatch(text)
    if match is None:
        return Refused(text)
    path = match["path"].partition("[")[0]
    right = _in_words(_type_at(path))
    return Refused(f"{source.get(path, 'settings')}: {path}: {merged.get(path)!r} is not allowed; it must be {right}")


def _type_at(path: str) -> Any:
    kind: Any = WorldSpec
    for word in path.split("."):
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == word), Any)
    return kind


def _in_words(kind: Any) -> str:
    """A type as a user would say it."""
    names: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if kind in names:
        return names[kind]
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(str(part) for part in parts)
    if origin is tuple:
        return "[" + ", ".join(_in_words(part) for part in parts) + "]"
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if part is types.NoneType else _in_words(part) for part in parts)
    return str(kind)

"""ProjectionExpression and the projection of an index: which part of an item is shown.

Decides from paths and items only. An element of a list keeps its order among the elements shown, not its
place: projecting a[1] and a[3] gives a list of two, as at DynamoDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from lark import Tree

from . import grammar
from .values import Item

MEMBER = "ProjectionExpression"

Wanted = dict[str | int, Any]  # the paths as a tree; an empty one wants the whole value


class Projection(msgspec.Struct, frozen=True):
    """``used``: the placeholders of the expression, for `placeholders.check_used`."""

    paths: tuple[grammar.Path, ...]
    used: frozenset[str] = frozenset()

    @property
    def attributes(self) -> frozenset[str]:
        """The top-level attributes of which anything is wanted."""
        return frozenset(str(path[0]) for path in self.paths)

    def apply(self, item: Item) -> Item:
        return _of_map(item, _tree(self.paths))


def parse(text: str, names: Mapping[str, str] | None) -> Projection:
    tree = grammar.parse(MEMBER, text)
    paths = [grammar.resolve(MEMBER, node, names or {}) for node in tree.children if isinstance(node, Tree)]
    for number, path in enumerate(paths):
        for earlier in paths[:number]:
            _check_pair(earlier, path)
    return Projection(tuple(paths), grammar.placeholders(tree))


def attributes(item: Item, names: Iterable[str]) -> Item:
    """The item's attributes of these names: what an index keeps of it."""
    wanted = set(names)
    return {name: value for name, value in item.items() if name in wanted}


def _check_pair(one: grammar.Path, two: grammar.Path) -> None:
    """Neither may contain the other, nor take for a list what the other takes for a map."""
    for first, second in zip(one, two, strict=False):
        if first == second:
            continue
        if type(first) is type(second):
            return
        problem = "conflict"
        break
    else:
        problem = "overlap"
    raise grammar.invalid(
        MEMBER,
        f"Two document paths {problem} with each other; must remove or rewrite one of these paths; "
        f"path one: {grammar.show(one)}, path two: {grammar.show(two)}",
    )


def _tree(paths: Iterable[grammar.Path]) -> Wanted:
    root: Wanted = {}
    for path in paths:
        node = root
        for part in path:
            node = node.setdefault(part, {})
    return root


def _of_map(members: Item, wanted: Wanted) -> Item:
    shown = ((name, _of_value(value, wanted[name])) for name, value in members.items() if name in wanted)
    return {name: value for name, value in shown if value is not None}


def _of_value(value: dict[str, Any], wanted: Wanted) -> dict[str, Any] | None:
    """The wanted part of a value; None if there is nothing of it."""
    if not wanted:
        return value
    if "M" in value:
        members = _of_map(value["M"], wanted)
        return {"M": members} if members else None
    if "L" in value:
        shown = (_of_value(value["L"][n], wanted[n]) for n in sorted(_positions(wanted)) if n < len(value["L"]))
        elements = [element for element in shown if element is not None]
        return {"L": elements} if elements else None
    return None


def _positions(wanted: Wanted) -> list[int]:
    return [part for part in wanted if isinstance(part, int)]

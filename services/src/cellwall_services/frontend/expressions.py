"""KeyConditionExpression: the hash key to read, and the range of range keys.

Decides from the text, the placeholders and the types of the two key attributes; never reads an item.
What comes out is canonical and of the right type, so that `cellwall.keys` can turn it into bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from lark import Token, Tree

from cellwall.keys import KeyOp

from . import grammar, values
from .errors import ValidationError
from .members import INVALID
from .values import KeyValue

Key = tuple[str, str]  # name and type (S, N, B) of a key attribute

MEMBER = "KeyConditionExpression"
NOT_SUPPORTED = "Query key condition not supported"

_OPERAND_TYPES = {"begins_with": ("S", "B"), "=": values.TYPES}  # the other operators: S, N, B
_MIRRORED: dict[KeyOp, KeyOp] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARISONS: dict[str, KeyOp] = {str(op): op for op in _MIRRORED}
_FUNCTIONS = ("attribute_exists", "attribute_not_exists", "attribute_type", "contains", "size")


class KeyCondition(msgspec.Struct, frozen=True):
    """``used``: the placeholders of the expression, for `placeholders.check_used`."""

    hash_value: KeyValue
    op: KeyOp | None = None
    range_values: tuple[KeyValue, ...] = ()
    used: frozenset[str] = frozenset()

    def holds(self, range_value: KeyValue, range_type: str) -> bool:
        """Whether a range key fulfils the condition: plain comparisons, no ranges of bytes."""
        given, *bounds = (_order(range_type, v) for v in (range_value, *self.range_values))
        match self.op:
            case None:
                return True
            case "=":
                return bool(given == bounds[0])
            case "<":
                return bool(given < bounds[0])
            case "<=":
                return bool(given <= bounds[0])
            case ">":
                return bool(given > bounds[0])
            case ">=":
                return bool(given >= bounds[0])
            case "BETWEEN":
                return bool(bounds[0] <= given <= bounds[1])
            case "begins_with":
                return bool(given.startswith(bounds[0]))


class _Term(NamedTuple):
    """One condition on one attribute. ``operands``: canonical attribute values."""

    name: str
    op: KeyOp
    operands: list[dict[str, Any]]


def key_condition(
    text: str,
    names: Mapping[str, str] | None,
    values: Mapping[str, Any] | None,
    hash_key: Key,
    range_key: Key | None,
) -> KeyCondition:
    tree = grammar.parse(MEMBER, text)
    terms: dict[str, _Term] = {}
    for node in _conjuncts(tree):
        term = _term(node, names or {}, values or {})
        if term.name in terms:
            raise ValidationError("KeyConditionExpressions must only contain one condition per key")
        terms[term.name] = term
    if len(terms) > 2:
        raise ValidationError("Conditions can be of length 1 or 2 only")
    on_hash = terms.pop(hash_key[0], None)
    if on_hash is None:
        raise ValidationError(f"Query condition missed key schema element: {hash_key[0]}")
    if on_hash.op != "=" or (terms and range_key is None):
        raise ValidationError(NOT_SUPPORTED)
    (hash_value,) = _typed(on_hash, hash_key, "hash")
    used = grammar.placeholders(tree)
    if range_key is None or not terms:
        return KeyCondition(hash_value, used=used)
    on_range = terms.get(range_key[0])
    if on_range is None:
        raise ValidationError(f"Query condition missed key schema element: {range_key[0]}")
    return KeyCondition(hash_value, on_range.op, _typed(on_range, range_key, "range"), used)


def _conjuncts(tree: grammar.Node) -> list[grammar.Node]:
    """The conditions that AND joins, in the order of the text. Own stack: a text of 4 KB nests deep."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        inner = [child for child in node.children if isinstance(child, Tree)]
        if node.data == "parentheses":
            if inner[0].data == "parentheses":
                raise grammar.invalid(MEMBER, "The expression has redundant parentheses;")
            todo += inner
        elif node.data == "and":
            todo += reversed(inner)
        elif node.data in ("or", "not", "in"):
            raise _wrong_operator(node.data.upper())
        else:
            found.append(node)
    return found


def _term(node: grammar.Node, names: Mapping[str, str], given: Mapping[str, Any]) -> _Term:
    op, operands = _operator(node)
    paths: list[tuple[int, grammar.Path]] = []
    literals: list[dict[str, Any]] = []
    for position, operand in enumerate(operands):
        if isinstance(operand, Token):
            literals.append(_value(str(operand), given))
        elif operand.data == "path":
            paths.append((position, grammar.resolve(MEMBER, operand, names)))
        else:
            raise _wrong_operator(str(operand.children[0]))
    if op == "begins_with" and len(operands) != 2:
        problem = "Incorrect number of operands for operator or function; operator or function: begins_with"
        raise grammar.invalid(MEMBER, f"{problem}, number of operands: {len(operands)}")
    if not paths:
        raise ValidationError(f"Invalid condition in {MEMBER}: No key attribute specified")
    if len(paths) > 1:
        raise ValidationError(f"Invalid condition in {MEMBER}: Multiple attribute names used in one condition")
    ((position, path),) = paths
    if len(path) > 1:
        raise ValidationError("KeyConditionExpressions cannot have conditions on nested attributes")
    if position > 0:
        if op not in _MIRRORED:
            problem = f"{op} operator must have the key attribute as its first operand"
            raise ValidationError(f"Invalid condition in {MEMBER}: {problem}")
        op = _MIRRORED[op]
    _check_operands(op, literals)
    return _Term(str(path[0]), op, literals)


def _operator(node: grammar.Node) -> tuple[KeyOp, list[Token | grammar.Node]]:
    if node.data == "between":
        return "BETWEEN", node.children
    if node.data == "comparison":
        left, symbol, right = node.children
        if str(symbol) not in _COMPARISONS:
            raise _wrong_operator(str(symbol))
        return _COMPARISONS[str(symbol)], [left, right]
    function, *operands = node.children
    if function == "begins_with":
        return "begins_with", operands
    if function in _FUNCTIONS:
        raise _wrong_operator(str(function))
    raise grammar.invalid(MEMBER, f"Invalid function name; function: {function}")


def _value(placeholder: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if placeholder not in given:
        problem = "An expression attribute value used in expression is not defined; attribute value: "
        raise grammar.invalid(MEMBER, f"{problem}{placeholder}")
    return values.value(given[placeholder], f"ExpressionAttributeValues.{placeholder}")[0]


def _check_operands(op: KeyOp, operands: list[dict[str, Any]]) -> None:
    kinds = [next(iter(operand)) for operand in operands]
    for kind in kinds:
        if kind not in _OPERAND_TYPES.get(op, ("S", "N", "B")):
            problem = f"Incorrect operand type for operator or function; operator or function: {op}, operand type: "
            raise grammar.invalid(MEMBER, f"{problem}{kind}")
    if op != "BETWEEN":
        return
    shown = [f"AttributeValue: {{{kind}:{operand[kind]}}}" for kind, operand in zip(kinds, operands, strict=True)]
    bounds = f"lower bound operand: {shown[0]}, upper bound operand: {shown[1]}"
    if kinds[0] != kinds[1]:
        problem = "The BETWEEN operator requires same data type for lower and upper bounds; "
        raise grammar.invalid(MEMBER, problem + bounds)
    lower, upper = (_order(kind, values.key_data(operand)) for kind, operand in zip(kinds, operands, strict=True))
    if lower > upper:
        problem = "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
        raise grammar.invalid(MEMBER, problem + bounds)


def _typed(term: _Term, key: Key, role: values.Role) -> tuple[KeyValue, ...]:
    name, kind = key
    for operand in term.operands:
        if kind not in operand:
            raise ValidationError(
                f"{INVALID}Condition parameter type does not match schema type: {name} expected: {kind} "
                f"actual: {next(iter(operand))}"
            )
    return tuple(values.key_value(operand, name, role) for operand in term.operands)


def _order(kind: str, value: KeyValue) -> Any:
    """What DynamoDB orders by: UTF-8 bytes, unsigned bytes, the number."""
    if isinstance(value, bytes):
        return value
    return Decimal(value) if kind == "N" else value.encode()


def _wrong_operator(operator: str) -> ValidationError:
    return ValidationError(f"Invalid operator used in {MEMBER}: {operator}")

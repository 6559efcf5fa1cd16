"""Key conditions and projections: what a text means, and which error a wrong one gets."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.keys import canonical_number
from cellwall_services.frontend import placeholders, projection
from cellwall_services.frontend.errors import ApiError, ValidationError
from cellwall_services.frontend.expressions import KeyCondition, key_condition
from cellwall_services.frontend.grammar import EXPRESSION_BYTES_MAX, Path
from cellwall_services.frontend.projection import Projection
from cellwall_services.frontend.reserved import RESERVED_WORDS
from cellwall_services.frontend.values import Item

HASH, RANGE = ("pk", "S"), ("sk", "N")
GIVEN: dict[str, Any] = {
    ":p": {"S": "x"},
    ":one": {"N": "1.0"},
    ":five": {"N": "5"},
    ":bytes": {"B": "YQ=="},
    ":yes": {"BOOL": True},
    ":empty": {"S": ""},
    ":long": {"S": "k" * 2049},
}
INVALID = "Invalid KeyConditionExpression: "


def condition(text: str, range_key: tuple[str, str] | None = RANGE) -> KeyCondition:
    return key_condition(text, {"#p": "pk", "#size": "size"}, GIVEN, HASH, range_key)


# ---------------------------------------------------------------- key conditions

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
blobs = st.binary(min_size=1, max_size=4)
numbers = st.decimals(-(10**6), 10**6, places=3).map(lambda n: canonical_number(f"{n:f}"))
KINDS: dict[str, st.SearchStrategy[Any]] = {"S": texts, "B": blobs, "N": numbers}


def order(kind: str, value: Any) -> Any:
    return Decimal(value) if kind == "N" else value


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, KeyCondition]:
    """(type of the hash key, type of the range key, condition)."""
    hash_type, range_type = draw(st.sampled_from("SNB")), draw(st.sampled_from("SNB"))
    operators = [None, "=", "<", "<=", ">", ">=", "BETWEEN", *(["begins_with"] if range_type != "N" else [])]
    op = draw(st.sampled_from(operators))
    count = {None: 0, "BETWEEN": 2}.get(op, 1)
    bounds = sorted((draw(KINDS[range_type]) for _ in range(count)), key=lambda v: order(range_type, v))
    return hash_type, range_type, KeyCondition(draw(KINDS[hash_type]), op, tuple(bounds))


def printed(wanted: KeyCondition, mirrored: bool, wrapped: bool, turned: bool, space: str) -> str:
    """One of the spellings of a condition on #h and #r."""
    terms = [":h=#h" if mirrored else f"#h{space}={space}:h"]
    match wanted.op:
        case None:
            pass
        case "BETWEEN":
            terms.append("#r between :0 AND :1")
        case "begins_with":
            terms.append(f"begins_with{space}(#r{space},:0)")
        case op:
            sides = str.maketrans("<>", "><")
            terms.append(f":0{space}{op.translate(sides)}{space}#r" if mirrored else f"#r{op}:0")
    if wrapped:
        terms = [f"({space}{term})" for term in terms]
    text = " and ".join(reversed(terms) if turned else terms)
    return f"({text})" if mirrored and len(terms) == 2 else text


def attribute(kind: str, value: Any) -> dict[str, Any]:
    return {kind: base64.b64encode(value).decode() if kind == "B" else value}


@given(conditions(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", " ", "\n\t "]))
def test_a_printed_condition_reads_the_same(
    case: tuple[str, str, KeyCondition], mirrored: bool, wrapped: bool, turned: bool, space: str
) -> None:
    hash_type, range_type, wanted = case
    names = {"#h": "size", "#r": "a.b"} if wanted.op else {"#h": "size"}
    given_values = {":h": attribute(hash_type, wanted.hash_value)}
    for number, bound in enumerate(wanted.range_values):
        given_values[f":{number}"] = attribute(range_type, bound)
    text = printed(wanted, mirrored, wrapped, turned, space)
    found = key_condition(text, names, given_values, ("size", hash_type), ("a.b", range_type))
    assert (found.hash_value, found.op, found.range_values) == (wanted.hash_value, wanted.op, wanted.range_values)
    placeholders.check_used(names, given_values, found.used)


@given(conditions(), st.data())
def test_holds_agrees_with_plain_comparison(case: tuple[str, str, KeyCondition], data: st.DataObject) -> None:
    _, kind, wanted = case
    near = [KINDS[kind], *(st.just(v) for v in wanted.range_values)]
    value = data.draw(st.one_of(near))
    given_, *bounds = (v.encode() if kind == "S" else order(kind, v) for v in (value, *wanted.range_values))
    expected = {
        None: lambda: True,
        "=": lambda: given_ == bounds[0],
        "<": lambda: given_ < bounds[0],
        "<=": lambda: given_ <= bounds[0],
        ">": lambda: given_ > bounds[0],
        ">=": lambda: given_ >= bounds[0],
        "BETWEEN": lambda: sorted([*bounds, given_])[1] == given_,
        "begins_with": lambda: given_[: len(bounds[0])] == bounds[0],
    }[wanted.op]()
    assert wanted.holds(value, kind) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", INVALID + "The expression can not be empty;"),
        (" \n", INVALID + "The expression can not be empty;"),
        ("pk = ", INVALID + 'Syntax error; token: "<EOF>", near: "="'),
        ("pk == :p", INVALID + 'Syntax error; token: "=", near: "== :p"'),
        ("p-k = :p", INVALID + 'Syntax error; token: "-", near: "p-k"'),
        ("_pk = :p", INVALID + 'Syntax error; token: "_pk", near: "_pk ="'),
        ('pk = "x"', INVALID + 'Syntax error; token: """, near: "= "x"'),
        ("pk = :p AND", INVALID + 'Syntax error; token: "<EOF>", near: "AND"'),
        ("pk = :p sk = :one", INVALID + 'Syntax error; token: "sk", near: ":p sk ="'),
        ("pk = :p é", INVALID + 'Syntax error; token: "é", near: ":p é"'),
        ("and = :p", INVALID + 'Syntax error; token: "and", near: "and ="'),
        ("((pk = :p))", INVALID + "The expression has redundant parentheses;"),
        ("size = :p", INVALID + "Attribute name is a reserved keyword; reserved keyword: size"),
        (
            "#x = :p",
            INVALID + "An expression attribute name used in the document path is not defined; attribute name: #x",
        ),
        ("pk = :x", INVALID + "An expression attribute value used in expression is not defined; attribute value: :x"),
        ("foo(pk, :p)", INVALID + "Invalid function name; function: foo"),
        (
            "begins_with(pk)",
            INVALID + "Incorrect number of operands for operator or function; operator or function: begins_with, "
            "number of operands: 1",
        ),
        (
            "pk = :p AND begins_with(sk, :one)",
            INVALID + "Incorrect operand type for operator or function; operator or function: begins_with, "
            "operand type: N",
        ),
        (
            "pk = :p AND sk < :yes",
            INVALID + "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
        ),
        (
            "pk = :p AND sk BETWEEN :five AND :one",
            INVALID + "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower "
            "bound operand: AttributeValue: {N:5}, upper bound operand: AttributeValue: {N:1}",
        ),
        (
            "pk = :p AND sk BETWEEN :p AND :one",
            INVALID + "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: "
            "AttributeValue: {S:x}, upper bound operand: AttributeValue: {N:1}",
        ),
        ("pk = :p OR sk = :one", "Invalid operator used in KeyConditionExpression: OR"),
        ("NOT pk = :p", "Invalid operator used in KeyConditionExpression: NOT"),
        ("pk IN (:p, :one)", "Invalid operator used in KeyConditionExpression: IN"),
        ("pk <> :p", "Invalid operator used in KeyConditionExpression: <>"),
        ("contains(pk, :p)", "Invalid operator used in KeyConditionExpression: contains"),
        ("pk = :p AND size(sk) = :one", "Invalid operator used in KeyConditionExpression: size"),
        ("pk = #p", "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition"),
        (":p = :p", "Invalid condition in KeyConditionExpression: No key attribute specified"),
        (
            "pk = :p AND :one BETWEEN sk AND :five",
            "Invalid condition in KeyConditionExpression: BETWEEN operator must have the key attribute as its first "
            "operand",
        ),
        ("pk.a = :p", "KeyConditionExpressions cannot have conditions on nested attributes"),
        ("pk = :p AND #p = :p", "KeyConditionExpressions must only contain one condition per key"),
        ("a = :p AND b = :p AND c = :p", "Conditions can be of length 1 or 2 only"),
        ("sk = :one", "Query condition missed key schema element: pk"),
        ("pk = :p AND a = :one", "Query condition missed key schema element: sk"),
        ("pk > :p", "Query key condition not supported"),
        ("begins_with(pk, :p)", "Query key condition not supported"),
        (
            "pk = :one",
            "One or more parameter values were invalid: Condition parameter type does not match schema type: pk "
            "expected: S actual: N",
        ),
        (
            "pk = :p AND sk = :bytes",
            "One or more parameter values were invalid: Condition parameter type does not match schema type: sk "
            "expected: N actual: B",
        ),
        (
            "pk = :empty",
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            "empty string value. Key: pk",
        ),
        (
            "pk = :long",
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of "
            "2048 bytes. Key: pk",
        ),
    ],
)
def test_conditions_refused(text: str, problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        condition(text)
    assert error.value.message == problem


def test_a_table_without_range_key_takes_no_second_condition() -> None:
    assert condition("pk = :p", None) == KeyCondition("x", used=frozenset({":p"}))
    with pytest.raises(ValidationError, match="Query key condition not supported"):
        condition("pk = :p AND sk = :one", None)


def test_a_value_that_is_none_is_refused_by_its_placeholder() -> None:
    with pytest.raises(ValidationError, match=r"numeric value: 'one': ExpressionAttributeValues\.:v\.N"):
        key_condition("pk = :v", None, {":v": {"N": "one"}}, HASH, RANGE)


def test_words_that_begin_like_keywords_are_names() -> None:
    assert key_condition("android=:p AND inner1>:one", {}, GIVEN, ("android", "S"), ("inner1", "N")).op == ">"


def test_size_limit() -> None:
    text = "pk = :p".ljust(EXPRESSION_BYTES_MAX)
    assert condition(text).hash_value == "x"
    with pytest.raises(ValidationError, match=f"maximum allowed size; expression size: {EXPRESSION_BYTES_MAX + 1}"):
        condition(text + " ")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2000 + "pk = :p" + ")" * 2000,
        "(pk = :p AND " * 300 + "pk = :p" + ")" * 300,
        "NOT " * 1000 + "pk = :p",
        "size(" * 800 + "pk" + ")" * 800,
        "pk = :p" + " AND pk = :p" * 300,
    ],
)
def test_deep_nesting_is_refused_and_not_a_crash(text: str) -> None:
    with pytest.raises(ValidationError):
        condition(text)


TOKENS = ["pk", "sk", "#p", ":p", ":one", "=", "<", "AND", "OR", "NOT", "BETWEEN", "(", ")", "begins_with", ",", "é"]


@given(st.lists(st.sampled_from(TOKENS), max_size=9).map(" ".join) | st.text(max_size=12))
def test_any_text_is_a_condition_or_a_clear_error(text: str) -> None:
    try:
        found = condition(text)
    except ApiError as error:
        assert error.status == 400 and "condition" in error.message.lower()
    else:
        assert found.hash_value == "x"


# ---------------------------------------------------------------- projections


def dumb(item: Item, paths: tuple[Path, ...]) -> Item:
    """The twin: look each path up alone, lay the values out by path, then close the gaps in lists."""
    laid: dict[Any, Any] = {}
    for path in paths:
        value: Any = {"M": item}
        for part in path:
            inner = value.get("M") if isinstance(part, str) else value.get("L")
            try:
                value = inner[part]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                break
        else:
            node = laid
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = ("leaf", value)

    def close(node: Any) -> dict[str, Any]:
        if isinstance(node, tuple):
            leaf: dict[str, Any] = node[1]
            return leaf
        if isinstance(next(iter(node)), int):
            return {"L": [close(node[n]) for n in sorted(node)]}
        return {"M": {name: close(inner) for name, inner in node.items()}}

    shown: Item = close(laid)["M"] if laid else {}
    return shown


values = st.recursive(
    st.sampled_from([{"S": "x"}, {"N": "1"}, {"SS": ["a"]}, {"L": []}, {"M": {}}]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda v: {"L": v})
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2).map(lambda v: {"M": v})
    ),
    max_leaves=10,
)
documents = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
paths = st.lists(st.sampled_from(["a", "b", 0, 1, 3]), max_size=3).flatmap(
    lambda tail: st.sampled_from("abc").map(lambda first: (first, *tail))
)


def spelt(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@given(documents, st.lists(paths, min_size=1, max_size=4))
def test_projection_agrees_with_its_twin(item: Item, wanted: list[Path]) -> None:
    try:
        found = projection.parse(" , ".join(map(spelt, wanted)), None)
    except ValidationError as error:
        assert "overlap" in error.message or "conflict" in error.message
        return
    assert found.paths == tuple(wanted)
    assert found.apply(item) == dumb(item, found.paths)
    assert found.attributes == {path[0] for path in wanted}


@given(documents, paths)
def test_projecting_twice_by_names_changes_nothing(item: Item, path: Path) -> None:
    """Lists close their gaps, so this holds for paths of names only."""
    names = tuple(part for part in path if isinstance(part, str))
    once = Projection((names,)).apply(item)
    assert Projection((names,)).apply(once) == once


PROJECTION = "Invalid ProjectionExpression: "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The expression can not be empty;"),
        ("a,", 'Syntax error; token: "<EOF>", near: ","'),
        ("a b", 'Syntax error; token: "b", near: "a b"'),
        ("a..b", 'Syntax error; token: ".", near: "..b"'),
        ("a[-1]", 'Syntax error; token: "-", near: "[-1"'),
        ("[0]", 'Syntax error; token: "[", near: "[0"'),
        (":a", 'Syntax error; token: ":a", near: ":a"'),
        ("a, and", "Attribute name is a reserved keyword; reserved keyword: and"),
        ("a.Size", "Attribute name is a reserved keyword; reserved keyword: Size"),
        ("#y", "An expression attribute name used in the document path is not defined; attribute name: #y"),
        (
            "a, b, a.c[2]",
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], "
            "path two: [a, c, [2]]",
        ),
        (
            "#x, x",
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [x], "
            "path two: [x]",
        ),
        (
            "a.b, a[0]",
            "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: "
            "[a, b], path two: [a, [0]]",
        ),
    ],
)
def test_projections_refused(text: str, problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        projection.parse(text, {"#x": "x"})
    assert error.value.message == PROJECTION + problem


def test_every_reserved_word_needs_a_placeholder() -> None:
    assert len(RESERVED_WORDS) == 573  # Developer Guide, "Reserved words in DynamoDB"
    for word in RESERVED_WORDS:
        with pytest.raises(ValidationError, match=f"reserved keyword: {word.lower()}"):
            projection.parse(word.lower(), None)
        assert projection.parse("#w", {"#w": word}).paths == ((word,),)


def test_a_placeholder_may_hide_any_name() -> None:
    item: Item = {"a.b": {"M": {"x[0]": {"S": "v"}}}, "a": {"S": "no"}}
    found = projection.parse("#a.#b", {"#a": "a.b", "#b": "x[0]"})
    assert found.apply(item) == {"a.b": {"M": {"x[0]": {"S": "v"}}}}


# ---------------------------------------------------------------- placeholders


@pytest.mark.parametrize(
    ("names", "given_values", "expressions", "problem"),
    [
        ({"#a": "a"}, None, False, "ExpressionAttributeNames can only be specified when using expressions"),
        (None, {":a": {}}, False, "ExpressionAttributeValues can only be specified when using expressions"),
        ({}, None, True, "ExpressionAttributeNames must not be empty"),
        (None, {}, True, "ExpressionAttributeValues must not be empty"),
        ({"a": "a"}, None, True, 'ExpressionAttributeNames contains invalid key: Syntax error; key: "a"'),
        ({"#": "a"}, None, True, 'ExpressionAttributeNames contains invalid key: Syntax error; key: "#"'),
        (None, {"#a": {}}, True, 'ExpressionAttributeValues contains invalid key: Syntax error; key: "#a"'),
        ({"#a": ""}, None, True, "ExpressionAttributeNames contains invalid value: an empty name for key #a"),
    ],
)
def test_placeholders_refused(names: Any, given_values: Any, expressions: bool, problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        placeholders.check(names, given_values, expressions)
    assert error.value.message == problem


def test_unused_placeholders_are_refused() -> None:
    placeholders.check_used({"#a": "a"}, {":x": {}}, {"#a"}, {":x"})
    with pytest.raises(ValidationError) as error:
        placeholders.check_used({"#a": "a"}, {":x": {}, ":y": {}, ":z": {}}, {"#a"}, {":y"})
    assert error.value.message == "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x, :z}"
    with pytest.raises(ValidationError) as error:
        placeholders.check_used({"#a": "a"}, None)
    assert error.value.message == "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}"

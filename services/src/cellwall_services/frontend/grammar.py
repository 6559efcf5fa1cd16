"""The grammar of conditions and projections, and the errors that concern the text alone.

Decides whether a text is an expression, and which attribute a document path denotes. Never looks at
values, items or tables. Conditions are read whole, with the operators that no key condition may use, so
that these are refused by name and not as a mistake in spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from lark import Lark, Token, Tree, UnexpectedInput, UnexpectedToken

from .errors import ValidationError
from .reserved import RESERVED_WORDS

EXPRESSION_BYTES_MAX = 4096  # Developer Guide, quotas: expression parameters

Path = tuple[str | int, ...]  # ("a", 2, "b") is a[2].b
Node = Tree[Token]

# A name that does not begin with a letter needs a placeholder (Developer Guide, expression attribute names).
_PATHS = r"""
path: _element ("." _element | "[" INT "]")*
_element: NAME | NAME_REF
NAME: /[A-Za-z][A-Za-z0-9_]*/
NAME_REF: /#[A-Za-z0-9_]+/
INT: /[0-9]+/
%ignore /[ \t\r\n]+/
"""
_PROJECTIONS = 'start: path ("," path)*' + _PATHS
_CONDITIONS = (
    r"""
?start: conjunction
      | start _OR conjunction                -> or
?conjunction: negation
      | conjunction _AND negation            -> and
?negation: single
      | _NOT negation                        -> not
?single: operand COMPARATOR operand          -> comparison
      | operand _BETWEEN operand _AND operand -> between
      | operand _IN "(" _operands ")"        -> in
      | function
      | "(" start ")"                        -> parentheses
?operand: path | VALUE_REF | function
function: NAME "(" _operands ")"
_operands: operand ("," operand)*
COMPARATOR: "<=" | ">=" | "<>" | "=" | "<" | ">"
VALUE_REF: /:[A-Za-z0-9_]+/
"""
    + "".join(f"_{word}.2: /{word}(?![A-Za-z0-9_])/i\n" for word in ("OR", "AND", "NOT", "BETWEEN", "IN"))
    + _PATHS
)
_PARSERS = {
    "KeyConditionExpression": Lark(_CONDITIONS, parser="lalr", lexer="basic"),
    "ProjectionExpression": Lark(_PROJECTIONS, parser="lalr", lexer="basic"),
}

_WORD = re.compile(r"[#:]?\w+|[<>]=|<>|\S", re.ASCII)


@lru_cache(maxsize=256)  # programs send few different texts; nobody may change a tree
def parse(member: str, text: str) -> Node:
    """The tree of an expression; ``member`` names its kind and stands in every message."""
    if not text.strip():
        raise invalid(member, "The expression can not be empty;")
    size_bytes = len(text.encode())
    if size_bytes > EXPRESSION_BYTES_MAX:
        problem = "Expression size has exceeded the maximum allowed size; expression size: "
        raise invalid(member, f"{problem}{size_bytes}")
    try:
        return _PARSERS[member].parse(text)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        raise invalid(member, _syntax_error(text, len(text) if ended else error.pos_in_stream or 0)) from None


def resolve(member: str, path: Node, names: Mapping[str, str]) -> Path:
    """The attribute that a path denotes, placeholders replaced."""
    return tuple(_element(member, token, names) for token in path.children if isinstance(token, Token))


def placeholders(tree: Node) -> frozenset[str]:
    """The names (#a) and values (:v) that an expression mentions."""
    tokens = tree.scan_values(lambda leaf: isinstance(leaf, Token) and leaf.type in ("NAME_REF", "VALUE_REF"))
    return frozenset(map(str, tokens))


def show(path: Path) -> str:
    """As DynamoDB prints a path: [a, [2], b]."""
    return "[" + ", ".join(f"[{part}]" if isinstance(part, int) else part for part in path) + "]"


def invalid(member: str, problem: str) -> ValidationError:
    return ValidationError(f"Invalid {member}: {problem}")


def _element(member: str, token: Token, names: Mapping[str, str]) -> str | int:
    if token.type == "INT":
        return int(token)
    if token.type == "NAME_REF":
        if token not in names:
            problem = "An expression attribute name used in the document path is not defined; attribute name: "
            raise invalid(member, f"{problem}{token}")
        return names[token]
    if token.upper() in RESERVED_WORDS:
        raise invalid(member, f"Attribute name is a reserved keyword; reserved keyword: {token}")
    return str(token)


def _syntax_error(text: str, position: int) -> str:
    """DynamoDB names the word it stumbled over, and shows it between its neighbours."""
    words = list(_WORD.finditer(text))
    found = next((n for n, word in enumerate(words) if word.end() > position), len(words))
    token = words[found].group() if found < len(words) else "<EOF>"
    near = text[words[max(found - 1, 0)].start() : words[min(found + 1, len(words) - 1)].end()]
    return f'Syntax error; token: "{token}", near: "{near}"'

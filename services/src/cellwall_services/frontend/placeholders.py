"""ExpressionAttributeNames and ExpressionAttributeValues: their shape, and that all of them are used.

Decides on the two maps of one request; what stands behind a placeholder is resolved by `grammar` and
`expressions`. An unused one is refused, as at DynamoDB: it is most often a misspelt expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import ValidationError

_SHAPES = {
    "ExpressionAttributeNames": re.compile(r"#[A-Za-z0-9_]+"),
    "ExpressionAttributeValues": re.compile(r":[A-Za-z0-9_]+"),
}


def check(names: Mapping[str, str] | None, values: Mapping[str, Any] | None, expressions: bool) -> None:
    """``expressions``: whether the request has any."""
    for member, given in (("ExpressionAttributeNames", names), ("ExpressionAttributeValues", values)):
        if given is None:
            continue
        if not expressions:
            raise ValidationError(f"{member} can only be specified when using expressions")
        if not given:
            raise ValidationError(f"{member} must not be empty")
        for key in given:
            if not _SHAPES[member].fullmatch(key):
                raise ValidationError(f'{member} contains invalid key: Syntax error; key: "{key[:255]}"')
    for key, name in (names or {}).items():
        if not name:
            raise ValidationError(f"ExpressionAttributeNames contains invalid value: an empty name for key {key}")


def check_used(names: Mapping[str, str] | None, values: Mapping[str, Any] | None, *used: Iterable[str]) -> None:
    """``used``: the placeholders ("#a", ":v") of each expression of the request."""
    known = {placeholder for expression in used for placeholder in expression}
    for member, given in (("ExpressionAttributeNames", names), ("ExpressionAttributeValues", values)):
        unused = [key for key in given or () if key not in known]
        if unused:
            raise ValidationError(f"Value provided in {member} unused in expressions: keys: {{{', '.join(unused)}}}")

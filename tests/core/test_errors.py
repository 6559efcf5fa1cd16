"""The error tree is the one drawn on its page, and nothing else raises."""

import re

from cellwall import errors


def drawn() -> dict[str, str]:
    """Child -> parent, read from the drawing in the module's docstring."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}((?:[ │]   )*)([├└]── )?([A-Z]\w+)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + (match[2] is not None)
        path[depth:] = [match[3]]
        if depth:
            parents[match[3]] = path[depth - 1]
    return parents


def test_the_tree_is_as_drawn() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    actual = {kind.__name__: kind.__base__.__name__ for kind in classes if kind is not errors.CellwallError}
    assert drawn() == actual
    assert errors.CellwallError.__base__ is Exception


def test_the_three_outcomes_do_not_catch_each_other() -> None:
    leaves = (errors.Refused, errors.Unavailable, errors.Unknown)
    for leaf in leaves:
        assert not any(issubclass(leaf, other) for other in leaves if other is not leaf)


def test_every_error_says_what_it_means() -> None:
    for name in ["CellwallError", *drawn()]:
        assert getattr(errors, name).__doc__

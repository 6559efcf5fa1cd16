"""The claims of an experiment file: defaults of the issue, and every mistake refused in one line."""

from typing import Any

import pytest

from cellwall.errors import Refused
from cellwall.judge import ARM_CLAIMS, CROSS_CLAIMS, claims
from cellwall.judge.spec import KINDS

ARMS = ["monolith", "cells-4"]


def test_every_claim_has_a_function_and_every_function_a_claim() -> None:
    assert KINDS.keys() == ARM_CLAIMS.keys() | CROSS_CLAIMS.keys()
    assert {name for name, kind in KINDS.items() if kind.cross} == CROSS_CLAIMS.keys()


def test_defaults_and_overrides() -> None:
    one, two, three = claims(
        [
            {"id": "servers-out", "arms": ["monolith"], "text": "Half are out", "min": 0.4},
            {"id": "clean"},
            {"id": "no-write-lost", "arms": ["cells-4"], "backends": ["local", "kubernetes"]},
        ],
        ARMS,
    )
    assert (one.text, one.bound.min, one.bound.max, one["window_s"]) == ("Half are out", 0.4, 0.65, 5)
    assert two.arms == ("monolith", "cells-4") and two["steal_max"] == 0.2 and two.text
    assert three.backends == ("local", "kubernetes")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "servers-gone"}, r"claims\[0\]\.id: 'servers-gone' is not a claim"),
        ({}, r"claims\[0\]\.id: None is not a claim"),
        ("clean", r"claims\[0\]: 'clean' is not allowed"),
        ({"id": "clean", "arms": ["monolit"]}, "'monolit' is not an arm; it must be one of monolith, cells-4"),
        ({"id": "clean", "arms": "monolith"}, r"claims\[0\]\.arms: 'monolith' is not allowed; it must be a list"),
        ({"id": "clean", "arms": []}, "at least one"),
        ({"id": "clean", "arms": [1]}, "list of names"),
        ({"id": "clean", "minimum": 1}, r"claims\[0\]\.minimum: clean has no such parameter; it takes arms, text"),
        ({"id": "stuck", "max": 1}, "stuck has no such parameter"),
        ({"id": "stuck", "min": "half"}, "'half' is not allowed; it must be a number"),
        ({"id": "stuck", "min": True}, "True is not allowed"),
        ({"id": "stuck", "min": float("nan")}, "nan is not allowed"),
        ({"id": "stuck", "min": -1}, "-1 is not allowed"),
        ({"id": "servers-out", "min": 0.9}, "must be <= max = 0.65"),
        ({"id": "servers-out", "window_s": 0}, "the window is empty"),
        ({"id": "servers-out", "window_s": 31}, "must be <= for_s"),
        ({"id": "stuck", "text": 3}, "must be text"),
        ({"id": "same-trigger", "arms": ["monolith"]}, "at least two"),
    ],
)
def test_mistakes_are_refused_in_one_line(entry: Any, message: str) -> None:
    with pytest.raises(Refused, match=message) as error:
        claims([entry], ARMS)
    assert "\n" not in str(error.value)


def test_a_claim_is_made_once_per_arm() -> None:
    with pytest.raises(Refused, match=r"claims\[1\]: clean is claimed twice for arm 'monolith'"):
        claims([{"id": "clean", "arms": ["monolith"]}, {"id": "clean"}], ARMS)
    with pytest.raises(Refused, match="must be a list"):
        claims({"id": "clean"}, ARMS)

"""verdict.json: merging, the void run, the file."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall import verdict
from cellwall.errors import Refused
from cellwall.verdict import ArmVerdict, Bound, ClaimVerdict, Outcome

OUTCOMES: list[Outcome] = ["held", "broken", "unknown"]
outcomes = st.lists(st.sampled_from(OUTCOMES))


def claim(name: str, outcome: Outcome) -> ClaimVerdict:
    return ClaimVerdict(
        id=name, text="…", outcome=outcome, value=0.5, unit="share", bound=Bound(min=0.45, max=0.65), evidence="t0+40 s"
    )


@given(outcomes)
def test_merge_ranks_broken_over_unknown_over_held(found: list[Outcome]) -> None:
    rank = {"held": 0, "unknown": 1, "broken": 2}
    twin = max(found, key=lambda o: rank[o]) if found else "unknown"
    assert verdict.merge(found) == twin


def test_nothing_is_held_by_default() -> None:
    assert verdict.merge([]) == "unknown"
    assert verdict.opening("e", "local", 1, ["a"]).outcome == "unknown"
    assert verdict.opening("e", "local", 1, []).outcome == "unknown"


@pytest.mark.parametrize("validity", ["clean", "trigger-bit"])
def test_a_void_run_is_unknown_whatever_else_it_shows(validity: str) -> None:
    for others in permutations(OUTCOMES):
        claims = [claim("stuck", o) for o in others]
        assert verdict.arm_outcome([claim(validity, "unknown"), *claims]) == "unknown"
        assert verdict.arm_outcome([claim(validity, "held"), *claims]) == "broken"


@pytest.mark.parametrize(("outcome", "status"), [("held", 0), ("broken", 1), ("unknown", 2)])
def test_exit_status(outcome: Outcome, status: int) -> None:
    assert verdict.exit_status(outcome) == status


def test_an_arm_that_was_promised_and_not_judged_keeps_the_whole_unknown() -> None:
    start = verdict.opening("september-2015", "local", 7, ["monolith", "cells-4"])
    one = ArmVerdict(name="monolith", outcome="held", claims=[claim("stuck", "held")])
    half = verdict.conclude(start, [one], {"cellwall": "0"}, {"c_record_s": 7e-6})
    assert half.outcome == "unknown" and [a.name for a in half.arms] == ["monolith", "cells-4"]
    other = ArmVerdict(name="cells-4", outcome="held", claims=[claim("contained", "held")])
    across = ArmVerdict(name="across-arms", outcome="held", claims=[claim("same-trigger", "held")])
    whole = verdict.conclude(start, [other, across, one], {}, {})
    assert whole.outcome == "held" and [a.name for a in whole.arms] == ["monolith", "cells-4", "across-arms"]


def test_the_file_round_trips_and_has_the_issues_fields() -> None:
    start = verdict.opening("e", "simulation", 3, ["a"])
    full = verdict.conclude(start, [ArmVerdict(name="a", outcome="held", claims=[claim("stuck", "held")])], {}, {})
    data = verdict.encode(full)
    assert verdict.decode(data) == full and verdict.encode(verdict.decode(data)) == data
    order = ["schema", "experiment", "backend", "seed", "outcome", "versions", "calibration", "arms"]
    assert [line.split('"')[1] for line in data.decode().splitlines() if line.startswith('  "')] == order
    assert b'"bound": {\n' in data


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"schema": 1, "outcome": "yes"}'])
def test_what_is_not_a_verdict_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(Refused, match=r"^verdict\.json: ") as error:
        verdict.decode(data)
    assert "\n" not in str(error.value)


def test_another_schema_is_refused() -> None:
    data = verdict.encode(verdict.opening("e", "local", 1, [])).replace(b'"schema": 1', b'"schema": 2')
    with pytest.raises(Refused, match="schema 2 is not known"):
        verdict.decode(data)


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound(), ""),
        (Bound(min=1), "at least 1"),
        (Bound(max=0.3), "at most 0.3"),
        (Bound(min=0, max=1), "0 to 1"),
    ],
)
def test_a_bound_reads_as_words(bound: Bound, text: str) -> None:
    assert bound.text() == text

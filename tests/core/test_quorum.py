"""Quorum: outcomes against an enumeration of every way a request can end, and versions that only rise."""

from itertools import combinations, product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.quorum import QUORUM, REPLICAS, Op, Version, available, needed, outcome, tick

OPS = get_args(Op)
ANSWERS = ("done", "refused", "unknown")
COUNTS = [
    (done, refused, unknown)
    for done, refused, unknown in product(range(REPLICAS + 1), repeat=3)
    if done + refused + unknown <= REPLICAS
]


def final(op: str, answers: tuple[str, ...]) -> str:
    """The dumb twin: what may be said once every replica has answered."""
    enough = 1 if op == "get-eventual" else 2
    if answers.count("done") >= enough:
        return "done"
    writes = op in ("put", "delete")
    if writes and set(answers) != {"refused"}:
        return "unknown"  # at least one replica holds it, or may
    return "refused"  # no replica holds it; a read has no effect to be unsure of


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_outcome_is_what_every_completion_agrees_on(op: Op, counts: tuple[int, int, int]) -> None:
    given_answers = sum(((name,) * count for name, count in zip(ANSWERS, counts, strict=True)), ())
    ends = {final(op, given_answers + rest) for rest in product(ANSWERS, repeat=REPLICAS - len(given_answers))}
    assert outcome(op, *counts) == (ends.pop() if len(ends) == 1 else "open")


@given(
    st.sampled_from(OPS), st.permutations(range(REPLICAS)), st.lists(st.sampled_from(ANSWERS), min_size=3, max_size=3)
)
def test_an_outcome_once_given_stands(op: Op, order: list[int], answers: list[str]) -> None:
    said = "open"
    for heard in range(REPLICAS + 1):
        so_far = [answers[replica] for replica in order[:heard]]
        now = outcome(op, *(so_far.count(name) for name in ANSWERS))
        assert said in ("open", now)
        said = now
    assert said != "open"


def test_a_consistent_read_meets_every_acknowledged_write() -> None:
    """I6, by counting: any quorum of readers shares a replica with any quorum of writers."""
    assert needed("put") == needed("delete") == needed("get") == QUORUM
    replicas = range(REPLICAS)
    for wrote, read in product(combinations(replicas, needed("put")), combinations(replicas, needed("get"))):
        assert set(wrote) & set(read)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("up", range(REPLICAS + 1))
def test_available_means_that_it_can_still_be_done(op: Op, up: int) -> None:
    assert available(op, up) == (outcome(op, up, REPLICAS - up, 0) == "done")


moments = st.integers(0, 5)  # few, so that clocks collide and run backwards
writers = st.sampled_from(["f-a", "f-b", "f-c"])


@given(st.lists(st.tuples(moments, writers), max_size=30))
def test_versions_only_rise_whatever_the_clock_does(readings: list[tuple[int, str]]) -> None:
    last = Version(0, 0, "")
    for now_ms, writer in readings:
        version = tick(last, now_ms, writer)
        assert version > last
        assert version.writer == writer
        assert version.ms == max(last.ms, now_ms)
        last = version


@given(st.builds(Version, moments, moments, writers), moments, writers, writers)
def test_two_writers_never_make_the_same_version(seen: Version, now_ms: int, one: str, other: str) -> None:
    assert (tick(seen, now_ms, one) == tick(seen, now_ms, other)) == (one == other)

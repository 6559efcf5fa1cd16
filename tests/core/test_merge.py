"""Range reads over replicas that lag: what is told is never behind an acknowledged write, and stays told (I6)."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cellwall.merge import Known, Merged, Part, merge, take
from cellwall.quorum import QUORUM, REPLICAS, Version

KEYS = [b"a", b"b", b"c", b"d", b"e"]


class Item(msgspec.Struct, frozen=True):
    key: bytes
    version: Version
    item: bytes | None


Replica = dict[bytes, Item]


@st.composite
def replicas(draw: st.DrawFn) -> list[Replica]:
    """Three replicas after a few writes, each of which reached some of them."""
    held: list[Replica] = [{} for _ in range(REPLICAS)]
    for number in range(draw(st.integers(0, 12))):
        key = draw(st.sampled_from(KEYS))
        row = Item(key, Version(number, 0, "fe"), draw(st.none() | st.just(b"item %d" % number)))
        for replica in draw(st.sets(st.integers(0, REPLICAS - 1), min_size=1)):
            held[replica][key] = row
    return held


def acknowledged(held: list[Replica], key: bytes) -> Version | None:
    """The newest version that two of three replicas have, or have had."""
    versions = sorted((r[key].version for r in held if key in r), reverse=True)
    return versions[QUORUM - 1] if len(versions) >= QUORUM else None


def cut(replica: Replica, rows: int, backward: bool) -> Part[Item]:
    mine = [replica[key] for key in sorted(replica, reverse=backward)]
    return Part(mine[:rows], rows >= len(mine))


def reached(part: Part[Item], key: bytes, backward: bool) -> bool:
    if part.whole:
        return True
    return bool(part.rows) and (part.rows[-1].key <= key if backward else key <= part.rows[-1].key)


answers = st.dictionaries(st.integers(0, REPLICAS - 1), st.integers(0, len(KEYS)))  # replica: rows until it was cut


@given(replicas(), answers, st.integers(1, 2), st.booleans())
def test_what_is_known_is_what_enough_answers_reach(
    held: list[Replica], answers: dict[int, int], needed: int, backward: bool
) -> None:
    parts = {f"s{number}": cut(held[number], rows, backward) for number, rows in answers.items()}
    merged = merge(parts, needed, backward=backward)

    told = {known.row.key: known for known in merged.known}
    assert list(told) == sorted(told, reverse=backward)
    there = {row.key for part in parts.values() for row in part.rows}
    for key in KEYS:
        enough = sum(reached(part, key, backward) for part in parts.values()) >= needed
        assert (key in told) == (enough and key in there)
        if key in told:
            newest = max((r for p in parts.values() for r in p.rows if r.key == key), key=lambda row: row.version)
            assert told[key].row == newest
            assert set(told[key].holders) == {name for name, part in parts.items() if newest in part.rows}
        if enough and needed == QUORUM:
            acked = acknowledged(held, key)
            assert acked is None or told[key].row.version >= acked, "an acknowledged write was missed"
    assert merged.whole == (sum(part.whole for part in parts.values()) >= needed)
    if len(parts) >= needed and all(part.rows or part.whole for part in parts.values()):
        assert merged.whole or merged.known, "no step forward"


def known(number: int, item: bytes | None, holders: int) -> Known[Item]:
    return Known(Item(b"%03d" % number, Version(1, 0, "fe"), item), [f"s{n}" for n in range(holders)])


rows = st.lists(st.tuples(st.none() | st.sampled_from([b"", b"x" * 10]), st.integers(1, 3)), max_size=6)
partitions = st.lists(st.tuples(rows, st.booleans()), max_size=5)


@given(partitions, st.none() | st.integers(1, 6), st.integers(1, 60), st.integers(1, 4))
def test_taking_piece_by_piece_takes_everything_once(
    given_: list[tuple[list[tuple[bytes | None, int]], bool]], rows_max: int | None, bytes_max: int, doubtful_max: int
) -> None:
    numbers = iter(range(1000))
    merged = [
        Merged([known(next(numbers), item, holders) for item, holders in members], whole) for members, whole in given_
    ]
    readable = merged[: next((n for n, part in enumerate(merged) if not part.whole), len(merged)) + 1]
    every = [k for part in readable for k in part.known]

    told: list[Item] = []
    doubtful: list[Known[Item]] = []
    left = merged
    while left:
        taken = take(left, QUORUM, rows_max=rows_max, bytes_max=bytes_max, doubtful_max=doubtful_max)
        assert rows_max is None or len(taken.told) <= rows_max
        assert len(taken.doubtful) <= doubtful_max
        sizes = [len(row.key) + len(row.item or b"") for row in taken.told]
        assert sum(sizes) == taken.told_bytes
        assert sum(sizes[:-1]) < bytes_max
        told += taken.told
        doubtful += taken.doubtful
        left = left[taken.partitions :]
        if left and taken.key is not None:
            left = [Merged([k for k in left[0].known if k.row.key > taken.key], left[0].whole), *left[1:]]
        if not taken.full:
            break
        assert taken.partitions or taken.key is not None, "no step forward"
    assert told == [k.row for k in every if k.row.item is not None]
    assert doubtful == [k for k in every if len(k.holders) < QUORUM]

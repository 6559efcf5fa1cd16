"""The engine against a dictionary, and what it does when the disk lies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.quorum import Version
from cellwall_services.storage.engine import RANGE_BYTES_MAX, Declined, Store
from cellwall_services.storage.rows import intact, open_file, row_checksum, scan_statement
from cellwall_services.wire import Get, Got, Put, Range, Row, Stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "s-0001.sqlite")
    yield store
    store.close()


names = st.sampled_from(["t/a/0", "t/a/1", "t/b/0"])
keys = st.sampled_from([b"", b"k", b"\x00\xff"])
versions = st.builds(Version, st.integers(0, 3), st.integers(0, 2), st.sampled_from(["fe-1", "fe-2", "é", "z"]))
items = st.none() | st.binary(max_size=8)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.builds(Put, names, keys, versions, items, st.booleans())),
        st.tuples(st.just("get"), st.builds(Get, names, keys)),
        st.tuples(
            st.just("range"),
            st.builds(Range, st.lists(names, unique=True), keys, keys, st.booleans(), st.integers(1, 4)),
        ),
        st.tuples(st.just("create"), names),
        st.tuples(st.just("drop"), names),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=30,
)


@given(operations)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_does_what_a_dictionary_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("engine") / "s.sqlite"
    store = Store(path)
    twin: dict[str, dict[bytes, tuple[Version, bytes | None]]] = {}
    try:
        for _, step in steps:
            match step:
                case Put(partition, key, version, item, learn) if partition in twin:
                    before = twin[partition].get(key) if learn else None
                    assert store.put(step) == (Stored(*before) if before else Stored())
                    twin[partition][key] = max(
                        twin[partition].get(key, (version, item)), (version, item), key=by_version
                    )
                case Get(partition, key) if partition in twin:
                    assert store.get(step) == Got(*twin[partition].get(key, (None, None)))
                case Range() if twin.keys() >= set(step.partitions):
                    answer = store.range(step)
                    rows = filtered(twin, step)
                    assert [(row.partition, row.key, row.version, row.item) for row in answer.rows] == rows[
                        : step.limit
                    ]
                    assert answer.more == (len(rows) > step.limit)
                    assert all(intact(row) for row in answer.rows)
                case Range():
                    with pytest.raises(Declined, match="not-assigned"):
                        store.range(step)
                case Put():
                    with pytest.raises(Declined, match="not-assigned"):
                        store.put(step)
                case Get():
                    with pytest.raises(Declined, match="not-assigned"):
                        store.get(step)
                case None:
                    store.close()
                    store = Store(path)
                case str() if _ == "create":
                    store.create({step: 1})
                    twin.setdefault(step, {})
                case str():
                    store.drop([step])
                    twin.pop(step, None)
        assert dict(store.held) == dict.fromkeys(twin, 1)
        exported = store.export(["t/a/0", "t/a/1", "t/b/0", "elsewhere"])
        assert set(exported.held) == set(twin)
        assert {(row.partition, row.key): (row.version, row.item) for row in exported.rows} == {
            (partition, key): value for partition, rows in twin.items() for key, value in rows.items()
        }
        assert all(intact(row) for row in exported.rows)
    finally:
        store.close()


def filtered(
    twin: dict[str, dict[bytes, tuple[Version, bytes | None]]], asked: Range
) -> list[tuple[str, bytes, Version, bytes | None]]:
    return [
        (name, key, *twin[name][key])
        for name in asked.partitions
        for key in sorted(twin[name], reverse=asked.backward)
        if asked.first <= key and (not asked.last or key < asked.last)
    ]


def by_version(value: tuple[Version, bytes | None]) -> Version:
    return value[0]


def test_the_first_of_two_equal_versions_stays(store: Store) -> None:
    store.create({"p": 1})
    store.put(Put("p", b"k", Version(1, 0, "fe"), b"first"))
    store.put(Put("p", b"k", Version(1, 0, "fe"), b"second"))
    assert store.get(Get("p", b"k")).item == b"first"


@pytest.mark.parametrize("column", ["item = x'00'", "ms = 99", "checksum = checksum + 1", "writer = 'zz'"])
def test_a_damaged_row_takes_its_whole_partition_out_until_peers_refill_it(
    store: Store, tmp_path: Path, column: str
) -> None:
    store.create({"p": 1, "other": 1})
    for key in (b"k", b"l"):
        store.put(Put("p", key, Version(5, 0, "fe"), b"mine"))
    damage(store, tmp_path, f"UPDATE items SET {column} WHERE key = x'6b'")

    with pytest.raises(Declined, match="corrupt"):
        store.get(Get("p", b"k"))
    with pytest.raises(Declined, match="corrupt"):  # the sound key too: the partition is no longer whole
        store.get(Get("p", b"l"))
    with pytest.raises(Declined, match="corrupt"):
        store.put(Put("p", b"m", Version(6, 0, "fe"), b""))
    assert store.export(["p", "other"]).held == ["other"]
    store.close()
    assert dict(store.held) == {"other": 1}, "the loss survives a restart"

    version = Version(4, 0, "fe")
    store.create({"p": 1}, [Row("p", b"k", version, b"peer", row_checksum("p", b"k", version, b"peer"))])
    assert store.get(Get("p", b"k")) == Got(version, b"peer")
    assert store.get(Get("p", b"l")).item == b"mine"


@pytest.mark.parametrize("meet", ["put", "range", "export", "refill"])
def test_damage_is_also_met_by_a_put_a_range_an_export_and_a_refill(store: Store, tmp_path: Path, meet: str) -> None:
    store.create({"p": 1})
    store.put(Put("p", b"k", Version(5, 0, "fe"), b"mine"))
    damage(store, tmp_path, "UPDATE items SET ms = 99")
    version = Version(6, 0, "fe")
    if meet == "put":
        with pytest.raises(Declined, match="corrupt"):  # not swallowed by the damaged, higher version
            store.put(Put("p", b"k", version, b"new"))
    elif meet == "range":
        with pytest.raises(Declined, match="corrupt"):
            store.range(Range(["p"]))
        with pytest.raises(Declined, match="corrupt"):  # the damaged row is gone, but so is the trust
            store.range(Range(["p"]))
    elif meet == "export":
        assert store.export(["p"]).held == []
    else:
        store.withhold(["p"])
    store.create({"p": 2}, [Row("p", b"k", version, b"peer", row_checksum("p", b"k", version, b"peer"))])
    assert store.get(Get("p", b"k")) == Got(version, b"peer")
    assert store.held["p"] == 2


def test_an_answer_to_a_range_is_bounded_in_bytes_but_never_empty(store: Store) -> None:
    store.create({"p": 1})
    for number in range(4):
        store.put(Put("p", b"%d" % number, Version(1, 0, "fe"), bytes(RANGE_BYTES_MAX // 2 - 200)))
    answer = store.range(Range(["p"]))
    assert ([row.key for row in answer.rows], answer.more) == ([b"0", b"1"], True)
    store.put(Put("p", b"2", Version(2, 0, "fe"), bytes(2 * RANGE_BYTES_MAX)))
    answer = store.range(Range(["p"], first=b"2"))
    assert ([row.key for row in answer.rows], answer.more) == ([b"2"], True)
    answer = store.range(Range(["p"], first=b"3", limit=2**64 - 1))
    assert ([row.key for row in answer.rows], answer.more) == ([b"3"], False)


def test_a_range_of_no_rows_is_bad_input(store: Store) -> None:
    with pytest.raises(Refused, match="limit"):
        store.range(Range([], limit=0))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("last", [b"", b"z"])
def test_a_range_is_one_walk_along_the_primary_key(tmp_path: Path, last: bytes, backward: bool) -> None:
    db = open_file(tmp_path / "s.sqlite")
    statement, values = scan_statement("p", Range(["p"], b"a", last, backward), 10)
    plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement, values)]
    db.close()
    assert len(plan) == 1, "no sorting"
    assert plan[0].startswith("SEARCH items USING PRIMARY KEY (partition=? AND key>?")


def test_a_file_that_is_no_database_is_set_aside(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "s-0001.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Declined, match="corrupt"):
        store.get(Get("p", b"k"))
    store.create({"p": 1})
    assert dict(store.held) == {"p": 1}
    assert (tmp_path / "s-0001.sqlite.corrupt").exists()


def test_a_second_process_is_kept_off(store: Store, tmp_path: Path) -> None:
    store.create({"p": 1})
    second = Store(tmp_path / "s-0001.sqlite")
    with pytest.raises(Declined, match="storage"):
        second.create({"q": 1})
    second.close()
    assert dict(store.held) == {"p": 1}


def test_a_folder_that_is_not_there_is_a_refusal_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(Declined, match="storage"):
        Store(tmp_path / "missing" / "s.sqlite").create({"p": 1})


def test_a_version_too_large_for_the_disk_is_bad_input(store: Store) -> None:
    store.create({"p": 1})
    with pytest.raises(Refused, match="version"):
        store.put(Put("p", b"k", Version(2**63, 0, "fe"), b""))


def damage(store: Store, tmp_path: Path, statement: str) -> None:
    store.close()
    db = sqlite3.connect(tmp_path / "s-0001.sqlite")
    db.execute(statement)
    db.commit()
    db.close()

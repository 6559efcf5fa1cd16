"""What a sweep's folder keeps: whole parts or none, one row a run, and a mark where something else made them."""

import re

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellwall.capacity import TYPICAL, Costs
from cellwall.errors import Refused
from cellwall_lab.backends.calibrate import Calibration as measured
from cellwall_lab.made import Made
from cellwall_lab.sweep.compare import compare, places
from cellwall_lab.sweep.form import duration_s
from cellwall_lab.sweep.points import point
from cellwall_lab.sweep.runner import Pace, batches, check_budget, left, weight
from cellwall_lab.sweep.store import GridMade, Manifest, Store, calibration
from cellwall_lab.sweep.summary import MEASURES, told

GRID = GridMade("g", "", ["cells"], [({"cells": "1"}, "p1"), ({"cells": "4"}, "p4")])
MANIFEST = Manifest(
    experiment="e", command="c", made=Made.here(), costs=TYPICAL, seeds=[1, 2], columns=["cells"], grids=[GRID]
)


def run(name, seed, **fields):
    base = dict.fromkeys(MEASURES, 0.0) | {"stuck": False, "healthy_before": True, "below_size_rule": False}
    return base | {"point": name, "seed": seed, "cells": 1, "struck_cells": 1, "customers_living": 1.0} | fields


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "s")
    made.open(MANIFEST)
    return made


def test_rows_come_back_one_a_run(store):
    store.append([run("p1", 1), run("p1", 2, recover_s=None)])
    store.append([run("p1", 2, recover_s=3.5), run("p4", 1, stuck=True)])
    rows, unreadable = store.read()
    assert {(r["point"], r["seed"]) for r in rows} == {("p1", 1), ("p1", 2), ("p4", 1)}
    assert unreadable == []
    assert store.manifest() == MANIFEST


def test_a_kill_while_a_part_is_written_leaves_nothing_of_it(store):
    store.append([run("p1", 1)])
    (store.path / "parts" / ".p1-2.parquet.99").write_bytes(b"half a pa")
    assert len(store.read()[0]) == 1
    store.open(MANIFEST)
    assert [path.name for path in (store.path / "parts").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 500])
def test_a_part_that_cannot_be_read_is_left_out_and_said(store, damage):
    store.append([run("p1", 1)])
    store.append([run("p4", 1)])
    part = next((store.path / "parts").glob("p4*"))
    part.write_bytes(damage(part.read_bytes()))
    rows, unreadable = store.read()
    assert [r["point"] for r in rows] == ["p1"]
    assert len(unreadable) == 1 and part.name in unreadable[0]


def test_a_part_of_something_else_is_left_out_and_said(store):
    pq.write_table(pa.table({"x": [1]}), store.path / "parts" / "x.parquet")
    assert store.read()[0] == []
    assert len(store.read()[1]) == 1


def test_other_costs_do_not_mix(store):
    other = msgspec.structs.replace(MANIFEST, costs=Costs(1e-6, 1e-4))
    with pytest.raises(Refused, match="other costs"):
        store.check(other)
    assert store.manifest() == MANIFEST


def test_another_machine_or_version_is_marked(store):
    assert store.check(MANIFEST).mark == ""
    moved = store.check(msgspec.structs.replace(MANIFEST, made=Made("9.9.9", "abacus")))
    assert "begun by version" in moved.mark


def test_a_calibration_of_another_machine_or_version_is_marked(tmp_path):
    assert calibration(None).mark == ""
    here = Made.here()
    own = measured(5e-6, 3e-4, 1, 1)
    assert own.made == here, "as a run leaves it behind"
    for made, words in (
        (here, ""),
        (Made(here.version, "abacus"), "abacus"),
        (Made("0.0", here.machine), "0.0"),
        (Made(here.version, ""), "does not name"),
    ):
        (tmp_path / "calibration.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(own, made=made)))
        found = calibration(tmp_path)
        assert found.costs == Costs(5e-6, 3e-4)
        assert words in found.mark and bool(words) == bool(found.mark)
    for wrong, words in ((b"{}", "not a calibration"), (b'{"c_record_s":0,"c_request_s":1}', "> 0")):
        (tmp_path / "calibration.json").write_bytes(wrong)
        with pytest.raises(Refused, match=words):
            calibration(tmp_path)
    with pytest.raises(Refused, match="cannot be read"):
        calibration(tmp_path / "nowhere")


# ---------------------------------------------------------------- what is left, and whether it may be done

POINTS = [point({"fleet.servers": s, "cells": c}, 70.0) for s in (100, 800) for c in (1, 2)]


def test_what_is_left_is_what_is_not_there():
    runs = left(POINTS, [1, 2, 3], {(POINTS[0].id, 2), ("other", 1)})
    assert len(runs) == 11
    assert (POINTS[0].id, 2) not in {(r.point.id, r.seed) for r in runs}


def test_batches_hold_every_run_once_and_one_layout_each():
    runs = left(POINTS, [1, 2, 3], set())
    made = batches(runs, Pace(0.0, 1 / weight(POINTS[0])))
    assert sorted((r.point.id, r.seed) for b in made for r in b) == sorted((r.point.id, r.seed) for r in runs)
    assert all(len({(r.point.spec.cells, r.point.spec.fleet, r.seed) for r in batch}) == 1 for batch in made)


def test_a_budget_that_is_too_small_is_refused_with_the_way_out():
    runs = left(POINTS, [1, 2, 3], set())
    pace = Pace(0.01, 10 / weight(POINTS[0]))
    expected_s = check_budget(runs, pace, 2, 1e9)
    layouts_s = 0.01 * 3 * 2 * (100 + 800)  # by seed and cells
    assert expected_s == pytest.approx((layouts_s + pace.run_s * sum(weight(r.point) for r in runs)) / 2)
    with pytest.raises(Refused, match=r"fewer seeds \(about 1\).*--only") as refused:
        check_budget(runs, pace, 2, expected_s / 3)
    advised = re.search(r"--budget (\w+)\)", str(refused.value))[1]
    assert check_budget(runs, pace, 2, duration_s(advised)) == expected_s, "advice that works"


# ---------------------------------------------------------------- what they say


def test_a_place_is_told_from_its_runs():
    rows = [run("p4", seed, stuck=seed > 1, customers_1=0.2, cells=4, customers_living=0.25) for seed in range(1, 5)]
    one = told(GRID, [*rows, run("p9", 1)])
    assert [t.labels for t in one] == [{"cells": "4"}], "a place without runs is left out"
    assert (one[0].stuck.value, one[0].stuck.n) == (0.75, 4)
    assert one[0].containment.value == pytest.approx(0.8)
    assert one[0].against_living.value == pytest.approx(0.8)


def held_apart(gap, seeds=range(1, 9)):
    """Two sets of which B's customers suffer more by ``gap``, with what the seeds share."""
    a = [run("p1", s, customers_1=0.3 + 0.05 * (s % 3)) for s in seeds]
    b = [run("p1", s, customers_1=0.3 + 0.05 * (s % 3) + gap + 0.001 * (s % 2)) for s in seeds]
    return compare(places(MANIFEST, a), places(MANIFEST, b), ["customers_1", "servers_out"])


def test_sets_that_differ_are_told_apart_by_how_much():
    found = {d.measure: d for d in held_apart(0.02)}
    assert found["customers_1"].differs
    assert found["customers_1"].gap.holds(0.0205)
    assert not found["servers_out"].differs


def test_a_set_does_not_differ_from_itself_nor_where_there_is_one_seed():
    assert not any(d.differs for d in held_apart(0.0) if d.measure == "servers_out")
    rows = places(MANIFEST, [run("p1", s, customers_1=s / 10) for s in range(5)])
    assert not any(d.differs for d in compare(rows, rows, ["stuck", *MEASURES]))
    assert not any(d.differs for d in held_apart(0.5, seeds=[1]))


def test_stuck_is_compared_as_a_share_of_runs():
    a = places(MANIFEST, [run("p1", s, stuck=False) for s in range(20)])
    b = places(MANIFEST, [run("p1", s, stuck=s < 16) for s in range(20)])
    (found,) = compare(a, b, ["stuck"])
    assert found.differs and found.gap.value == pytest.approx(0.8)
    assert found.gap.low < 0.6, "20 runs are not that sure"

"""From axes to points, and from a strike to servers: same world same id, nothing empty, larger shares hold smaller."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.capacity import TYPICAL, total_cores
from cellwall.errors import Refused
from cellwall_lab.sweep import form
from cellwall_lab.sweep.points import Strike, distinct, expand, point, settings_of
from cellwall_lab.sweep.world import place, struck

BASE = {"fleet.servers": 200, "cpu.load_factor": 6.0}
SHIPPED = "segmentation"


def placed(**settings):
    return place(point({**BASE, **settings}, 70.0), 1, TYPICAL)


def test_one_world_has_one_id_whoever_asks():
    ids = {point({**BASE, "cells": 1, "placement": p}, 70.0).id for p in ("aligned", "striped", "shuffle")}
    assert len(ids) == 1, "one cell leaves placement nothing to choose"
    assert point({**BASE, "cells": 2}, 70.0).id not in ids
    assert point({**BASE, "cells": 1}, 80.0).id not in ids
    one = point({**BASE, "cells": 2, "trigger": "zone", "share": 0.5}, 70.0)
    assert point(settings_of(one), 70.0).id == one.id
    assert one.having("share", 0.25).strike == Strike(trigger="zone", share=0.25)


def test_a_grid_is_the_product_of_its_axes():
    grid = expand(
        "g",
        "",
        {"strike": [{"trigger": "cell", "share": 1.0}, {"trigger": "zone", "share": 0.5}], "cells": [1, 2, 4]},
        BASE,
        70.0,
    )
    assert [tuple(p.labels.values()) for p in grid.places] == [
        (strike, cells) for strike in ("trigger cell share 1", "trigger zone share 0.5") for cells in ("1", "2", "4")
    ]
    assert len(distinct([grid, grid])) == 6


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({}, "it has no axis"),
        ({"cells": []}, "cells has no value"),
        ({"cels": [1]}, "did you mean cells"),
        ({"cells": [0]}, "cells: 0 is not allowed"),
        ({"trigger": ["everywhere"]}, "trigger must be cell, packed, spread, zone"),
        ({"share": [1.5]}, "share: 1.5"),
        ({"share": [0.0]}, "share: 0"),
        ({"cut_s": [0.0]}, "cut_s: 0"),
        ({"cells": ["two"]}, "whole number"),
        ({"fleet.servers": [210]}, "a multiple of group_servers"),
    ],
    ids=str,
)
def test_grids_that_cannot_mean_anything_are_refused(axes, words):
    with pytest.raises(Refused, match=words) as refused:
        expand("g", "", axes, BASE, 70.0)
    assert "\n" not in str(refused.value)


def test_the_shipped_grids_are_whole_and_marked_where_cells_are_too_small():
    asked = form.asked(SHIPPED, [], [], [], None)
    assert [grid.name for grid in asked.grids][:2] == ["containment", "placement"]
    assert all(grid.places for grid in asked.grids)
    small = {grid.name: {p.point.spec.cells for p in grid.places if p.point.below_size_rule} for grid in asked.grids}
    assert small.pop("price") == {8, 16}
    assert not any(small.values()), small


def test_equal_total_capacity_is_equal_whatever_the_cells_and_per_cell_grows_with_them():
    one, four = (placed(cells=n).layout.spec.cpu.total_cores for n in (1, 4))
    assert one == four
    large = point({**BASE, "fleet.servers": 800}, 70.0)
    layout = place(large, 1, TYPICAL).layout
    assert layout.spec.cpu.total_cores == pytest.approx(total_cores(large.spec, layout.fleet, TYPICAL))
    assert layout.spec.cpu.total_cores == pytest.approx(4 * one, rel=0.05), "sizes are drawn"


@pytest.mark.parametrize(
    ("trigger", "share", "cells", "servers", "cells_struck"),
    [
        ("cell", 1.0, 4, 50, {0}),
        ("cell", 0.5, 4, 25, {0}),
        ("packed", 0.25, 4, 50, {0}),
        ("packed", 0.25, 2, 50, {0}),
        ("packed", 0.5, 4, 100, {0, 1}),
        ("spread", 0.25, 4, 50, {0, 1, 2, 3}),
        ("zone", 1.0, 4, 67, {0, 1, 2, 3}),
    ],
)
def test_each_trigger_strikes_what_it_says(trigger, share, cells, servers, cells_struck):
    world = placed(cells=cells, trigger=trigger, share=share)
    assert len(world.struck) == servers
    assert {int(world.cell[s]) for s in world.struck} == cells_struck
    if trigger == "zone":
        assert {world.layout.fleet.zone[s] for s in world.struck} == {"a"}
    if trigger == "spread":
        counts = Counter(world.layout.fleet.group[s] for s in world.struck)
        assert max(counts.values()) - min(counts.values()) <= 2, "every group gives its share"


LAYOUT = placed(cells=4).layout


@given(st.sampled_from(["cell", "packed", "spread", "zone"]), st.floats(0.005, 1), st.floats(0.005, 1), st.booleans())
def test_a_larger_share_strikes_the_same_servers_and_more(trigger, one, other, _):
    small, large = (
        struck(Strike(trigger=trigger, share=share), LAYOUT) for share in (min(one, other), max(one, other))
    )
    assert set(small) <= set(large)
    assert small


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", [3]), ("1-4", [1, 2, 3, 4]), ("1,5,2-3", [1, 2, 3, 5]), ("2,2", [2])]
)
def test_seeds(text, numbers):
    assert form.seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "4-1", "1-", "-3", "1;2"])
def test_wrong_seeds(text):
    with pytest.raises(Refused, match="--seeds"):
        form.seeds(text)


def test_durations_and_spans():
    assert [form.duration_s(t) for t in ("90", "45s", "1.5m", "2h")] == [90, 45, 90, 7200]
    assert form.span("share=0.02:0.5") == ("share", 0.02, 0.5)
    for text in ("0m", "m", "ten", "-1s"):
        with pytest.raises(Refused, match="--budget"):
            form.duration_s(text)
    for text in ("share", "share=1", "share=2:1", "share=a:b", "=1:2", "share=0:inf"):
        with pytest.raises(Refused, match="--boundary"):
            form.span(text)

"""The forecast: its terms against the spec's own rules, its borders against the courses either side of them."""

from random import Random
from typing import Any

import msgspec
import pytest

from cellwall import forecast
from cellwall.capacity import TYPICAL, total_cores
from cellwall.errors import Refused
from cellwall.meanfield import Cell, Sizes, classes, course
from cellwall.placement import make_fleet
from cellwall.renewal import reentry_over_s
from cellwall.spec import RenewalPolicy, RetryPolicy, WorldSpec

CUT_S = 3.0


def world(**settings: Any) -> tuple[WorldSpec, Cell]:
    """A world of one cell as the forecast sees it: each server as large as it was sized for."""
    spec = msgspec.convert(settings, WorldSpec)
    fleet = make_fleet(spec.fleet, lambda name: Random(f"{spec.seed}/{name}"))
    sizes = classes([records * TYPICAL.c_record_s for records in fleet.target], [False] * fleet.servers)
    cores = total_cores(spec, fleet, TYPICAL)
    return spec, Cell(sizes=sizes, cores=cores, request_s=TYPICAL.c_request_s, policy=spec.renewal)


SPEC, CELL = world()


@pytest.mark.parametrize(("load_factor", "seed"), [(3.0, 1), (4.4375, 0), (6.0, 2), (7.0, 3)])
def test_load_factor_and_smallest_cell_are_those_of_the_spec(load_factor: float, seed: int) -> None:
    spec, cell = world(cpu={"load_factor": load_factor}, seed=seed)
    told = forecast.outlook(forecast.struck(cell, 0.0), CUT_S)
    assert told.load_factor == pytest.approx(load_factor, rel=1e-6)
    assert told.large == 400
    if told.cells_most:
        assert msgspec.structs.replace(spec, cells=told.cells_most).check() == []
    with pytest.raises(Refused, match="too small"):
        msgspec.structs.replace(spec, cells=told.cells_most + 1).check()
    assert (told.large_least - 1) * told.cells_most <= told.large
    everybody = sum(size.servers * size.work_s for size in cell.sizes) / TYPICAL.c_record_s
    paced_s = reentry_over_s(round(everybody), 800, TYPICAL.c_record_s, TYPICAL.c_request_s, cell.cores)
    assert told.reentry_s == pytest.approx(paced_s)


@pytest.mark.parametrize(("factor", "cut"), [(1.0, 0.25), (1.0, 0.1), (1.8, 0.25), (1.8, 0.6)])
def test_borders_lie_between_what_heals_and_what_sticks(factor: float, cut: float) -> None:
    hit = forecast.struck(msgspec.structs.replace(CELL, cores=factor * CELL.cores), cut)
    growth, least = forecast.growth(hit, CUT_S), forecast.least_cut(hit, CUT_S)
    assert growth is not None and least is not None
    stuck = course(hit, CUT_S).stuck
    assert stuck == (growth < 1) == (least < cut)
    for share, sticks in ((least - forecast.CUT_FINE, False), (least + forecast.CUT_FINE, True)):
        assert course(forecast.struck(hit, share), CUT_S).stuck == sticks
    for change, sticks in ((growth / forecast.GROWTH_FINE, False), (growth * forecast.GROWTH_FINE, True)):
        assert course(forecast.grown(hit, change), CUT_S).stuck == sticks


def test_where_nothing_tips_there_is_no_border() -> None:
    idle = forecast.struck(msgspec.structs.replace(CELL, cores=8 * CELL.cores), 0.25)
    assert forecast.least_cut(idle, CUT_S) is None
    assert forecast.growth(forecast.struck(msgspec.structs.replace(CELL, cores=99.0), 0.25), CUT_S) is None


def test_remedies_are_told_best_first_and_only_those_that_keep_the_timing_rule() -> None:
    hit = forecast.struck(CELL, 0.25)
    found = forecast.remedies(hit, CUT_S)
    assert {remedy.name for remedy in found} == set(forecast.REMEDIES)
    bought = [remedy.growth for remedy in found if remedy.growth is not None]
    assert bought == sorted(bought, reverse=True)
    here = forecast.growth(hit, CUT_S)
    assert here is not None
    assert all(growth > here for growth in bought)
    # The event's owners lowered the rate of renewals; what it buys is least: a storm's rate does not depend on it.
    assert found[-1].name == "renewal period × 2"
    tight = forecast.struck(msgspec.structs.replace(CELL, policy=RenewalPolicy(renew_every_s=7.0)), 0.25)
    assert "time limit × 2" not in {remedy.name for remedy in forecast.remedies(tight, CUT_S)}


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"policy": RenewalPolicy(renew_every_s=4.0)}, "timing rule"),
        ({"policy": RenewalPolicy(retry=RetryPolicy(wait_min_s=1.0, wait_max_s=30.0))}, "--wait"),
        ({"sizes": ()}, "servers"),
        ({"sizes": (Sizes(0, 1.0),)}, "servers"),
    ],
)
def test_figures_of_no_service_are_refused(cell: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        forecast.check(msgspec.structs.replace(CELL, **cell))
    assert forecast.check(CELL) is CELL

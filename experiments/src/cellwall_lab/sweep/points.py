"""What is run: points, each a world's settings and a trigger, from a grid's axes.

Decides how a file's axes and the command line's become points, and when two of them are the same world; runs nothing.
Invariant: a point's id follows from its settings alone, so results of one id may be put together whoever made them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import msgspec

from cellwall.errors import Refused
from cellwall.spec import WorldSpec

from ..settings import build, check_path, flatten

Trigger = Literal["cell", "packed", "spread", "zone"]
STRIKE = ("trigger", "share", "cut_s")  # an axis's names beside the world's settings
CUT_S = 3.0  # the reference set's trigger (research 07)


class Strike(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which servers are cut, and for how long.

    ``cell``: that share of cell 0's servers. ``packed``: that share of the fleet, filling cell after cell: as many
    servers whatever the number of cells. ``spread``: that share of the fleet, the same in every placement group.
    ``zone``: that share of zone a's servers."""

    trigger: Trigger = "packed"
    share: float = 0.25
    cut_s: float = CUT_S


class Point(msgspec.Struct, frozen=True, dict=True):
    """One world and one trigger; with a seed it is a run. ``spec`` has seed 0: the seed is the run's."""

    spec: WorldSpec
    strike: Strike
    watch_s: float

    @cached_property
    def id(self) -> str:
        canonical = msgspec.json.encode([self.spec, self.strike, self.watch_s], order="sorted")
        return hashlib.sha256(canonical).hexdigest()[:12]

    @cached_property
    def below_size_rule(self) -> bool:
        """Whether its cells are so small that they may be sick by themselves (`WorldSpec.check`)."""
        return bool(self.spec.check(force=True))

    def value(self, path: str) -> Any:
        """The value of an axis: of the strike, or a setting by its dotted path."""
        if path in STRIKE:
            return getattr(self.strike, path)
        found: Any = self.spec
        for word in path.split("."):
            found = getattr(found, word)
        return found

    def having(self, path: str, value: Any) -> Point:
        """The same point with one numeric setting changed."""
        return point({**settings_of(self), path: value}, self.watch_s)


class Place(msgspec.Struct, frozen=True):
    """A point's place in a grid: what each axis says there. One point may have several places."""

    labels: dict[str, str]
    point: Point


class Grid(msgspec.Struct, frozen=True):
    name: str
    question: str
    axes: list[str]
    places: list[Place]


def point(settings: Mapping[str, Any], watch_s: float) -> Point:
    """The point of flat settings; refused with the reason if it cannot mean anything."""
    world = {path: value for path, value in settings.items() if path not in STRIKE}
    struck = {path: value for path, value in settings.items() if path in STRIKE}
    spec = build(("grid", {**world, "seed": 0}))
    try:
        strike = msgspec.convert(struck, Strike)
    except msgspec.ValidationError:
        raise Refused(
            f"grid: {struck} is not allowed; trigger must be {', '.join(get_args(Trigger))}, share and cut_s numbers"
        ) from None
    if not 0 < strike.share <= 1:
        raise Refused(f"grid: share: {strike.share:g} is not allowed; it must be in (0, 1]")
    if strike.cut_s <= 0:
        raise Refused(f"grid: cut_s: {strike.cut_s:g} is not allowed; it must be > 0")
    spec.check(force=True)  # a cell that is too small is marked, not refused: it is the price of segmentation
    if spec.cells == 1:  # where there is one cell, placement has nothing to choose
        spec = msgspec.structs.replace(spec, placement="aligned", shuffle_cells=2)
    elif spec.placement != "shuffle":
        spec = msgspec.structs.replace(spec, shuffle_cells=2)
    return Point(spec, strike, watch_s)


def expand(
    name: str, question: str, axes: Mapping[str, Sequence[Any]], base: Mapping[str, Any], watch_s: float
) -> Grid:
    """The product of the axes over the base. An axis's value may be a mapping that sets several things at once."""
    if not axes:
        raise Refused(f"grid {name}: it has no axis; it must name at least one, as in --grid cells=1,2,4")
    for axis, values in axes.items():
        if not values:
            raise Refused(f"grid {name}: {axis} has no value; it must have at least one")
        for value in values:
            if not isinstance(value, Mapping) and axis not in STRIKE:
                check_path(axis, value, f"grid {name}")
    places = []
    for chosen in itertools.product(*axes.values()):
        settings = dict(base)
        for axis, value in zip(axes, chosen, strict=True):
            settings.update(value if isinstance(value, Mapping) else {axis: value})
        labels = {axis: label(value) for axis, value in zip(axes, chosen, strict=True)}
        places.append(Place(labels, point(settings, watch_s)))
    return Grid(name, question, list(axes), places)


def label(value: Any) -> str:
    """An axis's value in words."""
    if isinstance(value, Mapping):
        return " ".join(f"{key.rpartition('.')[2]} {label(part)}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def distinct(grids: Sequence[Grid]) -> list[Point]:
    """Every point once, in the grids' order."""
    return list({place.point.id: place.point for grid in grids for place in grid.places}.values())


def settings_of(point: Point) -> dict[str, Any]:
    """Everything that makes the point, by dotted path."""
    return {**flatten(msgspec.to_builtins(point.spec)), **msgspec.structs.asdict(point.strike)}

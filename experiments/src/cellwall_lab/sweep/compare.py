"""Whether two sweeps differ, and by how much.

Decides which runs are held against each other: places with the same grid and labels, by seed where both have it (then
what the seeds share cancels out). Invariant: one sweep against itself differs nowhere, and the chance that two equal
ones differ somewhere stays below 5 %, however many places there are (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from cellwall.errors import Refused

from ..statistics.intervals import Interval, difference_of_means, difference_of_pairs, difference_of_shares
from .store import Manifest, Row, Store, by_point
from .summary import MEASURES

MAIN = ("stuck", "servers_out", "operations_failed", "customers_1", "customer_minutes")
ERROR = 0.05  # of the whole comparison
SEEDS_MIN = 2  # with fewer no interval is bounded


class Difference(msgspec.Struct, frozen=True):
    """One measure at one place: B less A."""

    grid: str
    labels: dict[str, str]
    measure: str
    a: float
    b: float
    gap: Interval

    @property
    def differs(self) -> bool:
        return not self.gap.holds(0.0)


Place = tuple[str, tuple[tuple[str, str], ...]]


def places(manifest: Manifest, rows: Sequence[Row]) -> dict[Place, list[Row]]:
    found = by_point(rows)
    return {
        (grid.name, tuple(labels.items())): found[point]
        for grid in manifest.grids
        for labels, point in grid.places
        if point in found
    }


def compare(a: dict[Place, list[Row]], b: dict[Place, list[Row]], measures: Sequence[str]) -> list[Difference]:
    common = [place for place in a if place in b]
    confidence = 1 - ERROR / max(1, len(common) * len(measures))
    return [
        Difference(grid, dict(labels), measure, *_gap(a[grid, labels], b[grid, labels], measure, confidence))
        for grid, labels in common
        for measure in measures
    ]


def _gap(a: list[Row], b: list[Row], measure: str, confidence: float) -> tuple[float, float, Interval]:
    first, second = {row["seed"]: row[measure] for row in a}, {row["seed"]: row[measure] for row in b}
    shared = sorted(first.keys() & second.keys())
    if len(shared) >= SEEDS_MIN:
        first, second = {s: first[s] for s in shared}, {s: second[s] for s in shared}
    mean_a, mean_b = sum(first.values()) / len(first), sum(second.values()) / len(second)
    if measure == "stuck":
        gap = difference_of_shares((sum(first.values()), len(first)), (sum(second.values()), len(second)), confidence)
    elif len(shared) >= SEEDS_MIN:
        gap = difference_of_pairs([(first[s], second[s]) for s in shared], confidence)
    else:
        gap = difference_of_means(list(first.values()), list(second.values()), confidence)
    return mean_a, mean_b, gap


def command(a: Store, b: Store, measures: Sequence[str], console: Console) -> int:
    """0: no difference that chance does not explain; 1: there is one; 2: too few runs to say."""
    known = ("stuck", *MEASURES)
    for name in measures:
        if name not in known:
            raise Refused(f"--measure: {name!r} is not allowed; it must be one of {', '.join(known)}")
    sides = [places(store.manifest(), store.read()[0]) for store in (a, b)]
    found = compare(sides[0], sides[1], measures or MAIN)
    if not found:
        raise Refused(f"compare: {a.path} and {b.path} have no place of a grid in common")
    differing = [one for one in found if one.differs]
    table = Table(title=f"{b.path.name} less {a.path.name}")
    for name in ("grid", "place", "measure", "A", "B", "difference"):
        table.add_column(name)
    for one in differing:
        place = ", ".join(f"{axis} {value}" for axis, value in one.labels.items())
        gap = f"{one.gap.value:+.3f} [{one.gap.low:+.3f}, {one.gap.high:+.3f}]"
        table.add_row(one.grid, place, one.measure, f"{one.a:.3f}", f"{one.b:.3f}", gap)
    if differing:
        console.print(table)
    common = len(found) // len(measures or MAIN)
    few = min(one.gap.n for one in found)
    console.print(
        f"{common} places in common, {len(found)} comparisons, {len(differing)} differ (all together at 95 %)",
        highlight=False,
    )
    if few < SEEDS_MIN:
        console.print(f"some places have only {few} run: too few to say anything of them", highlight=False)
    return 1 if differing else 2 if few < SEEDS_MIN else 0

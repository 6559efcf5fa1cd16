"""What the runs of each place of a grid say together.

Decides which interval stands for which measure; draws nothing and drops nothing: runs that were sick before the
trigger are counted, and said. A place without runs is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..statistics.intervals import Interval, mean, wilson
from .store import GridMade, Row, by_point

MEASURES = {
    "servers_out": "servers out",
    "operations_failed": "operations failed",
    "customers_1": "customers above 1 %",
    "customers_10": "customers above 10 %",
    "customers_50": "customers above 50 %",
    "customer_minutes": "customer-minutes",
    "customers_elsewhere": "customers elsewhere",
    "dragged_ratio": "dragged in, for one cut",
}
SHARES = [name for name in MEASURES if name not in ("customer_minutes", "dragged_ratio")]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One place. ``containment``: customers above 1 %, as a multiple of the struck cells' share of the cells;
    ``against_living``: as a multiple of the share of customers that have something there."""

    labels: dict[str, str]
    point: str
    runs: int
    sick: int
    below_size_rule: bool
    cells: int
    struck_cells: int
    stuck: Interval
    means: dict[str, Interval]
    containment: Interval
    against_living: Interval
    rows: list[Row]

    @property
    def notes(self) -> str:
        said = ["below the size rule"] if self.below_size_rule else []
        return ", ".join([*said, f"{self.sick} of {self.runs} sick before"] if self.sick else said)


def told(grid: GridMade, rows: Sequence[Row]) -> list[Told]:
    """The grid's places in its order."""
    found = by_point(rows)
    return [_told(labels, point, found[point]) for labels, point in grid.places if point in found]


def _told(labels: dict[str, str], point: str, rows: list[Row]) -> Told:
    return Told(
        labels=labels,
        point=point,
        runs=len(rows),
        sick=sum(not row["healthy_before"] for row in rows),
        below_size_rule=rows[0]["below_size_rule"],
        cells=rows[0]["cells"],
        struck_cells=rows[0]["struck_cells"],
        stuck=wilson(sum(row["stuck"] for row in rows), len(rows)),
        means={name: mean([row[name] for row in rows]) for name in MEASURES},
        containment=mean([row["customers_1"] * row["cells"] / row["struck_cells"] for row in rows]),
        against_living=mean([row["customers_1"] / row["customers_living"] for row in rows]),
        rows=rows,
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f}" if abs(share) < 0.0995 else f"{100 * share:.0f}"


def share_text(interval: Interval) -> str:
    """57 [55, 60], in percent; without brackets where all runs agree."""
    if interval.n < 2 or interval.low == interval.high:
        return percent(interval.value)
    return f"{percent(interval.value)} [{percent(max(0.0, interval.low))}, {percent(interval.high)}]"


def number_text(interval: Interval) -> str:
    if interval.n < 2 or interval.low == interval.high:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{max(0.0, interval.low):.2f}, {interval.high:.2f}]"


HEAD = ("runs", "stuck, %", "servers out, %", "operations failed, %", "customers > 1 %, %", "> 50 %, %",
        "customer-minutes", "× struck share", "elsewhere, %", "notes")  # fmt: skip

SHORT = ("runs", "stuck, %", "servers out, %", "customers > 1 %, %", "× struck share", "notes")


def cells_of(one: Told) -> list[str]:
    """The cells of `HEAD`."""
    m = one.means
    return [
        str(one.runs),
        share_text(one.stuck),
        share_text(m["servers_out"]),
        share_text(m["operations_failed"]),
        share_text(m["customers_1"]),
        share_text(m["customers_50"]),
        f"{m['customer_minutes'].value:.0f}",
        number_text(one.containment),
        share_text(m["customers_elsewhere"]),
        one.notes,
    ]

"""A forecast in words for a person at a terminal, and as JSON for a program.

Decides words only; every figure is `forecast`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from cellwall.forecast import GROWTH_MOST, Outlook, Remedy
from cellwall.meanfield import Course
from cellwall.spec import SOLO_RATIO_MAX


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. ``outlook`` and ``remedies`` are about the cell ``cell``, which the cut strikes hardest;
    ``out_ratio`` is of all cells' servers, and of those that stay out."""

    title: str
    notes: list[str]
    out_ratio: float
    cells: dict[str, Course]
    cell: str
    outlook: Outlook
    remedies: list[Remedy]


def tell(found: Forecast, console: Console) -> None:
    console.print(found.title, style="bold")
    for note in found.notes:
        console.print(f"  {note}")
    for name, text in _lines(found):
        console.print(f"{name:<15} {text}")
    table = Table(title=f"What each remedy buys in {found.cell}, the best first" if len(found.cells) > 1 else None)
    for heading in ("remedy", "memberships may be", "smallest cut that tips it"):
        table.add_column(heading)
    table.add_row("as it is", _times(found.outlook.growth), _share(found.outlook.least_cut))
    for remedy in found.remedies:
        table.add_row(remedy.name, _times(remedy.growth), _share(remedy.least_cut))
    console.print(table)


def _lines(found: Forecast) -> Iterator[tuple[str, str]]:
    o = found.outlook
    where = f" in {found.cell}" if len(found.cells) > 1 else ""
    yield "healthy", f"{100 * o.use:.0f} % of the CPU limit of {o.cores:.3g} cores{where}"
    border = "no growth tips it" if o.growth is None else f"this cut tips it from {o.load_factor * o.growth:.2f} on"
    yield "load factor", f"{o.load_factor:.2f}: all large renewals at once ask for so many T of CPU; {border}"
    yield "this cut", f"{100 * o.cut_ratio:.0f} % of the servers{where}, who ask at once for {o.wave:.2f} T of CPU"
    yield "what follows", _fate(found)
    if o.growth is not None:
        grow = "memberships would have to be" if o.growth < 1 else "memberships may grow until they are"
        yield "distance", f"{grow} {o.growth:.2f} × as large, or the CPU {1 / o.growth:.2f} ×, to be on the border"
    yield "smallest cut", f"{_share(o.least_cut)}{where}"
    yield "smallest cell", _cell_size(o)
    yield "time to drain", _drain(o)


def _fate(found: Forecast) -> str:
    stuck = [name for name, course in found.cells.items() if course.stuck]
    if not stuck:
        return f"it heals: at worst {100 * found.outlook.course.worst_ratio:.0f} % of the servers out"
    of = f", in {len(stuck)} of {len(found.cells)} cells" if len(found.cells) > 1 else ""
    return f"it keeps itself alive{of}: {100 * found.out_ratio:.0f} % of all servers out and stay out"


def _cell_size(o: Outlook) -> str:
    alone = f"one large renewal alone takes {o.solo_ratio:.3f} T (at most {SOLO_RATIO_MAX:.3f})"
    if o.cells_most < 1:
        return f"it is too small itself: {alone}; it must have {o.large_least} large servers, or more CPU per server"
    return (
        f"{o.large_least} large servers with their share of the CPU; this one may be cut into {o.cells_most}; {alone}"
    )


def _drain(o: Outlook) -> str:
    if o.course.healed_s is not None:
        return f"{o.course.healed_s:.1f} s after the cut's end nobody is out"
    return (
        f"never by itself; after a pause, {o.serve_all_s:.0f} s to serve everybody once, so {o.reentry_s:.0f} s paced"
    )


def _times(growth: float | None) -> str:
    return f"more than {GROWTH_MOST:g} ×" if growth is None else f"{growth:.2f} ×"


def _share(least_cut: float | None) -> str:
    return "none: all at once heal" if least_cut is None else f"{100 * least_cut:.0f} % of the servers at once"

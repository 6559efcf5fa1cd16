"""What will tip a metadata service, told from its figures while it is healthy, and what would help.

Decides, by asking the mean field (`meanfield`) about changed cells: how far a cut is from keeping itself alive, which
is the smallest that does, which remedy moves that border most; and by rules: how small a cell may be, how long it takes
to serve everybody once. Measures nothing and never draws a number. Every answer is about one cell: cells share nothing.

Terms, all without unit unless they end in one:

    load factor L    CPU seconds of all large renewals ÷ (CPU limit · T), the limit less what accepting their requests
                     costs in a storm (`capacity.total_cores`): all at once ask for L times what T gives
    use              CPU seconds of everybody's renewals in one period R ÷ (CPU limit · R)
    wave             CPU seconds that the cut servers ask for at once ÷ (CPU limit · T)
    growth           memberships times this factor are on the border: below 1 the cut sticks already
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from .errors import Refused
from .meanfield import Cell, Course, Sizes, course, large_of, sticks
from .spec import SOLO_RATIO_MAX, RenewalPolicy, RetryPolicy

GROWTH_MOST = 16.0  # a border farther than this, either way, is told as none (guess)
GROWTH_FINE = 1.01  # borders are told to one per cent, and
CUT_FINE = 0.005  # smallest cuts to half a per cent of the servers: finer than the model is right
REENTRY = 1.5  # a paced re-entry lasts so many times serving everybody once (`renewal.reentry_over_s`)


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """A change, and where the border lies after it; see `Outlook` for the fields."""

    name: str
    growth: float | None
    least_cut: float | None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected of one cell under one cut.

    ``growth``: None if no growth up to GROWTH_MOST reaches the border (or no shrinking leaves it).
    ``least_cut``: share of the cell's servers, of all sizes alike, that tips it when cut at once; None: not even all.
    ``solo_ratio``: what one large renewal alone takes of T. ``cells_most``: into how many cells of equal CPU this one
    may be cut before that exceeds SOLO_RATIO_MAX; 0: it is too small itself. ``large_least``: large servers of the
    smallest cell.
    """

    servers: float
    large: float
    cores: float
    load_factor: float
    use: float
    wave: float
    cut_ratio: float
    course: Course
    growth: float | None
    least_cut: float | None
    solo_ratio: float
    cells_most: int
    large_least: int
    serve_all_s: float
    reentry_s: float


def outlook(cell: Cell, cut_s: float) -> Outlook:
    """All about one cell."""
    large, work_s = large_of(cell)
    limit_s, retry = cell.policy.time_limit_s, cell.policy.retry
    attempt_s = limit_s + (retry.wait_min_s + retry.wait_max_s) / 2
    accepting = large * cell.request_s / attempt_s
    records_s = max(1e-9, cell.cores - accepting) * limit_s  # CPU seconds that one time limit has for memberships
    servers = sum(size.servers for size in cell.sizes)
    everybody_s = sum(size.servers * (size.work_s + cell.request_s) for size in cell.sizes)
    solo_ratio = work_s / large / records_s
    return Outlook(
        servers=servers,
        large=large,
        cores=cell.cores,
        load_factor=work_s / records_s,
        use=use(cell),
        wave=sum(size.cut * (size.work_s + cell.request_s) for size in cell.sizes) / (cell.cores * limit_s),
        cut_ratio=sum(size.cut for size in cell.sizes) / servers,
        course=course(cell, cut_s),
        growth=growth(cell, cut_s),
        least_cut=least_cut(cell, cut_s),
        solo_ratio=solo_ratio,
        # Nudged, so that a cell on the very border counts as large enough, as in `WorldSpec.check`.
        cells_most=math.floor(SOLO_RATIO_MAX / solo_ratio * (1 + 1e-9)),
        large_least=math.ceil(large * solo_ratio / SOLO_RATIO_MAX * (1 - 1e-9)),
        serve_all_s=everybody_s / cell.cores,
        reentry_s=REENTRY * everybody_s / cell.cores,
    )


def use(cell: Cell) -> float:
    """Share of the CPU limit that healthy renewals take."""
    everybody_s = sum(size.servers * (size.work_s + cell.request_s) for size in cell.sizes)
    return everybody_s / (cell.policy.renew_every_s * cell.cores)


def growth(cell: Cell, cut_s: float) -> float | None:
    """The factor on all memberships at which this cut comes to keep itself alive."""

    def tips(factor: float) -> bool:
        return sticks(grown(cell, factor), cut_s)

    low = high = 1.0
    if tips(1.0):
        while tips(low):
            low /= 2
            if low < 1 / GROWTH_MOST:
                return None
        high = 2 * low
    else:
        while not tips(high):
            high *= 2
            if high > GROWTH_MOST:
                return None
        low = high / 2
    while high / low > GROWTH_FINE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if tips(middle) else (middle, high)
    return math.sqrt(low * high)


def least_cut(cell: Cell, cut_s: float) -> float | None:
    """The smallest share of the servers, of all sizes alike, that tips the cell when cut at once."""

    def tips(share: float) -> bool:
        return sticks(struck(cell, share), cut_s)

    low, high = 0.0, 1.0
    if not tips(high):
        return None
    while high - low > CUT_FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if tips(middle) else (middle, high)
    return (low + high) / 2


def struck(cell: Cell, share: float) -> Cell:
    """The cell under a cut of this share of its servers, of all sizes alike."""
    sizes = tuple(Sizes(size.servers, size.work_s, share * size.servers) for size in cell.sizes)
    return msgspec.structs.replace(cell, sizes=sizes)


def grown(cell: Cell, factor: float) -> Cell:
    """The cell with memberships that are so many times as large."""
    sizes = tuple(Sizes(size.servers, factor * size.work_s, size.cut) for size in cell.sizes)
    return msgspec.structs.replace(cell, sizes=sizes)


def remedies(cell: Cell, cut_s: float) -> list[Remedy]:
    """What each of REMEDIES would do about the same cut, the best first, without those that break the timing rule."""
    found = []
    for name, change in REMEDIES.items():
        changed = change(cell)
        if keeps_timing_rule(changed.policy):
            found.append(Remedy(name=name, growth=growth(changed, cut_s), least_cut=least_cut(changed, cut_s)))
    return sorted(found, key=lambda r: (-(r.growth or math.inf), -(r.least_cut or math.inf)))


def keeps_timing_rule(policy: RenewalPolicy) -> bool:
    return 2 * policy.time_limit_s < policy.renew_every_s


def check(cell: Cell) -> Cell:
    """Refuse figures that describe no service."""
    policy, retry = cell.policy, cell.policy.retry
    if not keeps_timing_rule(policy):
        raise Refused(
            f"--renew: {policy.renew_every_s:g} is not allowed; it must be > 2 × the time limit = "
            f"{2 * policy.time_limit_s:g} (the timing rule)"
        )
    if not 0 <= retry.wait_min_s <= retry.wait_max_s < policy.renew_every_s:
        raise Refused(f"--wait: {retry.wait_max_s:g} is not allowed; it must be shorter than the renewal period")
    if not cell.sizes or not all(size.servers > 0 and size.work_s > 0 for size in cell.sizes):
        raise Refused("servers: there are none with work to do; there must be some")
    return cell


def _policy(cell: Cell, **changes: object) -> Cell:
    return msgspec.structs.replace(cell, policy=msgspec.structs.replace(cell.policy, **changes))


def _patient(cell: Cell) -> Cell:
    retry = cell.policy.retry
    return _policy(cell, retry=RetryPolicy(wait_min_s=4 * retry.wait_min_s, wait_max_s=4 * retry.wait_max_s))


REMEDIES: dict[str, Callable[[Cell], Cell]] = {
    "twice the CPU": lambda cell: msgspec.structs.replace(cell, cores=2 * cell.cores),
    "half the membership": lambda cell: grown(cell, 0.5),
    "time limit × 2": lambda cell: _policy(cell, time_limit_s=2 * cell.policy.time_limit_s),
    "retry wait × 4": _patient,
    "renewal period × 2": lambda cell: _policy(cell, renew_every_s=2 * cell.policy.renew_every_s),
}

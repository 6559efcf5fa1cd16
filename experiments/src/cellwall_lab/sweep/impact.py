"""What an outage did, from who was in service when: servers, operations, customers, customer-minutes, recovery.

Decides the measures of one run (research 01 §5, "blast radius, four ways"). Pure: a trace and a placement in, figures
out. Customers' errors are expected values over all their partitions: 40 % writes and 40 % consistent reads need two
of three replicas, 20 % eventual reads one. Invariant: with nobody out every measure is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from .world import Customers, Placed

EVENTUAL_RATIO = 0.2  # of requests; LoadSpec's default
SAMPLE_S = 2.0  # a state lasts at least a retry wait and a time-out, about 2.3 s
PLATEAU_S = 30.0  # judged from 2R after the trigger for so long, as in the experiments (research 07)
TIPPED_RATIO = 0.30  # of a cell's servers out over the plateau: the same mark as the claim "stuck"
RECOVERED_RATIO = 0.005  # of all servers out, as in `verbs.Wait`
MARKS = (0.01, 0.10, 0.50)  # a customer is above them with so many of its requests failed

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A server entered or left service."""

    t: float
    server: int
    available: bool


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a run. ``changes`` are sorted by time. ``early_failures``: renewals that failed in the clean
    window."""

    clean_s: float
    cut_on_s: float
    cut_off_s: float
    end_s: float
    changes: list[Change]
    early_failures: int


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """The measures of one run; shares in [0, 1]. Means over the plateau unless they say otherwise."""

    healthy_before: bool  # nobody out when the trigger came, no renewal failed in the clean window
    struck_servers: int
    struck_cells: int
    servers_out: float
    servers_out_most: float  # at any moment from the trigger on
    servers_out_struck: float  # of the struck cells' servers
    servers_out_elsewhere: float  # of the other cells' servers; 0 where there are none
    operations_failed: float
    customers_1: float  # above 1 % of their requests failed
    customers_10: float
    customers_50: float
    customers_elsewhere: float  # above 1 %, of those that have nothing in a struck cell; 0 where there are none
    customers_living: float  # have something in a struck cell
    customer_minutes: float  # with more than 1 % failed, summed over customers, from the trigger to the end
    cells_tipped: int
    stuck: bool
    dragged_ratio: float  # servers out at some time that the trigger never touched, for one that it did
    recover_s: float | None  # from the trigger's end until at most 0.5 % are out for the rest; None: not while watched
    watched_s: float  # up to here a recovery would have been seen


def measure(trace: Trace, placed: Placed) -> Impact:
    renew_s = placed.point.spec.renewal.renew_every_s
    times = np.arange(trace.cut_on_s, trace.end_s, SAMPLE_S)
    before, up = states(trace.changes, len(placed.cell), trace.cut_on_s, times)
    from_s = trace.cut_off_s + 2 * renew_s
    plateau = (times >= from_s) & (times < from_s + PLATEAU_S)
    if not plateau.any():
        plateau[-1] = True  # a watch shorter than 2R: its last moment stands for it
    cells = placed.point.spec.cells
    out_by_cell = np.array([1 - up[plateau][:, placed.cell == c].mean() for c in range(cells)])
    struck_cells = np.unique(placed.cell[placed.struck])
    here = np.isin(placed.cell, struck_cells)
    out = ~up
    touched = np.zeros(len(placed.cell), bool)
    touched[placed.struck] = True
    errors = customer_errors(up, placed.customers)
    mean_errors = errors[plateau].mean(axis=0)
    living = _living(placed.customers, here)
    tipped = int((out_by_cell > TIPPED_RATIO).sum())
    recover_s, watched_s = _recovery(trace, times, out.mean(axis=1), renew_s)
    return Impact(
        healthy_before=bool(before.all()) and trace.early_failures == 0,
        struck_servers=len(placed.struck),
        struck_cells=len(struck_cells),
        servers_out=float(out[plateau].mean()),
        servers_out_most=float(out.mean(axis=1).max()),
        servers_out_struck=float(out[plateau][:, here].mean()),
        servers_out_elsewhere=float(out[plateau][:, ~here].mean()) if not here.all() else 0.0,
        operations_failed=float(mean_errors @ placed.customers.load),
        customers_1=_share_above(mean_errors, MARKS[0]),
        customers_10=_share_above(mean_errors, MARKS[1]),
        customers_50=_share_above(mean_errors, MARKS[2]),
        customers_elsewhere=_share_above(mean_errors[~living], MARKS[0]),
        customers_living=float(living.mean()),
        customer_minutes=float((errors > MARKS[0]).sum() * SAMPLE_S / 60),
        cells_tipped=tipped,
        stuck=tipped > 0,
        dragged_ratio=float((out.any(axis=0) & ~touched).sum() / len(placed.struck)),
        recover_s=recover_s,
        watched_s=watched_s,
    )


def states(changes: Sequence[Change], servers: int, at_s: float, times: Floats) -> tuple[Bools, Bools]:
    """Who is in service just before ``at_s``, and at each of ``times`` (ascending, from ``at_s`` on)."""
    now = np.zeros(servers, bool)
    found = np.empty((len(times), servers), bool)
    next_change = 0

    def pass_to(t: float, including: bool) -> None:
        nonlocal next_change
        while next_change < len(changes) and (
            changes[next_change].t < t or (including and changes[next_change].t == t)
        ):
            now[changes[next_change].server] = changes[next_change].available
            next_change += 1

    pass_to(at_s, including=False)
    before = now.copy()
    for k, t in enumerate(times):
        pass_to(t, including=True)
        found[k] = now
    return before, found


def customer_errors(up: Bools, customers: Customers) -> Floats:
    """Each customer's expected share of failed requests, at each moment."""
    errors = np.zeros((len(up), len(customers.names)))
    # Only partitions that ever lose a replica can fail, and a contained outage has few.
    ever_out: Bools = np.asarray((~up).any(axis=0), bool)
    hit = ever_out[customers.replicas].any(axis=1)
    replicas, owner, weight = customers.replicas[hit], customers.customer[hit], customers.weight[hit]
    for k, now in enumerate(up):
        if k and (now == up[k - 1]).all():
            errors[k] = errors[k - 1]
            continue
        left = now[replicas].sum(axis=1)
        failed = (1 - EVENTUAL_RATIO) * (left < 2) + EVENTUAL_RATIO * (left < 1)
        errors[k] = np.bincount(owner, weights=failed * weight, minlength=len(customers.names))
    return errors


def _share_above(errors: Floats, mark: float) -> float:
    return float((errors > mark).mean()) if len(errors) else 0.0


def _living(customers: Customers, here: Bools) -> Bools:
    """Which customers have a replica on these servers."""
    found = np.zeros(len(customers.names), bool)
    found[customers.customer[here[customers.replicas].any(axis=1)]] = True
    return found


def _recovery(trace: Trace, times: Floats, out: Floats, hold_s: float) -> tuple[float | None, float]:
    """When it was well for the rest of the watch, which must be a renewal period at least: a fleet may look well
    and tip with the next synchronised wave."""
    last_s = trace.end_s - hold_s - trace.cut_off_s
    ill = times[out > RECOVERED_RATIO]
    since = (float(ill[-1]) + SAMPLE_S if len(ill) else trace.cut_off_s) - trace.cut_off_s
    recovered = since <= last_s
    return (max(0.0, since) if recovered else None), max(0.0, last_s)

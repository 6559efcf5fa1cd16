"""The certificate of metastability: that an outage is kept up by nothing but the system itself.

Decides `metastable`, by research 01 §5: the trigger proven gone, the load what it was, goodput far below what it was
for many relaxation times, and no backlog that drains. Weighs the whole fleet: a cell that is stuck among healthy ones
is `contained`, not this. Never takes a short watch for a long one: that is unknown.
"""

from __future__ import annotations

from .. import series
from ..errors import Unknown
from ..moments import between
from .case import EDGE_S, Case, Finding, percent, weigh
from .outage import same_load
from .spec import ClaimSpec
from .validity import faults_after


def metastable(case: Case, claim: ClaimSpec) -> Finding:
    from_s, to_s = _window(case, claim)
    best = _best_goodput(case, claim, from_s, to_s)
    active = faults_after(case, to_s)
    steady, load = same_load(case, claim, (from_s, to_s))
    first, last = _backlog(case, from_s, to_s)
    lasting = last > 0 and last >= (1 - claim["backlog_fall_max"]) * first
    text = (
        f"{case.span(from_s, to_s)}: goodput at most {percent(best)} of the clean window's in windows of "
        f"{claim['window_s']:g} s; {', '.join(active) or 'no fault'} active since t0; {load}; backlog {first:.0f} "
        f"requests in the first third, {last:.0f} in the last"
    )
    return weigh(best <= claim["max"] and not active and steady and lasting, best, text)


def _window(case: Case, claim: ClaimSpec) -> tuple[float, float]:
    """From where the plateau is judged, for so many relaxation times; only what nobody has cured counts."""
    simulated = case.run.world is not None and case.run.world.backend == "simulation"
    times = claim["relaxations" if simulated else "relaxations_real"]
    from_s = case.need("t0_s") + claim["from_periods"] * case.period_s
    to_s = from_s + times * claim["relaxation_s"]
    until_s = case.need("end_s") if case.at.pause_s is None else case.need("pause_s")
    if until_s < to_s - EDGE_S:
        raise Unknown(
            f"watched to {case.when(until_s)}; {times:g} relaxation times of {claim['relaxation_s']:g} s last to "
            f"{case.when(to_s)}: wait longer"
        )
    return from_s, to_s


def _best_goodput(case: Case, claim: ClaimSpec, from_s: float, to_s: float) -> float:
    """The best window's requests done a second, as a share of the clean window's."""
    clean = case.clean()
    before = sum(r.outcome == "done" for r in between(case.run.requests, *clean)) / (clean[1] - clean[0])
    bins = series.errors(case.run, from_s, to_s, claim["window_s"])
    if not before or not bins or any(not b.requests for b in bins):
        raise Unknown("some window has no customer request on record, or none was done in the clean window")
    return max(b.requests - b.failed for b in bins) / claim["window_s"] / before


def _backlog(case: Case, from_s: float, to_s: float) -> tuple[float, float]:
    """Mean of requests in service and waiting in the first and the last third."""
    third = (to_s - from_s) / 3
    found = []
    for start_s in (from_s, to_s - third):
        queues = [b.queue for b in series.queue(case.run, start_s, start_s + third) if b.queue is not None]
        if not queues:
            raise Unknown(f"no sample of a metadata node is on record in {case.span(start_s, start_s + third)}")
        found.append(sum(queues) / len(queues))
    return found[0], found[1]

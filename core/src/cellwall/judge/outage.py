"""Whether the outage grew by itself, settled and stayed: the event between trigger and pause.

Decides `dragged-in`, `relapsed`, `servers-out`, `requests-failed`, `stuck` and `capacity-locked-out`. The
plateau is judged from 2R after the trigger on: the curve dips before that, and the dip is not healing
(research 07). Never truncates a window.
"""

from __future__ import annotations

import math

from .. import series
from ..errors import Unknown
from ..history import Step
from ..moments import between
from .case import Case, Finding, percent, weigh
from .spec import ClaimSpec
from .validity import faults_after

# Arrivals are random: two honest windows differ by this many standard deviations once in a thousand runs.
SIGMAS = 3.3


def dragged_in(case: Case, claim: ClaimSpec) -> Finding:
    cut_on_s, to_s = case.need("cut_on_s"), case.stuck()[1]
    case.out(cut_on_s)
    targets = case.targets()
    found = series.dragged_in(case.run, targets, cut_on_s, to_s)
    untouched = len(case.servers) - len(targets & case.servers.keys())
    text = f"{case.span(cut_on_s, to_s)}: {len(found)} of {untouched} servers never cut left service"
    return weigh(len(found) >= claim["min"], float(len(found)), text)


def relapsed(case: Case, claim: ClaimSpec) -> Finding:
    cut_on_s, (t0_s, to_s) = case.need("cut_on_s"), case.stuck()
    case.out(cut_on_s)
    found = series.relapsed(case.run, case.targets(), cut_on_s, t0_s, to_s)
    text = f"{case.span(t0_s, to_s)}: {len(found)} servers came back into service and left it again"
    return weigh(len(found) >= claim["min"], float(len(found)), text)


def servers_out(case: Case, claim: ClaimSpec) -> Finding:
    from_s, to_s = case.plateau(claim)
    bins = series.out_bins(case.out(from_s), from_s, to_s, claim["window_s"])
    return _plateau(case, claim, [share for _, share in bins], from_s, to_s, "servers out")


def requests_failed(case: Case, claim: ClaimSpec) -> Finding:
    from_s, to_s = case.plateau(claim)
    ratios = [
        case.failed(b.t, b.t + claim["window_s"]) for b in series.errors(case.run, from_s, to_s, claim["window_s"])
    ]
    return _plateau(case, claim, ratios, from_s, to_s, "requests failed")


def _plateau(case: Case, claim: ClaimSpec, shares: list[float], from_s: float, to_s: float, what: str) -> Finding:
    text = (
        f"{case.span(from_s, to_s)}: {what} {percent(min(shares))} to {percent(max(shares))} "
        f"in {len(shares)} windows of {claim['window_s']:g} s"
    )
    holds = all(claim["min"] <= share <= claim["max"] for share in shares)
    return weigh(holds, sum(shares) / len(shares), text)


def stuck(case: Case, claim: ClaimSpec) -> Finding:
    """Out at the end of the stuck window although nothing but the system's own load keeps it there."""
    from_s, to_s = case.stuck()
    share = case.out(from_s).mean_share(to_s - 1.0, to_s)
    active = faults_after(case, to_s)
    steady, load = same_load(case, claim, (from_s, to_s))
    text = f"{percent(share)} of servers out in the last second before {case.when(to_s)}"
    text += f"; {', '.join(active) or 'no fault'} active since t0; {load}"
    return weigh(share > claim["min"] and not active and steady, share, text)


def same_load(case: Case, claim: ClaimSpec, window: tuple[float, float]) -> tuple[bool, str]:
    """Arrivals per second in a later window against the clean one's, beyond what chance explains."""
    clean = case.clean()
    before, after = (len(between(case.run.requests, *w)) for w in (clean, window))
    if not before or not after:
        raise Unknown("no customer request is on record in the clean or the later window")
    change = after / (window[1] - window[0]) / (before / (clean[1] - clean[0])) - 1
    tolerance = max(claim["load_tolerance"], SIGMAS * math.sqrt(1 / before + 1 / after))
    return abs(change) <= tolerance, f"offered load {100 * change:+.1f} % (at most ±{100 * tolerance:.1f} %)"


def timed_out(step: Step) -> bool:
    """By its reason, because a refusal or a lost connection is not the lock-out; unknown without one is a time-out."""
    return step.outcome != "done" and ("time-out" in step.reason or (step.outcome == "unknown" and not step.reason))


def capacity_locked_out(case: Case, claim: ClaimSpec) -> Finding:
    from_s, to_s = case.stuck()
    probed, probe = case.probe()
    tries = case.steps("add-capacity", from_s, to_s)
    done = sum(s.outcome == "done" for s in tries)
    late = sum(timed_out(s) for s in tries)
    text = f"{case.span(from_s, to_s)}: {late} of {len(tries)} attempts timed out, {done} done; {probe}"
    if not done and probed and len(tries) < claim["min"]:
        raise Unknown(f"{text}; {claim['min']:g} attempts are needed")
    return weigh(not done and probed and late >= claim["min"], float(late), text)

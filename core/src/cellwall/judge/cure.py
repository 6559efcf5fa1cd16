"""Whether the remedy worked, what it cost, and whether the fleet is well again, with or without help.

Decides `paused`, `load-relieved`, `cure-hurts`, `capacity-added`, `recovered`, `healed` and `no-write-lost`.
A pause relieves only until work on capacity begins: that work is load of its own.
"""

from __future__ import annotations

from .. import registers, series
from ..errors import Unknown
from .case import EDGE_S, Case, Finding, percent, weigh
from .spec import ClaimSpec

OUT_MAX = 0.005  # nobody out, for `recovered`: 0.5 % as in `healed` (the issue)
_HELP = ("pause", "resume", "add-capacity", "limit-cpu", "weight")


def paused(case: Case, claim: ClaimSpec) -> Finding:
    tries = case.steps("pause")
    if not tries:
        raise Unknown("no pause is on record")
    slowest = max(tries, key=lambda s: (s.outcome != "done", s.took_s))
    if slowest.outcome == "unknown":
        raise Unknown(f"whether the pause took effect is unknown ({slowest.reason})")
    text = f"pause at {case.when(slowest.t)}: {slowest.outcome} in {slowest.took_s:.2f} s {slowest.reason}".rstrip()
    return weigh(slowest.outcome == "done" and slowest.took_s <= claim["max"], slowest.took_s, text)


def load_relieved(case: Case, claim: ClaimSpec) -> Finding:
    """The first 1 s interval from which on CPU stays below the bound must begin within so many T of the pause."""
    pause_s = case.need("pause_s")
    to_s = case.need("resume_s")
    if case.at.capacity_s is not None:
        to_s = min(to_s, case.at.capacity_s)
    within_s = claim["within_limits"] * case.limit_s
    bins = series.cpu(case.run, pause_s, to_s, 1.0)
    ratios = [b.ratio for b in bins]
    known = [r for r in ratios if r is not None]
    if len(known) < len(ratios) or to_s - pause_s < within_s + 1.0:
        raise Unknown(f"metadata CPU is not on record for {within_s + 1:g} s of the pause and to its end")
    quiet = len(known)
    while quiet and known[quiet - 1] < claim["max"]:
        quiet -= 1
    # The last interval judged must be quiet too; if none is, there is no value within the bound to show.
    rest = known[quiet:] or known[-1:]
    value = max(rest)
    text = f"pause {case.span(pause_s, to_s)}: metadata CPU "
    if quiet == len(known):
        return weigh(False, value, f"{text}{percent(value)} of its limit in the last second, never below the bound")
    text += f"below {percent(claim['max'])} of its limit from {quiet} s after the pause on (at most {within_s:g} s)"
    return weigh(quiet <= within_s, value, f"{text}, at most {percent(value)} from then on")


def cure_hurts(case: Case, claim: ClaimSpec) -> Finding:
    pause_s, to_s = case.need("pause_s"), case.need("resume_s")
    from_s = to_s - claim["last_s"]
    if from_s < pause_s:
        raise Unknown(f"the pause lasted {to_s - pause_s:.1f} s, less than the {claim['last_s']:g} s judged")
    ratio = case.failed(from_s, to_s)
    return weigh(ratio >= claim["min"], ratio, f"{case.span(from_s, to_s)}: {percent(ratio)} of requests failed")


def capacity_added(case: Case, claim: ClaimSpec) -> Finding:
    """Whenever after the trigger: where an attempt under load succeeds, the runbook skips the later ones."""
    tries = case.steps("add-capacity", case.need("t0_s"))
    done = [s for s in tries if s.outcome == "done"]
    if not done and (not tries or any(s.outcome == "unknown" for s in tries)):
        raise Unknown(f"{len(tries)} attempts to add capacity after the trigger, none known to be done")
    text = f"{len(done)} of {len(tries)} attempts done"
    if done:
        text += f", the first at {case.when(done[0].t)} in {done[0].took_s:.2f} s"
    if done and case.at.pause_s is not None:
        text += f" ({'after' if done[0].t >= case.at.pause_s else 'before'} the pause)"
    return weigh(len(done) >= claim["min"], float(len(done)), text)


def recovered(case: Case, claim: ClaimSpec) -> Finding:
    from_s, to_s = case.last(claim["last_periods"])
    ratio = case.failed(from_s, to_s)
    out = case.out(from_s).share(to_s)
    text = f"{case.span(from_s, to_s)}: {percent(ratio)} of requests failed; {percent(out)} of servers out at the end"
    return weigh(ratio < claim["max"] and out <= OUT_MAX, ratio, text)


def healed(case: Case, claim: ClaimSpec) -> Finding:
    """Everybody back without a step of any runbook; there must have been something to heal from."""
    from_s, to_s = case.last(claim["last_periods"])
    cut_on_s = case.need("cut_on_s")
    curve = case.out(cut_on_s)
    worst = curve.most(cut_on_s, to_s) / curve.total
    if not worst:
        raise Unknown("no server left service at all: there was nothing to heal from")
    # The probe before the trigger is a step of every arm: without any, steps have not been recorded.
    if not case.run.steps:
        raise Unknown("no step is on record, not even the probe: help cannot be excluded")
    mean = curve.mean_share(from_s, to_s)
    helping = [s for name in _HELP for s in case.steps(name, cut_on_s)]
    helped = sorted(
        {s.step for s in helping if s.outcome == "done"} | ({"pause"} if case.at.pause_s is not None else set())
    )
    text = f"{case.span(from_s, to_s)}: {percent(mean)} of servers out on average, {percent(worst)} at worst before; "
    text += f"help: {', '.join(helped) or 'none'}"
    if not helped and any(s.outcome == "unknown" for s in helping):
        raise Unknown(f"{text}, but a step of unknown outcome may have helped")
    return weigh(mean <= claim["max"] + 1e-9 and not helped, mean, text)


def no_write_lost(case: Case, claim: ClaimSpec) -> Finding:
    found = registers.check(case.run.requests, case.run.audits)
    text = f"{found.acknowledged} acknowledged writes to {found.keys} keys, {found.reads} reads, {found.audits} audited"
    if found.broken:
        more = f" (and {len(found.broken) - 3} more)" if len(found.broken) > 3 else ""
        evidence = f"{text}: {'; '.join(found.broken[:3])}{more}"
        return weigh(len(found.broken) <= claim["max"], float(len(found.broken)), evidence)
    if not found.acknowledged or not found.audits:
        raise Unknown(f"{text}: there is nothing to check")
    if found.unknown:
        raise Unknown(f"{text}; {len(found.unknown)} cannot be told: {'; '.join(found.unknown[:3])}")
    end_s = case.need("end_s")
    if case.run.audits[-1].t < case.need("t0_s") - EDGE_S:
        raise Unknown(f"{text}, all before the trigger was gone; they belong after {case.when(end_s)}")
    return weigh(True, 0.0, text)

"""How far the outage reached: one cell, or all of them; and whether arms were struck alike.

Decides `contained`, `contained-throughout`, `uncontained`, `spread-hits-all` and `same-trigger`. Containment is judged
on customers and on renewals elsewhere; a trigger that struck every cell leaves no elsewhere, which is unknown, neither
contained nor uncontained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .. import series
from ..errors import Unknown
from ..moments import between
from .case import Case, Finding, percent, weigh
from .spec import ClaimSpec

CONFIDENCE = 0.95  # of the Poisson bound (the issue)


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """The exact upper bound of a Poisson mean of which ``count`` was seen: P(X <= count | bound) = 1 - confidence."""
    lo, hi = float(count), count + 10.0 * math.sqrt(count + 1.0) + 10.0
    for _ in range(60):  # halves the interval to the last bit of a float
        mid = (lo + hi) / 2
        lo, hi = (mid, hi) if _poisson_cdf(count, mid) > 1 - confidence else (lo, mid)
    return (lo + hi) / 2


def _poisson_cdf(count: int, mean: float) -> float:
    # By logarithms: exp(-mean) alone is zero from a mean of 746 on.
    return (
        math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1)) if mean else 1.0
    )


def contained(case: Case, claim: ClaimSpec) -> Finding:
    """After a trigger that is brief: from its removal on."""
    ratio, spared, text = _reach(case, claim, *case.stuck())
    return weigh(ratio <= claim["max"] + 1e-9 and spared, ratio, text)


def contained_throughout(case: Case, claim: ClaimSpec) -> Finding:
    """Of a failure that lasts: from its beginning on."""
    ratio, spared, text = _reach(case, claim, *case.throughout())
    return weigh(ratio <= claim["max"] + 1e-9 and spared, ratio, text)


def uncontained(case: Case, claim: ClaimSpec) -> Finding:
    """The contrary: customers or renewals elsewhere suffered, while the failure lasted or after it."""
    ratio, spared, text = _reach(case, claim, *case.throughout())
    return weigh(ratio > claim["min"] + 1e-9 or not spared, ratio, text)


def _reach(case: Case, claim: ClaimSpec, from_s: float, to_s: float) -> tuple[float, bool, str]:
    """Customers affected as a multiple of the struck share, whether renewals elsewhere were spared, the evidence."""
    targets = case.targets()
    where = {server: cell for server, (cell, _) in case.servers.items()}
    struck = {where[s] for s in targets if s in where}
    if struck >= set(where.values()):
        raise Unknown("the trigger struck every cell: there is no elsewhere to be contained from")
    if not struck:
        raise Unknown("none of the servers cut is in this world")
    ratio, customers = _customers(case, claim, struck, from_s, to_s)
    spared, renewals = _renewals(case, {s for s, cell in where.items() if cell not in struck}, from_s, to_s)
    return ratio, spared, f"struck {', '.join(sorted(struck))}; {customers}; {renewals}"


def _customers(case: Case, claim: ClaimSpec, struck: set[str], from_s: float, to_s: float) -> tuple[float, str]:
    """Share of customers affected, as a multiple of the share that lives in the struck cells."""
    homes = case.run.world.customers if case.run.world else {}
    seen = {c: n for c, n in series.customers(case.run, from_s, to_s).items() if c in homes}
    living = {c for c in seen if struck & set(homes[c])}
    # Both sides need customers with traffic, or silence would pass for health.
    if not living or len(living) == len(seen):
        raise Unknown("no customer with traffic lives in the struck cells, or none outside them")
    affected = {c for c, (asked, failed) in seen.items() if failed / asked > claim["customer_error"]}
    ratio = len(affected) / len(living)
    text = (
        f"{case.span(from_s, to_s)}: {len(affected)} of {len(seen)} customers with more than "
        f"{percent(claim['customer_error'])} of requests failed, {len(affected - living)} of them living elsewhere, "
        f"against {len(living)} living in the struck cells"
    )
    unseen = len(homes) - len(seen)
    return ratio, text + (f" ({unseen} customers without a request left out)" if unseen else "")


def _renewals(case: Case, elsewhere: set[str], window_s: float, until_s: float) -> tuple[bool, str]:
    """Failed renewals of the other cells, against the bound of their own rate while clean."""
    counts: list[int] = []
    spans_s: list[float] = []
    for from_s, to_s in (case.clean(), (window_s, until_s)):
        asked = [r for r in between(case.run.renewals, from_s, to_s) if r.server in elsewhere]
        if not asked:
            raise Unknown(f"no renewal of the other cells is on record in {case.span(from_s, to_s)}")
        counts.append(sum(r.outcome != "done" and r.t + r.waited_s < to_s for r in asked))
        spans_s.append(to_s - from_s)
    bound = poisson_upper(counts[0]) * spans_s[1] / spans_s[0]
    text = (
        f"{counts[1]} renewals failed elsewhere in {spans_s[1]:.0f} s, against at most {bound:.1f} "
        f"(Poisson 95 % bound of {counts[0]} in {spans_s[0]:.0f} s while clean)"
    )
    return counts[1] <= bound, text


def spread_hits_all(case: Case, claim: ClaimSpec) -> Finding:
    """Mean share of servers out over the plateau, in the cell that suffered least."""
    from_s, to_s = case.plateau(claim)
    names = sorted({cell for cell, _ in case.servers.values()})
    if len(names) < 2:
        raise Unknown("there is only one cell")
    shares = {cell: case.out(from_s, cell).mean_share(from_s, to_s) for cell in names}
    text = f"{case.span(from_s, to_s)}: servers out " + ", ".join(f"{c} {percent(s)}" for c, s in shares.items())
    least = min(shares.values())
    return weigh(least > claim["min"], least, text)


def same_trigger(cases: Mapping[str, Case], claim: ClaimSpec) -> Finding:
    """Arms may only be compared under the same servers cut (research 07)."""
    missing = [arm for arm in claim.arms if arm not in cases]
    if missing:
        raise Unknown(f"no history of {', '.join(missing)}")
    targets = {arm: cases[arm].targets() for arm in claim.arms}
    first = targets[claim.arms[0]]
    other = [arm for arm in claim.arms if targets[arm] != first]
    text = f"{len(first)} servers cut in {claim.arms[0]}; "
    text += f"others in {', '.join(other)}" if other else "the same in " + ", ".join(claim.arms[1:])
    return weigh(not other, float(len(claim.arms) - len(other)), text)

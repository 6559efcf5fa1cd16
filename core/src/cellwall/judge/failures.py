"""Failures of software and machines: whether one was felt where it struck, and what is safe all the same.

Decides `bit`, `unnoticed` and `wrong-epochs-refused`. How far a failure reached is `blast`. Invariant: a failure that
nobody felt shows nothing about containment, so `bit` stands beside every claim of it.
"""

from __future__ import annotations

from ..errors import Unknown
from ..moments import between
from .case import Case, Finding, percent, weigh
from .spec import ClaimSpec

WRONG = ("stale-epoch", "mismatch")  # reasons of a server that does not believe a membership's epoch


def bit(case: Case, claim: ClaimSpec) -> Finding:
    """Struck servers that left service while it lasted or after it."""
    targets = case.targets()
    from_s, to_s = case.throughout()
    left = {a.server for a in between(case.run.availability, from_s, to_s) if not a.available} & targets
    share = len(left) / len(targets)
    text = f"{case.span(from_s, to_s)}: {len(left)} of {len(targets)} servers struck left service"
    return weigh(share >= claim["min"], share, text)


def unnoticed(case: Case, claim: ClaimSpec) -> Finding:
    """Customers' failed requests from the trigger's beginning on, all cells together."""
    from_s, to_s = case.throughout()
    ratio = case.failed(from_s, to_s)
    return weigh(ratio <= claim["max"], ratio, f"{case.span(from_s, to_s)}: {percent(ratio)} of requests failed")


def wrong_epochs_refused(case: Case, claim: ClaimSpec) -> Finding:
    """What came of the struck servers' renewals while no other release answered (one is there before the last node of
    another is gone): refused for their epoch, and none taken."""
    targets, (from_s, to_s) = case.targets(), case.throughout()
    on = [f for f in case.run.faults if f.fault == "release" and f.state == "on"]
    if not on:
        raise Unknown("no release is on record")
    from_s = max(from_s, *(float(f.receipt.get("since_s", from_s)) for f in on))
    to_s = min(to_s, *(float(f.receipt.get("expires_s", to_s)) for f in on))
    ended = [r for r in case.ended_in(from_s, to_s) if r.server in targets]
    refused = sum(r.reason in WRONG for r in ended)
    taken = sum(r.outcome == "done" for r in ended)
    text = f"{case.span(from_s, to_s)}: {refused} memberships refused for their epoch, {taken} taken, of {len(ended)}"
    return weigh(refused >= claim["min"] and not taken, float(refused), text)

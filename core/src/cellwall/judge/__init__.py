"""The judge: histories and claims in, verdicts out.

Decides which function weighs which claim, and that every arm is judged `clean` whether the experiment
says so or not. Never reads a file or a clock. Invariant I11: an arm is held only if something was claimed
of it and shown; a crashed or empty run is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from ..errors import Refused, Unknown
from ..history import Record
from ..moments import Run, read
from ..verdict import ArmVerdict, ClaimVerdict, arm_outcome, merge
from . import blast, certificate, cure, failures, outage, validity
from .case import Case, Finding
from .spec import KINDS, ClaimSpec, claims, default

__all__ = [
    "ACROSS",
    "ARM_CLAIMS",
    "CROSS_CLAIMS",
    "ClaimSpec",
    "claims",
    "judge_arm",
    "judge_cross",
]

S = TypeVar("S")

ACROSS = "across-arms"  # under this name the claims over several arms stand beside the arms

ARM_CLAIMS: dict[str, Callable[[Case, ClaimSpec], Finding]] = {
    "clean": validity.clean,
    "healthy-before": validity.healthy_before,
    "trigger-bit": validity.trigger_bit,
    "no-fault-active": validity.no_fault_active,
    "dragged-in": outage.dragged_in,
    "relapsed": outage.relapsed,
    "servers-out": outage.servers_out,
    "requests-failed": outage.requests_failed,
    "stuck": outage.stuck,
    "metastable": certificate.metastable,
    "capacity-locked-out": outage.capacity_locked_out,
    "paused": cure.paused,
    "load-relieved": cure.load_relieved,
    "cure-hurts": cure.cure_hurts,
    "capacity-added": cure.capacity_added,
    "recovered": cure.recovered,
    "healed": cure.healed,
    "no-write-lost": cure.no_write_lost,
    "contained": blast.contained,
    "contained-throughout": blast.contained_throughout,
    "uncontained": blast.uncontained,
    "bit": failures.bit,
    "unnoticed": failures.unnoticed,
    "wrong-epochs-refused": failures.wrong_epochs_refused,
    "spread-hits-all": blast.spread_hits_all,
}
CROSS_CLAIMS: dict[str, Callable[[Mapping[str, Case], ClaimSpec], Finding]] = {"same-trigger": blast.same_trigger}


def judge_arm(records: Iterable[Record] | Run, arm: str, claims: Sequence[ClaimSpec]) -> ArmVerdict:
    """Judge what is claimed of one arm. A history of another arm is refused."""
    run = records if isinstance(records, Run) else read(records)
    if run.world is not None and run.world.arm != arm:
        raise Refused(f"history: it is of arm {run.world.arm!r}; it must be of {arm!r}")
    mine = [c for c in claims if arm in c.arms and c.id in ARM_CLAIMS and _concerns(c, run)]
    case = Case(run)
    implied = [] if any(c.id == "clean" for c in mine) else [default("clean", [arm])]
    found = [_weigh(ARM_CLAIMS[c.id], case, c) for c in [*implied, *mine]]
    # Cleanness alone is no result: an arm of which nothing is claimed has shown nothing.
    outcome = arm_outcome(found) if mine else merge([])
    return ArmVerdict(name=arm, outcome=outcome, claims=found)


def judge_cross(runs: Mapping[str, Iterable[Record] | Run], claims: Sequence[ClaimSpec]) -> ArmVerdict | None:
    """Judge the claims over several arms; None if there are none."""
    mine = [c for c in claims if c.id in CROSS_CLAIMS]
    if not mine:
        return None
    cases = {arm: Case(run if isinstance(run, Run) else read(run)) for arm, run in runs.items()}
    found = [_weigh(CROSS_CLAIMS[c.id], cases, c) for c in mine]
    return ArmVerdict(name=ACROSS, outcome=arm_outcome(found), claims=found)


def _concerns(claim: ClaimSpec, run: Run) -> bool:
    return not claim.backends or run.world is None or run.world.backend in claim.backends


def _weigh(judge: Callable[[S, ClaimSpec], Finding], subject: S, claim: ClaimSpec) -> ClaimVerdict:
    try:
        finding = judge(subject, claim)
    except Unknown as reason:
        finding = Finding("unknown", None, str(reason))
    return ClaimVerdict(
        id=claim.id,
        text=claim.text or KINDS[claim.id].text,
        outcome=finding.outcome,
        value=None if finding.value is None else round(finding.value, 6),
        unit=claim.unit,
        bound=claim.bound,
        evidence=finding.evidence,
    )

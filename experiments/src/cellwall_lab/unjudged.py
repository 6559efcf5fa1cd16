"""Verdicts of what was not, or not yet, judged: every claim unknown, for one reason that stands in verdict.json itself.

Decides which claims an arm's verdict must name; never weighs one. Invariant: no arm without a claim, so none without
its reason: `clean` is judged of every arm (`cellwall.judge`), claimed or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cellwall import verdict as verdicts
from cellwall.judge import CROSS_CLAIMS
from cellwall.judge.spec import ClaimSpec, default
from cellwall.verdict import ArmVerdict, ClaimVerdict, Verdict

from .experiment import Experiment

NOT_FINISHED = "not finished: nothing was judged; the run still goes on, or it was killed"


def opening(experiment: Experiment, backend: str, seed: int, arms: Sequence[str]) -> Verdict:
    """What stands in a run folder from its first moment on, and for ever if its processes are killed."""
    return msgspec.structs.replace(
        verdicts.opening(experiment.name, backend, seed, arms),
        arms=[unjudged(arm, claims_of(experiment, arm, backend), NOT_FINISHED) for arm in arms],
    )


def refusal(name: str, backend: str, seed: int, arms: Sequence[str], reason: str) -> Verdict:
    """Of a run that never began: its file, or what was asked of it, is wrong."""
    return msgspec.structs.replace(
        verdicts.opening(name, backend, seed, arms), arms=[unjudged(arm, [], reason) for arm in arms]
    )


def claims_of(experiment: Experiment, arm: str, backend: str) -> list[ClaimSpec]:
    return [c for c in experiment.claims_of(arm, backend) if c.id not in CROSS_CLAIMS]


def unjudged(arm: str, claims: Sequence[ClaimSpec], reason: str) -> ArmVerdict:
    """Every claim unknown, for one reason."""
    return ArmVerdict(
        name=arm,
        outcome="unknown",
        claims=[
            ClaimVerdict(
                id=claim.id,
                text=claim.text,
                outcome="unknown",
                value=None,
                unit=claim.unit,
                bound=claim.bound,
                evidence=reason,
            )
            for claim in claims or [default("clean", [arm])]
        ],
    )


def untouched(arm: ArmVerdict) -> bool:
    """Whether nobody has judged this arm since its folder was made."""
    return all(claim.evidence == NOT_FINISHED for claim in arm.claims)

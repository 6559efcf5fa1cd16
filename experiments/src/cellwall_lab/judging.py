"""From an arm's records on disk to its verdict; the one place where the lab calls the core's judge.

Decides nothing: the judge does. What could not be judged is unknown, each claim with the reason.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cellwall import history
from cellwall.errors import CellwallError
from cellwall.judge import ACROSS, CROSS_CLAIMS, judge_arm, judge_cross
from cellwall.moments import read
from cellwall.verdict import ArmVerdict

from .runfolder import HISTORY, VOID, RunFolder
from .unjudged import claims_of, unjudged


class Judged(msgspec.Struct, frozen=True):
    """An arm's verdict with the figures of its world."""

    verdict: ArmVerdict
    versions: dict[str, str] = {}
    calibration: dict[str, float] = {}


def judge(folder: RunFolder, arm: str) -> Judged:
    """Judge one arm from its history; unknown, with the reason, if there is none."""
    claims = claims_of(folder.experiment, arm, folder.info.backend)
    void = folder.arm(arm) / VOID
    if void.exists():
        reason = void.read_text(encoding="utf-8").strip()
        return Judged(unjudged(arm, claims, reason))
    try:
        run = read(_records(folder, arm))
        figures = (run.world.versions, run.world.calibration) if run.world else ({}, {})
        return Judged(judge_arm(run, arm, folder.experiment.claims), *figures)
    except OSError as error:
        return Judged(unjudged(arm, claims, f"{HISTORY}: {error.strerror}"))
    except CellwallError as error:
        return Judged(unjudged(arm, claims, str(error)))


def void(folder: RunFolder, arm: str, reason: str) -> Judged:
    """Say in the arm's folder why its run does not count, for this judgement and every later one."""
    leave_reason(folder.arm(arm), reason)
    return judge(folder, arm)


def leave_reason(arm_folder: Path, reason: str) -> None:
    arm_folder.mkdir(parents=True, exist_ok=True)
    (arm_folder / VOID).write_text(" ".join(reason.split()) + "\n", encoding="utf-8")


def judge_across(folder: RunFolder) -> list[ArmVerdict]:
    """The claims that compare arms, once all arms are there: over those of the arms named that were run."""
    ran = [a for a in folder.info.arms if (folder.arm(a) / HISTORY).exists()]
    compared = (msgspec.structs.replace(c, arms=tuple(a for a in c.arms if a in ran)) for c in folder.experiment.claims)
    claims = [c for c in compared if c.id in CROSS_CLAIMS and len(c.arms) > 1]
    named = {arm for c in claims for arm in c.arms}
    try:
        across = judge_cross({arm: read(_records(folder, arm)) for arm in sorted(named)}, claims)
    except (CellwallError, OSError) as error:
        return [unjudged(ACROSS, claims, str(error))]
    return [across] if across else []


def _records(folder: RunFolder, arm: str) -> list[history.Record]:
    with (folder.arm(arm) / HISTORY).open("rb") as lines:
        return list(history.decode(lines))

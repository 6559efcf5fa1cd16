"""Conditions: what is true of an object, since when, and what is told when that changes.

Decides how findings become the conditions of a status; what is found is `plan.statuses`'. Never reads a clock: the time
comes in. Invariant: the same findings give the same conditions again, to the byte, so that nothing is written at rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cellwall.status import CAPACITY_PENDING, DEGRADED, HEADROOM, READY, RECONCILING, STALLED, Condition

from .actions import Event, Ref
from .objects import Body

GOOD_WHEN_TRUE = {READY, HEADROOM}
TOLD = {READY, STALLED, DEGRADED, CAPACITY_PENDING, HEADROOM}  # Reconciling comes and goes with each change


class Finding(msgspec.Struct, frozen=True):
    """One condition without its times."""

    type: str
    status: bool
    reason: str
    message: str = ""


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong, in a word, and what to do about it. ``stalled``: nobody but a user can mend it."""

    reason: str
    message: str
    stalled: bool = False


def kstatus(
    ready: bool, well: str, settled: bool, doing: str, troubles: Sequence[Trouble], reason: str = "Progressing"
) -> list[Finding]:
    """Ready, Reconciling, Stalled and Degraded. ``settled``: all is as asked for; otherwise ``doing`` is under way.
    What is ready says ``well``; what is neither ready nor in trouble says ``doing``, for that ``reason``."""
    stalled = [trouble for trouble in troubles if trouble.stalled]
    lesser = [trouble for trouble in troubles if not trouble.stalled]
    ready = ready and not stalled
    why = ("Ready", well) if ready else (reason, doing)
    if not ready and troubles:
        first = (stalled or lesser)[0]
        why = first.reason, first.message
    working = not settled and not stalled
    return [
        Finding(READY, ready, *why),
        Finding(RECONCILING, working, "Progressing" if working else "Settled", doing if working else ""),
        _summed(STALLED, stalled, "NotStalled"),
        _summed(DEGRADED, lesser, "NotDegraded"),
    ]


def _summed(type_: str, troubles: Sequence[Trouble], well: str) -> Finding:
    if not troubles:
        return Finding(type_, False, well)
    return Finding(type_, True, troubles[0].reason, "; ".join(trouble.message for trouble in troubles))


def dated(findings: Sequence[Finding], before: Body, generation: int, now_s: float) -> tuple[Condition, ...]:
    """``before``: the object's status as it is. A time of transition moves only with its condition's status."""
    known = {one.get("type"): one for one in before.get("conditions") or ()}
    out = []
    for finding in findings:
        status = "True" if finding.status else "False"
        old = known.get(finding.type, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        out.append(
            Condition(
                type=finding.type,
                status="True" if finding.status else "False",
                reason=finding.reason,
                message=finding.message,
                last_transition_time=since or timestamp(now_s),
                observed_generation=generation,
            )
        )
    return tuple(out)


def events(ref: Ref, findings: Sequence[Finding], before: Body) -> list[Event]:
    """What is worth telling of a change: that a condition's status or reason is another. Nothing at the first look,
    unless something is wrong."""
    known = {one.get("type"): one for one in before.get("conditions") or ()}
    out = []
    for finding in findings:
        old = known.get(finding.type)
        good = finding.status == (finding.type in GOOD_WHEN_TRUE)
        if finding.type not in TOLD or (old is None and good):
            continue
        was = (old or {}).get("status"), (old or {}).get("reason")
        now = ("True" if finding.status else "False"), finding.reason
        # One event for a trouble: Ready repeats what Stalled and Degraded say.
        if was == now or (finding.type == READY and not good):
            continue
        reason = finding.reason if not good else f"{finding.type}{'' if finding.type in GOOD_WHEN_TRUE else 'Over'}"
        out.append(Event(ref, "Normal" if good else "Warning", reason, finding.message or f"no longer {finding.type}"))
    return out


def plain(status: msgspec.Struct) -> dict[str, Any]:
    """A status as the API server tells it back."""
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(status))
    return value


def timestamp(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""What begins an arm's outage: a network cut, or a failure of software, capacity or infrastructure.

Decides whether an arm's `trigger` in an experiment file is one, and which verb it means; carries nothing out.
Invariant: an arm without one has the cut of its targets, so that all arms of a file share one method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cellwall.errors import Refused

from . import verbs

STRIKES = ("cut", "kill", "node-loss", "release", "poison")


def decode(trigger: Mapping[str, Any]) -> Any:
    """The verb that `{name: arguments}` means."""
    if len(trigger) != 1 or (name := next(iter(trigger))) not in STRIKES:
        raise Refused(
            f"trigger: {dict(trigger)!r} is not allowed; it must be one of {', '.join(STRIKES)} with arguments"
        )
    try:
        verb = msgspec.convert(trigger[name], verbs.VERBS[name][0])
    except msgspec.ValidationError as error:
        raise Refused(f"trigger.{name}: {error}") from None
    lasts_s = lasting_s(verb)
    if not 0 < lasts_s < float("inf"):
        raise Refused(f"trigger.{name}: it lasts {lasts_s:g} s, which is not allowed; it must be > 0")
    return verb


def lasting_s(verb: Any) -> float:
    """How long it lasts at most."""
    return float(verb.deadline_s if isinstance(verb, verbs.Poison) else verb.for_s)


def of_arm(trigger: Mapping[str, Any] | None, targets: verbs.Targets, cut_s: float) -> dict[str, Any]:
    """The arm's trigger, or the cut of its targets, as the method's action takes it."""
    if trigger is not None:
        return dict(trigger)
    struck = {k: v for k, v in msgspec.to_builtins(targets).items() if v is not None}
    return {"cut": {"targets": struck, "for_s": cut_s}}
